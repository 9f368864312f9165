"""Bundles: a stretch of the past in one file, which shows itself elsewhere and tells whether it was changed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from browser import browser_page
from desk_page import resize
from hosts import post, wait_until
from observability.clocks.timestamps import MAX_NS, format_iso_ms
from observability.recorder.bundle import CHAIN_NAME, extract
from observability.recorder.documents import LOGS
from observability.recorder.layout import DIRECTORY_NAME
from observability.rest.published import RECORDED
from recorded import every_frame
from recorded import opened as opened_recording
from server_process import NO_RULES, ROOT, TIMEOUT_SECONDS, Server, run_command
from ws_client import connect, receive, receive_text

SECRET = "s3cret" * 4
ORDER = {"type": "order", "order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": "1", "status": "new"}
ALERT = {"type": "alert", "key": "feed", "severity": "warning", "title": "no quotes", "action": "raise"}
FILL = {"type": "fill", "order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": "1", "price": "1"}


class Made:
    """A bundle, what the server showed meanwhile, and what the command said."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "incident.bundle"
        # Before the source could not be connected to, which the log says, and whole seconds before the frames below.
        self.began = format_iso_ms(time.time_ns())
        server = Server(
            DATA_DIR=str(folder / "data"), LOG_DIR=str(folder / "logs"), API_TOKENS=f"write:{SECRET}",
            SOURCES=f"nats://user:{SECRET}@127.0.0.1:1/?subjects=s", **NO_RULES,
        )  # fmt: skip
        try:
            wait_until(lambda: all(_document_now(server, name) for name in RECORDED))
            wait_until(lambda: "cannot be connected to" in str(server.get(f"/api/recordings/logs?time={MAX_NS}")))
            self.frames: dict[str, str] = {}
            with connect(server.websocket_url) as connection:
                self._take_frame(connection)
                # A frame with the order has the alert too.
                for event in (ALERT, ORDER):
                    _post_as_writer(server, event)
                self.ordered = self._take_until(connection, "open_orders", 1)
                _post_as_writer(server, {**FILL, "trade_id": "t1"})
                last = self._take_until(connection, "fills_today", 1)
            wait_until(lambda: (server.get("/api/recordings")["end_time"] or "") >= last)
            # While the server runs.
            ran = run_command(
                "bundle", "--data-dir", str(folder / "data"), "--from", self.began, "--to", "now",
                "--output", str(self.file), LOG_DIR=str(folder / "logs"), API_TOKENS=f"write:{SECRET}",
                SOURCES=f"nats://user:{SECRET}@127.0.0.1:1/?subjects=s",
            )  # fmt: skip
        finally:
            server.stop()
        assert ran.returncode == 0, ran.stderr
        self.said = ran.stdout

    def _take_frame(self, connection: ClientConnection) -> dict[str, Any]:
        text = receive_text(connection, "metrics_update")
        frame: dict[str, Any] = json.loads(text)
        self.frames[frame["timestamp"]] = text
        return frame

    def _take_until(self, connection: ClientConnection, name: str, value: int) -> str:
        """Takes frames until one has a figure of execution; returns its time."""
        while True:
            frame = self._take_frame(connection)
            if frame["execution"][name] == value:
                return str(frame["timestamp"])


def _document_now(server: Server, name: str) -> Any:
    """Returns the newest version of a document that is recorded."""
    return server.get(f"/api/recordings/documents/{name}?time={MAX_NS}")["document"]


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
        with connect(f"{server.websocket_url}?at={first}&channels=metrics,trades") as past:
            assert receive(past, "trade")["trade_id"] == "t1"
        marks = server.get(f"/api/recordings/marks?start_time={first}&end_time={found['end_time']}")["marks"]
        assert sorted(mark["kind"] for mark in marks) == ["alert", "fill"]


def test_a_bundle_answers_as_of_the_moment_that_is_asked_for(made: Made) -> None:
    first, last = min(made.frames), max(made.frames)
    with opened(made.file) as server:
        states = []
        for moment in (first, made.ordered, last):
            orders = server.get(f"/api/orders?time={moment}")["orders"]
            alerts = server.get(f"/api/system/alerts/history?time={moment}")["occurrences"]
            states.append(([order["status"] for order in orders], [alert["title"] for alert in alerts]))
        life = server.get(f"/api/orders/o?time={made.ordered}")
        found = server.get(f"/api/recordings/documents/execution_quality?time={last}")
        lines = server.get(f"/api/recordings/logs?time={last}&level=warning")["logs"]
        question = {"start_time": made.began, "end_time": last, "interval": "1s", "metric_types": ["strategy"]}
        curve = post(server, "/api/metrics/history", question)
    assert states == [([], []), (["new"], ["no quotes"]), (["filled"], ["no quotes"])]
    assert ([report["status"] for report in life["reports"]], life["fills"]) == (["new"], [])
    assert found["recorded"] <= last
    assert found["document"]["seq"] > 0
    # Without a file of the log.
    assert any("cannot be connected to" in line["message"] for line in lines)
    assert curve["data"]


def test_nothing_in_a_bundle_has_a_secret(made: Made, tmp_path: Path) -> None:
    with zipfile.ZipFile(made.file) as bundle:
        for name in bundle.namelist():
            assert SECRET.encode() not in bundle.read(name), name
        configuration = json.loads(bundle.read("configuration.json"))
        assert "AAPL" not in bundle.read("configuration.json").decode()
        assert b"cannot be connected to" in bundle.read("logs.txt")
    assert configuration["API_TOKENS"]["value"] == "a secret (not shown)"
    assert "nats://" in configuration["SOURCES"]["value"]
    # Frames and documents are compressed.
    extract(made.file, tmp_path)
    shown = [bytes(frame.payload) for frame in every_frame(tmp_path / DIRECTORY_NAME)]
    reader = opened_recording(tmp_path / DIRECTORY_NAME).documents_of(1)
    shown += [version.body for name in reader.names for version in reader.newest_first(name, MAX_NS)]
    assert set(reader.names) == {*RECORDED, LOGS}
    assert any(b"cannot be connected to" in each for each in shown)
    assert not any(SECRET.encode() in each for each in shown)


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


VIEWS = {
    "overview": "Equity",
    "market": "symbols",
    "strategies": "AAPL",
    "orders?tab=orders": "filled",
    "orders?tab=trades": "t1",
    "orders/o?of=AAPL": "What happened",
    "execution": "Send to acknowledgement",
    "alerts?state=all": "no quotes",
    "system?q=connected": "cannot be connected to",
}
"""Each view, and what it shows of the bundle at its end."""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_every_view_of_the_page_shows_a_bundle_and_says_what_it_lacks(made: Made, tmp_path: Path) -> None:
    poor = bundle_without_documents(made, tmp_path)
    with opened(made.file) as server, opened(poor) as poorer, browser_page() as page:
        resize(page, 1400, 900)
        page.open(server.url("/"))
        page.wait_for("document.getElementById('state').textContent === 'past' && app.feed.snapshot")
        assert page.evaluate("app.feed.snapshot.timestamp") <= min(made.frames)
        assert page.evaluate("app.scrubber.toggle.hidden") is True
        page.evaluate(f"app.scrubber.go(Date.parse('{max(made.frames)}'))")
        page.wait_for(f"app.feed.moment === '{max(made.frames)}'")
        for fragment, shown in VIEWS.items():
            page.evaluate(f"location.hash = '#/{fragment}'")
            page.wait_for(f"document.getElementById('main').textContent.includes({json.dumps(shown)})")
            assert page.evaluate(FAULTS) == [], fragment
        page.open(poorer.url("/#/execution"))
        page.wait_for(f"{FAULTS}.some(text => text.includes('nothing of it was recorded'))")
        assert page.errors == []


FAULTS = (
    "[...document.querySelectorAll('p.fault')].filter(each => !each.hidden).map(each => each.textContent)"
    ".filter(Boolean)"
)


def bundle_without_documents(made: Made, folder: Path) -> Path:
    """Makes a bundle of a recording of an earlier version, which had no documents."""
    data, file = folder / "data", folder / "poor.bundle"
    shutil.copytree(made.file.parent / "data", data)
    for path in (data / "recording").glob("*.documents"):
        path.unlink()
    ran = run_command("bundle", "--data-dir", str(data), "--from", "-1h", "--to", "now", "--output", str(file))
    assert ran.returncode == 0, ran.stderr
    return file
