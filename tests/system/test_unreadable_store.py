"""A store that cannot be read: every answer that needs it is 503, the fault is told, nothing acknowledged is lost, and
all is well again once the disk is."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect, receive

StartServer = Callable[..., Server]
DATABASE = "observability.db"
TOKEN = "a-token-of-the-writers-0123456789"

pytestmark = pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, ids=["one process", "workers"])


def fill(number: int) -> dict[str, Any]:
    return {
        "type": "fill", "trade_id": f"t{number}", "order_id": f"o{number}", "symbol": "AAPL", "side": "buy",
        "quantity": "10", "price": "100.25",
    }  # fmt: skip


class Answer:
    """An answer, whatever its status."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.retry_after = headers.get("Retry-After")
        self.body: dict[str, Any] = json.loads(body)


def ask(server: Server, path: str, body: Any = None, **headers: str) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url(path), data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def send(server: Server, *numbers: int, key: str | None = None) -> Answer:
    keys = {} if key is None else {"Idempotency-Key": key}
    return ask(server, "/api/ingest", [fill(number) for number in numbers], **keys)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.1)


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Overwrites every page of a file but the first, and puts them back."""
    whole = path.read_bytes()
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), os.urandom(len(whole) - 4096), 4096)
        yield
        os.pwrite(file.fileno(), whole[4096:], 4096)


def store_alerts(server: Server) -> list[str]:
    return [a["state"] for a in server.get("/api/system/alerts")["alerts"] if a["rule"] == "store_fault"]


def metric(server: Server, name: str) -> float:
    (line,) = (x for x in server.get_bytes("/metrics").decode().splitlines() if x.startswith(f"{name} "))
    return float(line.split()[1])


def test_answers_that_need_a_damaged_store_are_503_until_it_is_repaired(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("--data-dir", str(tmp_path))
    assert send(server, *range(300), key="first").status == 200
    server.stop()
    # Nothing has been read, so no page is in memory.
    server = start_server("--data-dir", str(tmp_path))
    hour = {"time_range": "24h", "interval": "1m", "metric_types": ["bars"], "symbols": ["AAPL"]}
    with damaged(tmp_path / DATABASE):
        # With workers, one of them is the only process that has met it.
        assert ask(server, "/api/trades").status == 503
        wait_for(lambda: any("store" in reason for reason in server.get("/api/system/health")["reasons"]))
        refused = [
            ask(server, "/api/trades"),
            ask(server, "/api/trades/t1"),
            ask(server, "/api/trades/stats/summary"),
            ask(server, "/api/metrics/history", hour),
            send(server, 1000, key="second"),
        ]
        assert [answer.status for answer in refused] == [503] * 5
        assert all(answer.retry_after is not None for answer in refused)
        with connect(server.websocket_url.replace("metrics", "ingest")) as sender:
            receive(sender)
            sender.send(json.dumps({"events": [fill(1001)], "key": "third"}))
            error = receive(sender)
            assert (error["code"], error["retry_after"]) == ("unavailable", 1)
        with (
            connect(server.websocket_url + "?channels=trades&lane_since=0") as reader,
            pytest.raises(ConnectionClosed, match="1013"),
        ):
            receive(reader, "trade")
        # The fault is told.
        assert server.get("/api/system/health")["status"] == "degraded"
        wait_for(lambda: store_alerts(server) == ["active"])
        assert metric(server, "store_read_errors_total") >= 1
        assert metric(server, "store_unreadable") >= 1
        # What needs no store goes on.
        assert server.next_snapshot()["strategy"]["fills"] == 300
    wait_for(lambda: not any("store" in reason for reason in server.get("/api/system/health")["reasons"]))
    assert metric(server, "store_unreadable") == 0
    assert ask(server, "/api/trades").body["total"] == 300
    assert send(server, 1000, key="second").body["accepted"] == 1
    assert send(server, *range(300), key="first").body["accepted"] == 300
    assert not any("Traceback" in line for line in server.log)
    # One line of each process, at most: the hub and two workers.
    assert 1 <= sum("the store cannot be read, requests" in line for line in server.log) <= 3


class HeldConnection:
    """A connection that stays open while its server can open nothing more."""

    def __init__(self, server: Server, **fields: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
        self._fields = {"Content-Type": "application/json", **fields}

    def ask(self, path: str, body: Any = None, **fields: str) -> Answer:
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        self._connection.request(method, path, data, self._fields | fields)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def send(self, number: int) -> Answer:
        return self.ask("/api/ingest", [fill(number)], **{"Idempotency-Key": f"key-{number}"})

    def close(self) -> None:
        self._connection.close()


@contextmanager
def without_descriptors(server: Server) -> Iterator[None]:
    """Lets no process of a server open another descriptor."""
    pids = processes(server)
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    yield
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def processes(server: Server) -> list[int]:
    pid = server.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def test_a_local_sender_gets_503_if_it_cannot_be_told_whose_it_is(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path))
    with closing(HeldConnection(server)) as known, closing(HeldConnection(server)) as unknown:
        # With workers, the hub and this worker know each other from now on.
        assert known.send(0).status == 200
        assert unknown.ask("/api/trades").status == 200
        with without_descriptors(server):
            answers = [unknown.send(number) for number in range(1, 5)]
            assert [answer.status for answer in answers] == [503] * 4
            assert all(answer.retry_after is not None for answer in answers)
            assert known.send(5).status == 200
        assert known.send(1).status == 200
    server.stop(signal.SIGKILL)
    server = start_server("--data-dir", str(tmp_path))
    assert [trade["trade_id"] for trade in server.get("/api/trades")["trades"]] == ["t1", "t5", "t0"]


def test_a_token_lets_a_sender_write_while_descriptors_are_short(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path), API_TOKENS=f"write:{TOKEN}")
    with closing(HeldConnection(server, Authorization=f"Bearer {TOKEN}")) as held:
        # With workers, the hub and this worker know each other from now on. Nothing has been asked of the store.
        assert held.ask("/api/ingest", [fill(1)]).status == 200
        with without_descriptors(server):
            assert [held.send(number).status for number in range(2, 5)] == [200] * 3
            assert held.ask("/api/trades").body["total"] == 4
