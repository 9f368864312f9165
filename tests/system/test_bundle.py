"""Bundles: a stretch of the past in one file, which shows itself elsewhere and tells whether it was changed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from browser import browser_page
from hosts import post, wait_until
from observability.recorder.bundle import CHAIN_NAME
from server_process import ROOT, TIMEOUT_SECONDS, Server, run_command
from ws_client import receive, receive_text

SECRET = "s3cret" * 4
FILL = {"type": "fill", "order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": "1", "price": "1"}


class Made:
    """A bundle, what the server showed meanwhile, and what the command said."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "incident.bundle"
        server = Server(
            DATA_DIR=str(folder / "data"), LOG_DIR=str(folder / "logs"), API_TOKENS=f"write:{SECRET}",
            SOURCES=f"nats://user:{SECRET}@127.0.0.1:1/?subjects=s",
        )  # fmt: skip
        try:
            self.frames: dict[str, str] = {}
            with connect(server.websocket_url, open_timeout=TIMEOUT_SECONDS) as connection:
                for number in range(12):
                    text = receive_text(connection, "metrics_update")
                    self.frames[json.loads(text)["timestamp"]] = text
                    if number == 4:
                        _post_as_writer(server, {**FILL, "trade_id": "t1"})
            last = max(self.frames)
            wait_until(lambda: (server.get("/api/recordings")["end_time"] or "") >= last)
            # While the server runs.
            ran = run_command(
                "bundle", "--data-dir", str(folder / "data"), "--from", min(self.frames), "--to", "now",
                "--output", str(self.file), LOG_DIR=str(folder / "logs"), API_TOKENS=f"write:{SECRET}",
                SOURCES=f"nats://user:{SECRET}@127.0.0.1:1/?subjects=s",
            )  # fmt: skip
        finally:
            server.stop()
        assert ran.returncode == 0, ran.stderr
        self.said = ran.stdout


def _post_as_writer(server: Server, document: dict[str, Any]) -> None:
    post(server, f"/api/ingest?token={SECRET}", document)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("bundle"))


@contextmanager
def opened(file: Path) -> Iterator[Server]:
    """Runs `observability open` for the length of a block."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "observability", "open", str(file), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{ROOT}/core:{ROOT}/http", "PATH": ""},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"localhost:(\d+)/", line):
                break
        assert found is not None
        server = Server.__new__(Server)
        server.port = int(found[1])
        yield server
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_every_tick_of_a_bundle_is_shown_as_the_bytes_that_clients_got(made: Made) -> None:
    with opened(made.file) as server:
        for moment, text in made.frames.items():
            assert server.get_bytes(f"/api/metrics/at?time={moment}").decode() == text
        found = server.get("/api/recordings")
        assert (found["live"], found["recording"]) == (False, False)
        assert [trade["trade_id"] for trade in server.get("/api/trades")["trades"]] == ["t1"]
        first = min(made.frames)
        with connect(
            f"{server.websocket_url}?at={first}&channels=metrics,trades", open_timeout=TIMEOUT_SECONDS
        ) as past:
            assert receive(past, "trade")["trade_id"] == "t1"
        marks = server.get(f"/api/recordings/marks?start_time={first}&end_time={found['end_time']}")["marks"]
        assert [mark["kind"] for mark in marks] == ["fill"]


def test_nothing_in_a_bundle_has_a_secret(made: Made) -> None:
    with zipfile.ZipFile(made.file) as bundle:
        for name in bundle.namelist():
            assert SECRET.encode() not in bundle.read(name), name
        configuration = json.loads(bundle.read("configuration.json"))
        assert "AAPL" not in bundle.read("configuration.json").decode()
        assert b"cannot be connected to" in bundle.read("logs.txt")
    assert configuration["API_TOKENS"]["value"] == "a secret (not shown)"
    assert "nats://" in configuration["SOURCES"]["value"]


def test_a_whole_bundle_is_verified_and_has_the_head_that_was_printed(made: Made) -> None:
    ran = run_command("open", str(made.file), "--verify")
    assert ran.returncode == 0, ran.stderr
    (head,) = re.findall(r"head of the chain: (\w{64})", made.said)
    assert f"head of the chain: {head}" in ran.stdout


@pytest.mark.parametrize(
    ("member", "place", "named"),
    [
        ("configuration.json", 0.5, "link 1 of"),
        ("observability.db", 0.5, "observability.db"),
        ("recording/00000001.frames", 0.9, r"recording/00000001.frames \(frames of 20"),
        ("recording/00000001.index", 0.5, "index"),
    ],
)
def test_the_first_part_that_was_changed_is_named(
    made: Made, tmp_path: Path, member: str, place: float, named: str
) -> None:
    changed = tmp_path / "changed.bundle"
    with zipfile.ZipFile(made.file) as source, zipfile.ZipFile(changed, "w") as target:
        for info in source.infolist():
            data = bytearray(source.read(info))
            if info.filename == member:
                data[int(len(data) * place)] ^= 1
            target.writestr(info.filename, bytes(data))
    ran = run_command("open", str(changed))
    assert ran.returncode == 1
    assert re.search(f"{named}.*not what it was", ran.stderr), ran.stderr


def test_a_part_that_was_added_or_taken_away_is_named(made: Made, tmp_path: Path) -> None:
    added, less = tmp_path / "added.bundle", tmp_path / "less.bundle"
    shutil.copy(made.file, added)
    with zipfile.ZipFile(added, "a") as target:
        target.writestr("recording/00000009.frames", b"")
    assert "recording/00000009.frames: no link of the chain" in run_command("open", str(added), "--verify").stderr
    with zipfile.ZipFile(made.file) as source, zipfile.ZipFile(less, "w") as target:
        for name in source.namelist():
            if name != "logs.txt":
                target.writestr(name, source.read(name))
    assert "logs.txt: cannot be read" in run_command("open", str(less), "--verify").stderr


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    ran = run_command("open", str(file))
    assert (ran.returncode, "this is no bundle" in ran.stderr) == (1, True)
    with zipfile.ZipFile(file, "w") as target:
        target.writestr(CHAIN_NAME, "{}")
    assert "this is no bundle" in run_command("open", str(file)).stderr


def test_a_bundle_of_nothing_is_not_made(tmp_path: Path) -> None:
    ran = run_command(
        "bundle", "--data-dir", str(tmp_path), "--from", "-15m", "--to", "now", "--output", f"{tmp_path}/b"
    )
    assert (ran.returncode, "nothing is recorded" in ran.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_file_is_not_written_over(made: Made, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    data = made.file.parent / "data"
    ran = run_command("bundle", "--data-dir", str(data), "--from", "-1h", "--to", "now", "--output", str(there))
    assert (ran.returncode, there.read_text()) == (1, "mine")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_shows_a_bundle_from_its_beginning(made: Made) -> None:
    with opened(made.file) as server, browser_page() as page:
        page.open(server.url("/#/overview"))
        page.wait_for("document.getElementById('state').textContent === 'past' && app.feed.snapshot")
        assert page.evaluate("app.feed.snapshot.timestamp") <= min(made.frames)
        assert page.evaluate("app.scrubber.toggle.hidden") is True
