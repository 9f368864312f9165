"""Clients of a desk that never give up: each follows frames and all lanes at one edge, and moves to another one when it
loses its connection or hears nothing. They run in a process of their own, thousands of them in one thread."""

from __future__ import annotations

import errno
import multiprocessing
import re
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from multiprocessing.connection import Connection
from random import Random
from typing import Any

import orjson

from storms.desk_history import LANES, ClientHistory, History
from storms.kill_storm import name_of
from ws_client import CLOSE, PING, PONG, RECEIVE_BYTES, TEXT, FrameReader, frame, handshake

# A client that has heard nothing for so long takes its edge for dead.
SILENCE_SECONDS = 6.0
RETRY_SECONDS = 0.5
# Messages that were parsed are found again by their bytes, which all clients of all edges get alike.
MAX_KNOWN = 2000

Address = tuple[str, int]

_SNAPSHOT = b'{"type":"metrics_update"'
_HEAD_BYTES = 200
_SEQ = re.compile(rb'"seq":(\d+)')
_EPOCH = re.compile(rb'"epoch":"([0-9a-f]+)"')
_TIMESTAMP = re.compile(rb'"timestamp":"([^"]+)"')


@dataclass
class Seen:
    """What the clients of one crowd have seen together."""

    history: History = field(default_factory=History)
    arrivals: dict[str, dict[str, float]] = field(default_factory=dict)
    """By edge and frame, when the first client got it, by the monotonic clock."""
    delays_ms: dict[str, float] = field(default_factory=dict)
    """By frame, from its timestamp until the first client of any edge had it."""
    entries_at: dict[str, float] = field(default_factory=dict)
    """By name of a trade, when the first client got it, by the monotonic clock."""
    received: int = 0
    """Frames that clients got."""
    lost_connections: int = 0


class Client:
    """One client."""

    def __init__(self, crowd: Crowd, edge: str) -> None:
        self.history = ClientHistory()
        self.edge = edge
        self.sock: socket.socket | None = None
        self.retry_at = 0.0
        self.heard_at = 0.0
        self._crowd = crowd
        self._head: bytes | None = b""
        self._reader: FrameReader | None = None

    def connect(self, address: Address) -> None:
        self._head, self._reader = None, None
        self.sock = socket.socket()
        self.sock.setblocking(False)
        if self.sock.connect_ex(address) not in (0, errno.EINPROGRESS):
            raise ConnectionError(f"no connection to {address}")

    def on_writable(self) -> None:
        """Sends the handshake over a connection that is there. Raises OSError if it is not."""
        assert self.sock is not None
        if error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "no connection")
        position = self.history.position
        self.sock.send(handshake(f"/ws/metrics?channels=metrics{f'&since={position}' if position else ''}"))
        self._head = b""

    def on_readable(self) -> None:
        assert self.sock is not None
        data = self.sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("ended")
        if self._reader is None:
            assert self._head is not None
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(head[:40])
            self._reader = FrameReader(rest)
            since = {lane: self.history.newest(lane) for lane in LANES}
            subscription = {"type": "subscribe", "channels": list(LANES), "lane_since": since}
            self.sock.send(frame(TEXT, orjson.dumps(subscription)))
        else:
            self._reader.feed(data)
        while (received := self._reader.next_frame()) is not None:
            opcode, payload = received
            if opcode == TEXT:
                self._crowd.take(self, payload)
            elif opcode == CLOSE:
                raise ConnectionError(payload[2:].decode())
            elif opcode == PING:
                self.sock.send(frame(PONG, payload))


class Crowd:
    """Many clients, spread over the edges."""

    def __init__(self, edges: Mapping[str, Address], clients: int, seed: int) -> None:
        self.seen = Seen(arrivals={name: {} for name in edges})
        self._edges = dict(edges)
        self._random = Random(seed)
        names = list(edges)
        self.clients = [Client(self, names[number % len(names)]) for number in range(clients)]
        self.seen.history.clients = [client.history for client in self.clients]
        self._selector = selectors.DefaultSelector()
        self._known: dict[bytes, tuple[Any, ...]] = {}
        self._looked_at = 0.0
        self._newest_at = 0.0
        self._epochs: set[str] = set()
        self._epoch, self._epoch_at = "", 0.0

    def turn(self, seconds: float = 0.05) -> None:
        """Reads what has come; every second, connects who is not connected."""
        now = time.monotonic()
        if now >= self._looked_at + RETRY_SECONDS / 5:
            self._looked_at = now
            self._look(now)
        for key, events in self._selector.select(seconds):
            client: Client = key.data
            client.heard_at = now
            try:
                if events & selectors.EVENT_WRITE:
                    client.on_writable()
                    assert client.sock is not None
                    self._selector.modify(client.sock, selectors.EVENT_READ, client)
                else:
                    client.on_readable()
            except BlockingIOError:
                continue
            except OSError:
                self._lose(client)

    def progress(self) -> Progress:
        connected = sum(client.sock is not None for client in self.clients)
        return Progress(self.seen.received, self._newest_at, self._epoch, self._epoch_at, connected)

    def lanes(self) -> dict[str, tuple[int, int]]:
        """Returns by lane the numbers of the newest entries that every client has, and that any has."""
        newest = {lane: [client.history.newest(lane) for client in self.clients] for lane in LANES}
        return {lane: (min(each), max(each)) for lane, each in newest.items()}

    def close(self) -> None:
        for client in self.clients:
            if client.sock is not None:
                client.sock.close()
        self._selector.close()

    def take(self, client: Client, payload: bytes) -> None:
        # hot: once per message and client
        known = self._known.get(payload)
        if known is None:
            known = self._parse(payload)
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known[payload] = known
        kind = known[0]
        if kind == "frame":
            _, epoch, seq, name, sha, timestamp = known
            self.seen.received += 1
            client.history.on_frame(epoch, seq)
            if name not in (arrivals := self.seen.arrivals[client.edge]):
                arrivals[name] = time.monotonic()
                edges = self.seen.history.frames.setdefault(name, {})
                edges.setdefault(sha, []).append(client.edge)
                if len(edges) == len(edges[sha]) == 1:
                    self.seen.delays_ms[name] = (time.time() - timestamp) * 1000
                    self._newest_at = arrivals[name]
                    if epoch not in self._epochs:
                        self._epochs.add(epoch)
                        self._epoch, self._epoch_at = epoch, arrivals[name]
            elif sha not in (shas := self.seen.history.frames[name]):
                shas[sha] = [client.edge]
        elif kind == "entry":
            client.history.on_entry(*known[1:])
        elif kind == "connected":
            client.history.on_connected(client.edge, known[1])
        elif kind == "subscribed":
            client.history.on_subscribed()
        elif kind == "lag":
            client.history.on_lag(known[1])

    def _parse(self, payload: bytes) -> tuple[Any, ...]:
        if payload.startswith(_SNAPSHOT):
            head = payload[:_HEAD_BYTES]
            epoch, seq = _EPOCH.search(head)[1].decode(), int(_SEQ.search(head)[1])  # type: ignore[index]
            timestamp = time_of(_TIMESTAMP.search(head)[1].decode())  # type: ignore[index]
            return "frame", epoch, seq, f"{epoch}:{seq}", sha256(payload).hexdigest()[:16], timestamp
        message = orjson.loads(payload)
        kind = message["type"]
        if f"{kind}s" in LANES:
            name = name_of(kind, message)
            if kind == "alert" and not (
                message["action"] == "raised" and name.startswith("storm-") and message["count"] == 1
            ):
                # The desk's own; or one that was sent again, and is told again with a higher count.
                name = ""
            self.seen.history.add_entry(f"{kind}s", message["seq"], name)
            if kind == "trade":
                self.seen.entries_at.setdefault(name, time.monotonic())
            return "entry", f"{kind}s", message["prev"], message["seq"]
        if kind == "connected":
            return kind, message.get("recovered")
        if kind == "lag":
            return kind, message["skipped"]
        return (kind,)

    def _look(self, now: float) -> None:
        for client in self.clients:
            if client.sock is None:
                if client.retry_at <= now:
                    client.heard_at = now
                    try:
                        client.connect(self._edges[client.edge])
                    except OSError:
                        self._lose(client)
                        continue
                    assert client.sock is not None
                    self._selector.register(client.sock, selectors.EVENT_WRITE, client)
            elif now - client.heard_at > SILENCE_SECONDS:
                self._lose(client)

    def _lose(self, client: Client) -> None:
        self.seen.lost_connections += 1
        if client.sock is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(client.sock)
            client.sock.close()
            client.sock = None
        client.edge = self._random.choice(list(self._edges))
        client.retry_at = time.monotonic() + self._random.uniform(0, 2 * RETRY_SECONDS)


def time_of(timestamp: str) -> float:
    """Returns the seconds of `2026-01-01T00:00:00.123Z`."""
    return datetime.fromisoformat(timestamp).timestamp()


@dataclass(frozen=True)
class Progress:
    """How far a crowd is."""

    received: int
    """Frames that clients got."""
    newest_at: float
    """When a client first got the newest frame, by the monotonic clock."""
    epoch: str
    epoch_at: float
    """The newest epoch, and when a client first got a frame of it."""
    connected: int


class CrowdProcess:
    """A crowd in a process of its own."""

    def __init__(self, edges: Mapping[str, Address], clients: int, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_run, args=(other, edges, clients, seed), daemon=True)
        self._process.start()
        other.close()

    def progress(self) -> Progress:
        return self._ask("progress")

    def lanes(self) -> dict[str, tuple[int, int]]:
        """Returns by lane the numbers of the newest entries that every client has, and that any has."""
        return self._ask("lanes")

    def finish(self) -> Seen:
        """Ends the clients, and returns what they have seen."""
        return self._ask("finish")

    def close(self) -> None:
        self._process.kill()
        self._process.join()

    def _ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._pipe.recv()


def _run(pipe: Connection, edges: Mapping[str, Address], clients: int, seed: int) -> None:
    # Ctrl-C goes to all processes of a terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    crowd = Crowd(edges, clients, seed)
    with suppress(EOFError):
        while True:
            crowd.turn()
            if not pipe.poll():
                continue
            question = pipe.recv()
            if question == "finish":
                crowd.close()
                pipe.send(crowd.seen)
                return
            pipe.send(crowd.progress() if question == "progress" else crowd.lanes())
