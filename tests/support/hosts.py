"""A host of several processes, as its tests look at it: its processes, a connection to each worker, what it exposes.

No tests here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from websockets.sync.client import ClientConnection

from server_process import TIMEOUT_SECONDS, Served, Server
from ws_client import connect, receive

WORKERS = 2
T = TypeVar("T")


class Peer:
    """A connection kept alive to whichever worker accepts it."""

    def __init__(self, server: Server) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_SECONDS)
        self._received = self.sock.makefile("rb")

    @property
    def local_port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    def get(self, path: str) -> tuple[int, bytes]:
        status, _, body = self._ask("GET", path)
        return status, body

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        status, _, answer = self._ask("POST", path, body)
        return status, answer

    def get_version(self, path: str) -> tuple[bytes, bytes]:
        """Returns the ETag of a document and its bytes."""
        status, fields, body = self._ask("GET", path)
        assert status == 200
        return fields[b"etag"], body

    def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[bytes, bytes], bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode() + body)
        status = int(self._received.readline().split()[1])
        fields = {}
        while (line := self._received.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        return status, fields, self._received.read(int(fields[b"content-length"]))

    def close(self) -> None:
        self._received.close()
        self.sock.close()


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def process_of(server: Server, local_port: int) -> int:
    """Returns the process that holds the server's end of a connection from a port of this host."""
    wanted = f"{server.port:04X}", f"{local_port:04X}"
    inodes = [
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split()) and (fields[1][-4:], fields[2][-4:]) == wanted
    ]
    for pid in children(server.process.pid) or {server.process.pid}:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if os.readlink(fd) == f"socket:[{inodes[0]}]":
                    return pid
    raise AssertionError(f"nobody holds the connection from port {local_port}")


def processes(server: Server) -> dict[str, dict[str, Any]]:
    """The processes of a host by name, as it shows them."""
    components = server.get("/api/system/components")["components"]
    return {name: component for name, component in components.items() if "pid" in component}


def fresh_processes(server: Server) -> dict[str, dict[str, Any]]:
    """The processes as of a tick that began after the call; the asking connection is closed by then."""
    server.next_snapshot()
    return processes(server)


def wait_until(condition: Callable[[], T]) -> T:
    """Returns what `condition` returns, once that is true."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not get there"
        time.sleep(0.02)
    return found


def trade_ids(server: Served, at_least: int = 0) -> list[str]:
    """Returns the ids of all trades, the newest first, once there are `at_least` so many."""

    def trades() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = server.get("/api/trades?limit=1000")["trades"]
        return found

    # Not by their `total`, which is counted after the page is read.
    wait_until(lambda: len(trades()) >= at_least)
    return [trade["trade_id"] for trade in trades()]


def source_of(server: Served) -> dict[str, Any]:
    """Returns the health of the only source."""
    (source,) = server.get("/api/system/sources")["sources"].values()
    found: dict[str, Any] = source
    return found


@contextmanager
def peers_on_every_worker(server: Server, workers: int = WORKERS) -> Iterator[list[Peer]]:
    """Connections until each worker has one; only one of each worker is handed out."""
    with ExitStack() as opened:
        chosen: dict[int, Peer] = {}
        while len(chosen) < workers:
            peer = opened.enter_context(closing(Peer(server)))
            assert peer.get("/health")[0] == 200
            chosen.setdefault(process_of(server, peer.local_port), peer)
        yield list(chosen.values())


@contextmanager
def streams_on_every_worker(server: Server, workers: int, compression: str | None) -> Iterator[list[ClientConnection]]:
    """The same of clients of the stream, each of which has been greeted; `compression` is "deflate" or None."""
    with ExitStack() as opened:
        chosen: dict[int, ClientConnection] = {}
        while len(chosen) < workers:
            client = opened.enter_context(connect(server.websocket_url, compression=compression))
            assert receive(client)["type"] == "connected"
            chosen.setdefault(process_of(server, client.local_address[1]), client)
        yield list(chosen.values())


@contextmanager
def stopped_hub(server: Server) -> Iterator[None]:
    """Stops the hub by SIGSTOP, so that it is neither dead nor answers, and lets it continue afterwards."""
    hub = processes(server)["hub"]["pid"]
    os.kill(hub, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(hub, signal.SIGCONT)


def exposed(server: Served) -> dict[str, float]:
    lines = server.get_bytes("/metrics").decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def not_ready(server: Server) -> list[str]:
    """What one of the workers says is not ready."""
    try:
        server.get("/health/ready")
    except urllib.error.HTTPError as refused:
        with refused:
            missing: list[str] = json.loads(refused.read())["not_ready"]
            return missing
    return []


def is_ready(server: Server) -> bool:
    try:
        return bool(server.get("/health/ready")["status"] == "ready")
    except (OSError, urllib.error.HTTPError):
        return False


def post(server: Served, path: str, document: Any) -> Any:
    """Returns the document of the answer. Raises HTTPError if that is a refusal."""
    request = urllib.request.Request(
        server.url(path), json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return json.load(answer)


def answer_to(server: Served, path: str, document: Any) -> Any:
    """Posts likewise, and returns the document of a refusal too."""
    try:
        return post(server, path, document)
    except urllib.error.HTTPError as refused:
        with refused:
            return json.load(refused)


def send_alert(server: Served, key: str, state: str = "raised", severity: str = "critical", **more: Any) -> None:
    event = {"type": "alert", "severity": severity, "title": f"Alert {key}", "key": key, "state": state, **more}
    assert post(server, "/api/ingest", event)["accepted"] == 1


def post_until_taken(server: Served, events: list[Any]) -> Any:
    """Sends a batch until it is acknowledged, as senders do."""

    def answer() -> Any:
        try:
            return post(server, "/api/ingest", events)
        except urllib.error.HTTPError as refused:
            refused.close()
            if refused.code != 503:
                raise
            return None

    return wait_until(answer)


def fill(number: int, side: str, price: str) -> dict[str, str]:
    ident = str(number)
    return {
        "type": "fill", "trade_id": ident, "order_id": ident, "symbol": "X",
        "side": side, "quantity": "2", "price": price,
    }  # fmt: skip


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
