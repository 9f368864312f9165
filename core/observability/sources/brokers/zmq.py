"""The source `zmq://HOST:PORT`: a ZeroMQ socket, SUB or PULL, of an engine's messages or of our own events.

    [topic, JSON]            the usual form
    [topic, JSON, number]    numbered by topic, in decimal digits: what is missing is counted
    [JSON], ["topic JSON"]   one frame, the latter as string publishers send it

JSON is a message of an engine (`engine.py`), or our own: an event, or an array of them.

PUB/SUB has no memory: what is published while nobody is subscribed, or while the publisher's queue for us is full
(HWM), is gone. The cursor is therefore no position of the publisher. It holds the numbers up to which all events are on
disk, so that what was missed while this server was down is counted too, and what the engine's orders have filled.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from observability.errors import ConfigError, SourceError
from observability.events import Event
from observability.sources.brokers.engine import TYPES, EngineDialect, EngineState, OrderBookUpdate
from observability.sources.source import Batch, decode_cursor, import_package
from observability.sources.url import SourceUrl, parse_url

MAX_MESSAGES: Final = 1_000
"""In one batch."""
DEFAULT_HWM: Final = 100_000
"""Messages that wait in this process; libzmq's own default is 1,000."""
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
# A peer that has gone without a word is noticed within a quarter of a minute.
HEARTBEAT_MS: Final = 5_000
HEARTBEAT_TIMEOUT_MS: Final = 15_000
RECONNECT_MS: Final = 100

_PARAMETERS: Final = frozenset({"topics", "type", "bind", "hwm", "strategy", "book_sequence"})
_TYPE = re.compile(rb'"type"\s*:\s*"([A-Za-z_]{1,32})"')
_NUMBER = re.compile(rb"[0-9]{1,19}")
# Of our own events, those that are on disk once they are taken.
_DURABLE: Final = frozenset({b"order", b"fill", b"position", b"equity", b"alert"})


class Cursor(EngineState):
    """What is stored beside the events."""

    numbers: dict[str, int] = msgspec.field(default_factory=dict)
    """The number of the last message by topic, of topics whose events are all on disk."""


class ZmqSource:
    """Reads one ZeroMQ socket, by its descriptor: libzmq makes it readable, and the socket is then read until it is
    empty."""

    def __init__(self, url: SourceUrl) -> None:
        """Raises ConfigError, and MissingPackage without pyzmq."""
        kind = url.parameters.get("type", "sub")
        if kind not in ("sub", "pull"):
            raise ConfigError([f"type: {kind!r}, expected sub or pull"])
        self._topics = url.words("topics")
        if kind == "pull" and self._topics:
            raise ConfigError(["topics: given with type=pull, which has none"])
        self._kind = kind
        self._is_bound = url.switch("bind")
        self._hwm = url.integer("hwm", DEFAULT_HWM, 1, 100_000_000)
        self._counts_books = url.switch("book_sequence")
        self._zmq = import_package("zmq", "zmq")
        self._parse_event = import_package("zmq.utils.monitor", "zmq").parse_monitor_message
        self._endpoint = f"tcp://{url.address}"
        self.name = f"zmq://{url.address}"
        self._engine = EngineDialect(url.parameters.get("strategy", ""))
        self._numbers: dict[str, int] = {}
        # Topics that have brought what is not on disk.
        self._passing_topics: set[str] = set()
        self._context: Any = None
        self._socket: Any = None
        self._monitor: Any = None
        self._is_lost = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readable = asyncio.Event()

    async def connect(self, cursor: str | None) -> None:
        zmq = self._zmq
        if cursor is not None:
            kept = decode_cursor(cursor, Cursor)
            self._engine.state = EngineState(kept.filled)
            # What this process has read is newer: not every batch has a cursor.
            self._numbers = kept.numbers | self._numbers
        self._loop = asyncio.get_running_loop()
        self._is_lost = False
        self._context = zmq.Context()
        self._socket = socket = self._context.socket(zmq.SUB if self._kind == "sub" else zmq.PULL)
        for option, value in (
            (zmq.RCVHWM, self._hwm),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
            (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.IPV6, 1),
            (zmq.LINGER, 0),
        ):
            socket.setsockopt(option, value)
        if self._kind == "sub":
            for topic in self._topics or ("",):
                socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_LISTENING
            | zmq.EVENT_BIND_FAILED
        )  # fmt: skip
        for watched in (socket, self._monitor):
            self._loop.add_reader(watched.FD, self._readable.set)
        try:
            (socket.bind if self._is_bound else socket.connect)(self._endpoint)
        except zmq.ZMQError as error:
            # The error's own number is that of telling the monitor.
            failed = self._watch().get(zmq.EVENT_BIND_FAILED)
            raise SourceError(f"{self._endpoint}: {os.strerror(failed) if failed else error.strerror}") from None
        await self._until_connected()

    async def read(self) -> Batch:
        while True:
            # Before the socket is read: what becomes readable later sets it again.
            self._readable.clear()
            frames = self._drain()
            if frames:
                return self._batch(frames)
            self._watch()
            if self._is_lost:
                raise EOFError("the publisher has ended the connection")
            await self._readable.wait()

    async def acknowledge(self) -> None:
        """Nobody waits for it."""

    async def close(self) -> None:
        for watched in (self._socket, self._monitor):
            if watched is not None and self._loop is not None:
                self._loop.remove_reader(watched.FD)
        if self._monitor is not None:
            self._socket.disable_monitor()
        if self._context is not None:
            self._context.destroy(linger=0)
        self._context = self._socket = self._monitor = None

    async def _until_connected(self) -> None:
        """Waits for the end of the handshake, or of the binding. libzmq itself tries again and again."""
        zmq = self._zmq
        while True:
            self._readable.clear()
            events = self._watch()
            if zmq.EVENT_HANDSHAKE_SUCCEEDED in events or zmq.EVENT_LISTENING in events:
                return
            if zmq.EVENT_CONNECT_RETRIED in events:
                raise SourceError(f"{self._endpoint}: nobody listens there")
            await self._readable.wait()

    def _watch(self) -> dict[int, int]:
        """Returns what has happened to the connection: the value of each kind of event."""
        zmq = self._zmq
        events: dict[int, int] = {}
        while True:
            try:
                parts = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return events
            parsed = self._parse_event(parts)
            event = int(parsed["event"])
            events[event] = int(parsed["value"])
            # Publishers come and go at a socket that is bound.
            if event == zmq.EVENT_DISCONNECTED and not self._is_bound:
                self._is_lost = True

    def _drain(self) -> list[list[bytes]]:
        """Returns the messages that have come, up to `MAX_MESSAGES`."""
        # hot: once per message (benchmarks/bench_sources.py)
        receive, no_wait, messages = self._socket.recv_multipart, self._zmq.NOBLOCK, []
        try:
            for _ in range(MAX_MESSAGES):
                messages.append(receive(no_wait))  # noqa: PERF401 - the loop ends by an exception
        except self._zmq.Again:
            pass
        return messages

    def _batch(self, messages: Sequence[Sequence[bytes]]) -> Batch:
        # hot: once per message (benchmarks/bench_sources.py)
        events: list[Event | bytes] = []
        rejected: list[str] = []
        gaps = 0
        is_kept = False
        for frames in messages:
            topic, payload, number = _parts(frames)
            if payload is None:
                rejected.append(f"{len(frames)} frames, expected [topic, JSON] or [topic, JSON, number]")
                continue
            tag = match[1] if (match := _TYPE.search(payload)) else b""
            is_durable = tag in _DURABLE
            if tag in TYPES:
                try:
                    found, message = self._engine.read(payload)
                except ValueError as error:
                    rejected.append(f"{tag.decode()}: {error}")
                else:
                    events += found
                    is_durable = tag in (b"OrderRequest", b"OrderResponse", b"PositionUpdate")
                    if self._counts_books and isinstance(message, OrderBookUpdate) and message.sequence is not None:
                        gaps += self._missing(f"book {message.symbol}", message.sequence)
            else:
                events.append(payload)
            if not is_durable:
                self._passing_topics.add(topic)
            is_kept = is_kept or is_durable
            if number is not None:
                gaps += self._missing(topic, number)
        cursor = self._cursor() if is_kept else None
        return Batch(tuple(events), cursor, len(messages), gaps, rejected)

    def _missing(self, sequence: str, number: int) -> int:
        """Returns how many messages are missing before one. A publisher that has been started again begins anew."""
        last = self._numbers.get(sequence)
        self._numbers[sequence] = number
        return max(0, number - last - 1) if last is not None else 0

    def _cursor(self) -> str:
        numbers = {
            topic: number
            for topic, number in self._numbers.items()
            if topic not in self._passing_topics and not topic.startswith("book ")
        }
        return msgspec.json.encode(Cursor(self._engine.state.filled, numbers)).decode()


def from_url(url: str) -> ZmqSource:
    """Returns the source of a URL such as `zmq://127.0.0.1:5555?topics=market,order`."""
    parsed = parse_url(url, _PARAMETERS, needs_port=True)
    faults = ["a path or a user, expected neither"] if parsed.path.strip("/") or parsed.user or parsed.password else []
    if faults:
        raise ConfigError(faults)
    return ZmqSource(parsed)


def _parts(frames: Sequence[bytes]) -> tuple[str, bytes | None, int | None]:
    """Returns topic, JSON and number of a message; no JSON if it has another form."""
    if len(frames) == 2:
        return frames[0].decode("utf-8", "replace"), frames[1], None
    if len(frames) == 3 and _NUMBER.fullmatch(frames[2]):
        return frames[0].decode("utf-8", "replace"), frames[1], int(frames[2])
    if len(frames) != 1:
        return "", None, None
    (data,) = frames
    if data[:1] in (b"{", b"["):
        return "", data, None
    topic, _, payload = data.partition(b" ")
    return topic.decode("utf-8", "replace"), payload, None
