"""Events from streams of Redis or Valkey, read in order of their ids, each exactly once.

    stream A   1-0  4-0  5-0          read with XREAD, at most `_COUNT` entries of all streams at a time
    stream B   2-0  3-0  9-0
                └──── by id ────►  1-0 2-0 3-0 4-0 5-0 ... in batches, each with the position behind it

The position holds the id of the last entry of every stream, the entry's number (of all that were ever added), and what
the codec knows of open orders. It is stored with the events, so that a restart goes on behind the last on disk.

Entries that were trimmed or deleted before they were read are gaps: once a stream is read to its end, the number of
entries added to it is compared with the number read. Servers before Redis 7 do not tell it, and show no gaps.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from observability.config.setting import shown
from observability.errors import ConfigError, EventError, SourceError
from observability.events import Event
from observability.sources.brokers.nautilus import CodecState, NautilusCodec
from observability.sources.brokers.nautilus_messages import Message, decode
from observability.sources.source import Batch, decode_cursor, import_package
from observability.sources.url import parse_url

if TYPE_CHECKING:
    from redis.asyncio import Connection

DEFAULT_PORT: Final = 6379
CONNECT_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 5.0
"""How often new streams are looked for, and the numbers of entries compared."""
MAX_STREAMS: Final = 1_000

_COUNT: Final = 1_000
_MAX_BATCH_BYTES: Final = 1 << 20
_BLOCK_MS: Final = 1_000
# What a command that does not block may take before the server counts as gone.
_ANSWER_SECONDS: Final = 10.0

_Id = tuple[int, int]
_BEGINNING: Final[_Id] = (0, 0)
_PARAMETERS: Final = ("stream", "prefix", "from", "account", "currency", "reconciliation", "ca")
_DATABASE: Final = re.compile("[0-9]{1,5}")
_READ_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """What a URL says."""

    host: str
    port: int = DEFAULT_PORT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False
    ca: str | None = None
    streams: tuple[str, ...] = ()
    prefix: str = ""
    starts_now: bool = True
    account: str = ""
    currency: str = ""
    counts_reconciled: bool = False

    @property
    def name(self) -> str:
        chosen = [*self.streams, *([self.prefix + "*"] if self.prefix else [])]
        return f"redis:{','.join(chosen)}@{self.host}:{self.port}/{self.db}"


class _Entry(msgspec.Struct, gc=False):
    id: _Id
    stream: _Stream
    fields: Mapping[bytes, bytes]


class _Stream:
    """One stream, and how far it is read and delivered."""

    __slots__ = ("added", "delivered", "has_more", "id", "key", "name", "pending", "read")

    def __init__(self, name: str, id: _Id, added: int | None) -> None:  # noqa: A002 - Redis calls it so
        self.name = name
        self.key = name.encode()
        self.id = id
        """Of the last entry delivered."""
        self.read = id
        """Of the last entry read."""
        self.added = added
        """The number of the last entry read, of all that were ever added; None if the server does not count."""
        self.pending = 0
        """Entries read and not delivered."""
        self.has_more = True
        """Whether the last read did not reach the end."""


class _Position(msgspec.Struct):
    streams: dict[str, tuple[int, int, int | None]]
    codec: CodecState


class RedisSource:
    """Streams of one server."""

    def __init__(self, options: RedisOptions, *, check_seconds: float = CHECK_SECONDS) -> None:
        self.name = options.name
        self._options = options
        self._check_seconds = check_seconds
        self._connection: Connection | None = None
        self._reset()

    def _reset(self) -> None:
        options = self._options
        self._streams: dict[str, _Stream] = {}
        self._waiting: list[_Entry] = []
        self._ready: deque[_Entry] = deque()
        self._codec = NautilusCodec(
            account=options.account, currency=options.currency, counts_reconciled=options.counts_reconciled
        )
        self._next_check = 0.0
        self._gaps = 0
        self._faults: list[str] = []
        self._is_news = False

    async def connect(self, cursor: str | None) -> None:
        """Connects, to continue after `cursor`. Raises SourceError, or OSError if the server cannot be reached."""
        await self.close()
        self._reset()
        self._connection = _new_connection(self._options)
        await self._guarded(self._connection.connect())  # type: ignore[no-untyped-call]
        if cursor is None:
            await self._begin()
        else:
            position = decode_cursor(cursor, _Position)
            self._codec.load_state(position.codec)
            for name, (ms, number, added) in position.streams.items():
                self._streams[name] = _Stream(name, (ms, number), added)

    async def read(self) -> Batch:
        """Returns the next entries, once there are any."""
        while True:
            if self._ready or self._gaps or self._faults or self._is_news:
                return self._next_batch()
            await self._read_streams()

    async def acknowledge(self) -> None:
        """Does nothing: the position is ours to keep."""

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _begin(self) -> None:
        """Begins at the end of every stream that is there, or at its beginning."""
        names = [*self._options.streams, *await self._find_streams()]
        for name, facts in zip(names, await self._ask_streams(names), strict=True):
            stream = self._streams[name] = _Stream(name, _BEGINNING, 0)
            if facts is None:
                continue
            added = facts.get(b"entries-added")
            if self._options.starts_now:
                stream.read = stream.id = _parse_id(facts[b"last-generated-id"])
                stream.added = added
            else:
                stream.added = None if added is None else added - facts[b"length"]
        # Stored before the first entry, so that none is lost if we are killed before it comes.
        self._is_news = True

    async def _read_streams(self) -> None:
        """Reads what is new in the streams of which nothing is waiting."""
        is_check = time.monotonic() >= self._next_check
        if is_check and self._options.prefix:
            for name in await self._find_streams():
                if name not in self._streams:
                    # It began after we did.
                    self._streams[name] = _Stream(name, _BEGINNING, 0)
        streams = [stream for stream in self._streams.values() if not stream.pending]
        if not streams:
            self._next_check = 0.0
            await asyncio.sleep(_BLOCK_MS / 1000)
            return
        # The server's bound is one for each stream. Those that were read to their end will not have much.
        count = max(1, _COUNT // max(1, sum(stream.has_more for stream in streams)))
        may_block = not is_check and not self._waiting
        command: list[Any] = ["XREAD", "COUNT", count, *(["BLOCK", _BLOCK_MS] if may_block else [])]
        command += ["STREAMS", *(stream.key for stream in streams), *(b"%d-%d" % stream.read for stream in streams)]
        if is_check:
            # At one moment: what was added before it and is not among the answers is lost.
            answer, *facts = await self._ask_at_once([command, *(["XINFO", "STREAM", s.key] for s in streams)])
            self._next_check = time.monotonic() + self._check_seconds
        else:
            answer = await self._ask(*command)
        self._take(streams, answer, count)
        if is_check:
            for stream, fact in zip(streams, facts, strict=True):
                self._compare(stream, _pairs(fact))
        self._deliver()

    def _take(self, streams: Iterable[_Stream], answer: Sequence[Any] | None, count: int) -> None:
        for stream in streams:
            stream.has_more = False
        for key, entries in _items(answer):
            stream = self._streams[key.decode(errors="replace")]
            for id_text, values in entries:
                # Without values: deleted while the answer was made.
                fields = dict(zip(values[::2], values[1::2], strict=True)) if values else {}
                self._waiting.append(_Entry(_parse_id(id_text), stream, fields))
            stream.read = self._waiting[-1].id
            stream.pending = len(entries)
            stream.has_more = len(entries) >= count
            if stream.added is not None:
                stream.added += len(entries)

    def _compare(self, stream: _Stream, facts: Mapping[bytes, Any] | None) -> None:
        """Counts the entries that are lost, in a stream that was read to its end."""
        if facts is None or stream.has_more:
            return
        last = _parse_id(facts[b"last-generated-id"])
        if last < stream.read:
            self._faults.append(
                f"stream {stream.name} ends at {_text(last)}, before {_text(stream.read)}, which was read: "
                "the server lost its newest entries, or the stream was made anew; reading goes on behind its end"
            )
            stream.id = stream.read = last
        added = facts.get(b"entries-added")
        if added is not None and stream.added is not None:
            self._gaps += max(0, added - stream.added)
        stream.added = added

    def _deliver(self) -> None:
        """Moves what waits to what is ready, up to the id until which all streams are read."""
        waiting = self._waiting
        ends = [stream.read for stream in self._streams.values() if stream.has_more]
        if len(self._streams) > 1:
            waiting.sort(key=_id_of)
        end = min(ends, default=None)
        n_ready = len(waiting) if end is None else sum(entry.id <= end for entry in waiting)
        self._waiting = waiting[n_ready:]
        self._ready.extend(waiting[:n_ready])

    def _next_batch(self) -> Batch:
        """Returns the events of the entries that are ready, and the position behind them."""
        # hot: once per batch (benchmarks/bench_redis.py)
        ready, codec = self._ready, self._codec
        events: list[Event | bytes] = []
        rejected, self._faults = self._faults, []
        gaps, self._gaps = self._gaps, 0
        self._is_news = False
        messages = n_bytes = 0
        while ready and n_bytes < _MAX_BATCH_BYTES:
            entry = ready.popleft()
            stream = entry.stream
            try:
                message = _decode(entry)
                if isinstance(message, bytes):
                    events.append(message)
                    n_bytes += len(message)
                elif message is not None:
                    events += codec.translate(message, stream.name)
            except (EventError, ValueError, ArithmeticError) as error:
                rejected.append(f"{stream.name} {_text(entry.id)}: {error}")
            messages += 1
            stream.id = entry.id
            stream.pending -= 1
        return Batch(events, self._cursor(), messages, gaps, rejected)

    def _cursor(self) -> str:
        streams = {
            stream.name: (*stream.id, None if stream.added is None else stream.added - stream.pending)
            for stream in self._streams.values()
        }
        return msgspec.json.encode(_Position(streams, self._codec.to_state())).decode()

    async def _find_streams(self) -> list[str]:
        """Returns the streams whose names begin with the prefix, in order."""
        if not self._options.prefix:
            return []
        pattern = "".join(f"\\{sign}" if sign in "*?[]\\^" else sign for sign in self._options.prefix) + "*"
        names: set[str] = set()
        at = b"0"
        while True:
            at, keys = await self._ask("SCAN", at, "MATCH", pattern, "COUNT", 1_000, "TYPE", "stream")
            names.update(key.decode(errors="replace") for key in keys)
            if len(names) > MAX_STREAMS:
                raise SourceError(f"more than {MAX_STREAMS} streams begin with {self._options.prefix!r}")
            if at in (b"0", 0):
                return sorted(names.difference(self._options.streams))

    async def _ask_streams(self, names: Sequence[str]) -> list[dict[bytes, Any] | None]:
        return [_pairs(fact) for fact in await self._ask_at_once([["XINFO", "STREAM", name] for name in names])]

    async def _ask(self, *command: Any) -> Any:
        return (await self._exchange([command]))[0]

    async def _ask_at_once(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Returns the answers to commands between which the server does nothing else; an error is an answer."""
        if not commands:
            return []
        *_, answers = await self._exchange([["MULTI"], *commands, ["EXEC"]])
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, Exception) and "no such key" not in str(answer):
                raise SourceError(f"{_text_of(command)}: {answer}")
        return list(answers)

    async def _exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise SourceError("not connected")
        answers: list[Any] = await self._guarded(_exchange(connection, commands))
        return answers

    async def _guarded(self, work: Any) -> Any:
        """Awaits what the library does; its errors are raised as OSError where a connection is lost, or SourceError."""
        from redis import exceptions

        try:
            async with asyncio.timeout(_BLOCK_MS / 1000 + _ANSWER_SECONDS):
                return await work
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise SourceError(str(error)) from error
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise OSError(str(error)) from error
        except exceptions.RedisError as error:
            raise SourceError(str(error)) from error


def from_url(url: str) -> RedisSource:
    """Returns the source that a URL names: `redis://HOST?stream=NAME`. Raises ConfigError, or MissingPackage."""
    parts = parse_url(url, _PARAMETERS)
    given = parts.parameters
    faults: list[str] = []
    streams = tuple(dict.fromkeys(parts.words("stream")))
    if not streams and not given.get("prefix"):
        faults.append("no stream, expected stream=NAME or prefix=NAME")
    if len(streams) > MAX_STREAMS:
        faults.append(f"stream: {len(streams)} names, expected at most {MAX_STREAMS}")
    for name, allowed in (("from", ("now", "start")), ("reconciliation", ("apart", "count"))):
        if given.get(name, allowed[0]) not in allowed:
            faults.append(f"{name}: {shown(given[name])}, expected {' or '.join(allowed)}")
    database = parts.path.strip("/") or "0"
    if not _DATABASE.fullmatch(database):
        faults.append(f"database {shown(database)}, expected a number as in redis://HOST/1")
    if faults:
        raise ConfigError(faults)
    import_package("redis.asyncio", "redis")
    return RedisSource(
        RedisOptions(
            parts.host,
            parts.port or DEFAULT_PORT,
            int(database),
            parts.user or None,
            parts.password or None,
            parts.scheme == "rediss",
            given.get("ca"),
            streams,
            given.get("prefix", ""),
            given.get("from") != "start",
            given.get("account", ""),
            given.get("currency", ""),
            given.get("reconciliation") == "count",
        )
    )


def _new_connection(options: RedisOptions) -> Connection:
    from redis.asyncio import Connection, SSLConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    given: dict[str, Any] = {
        "host": options.host, "port": options.port, "db": options.db, "username": options.username,
        "password": options.password, "protocol": 2, "socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": None,
        "socket_read_size": _READ_BYTES, "retry": Retry(NoBackoff(), 0),
    }  # fmt: skip
    if not options.is_tls:
        return Connection(**given)
    return SSLConnection(ssl_ca_certs=options.ca, ssl_check_hostname=True, **given)


async def _exchange(connection: Connection, commands: Sequence[Sequence[Any]]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands))
    return [await connection.read_response() for _ in commands]


def _text_of(command: Sequence[Any]) -> str:
    """Returns the beginning of a command: its name, and the stream that it asks about."""
    return " ".join(word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in command[:3])


def _decode(entry: _Entry) -> Message | None:
    """Returns the message of an entry, or an event in our own JSON; None if it is to be skipped. Raises EventError."""
    fields = entry.fields
    event = fields.get(b"event")
    if event is not None:
        return event
    payload = fields.get(b"payload")
    if payload is None:
        if fields:
            raise EventError("expected a field `event`, or `topic` and `payload`")
        return None
    kind, encoding = fields.get(b"type", b""), fields.get(b"encoding", b"")
    return decode(fields.get(b"topic", b""), payload, kind.decode(errors="replace"), encoding.decode(errors="replace"))


def _items(answer: Any) -> Iterable[tuple[bytes, Sequence[Any]]]:
    if isinstance(answer, Exception):
        raise SourceError(str(answer))
    if isinstance(answer, dict):
        return answer.items()
    return answer or ()


def _pairs(fact: Any) -> dict[bytes, Any] | None:
    """Returns the answer of XINFO by name; None for a stream that is not there."""
    if isinstance(fact, Exception):
        return None
    return fact if isinstance(fact, dict) else dict(zip(fact[::2], fact[1::2], strict=True))


def _id_of(entry: _Entry) -> _Id:
    return entry.id


def _parse_id(text: bytes) -> _Id:
    ms, _, number = text.partition(b"-")
    return int(ms), int(number)


def _text(id_: _Id) -> str:
    return f"{id_[0]}-{id_[1]}"
