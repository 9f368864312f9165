"""The log of a desk: what its hub commits, in order, so that another hub can take its place.

    writer --- rows of one commit ---> stream obs-NAME-records --- stored ---> SQLite --- committed ---> answers
                                              `-----> standby: the same rows, and the place in the log, in one commit

The stream is the truth: rows are in it before they are in any store, and a message names its predecessor, so that a hub
which has been replaced can neither write nor answer. A store that has followed to some place is what every other store
was at that place, so it can follow again, whichever hub leads.

A record is MessagePack, compressed; one larger than a message comes in several parts, and without its last part it
never was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from observability.cluster.follower import Place, StreamFollower
from observability.cluster.link import Link, last_message
from observability.cluster.streams import append, make_stream
from observability.errors import SourceError, StoreError
from observability.memory.counters import Counters
from observability.sources.brokers.nats_connection import Message, NatsConnection
from observability.store import schema
from observability.store.writer import PendingRow, Shipped

logger = logging.getLogger(__name__)

CURSOR: Final = "cluster:records"
"""The name under which a store keeps its place in the log."""
MAX_STREAM_BYTES: Final = 1024 * 1024 * 1024
# How long one attempt to write a record may take; the store then tries again, and says so.
SHIP_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 0.02

_PART: Final = "Obs-Part"
_WRITER: Final = "Obs-Writer"
_BASE: Final = "Obs-Base"
_EMPTY: Final = "empty"
_NO_RECORD: Final = "no record"
_HEADERS_BYTES: Final = 1024
_MAX_RECORD_BYTES: Final = 1024 * 1024 * 1024

# What a record may ask of a store.
KNOWN_STATEMENTS: Final = frozenset(
    value
    for name, value in vars(schema).items()
    if isinstance(value, str) and name.startswith(("INSERT_", "UPSERT_", "UPDATE_", "REPLACE_"))
) - {schema.UPDATE_SEAL}


class Record(msgspec.Struct, array_like=True):
    """The rows of one commit: each the number of its statement, and its parameters."""

    statements: list[str]
    rows: list[tuple[int, list[Any]]]


class LogPlace(msgspec.Struct):
    """A place in a log: the time at which the stream was made, which no other has, and the number of a message."""

    log: str
    seq: int


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Record).decode
_decode_place = msgspec.json.Decoder(LogPlace).decode


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a store has of the log when it is opened."""

    cursor: str | None
    is_empty: bool
    """Whether it holds nothing at all."""

    def place_in(self, info: dict[str, Any], base: str) -> LogPlace:
        """Returns the store's place in the log that the servers describe by `info`, and that began with `base`. Raises
        StoreError if the store is no copy of what the log has made of others."""
        log, state = info["created"], info["state"]
        first, last = state["first_seq"], state["last_seq"]
        if self.cursor is None:
            if not last or (self.is_empty and first <= 1 and base == _EMPTY):
                return LogPlace(log, 0)
            raise StoreError(f"the log of this desk has {last} messages, and this store has followed none; {_COPY}")
        place = _decode_place(self.cursor)
        if place.log != log:
            if not last:
                # The servers have lost the log, or it was removed: it begins anew with this store.
                return LogPlace(log, 0)
            raise StoreError(f"this store has followed another log than that of this desk; {_COPY}")
        if place.seq > last:
            raise StoreError(
                f"the NATS servers have lost the end of the log: it ends with message {last}, and this store has "
                f"{place.seq}; with this store as the newest, remove the stream and start again"
            )
        if place.seq + 1 < first:
            raise StoreError(f"the log begins with message {first}, and this store ends with {place.seq}; {_COPY}")
        return place


_COPY: Final = "copy the store of the hub that leads (`observability backup`) into this data directory, and start again"


async def make_record_stream(link: Link, connection: NatsConnection) -> tuple[dict[str, Any], str]:
    """Returns what the servers say of the log, and with what it began. Raises EOFError and SourceError."""
    desk = link.desk
    info = await make_stream(
        link, connection, desk.record_stream, desk.record_subject, storage="file", max_bytes=MAX_STREAM_BYTES
    )
    base = ""
    if info["state"]["first_seq"] == 1:
        question = msgspec.json.encode({"seq": 1})
        (message,) = await connection.ask(f"$JS.API.DIRECT.GET.{desk.record_stream}", question)
        base = (message.headers or {}).get(_BASE, "")
    return info, base


class RecordShipper:
    """The side of the hub that leads: called by the store's writer before each commit."""

    def __init__(self, link: Link, state: StoreState, counters: Counters, on_replaced: Callable[[str], None]) -> None:
        """Calls `on_replaced` once another hub has written to the log."""
        self._link = link
        self._state = state
        self._on_replaced = on_replaced
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = secrets.token_hex(8)
        self._records = 0
        self._log = ""
        self._expected = 0
        self._connection: NatsConnection | None = None
        # The parts of a record of which it is not known whether the servers have them, and the number of its rows.
        self._unknown: tuple[list[bytes], int] | None = None
        self._parts_stored = 0
        self._shipped = counters.counter("cluster_records_published_total", "Commits that the NATS servers have stored")
        self._bytes = counters.counter("cluster_record_bytes_total", "Bytes of these commits, compressed")
        link.add_opener(self._begin)

    @property
    def seq(self) -> int:
        """The number of the newest message of the log."""
        return self._expected

    def ship(self, rows: Sequence[PendingRow]) -> Shipped:
        """Writes the first of these rows, mostly all, to the log; called on the writer's thread. Raises StoreError."""
        assert self._loop is not None, "the link is opened before the store is started"
        try:
            waiting = asyncio.run_coroutine_threadsafe(self._ship_in_time(rows), self._loop)
        except RuntimeError:
            raise StoreError("the log of the desk takes no rows any more: this hub has stopped") from None
        return waiting.result()

    async def _ship_in_time(self, rows: Sequence[PendingRow]) -> Shipped:
        try:
            async with asyncio.timeout(SHIP_SECONDS):
                return await self._ship(rows)
        except TimeoutError:
            raise StoreError(f"the NATS servers do not store rows: {self._link.trouble or 'no answer'}") from None

    async def _ship(self, rows: Sequence[PendingRow]) -> Shipped:
        if self._unknown is None:
            connection = await self._connected()
            self._records += 1
            self._unknown = _parts(pack_record(rows), connection.max_payload - _HEADERS_BYTES), len(rows)
            self._parts_stored = 0
        parts, count = self._unknown
        while self._parts_stored < len(parts):
            # A new connection may find that the part is stored already.
            connection = await self._connected()
            if self._parts_stored < len(parts):
                await self._store_part(connection, parts)
        self._unknown = None
        self._shipped.add()
        self._bytes.add(sum(map(len, parts)))
        return Shipped(count, (CURSOR, 0, msgspec.json.encode(LogPlace(self._log, self._expected)).decode()))

    async def _store_part(self, connection: NatsConnection, parts: list[bytes]) -> None:
        index = self._parts_stored
        headers = {_PART: f"{index + 1}/{len(parts)}", _WRITER: self._mark(index)}
        if not self._expected:
            headers[_BASE] = _base(self._state)
        try:
            answer = await append(connection, self._link.desk.record_subject, parts[index], headers, self._expected)
        except (EOFError, SourceError) as error:
            # The next connection looks whether it was stored.
            self._connection = None
            connection.end(error)
            return
        if "seq" in answer:
            self._expected, self._parts_stored = answer["seq"], index + 1
        else:
            self._connection = None
            connection.end(SourceError(f"rows were refused: {answer.get('error', 'the log is gone')}"))

    def _mark(self, index: int) -> str:
        return f"{self._writer}/{self._records}/{index}"

    async def _connected(self) -> NatsConnection:
        while self._connection is None or self._link.connection is not self._connection:  # noqa: ASYNC110 - of two objects
            await asyncio.sleep(WAIT_SECONDS)
        return self._connection

    async def _begin(self, connection: NatsConnection) -> None:
        """Finds the place in the log behind which the next record belongs. Raises EOFError, SourceError, StoreError."""
        self._loop = asyncio.get_running_loop()
        info, base = await make_record_stream(self._link, connection)
        last = info["state"]["last_seq"]
        if not self._log:
            place = self._state.place_in(info, base)
            if place.seq != last:
                raise SourceError("the log has rows that this store lacks; start again to follow it")
            self._log, self._expected = place.log, place.seq
        elif info["created"] != self._log or last not in (self._expected, self._expected + 1):
            self._replaced()
        elif last == self._expected + 1:
            desk = self._link.desk
            message = await last_message(connection, desk.record_stream, desk.record_subject)
            if (message.headers or {}).get(_WRITER) != self._mark(self._parts_stored) or self._unknown is None:
                self._replaced()
            self._expected, self._parts_stored = last, self._parts_stored + 1
        self._connection = connection

    def _replaced(self) -> None:
        why = f"another hub writes the log of desk {self._link.desk.name}"
        self._on_replaced(why)
        raise SourceError(why)


class RecordFollower:
    """The side of a standby. Calls `on_record` with the rows of each commit, and the row that keeps the place."""

    def __init__(
        self, link: Link, state: StoreState, on_record: Callable[[list[tuple[str, tuple[Any, ...]]]], None]
    ) -> None:
        self.fault: StoreError | None = None
        """Why this store cannot follow; None if it can."""
        self._link = link
        self._state = state
        self._on_record = on_record
        self._parts: list[bytes] = []
        self._log = ""
        link.add_opener(self._begin)
        self._follower = StreamFollower(
            link, link.desk.record_stream, link.desk.record_subject, self._take, may_rewind=False
        )

    @property
    def seq(self) -> int:
        """The number of the newest message that has come."""
        return self._follower.seq

    async def close_log(self, connection: NatsConnection) -> int | None:
        """Writes a record without rows behind the newest message that has come, after which no hub before this one can
        write: not even what it had sent and the network still holds. Returns its number; None if more had been written.
        Raises EOFError and SourceError."""
        headers = {_PART: "1/1"}
        if not self.seq:
            headers[_BASE] = _base(self._state)
        answer = await append(connection, self._link.desk.record_subject, pack_record([]), headers, self.seq)
        return answer.get("seq")

    async def _begin(self, connection: NatsConnection) -> None:
        info, base = await make_record_stream(self._link, connection)
        try:
            if not self._log:
                place = self._state.place_in(info, base)
                self._log, self._follower.seq = place.log, place.seq
            elif info["created"] != self._log or info["state"]["first_seq"] > self._follower.seq + 1:
                raise StoreError(
                    f"the log of desk {self._link.desk.name} was made anew, or has lost what follows; {_COPY}"
                )
        except StoreError as error:
            self.fault = error
            raise

    def _take(self, message: Message, place: Place) -> None:
        if self.fault is not None:
            # With the rows of a later record, the store would have its place behind the one that it lacks.
            return
        number, _, count = (message.headers or {}).get(_PART, _NO_RECORD).partition("/")
        if number == "1":
            self._parts = []
        self._parts.append(message.data)
        if number != str(len(self._parts)) or number != count:
            if number != str(len(self._parts)):
                # The end of a record whose beginning belongs to another one.
                self._parts = []
            return
        body, self._parts = b"".join(self._parts), []
        try:
            rows = unpack_record(body)
        except StoreError as error:
            self.fault = error
            return
        kept = msgspec.json.encode(LogPlace(self._log, place.seq)).decode()
        self._on_record([*rows, (schema.UPSERT_SOURCE_CURSOR, (CURSOR, 0, kept))])


def pack_record(rows: Sequence[PendingRow]) -> bytes:
    """Returns the rows of a commit, packed."""
    statements: dict[str, int] = {}
    packed = [(statements.setdefault(statement, len(statements)), list(values)) for _, statement, values in rows]
    return zlib.compress(_encode(Record(list(statements), packed)), 1)


def unpack_record(body: bytes) -> list[tuple[str, tuple[Any, ...]]]:
    """Returns statement and parameters of each row. Raises StoreError for what no hub of this version writes."""
    try:
        record = _decode(zlib.decompressobj().decompress(body, _MAX_RECORD_BYTES))
        rows = [(record.statements[number], tuple(values)) for number, values in record.rows]
    except (zlib.error, msgspec.DecodeError, IndexError) as error:
        raise StoreError(f"a record of the log cannot be read: {error}") from None
    unknown = {statement for statement, _ in rows} - KNOWN_STATEMENTS
    if unknown:
        raise StoreError(f"the hub that leads is of another version: its store is written by {sorted(unknown)[0]!r}")
    return rows


def _base(state: StoreState) -> str:
    """Returns what a log begins with: a store that is empty, or one that others must be copies of."""
    return _EMPTY if state.is_empty else "store"


def _parts(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]
