"""NATS: messages of a JetStream consumer, each exactly once, or of core subjects, at most once.

    nats://HOST:PORT?stream=ORDERS&durable=observability     nats://HOST:PORT?subjects=orders.*,fills.>

A message of JetStream is acknowledged once its events are on disk, and its number is on disk with them: one that comes
again is recognised. A message that holds no events is reported and terminated, so that it does not come again.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import format_iso_ms
from observability.errors import ConfigError, EventError, SourceError
from observability.ingest.decoder import UNDECODABLE, EventDecoder
from observability.sources.brokers.nats_address import LOGIN_PARAMETERS, NatsAddress, address_of, faults_of_login
from observability.sources.brokers.nats_connection import Message, NatsConnection, check_packages
from observability.sources.brokers.stream_position import StreamPosition
from observability.sources.source import Batch, Source
from observability.sources.url import SourceUrl, parse_url

PARAMETERS: Final = frozenset(
    {"stream", "durable", "subjects", "deliver", "ack_wait", "max_ack_pending"} | LOGIN_PARAMETERS
)
_OF_STREAMS: Final = ("durable", "deliver", "ack_wait", "max_ack_pending")

# One pull brings at most this many messages.
PULL_MESSAGES: Final = 500
PULL_BYTES: Final = 8 * 1024 * 1024
PULL_SECONDS: Final = 30
# While a pull waits for messages the server says this often that it is there.
HEARTBEAT_SECONDS: Final = 5
SILENCE_SECONDS: Final = 2.5 * HEARTBEAT_SECONDS
# Of messages that are not acknowledged; above these nothing is pulled.
MAX_IN_HAND: Final = 10_000
MAX_IN_HAND_BYTES: Final = 64 * 1024 * 1024
# So many separate ranges of taken messages appear where several clients share a consumer.
MAX_PIECES: Final = 64
RESET_SECONDS: Final = 2.0
MAX_BATCH_MESSAGES: Final = 1_000
# Ids of messages on core subjects that are remembered, and subjects of which the last number is.
MAX_IDS: Final = 65_536
MAX_SEQUENCES: Final = 10_000

_ACKNOWLEDGED: Final = b""
_NOT_TAKEN: Final = b"-NAK"
_TERMINATED: Final = b"+TERM"
_TO_ACKNOWLEDGE: Final = "$JS.ACK."
_HEARTBEAT: Final = "100"
# The end of a pull that says nothing about the next one.
_ENDS_OF_PULL: Final = ("404", "408")
_FULL_PULLS: Final = ("message size exceeds maxbytes", "batch completed")
_NS: Final = 10**9
_NOT_FOUND: Final = 404

log = logging.getLogger(__name__)

_NUMBER: Final = re.compile("[0-9]{1,19}")
_json = msgspec.json.Decoder(msgspec.Raw)
_decoder = EventDecoder()


def from_url(text: str) -> Source:
    """Returns the source of a URL. Raises ConfigError with every fault, and MissingPackage."""
    url = parse_url(text, PARAMETERS)
    stream, durable = url.parameters.get("stream", ""), url.parameters.get("durable", "")
    subjects = url.words("subjects")
    faults = [*_faults_of_names(url, stream, durable), *faults_of_login(url)]
    faults += [
        f"subjects: {subject!r}, expected such as orders.* or fills.>" for subject in subjects if not _is(subject)
    ]
    ack_wait = url.integer("ack_wait", 0, 1, 86_400) or None
    max_ack_pending = url.integer("max_ack_pending", 0, 1, 1_000_000) or None
    if faults:
        raise ConfigError(faults)
    address = address_of(url)
    check_packages(address)
    if not stream:
        return SubjectsSource(address, subjects)
    return JetStreamSource(
        address,
        stream,
        durable,
        subjects,
        is_all=url.parameters.get("deliver", "all") == "all",
        ack_wait_seconds=ack_wait,
        max_ack_pending=max_ack_pending,
    )


class SubjectsSource:
    """Core subjects. The server keeps nothing: what is sent while there is no connection, or faster than it is read, is
    lost. It is counted where it can be known: messages dropped here, and holes in the numbers of a stream that
    republishes (`Nats-Last-Sequence`)."""

    def __init__(self, address: NatsAddress, subjects: tuple[str, ...]) -> None:
        self.name = f"nats:{','.join(subjects)}@{address.url.removeprefix('nats://')}"
        self._address = address
        self._subjects = subjects
        self._connection: NatsConnection | None = None
        self._dropped = 0
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._sequences: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def connect(self, cursor: str | None) -> None:
        connection = self._connection = NatsConnection(self._address)
        self._dropped = 0
        await connection.open()
        for subject in self._subjects:
            await connection.subscribe(subject)

    async def read(self) -> Batch:
        connection = _opened(self._connection)
        while not connection.queue:
            await connection.wait()
        payloads: list[bytes] = []
        rejected: list[str] = []
        messages = gaps = 0
        while connection.queue and messages < MAX_BATCH_MESSAGES:
            message = connection.pop()
            messages += 1
            if message.headers is not None:
                gaps += self._gaps_before(message)
                identity = message.headers.get("Nats-Msg-Id")
                if identity is not None:
                    if identity in self._ids:
                        continue
                    _remember(self._ids, identity, None, MAX_IDS)
            fault = _fault(message)
            if fault is None:
                payloads.append(message.data)
            else:
                rejected.append(fault)
        dropped, self._dropped = connection.dropped - self._dropped, connection.dropped
        return Batch(payloads, messages=messages, gaps=gaps + dropped, rejected=rejected)

    async def acknowledge(self) -> None:
        """Does nothing: a core subject knows no acknowledgement."""

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    def _gaps_before(self, message: Message) -> int:
        """Returns 1 if the message before this one, on the same subject of a stream that republishes, did not come: how
        many did not, its number does not say."""
        headers = message.headers or {}
        last, number = headers.get("Nats-Last-Sequence", ""), headers.get("Nats-Sequence", "")
        if not (_NUMBER.fullmatch(last) and _NUMBER.fullmatch(number)):
            return 0
        key = (headers.get("Nats-Stream", ""), headers.get("Nats-Subject", ""))
        known = self._sequences.get(key)
        _remember(self._sequences, key, int(number), MAX_SEQUENCES)
        return int(known is not None and known < int(last))


class JetStreamSource:
    """A durable pull consumer of a stream; it is made if the stream has none of its name."""

    def __init__(
        self,
        address: NatsAddress,
        stream: str,
        durable: str,
        subjects: tuple[str, ...],
        *,
        is_all: bool,
        ack_wait_seconds: int | None,
        max_ack_pending: int | None,
    ) -> None:
        """`subjects` are all of the stream's if there are none. `is_all` is whether a new consumer begins with the
        oldest message. None leaves a number to the server, or to who has made the consumer."""
        self.name = f"nats:{stream}/{durable}@{address.url.removeprefix('nats://')}"
        self._address = address
        self._stream = stream
        self._durable = durable
        self._subjects = subjects
        self._is_all = is_all
        self._ack_wait_seconds = ack_wait_seconds
        self._max_ack_pending = max_ack_pending
        # Of a connection.
        self._connection: NatsConnection | None = None
        self._position = StreamPosition("", None)
        self._max_in_hand = 0
        self._counts_holes = False
        self._delivered = 0
        """The consumer's number of the newest delivery."""
        self._previous: int | None = None
        """The stream's number of the newest message that was delivered for the first time, if no delivery has been
        missed since."""
        self._gaps = 0
        self._pulls = 0
        self._wanted = 0
        """How many messages of the newest pull have not arrived."""
        self._unanswered: list[tuple[str, bytes]] = []
        self._unanswered_bytes = 0

    async def connect(self, cursor: str | None) -> None:
        self._wanted = self._unanswered_bytes = 0
        self._unanswered = []
        connection = self._connection = NatsConnection(self._address, self._is_message)
        await connection.open()
        stream = _checked(await connection.request(f"$JS.API.STREAM.INFO.{self._stream}"), f"stream {self._stream}")
        position = self._position = StreamPosition(stream["created"], cursor)
        if position.is_void:
            log.warning("%s: the stream was created anew; reading it from its beginning", self.name)
        consumer = await self._find_or_make_consumer(connection)
        config = consumer["config"]
        if consumer["num_ack_pending"]:
            await self._reset(connection)
        self._gaps = 0
        # Other streams lose messages in their ordinary life, and so do the eyes of a filter.
        self._counts_holes = stream["config"]["retention"] == "limits" and not (
            config.get("filter_subject") or config.get("filter_subjects")
        )
        floor = consumer["ack_floor"]["stream_seq"]
        if self._counts_holes and position.pieces:
            removed = position.missing_before(stream["state"]["first_seq"])
            self._gaps = max(removed, position.missing_before(floor + 1))
            if self._gaps > removed:
                log.warning(
                    "%s: %d messages were acknowledged, but their events are not in the store, as after a backup was "
                    "restored",
                    self.name, self._gaps - removed,
                )  # fmt: skip
        position.settle(floor)
        most = config.get("max_ack_pending", 0)
        self._max_in_hand = min(MAX_IN_HAND, most) if most > 0 else MAX_IN_HAND
        self._delivered, self._previous = 0, None

    async def read(self) -> Batch:
        connection = _opened(self._connection)
        while True:
            await self._pull(connection)
            if not await connection.wait(SILENCE_SECONDS if self._wanted > 0 else None) and self._wanted > 0:
                raise EOFError(f"the consumer has been silent for {SILENCE_SECONDS:g} s")
            if connection.queue:
                return self._take(connection)

    async def acknowledge(self) -> None:
        connection = _opened(self._connection)
        answers, self._unanswered = self._unanswered, []
        self._unanswered_bytes = 0
        for reply, answer in answers:
            await connection.publish(reply, answer)
        if self._position.pieces > MAX_PIECES:
            consumer = await connection.request(f"$JS.API.CONSUMER.INFO.{self._stream}.{self._durable}")
            self._position.settle(_checked(consumer, "consumer")["ack_floor"]["stream_seq"])
        await self._pull(connection)

    async def close(self) -> None:
        """Gives the messages that are not acknowledged back, so that the next connection gets them at once."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not connection.is_lost:
                # Or they would come to the pull that is still waiting.
                await connection.unsubscribe()
                for reply in [reply for reply, _ in self._unanswered] + [message.reply for message in connection.queue]:
                    if reply:
                        await connection.publish(reply, _NOT_TAKEN)
        except EOFError:
            log.debug("%s: the connection was lost while it was closed", self.name)
        finally:
            await connection.close()

    async def _find_or_make_consumer(self, connection: NatsConnection) -> dict[str, Any]:
        """Returns what the server says about the consumer."""
        what = f"consumer {self._durable} of stream {self._stream}"
        found = await connection.request(f"$JS.API.CONSUMER.INFO.{self._stream}.{self._durable}")
        given: dict[str, Any] = {"ack_policy": "explicit"}
        if self._ack_wait_seconds is not None:
            given["ack_wait"] = self._ack_wait_seconds * _NS
        if self._max_ack_pending is not None:
            given["max_ack_pending"] = self._max_ack_pending
        if self._subjects:
            given["filter_subjects"] = list(self._subjects)
        if "error" not in found:
            config = found["config"]
            if config.get("deliver_subject") or config["ack_policy"] != "explicit":
                raise SourceError(f"{what} is there, but is not a pull consumer that acknowledges each message")
            if config.get("max_deliver", -1) > 0:
                log.warning("%s: the consumer gives up a message after %d deliveries", self.name, config["max_deliver"])
            if all(config.get(name) == value for name, value in given.items()):
                return found
            if "filter_subjects" in given:
                config.pop("filter_subject", None)
            config |= given
        elif found["error"].get("code") == _NOT_FOUND:
            config = {"durable_name": self._durable, "name": self._durable, **given}
            config |= self._where_to_begin()
        else:
            _checked(found, what)
        made = await connection.request(
            f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._durable}",
            {"stream_name": self._stream, "config": config},
        )
        return _checked(made, what)

    def _where_to_begin(self) -> dict[str, Any]:
        """Returns where a consumer begins that is made now. From the oldest message on it brings much that is taken,
        but nothing is left out, and a stream that is a queue takes nothing else."""
        position = self._position
        if self._is_all or position.is_void:
            return {"deliver_policy": "all"}
        if position.newest_ns:
            return {"deliver_policy": "by_start_time", "opt_start_time": format_iso_ms(position.newest_ns)}
        return {"deliver_policy": "new"}

    async def _reset(self, connection: NatsConnection) -> None:
        """Lets the server send at once, and in order, what was delivered to a connection before this one and not
        acknowledged. Without this, which came with version 2.14, it comes late: when the time to acknowledge is
        over."""
        subject = f"$JS.API.CONSUMER.RESET.{self._stream}.{self._durable}"
        try:
            _checked(await connection.request(subject, seconds=RESET_SECONDS), "reset")
        except SourceError as error:
            log.info("%s: what was not acknowledged comes after the time to acknowledge it (%s)", self.name, error)

    async def _pull(self, connection: NatsConnection) -> None:
        """Asks for messages if all that were asked for have come, and there is room for more."""
        if self._wanted > 0 or self._unanswered_bytes > MAX_IN_HAND_BYTES:
            return
        room = min(PULL_MESSAGES, self._max_in_hand - len(self._unanswered) - len(connection.queue))
        if room <= 0:
            return
        self._pulls += 1
        self._wanted = room
        pull = {
            "batch": room,
            # One that is larger than this would never come.
            "max_bytes": max(PULL_BYTES, 2 * connection.max_payload),
            "expires": PULL_SECONDS * _NS,
            "idle_heartbeat": HEARTBEAT_SECONDS * _NS,
        }
        await connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}",
            msgspec.json.encode(pull),
            self._inbox(connection),
        )

    def _inbox(self, connection: NatsConnection) -> str:
        return connection.inbox(f"p{self._pulls}")

    def _take(self, connection: NatsConnection) -> Batch:
        """Returns a batch of what has arrived."""
        payloads: list[bytes] = []
        rejected: list[str] = []
        messages = 0
        position = self._position
        while connection.queue and messages < MAX_BATCH_MESSAGES:
            message = connection.pop()
            messages += 1
            # $JS.ACK.[domain.account.]stream.consumer.deliveries.stream's.consumer's.ns.pending[.random]
            tokens = message.reply.split(".")
            at = 4 if len(tokens) < 11 else 6
            number, time_ns, answer = int(tokens[at + 1]), int(tokens[at + 3]), _ACKNOWLEDGED
            previous = self._follow(int(tokens[at + 2]), number, is_first=tokens[at] == "1")
            if not position.has(number, time_ns):
                if previous is not None and self._counts_holes:
                    self._gaps += max(number - previous - 1, 0)
                position.take(number, time_ns, previous)
                fault = _fault(message)
                if fault is None:
                    payloads.append(message.data)
                else:
                    rejected.append(f"message {number}, {fault}")
                    answer = _TERMINATED
            self._unanswered.append((message.reply, answer))
            self._unanswered_bytes += len(message.data)
        gaps, self._gaps = self._gaps, 0
        return Batch(payloads, cursor=position.cursor(), messages=messages, gaps=gaps, rejected=rejected)

    def _follow(self, delivery: int, number: int, *, is_first: bool) -> int | None:
        """Returns the number of the message after which the stream has none for us up to `number`: of the newest one
        that was delivered for the first time, if this is, and no delivery was missed in between."""
        if delivery != self._delivered + 1:
            self._previous = None
        self._delivered = delivery
        if not is_first:
            return None
        previous, self._previous = self._previous, number
        return previous

    def _is_message(self, message: Message) -> bool:
        """Returns whether a message is one of the stream, and not what the server says about a pull."""
        # hot: once per message (benchmarks/bench_nats.py)
        if message.reply.startswith(_TO_ACKNOWLEDGE):
            self._wanted -= 1
            return True
        connection = _opened(self._connection)
        headers = message.headers or {}
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if message.subject == self._inbox(connection) and status != _HEARTBEAT:
            self._wanted = 0
            if status not in _ENDS_OF_PULL and text.lower() not in _FULL_PULLS:
                connection.end(EOFError(f"the consumer does not go on: {status} {text}"))
        return False


def _opened(connection: NatsConnection | None) -> NatsConnection:
    if connection is None:
        raise EOFError("there is no connection")
    return connection


def _checked(answer: dict[str, Any], what: str) -> dict[str, Any]:
    """Returns an answer of JetStream; raises SourceError if it is a refusal."""
    if "error" in answer:
        raise SourceError(f"{what}: {answer['error'].get('description', answer['error'])}")
    return answer


def _fault(message: Message) -> str | None:
    """Returns why no event can be read of a message; None if that is to be tried."""
    # hot: once per message (benchmarks/bench_nats.py)
    try:
        _json.decode(message.data)
    except UNDECODABLE:
        try:
            for _ in _decoder.split(message.data, is_lines=None):
                pass
        except EventError as error:
            return f"{message.subject}: {error}"
    return None


def _remember(memory: OrderedDict[Any, Any], key: object, value: object, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)


def _faults_of_names(url: SourceUrl, stream: str, durable: str) -> list[str]:
    faults = [
        f"{name}: {value!r}, expected a name without spaces and . * > / \\"
        for name, value in (("stream", stream), ("durable", durable))
        if any(character.isspace() or character in ".*>/\\" for character in value)
    ]
    if not stream:
        faults += [f"{name}: given without stream" for name in _OF_STREAMS if name in url.parameters]
        if not url.words("subjects"):
            faults.append("expected stream=NAME&durable=NAME, or subjects=NAME,NAME")
    elif not durable:
        faults.append("durable: expected the name of a consumer of the stream, which is made if there is none")
    if url.parameters.get("deliver", "all") not in ("all", "new"):
        faults.append(f"deliver: {url.parameters['deliver']!r}, expected all or new")
    return faults


def _is(subject: str) -> bool:
    """Returns whether a subject can be subscribed to."""
    tokens = subject.split(".")
    return all(
        token == "*"
        or (token == ">" and place == len(tokens) - 1)
        or (token != "" and not any(character.isspace() or character in "*>" for character in token))
        for place, token in enumerate(tokens)
    )
