"""Every document that describes a state says of which tick, by `seq` and `timestamp`, with one and with two workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import fill, post, wait_until
from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect

StartServer = Callable[..., Server]

PATHS = [
    "/api/metrics/symbols", "/api/metrics/summary", "/api/trades", "/api/trades/stats/summary",
    "/api/trades/execution/quality", "/api/strategy/performance", "/api/strategy/breaks", "/api/system/health",
    "/api/system/performance", "/api/system/components", "/api/system/stats", "/api/system/alerts",
    "/api/system/alerts?state=active", "/api/orders", "/api/system/alerts/rules",
]  # fmt: skip

# What each document shows of the only fill.
SHOWN: dict[str, Callable[[dict[str, Any]], object]] = {
    "/api/trades/stats/summary": lambda document: document["count"],
    "/api/trades": lambda document: document["total"],
    "/api/trades/execution/quality": lambda document: document["fills"],
    "/api/strategy/performance": lambda document: len(document["strategies"]),
    "/api/metrics/summary": lambda document: document["strategy"]["open_positions"],
}


@pytest.fixture(params=[("1", False), ("2", False), ("1", True), ("2", True)], ids=lambda param: f"{param}")
def server(start_server: StartServer, tmp_path: Path, request: pytest.FixtureRequest) -> Server:
    workers, has_store = request.param
    environment = {"DATA_DIR": str(tmp_path)} if has_store else {}
    return start_server("--workers", workers, **environment)


def test_a_document_has_the_time_of_the_tick_that_it_describes(server: Server) -> None:
    with connect(server.websocket_url) as client:
        times: dict[int, str] = {}

        def time_of(seq: int) -> str | None:
            """Returns the time of a snapshot; None if the client was sent a newer one instead, by a worker that was
            late."""
            while not times or max(times) < seq:
                message = json.loads(client.recv(timeout=TIMEOUT_SECONDS))
                if message["type"] == "metrics_update":
                    times[message["seq"]] = message["timestamp"]
            return times.get(seq)

        first = server.get("/api/metrics/current")["seq"]
        wait_until(lambda: all(server.get(path)["seq"] >= first for path in PATHS))
        for path in PATHS:
            document = server.get(path)
            while (time := time_of(document["seq"])) is None:
                document = server.get(path)
            assert list(document)[:2] == ["timestamp", "seq"], path
            assert document["timestamp"] == time, path


def get_of_tick(server: Server, path: str, seq: int) -> dict[str, Any]:
    """Returns a document of the tick `seq` or a later one; the worker that answers may be a tick behind the others."""

    def document() -> dict[str, Any]:
        found: dict[str, Any] = server.get(path)
        return found if found["seq"] >= seq else {}

    return wait_until(document)


def test_a_document_has_everything_that_its_snapshot_has(server: Server) -> None:
    for path in SHOWN:
        server.get(path)  # before, so that what is kept is kept
    assert post(server, "/api/ingest", fill(1, "buy", "10"))["accepted"] == 1
    wait_until(lambda: server.get("/api/metrics/current")["strategy"]["fills"] == 1)
    seq = server.get("/api/metrics/current")["seq"]
    for path, shown in SHOWN.items():
        assert shown(get_of_tick(server, path, seq)) == 1, path
