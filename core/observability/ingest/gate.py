"""The gate of ingest: takes a batch of events as bytes, publishes the valid ones, and answers once they are durable.

    bytes --> decode, or split --> decode, publish (slice by slice) --> remember the key --> on disk? --> answer
                              one batch at a time                                   any number at a time

- The events of a batch are published in their order, without events of another batch in between. Batches are taken in
  the order of the calls of `take`.
- An answer means that everything that must be durable is on disk, including the events that a duplicate repeats. A 503
  means that this is unknown: sending the batch again, with the same key or the same ids, changes nothing twice.
- A source that the server has connected to itself gets the same treatment (`take_read`); its events may be decoded
  already, and its position is stored with them.
- A batch is on disk whole or not at all, together with the answer under its key. After a crash the same batch is
  therefore either taken as a new one or given its first answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from hashlib import blake2b
from typing import Final, Literal, Protocol

from observability.bus import Bus
from observability.clocks.clock import Clock
from observability.clocks.slices import SLICE_NS
from observability.errors import EventError, StoreError
from observability.events import (
    BOOKING_TYPES,
    MAX_NAME_LENGTH,
    TYPE_NAMES,
    AnyEvent,
    Event,
    Fill,
    Position,
    Print,
    as_counted,
)
from observability.ingest.answers import (
    BUSY_RETRY_SECONDS,
    AnswerMemory,
    BatchOutcome,
    IngestAnswer,
    Remembered,
    refusal,
)
from observability.ingest.decoder import Element, EventDecoder
from observability.ingest.dialects import describe_unknown
from observability.memory.counters import Counter, Counters

SOURCE: Final = "ingest"
MAX_EVENTS: Final = 10_000
# No batch of valid events has more values than this; one that has is not worth the time to split it.
MAX_COMMAS: Final = 32 * MAX_EVENTS
MAX_KEY_CHARACTERS: Final = 255
# Batches over HTTP that are not answered yet, of all senders together. Over WebSocket the bound is on reading.
MAX_BATCHES: Final = 1024
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
DURABLE_SECONDS: Final = 5.0
# How many events are published between two looks at the clock.
SLICE_EVENTS: Final = 32
# How long a source waits for room in the log before it looks again.
ROOM_SECONDS: Final = 0.1

# The events of which the log says whether they count.
_KEYED: Final = frozenset({Fill, *BOOKING_TYPES})

Transport = Literal["http", "ws", "nats"]
_FINGERPRINT_BYTES: Final = 16


class Verdict(Enum):
    """The outcome of a fill or booking."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class DurableLog(Protocol):
    """Stores the events that must survive; it is subscribed to the bus after the collectors."""

    @property
    def last_verdict(self) -> Verdict:
        """The outcome of the fill or booking that was published last."""

    @property
    def position(self) -> int:
        """The position of the newest row that is queued."""

    @property
    def has_room(self) -> bool:
        """Whether the queue takes more rows."""

    @property
    def lost(self) -> int:
        """The number of rows that were dropped because too many were waiting."""

    @property
    def fault(self) -> str | None:
        """Why rows cannot be written now; None if they can."""

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        """Waits until every row up to `position` is on disk; returns False after `timeout_seconds`."""

    def begin_batch(self) -> None:
        """Begins a unit: the rows queued up to `end_batch` are committed together."""

    def end_batch(self) -> None: ...

    def remember(self, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        """Queues the answer under a key, after the rows of its batch."""

    def keep_cursor(self, source: str, cursor: str) -> None:
        """Queues the position of a source, after the rows of its batch."""

    async def recall(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Returns fingerprint, status and body of the answer on disk under a key; None if there is none. Raises
        StoreError."""


class PrintCounts(Protocol):
    """Counts the prints of the bus; it is subscribed to it."""

    @property
    def repeated_prints(self) -> int:
        """Prints so far that had been delivered before, and changed nothing."""


class _NoPrintCounts:
    repeated_prints: Final = 0


@dataclass(frozen=True, slots=True)
class _PendingAnswer:
    """An answer, and the position in the log that must be on disk before it is given."""

    answer: IngestAnswer
    label: str
    """The value of the label `outcome` in the metrics."""
    position: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch that a source has read."""

    outcome: BatchOutcome
    position: int
    """The position in the log that must be on disk before the batch is acknowledged; 0 if nothing of it must be."""
    is_kept: bool
    """Whether the log has queued all of it; if not, it must be read again."""


class Gate(Protocol):
    """Takes batches: the hub's gate, or the stand-in for it in another process."""

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        """Takes a batch, and returns the answer to it."""


class IngestGate:
    """The gate of a hub, one for all senders."""

    def __init__(
        self,
        bus: Bus,
        log: DurableLog,
        event_clock: Clock,
        counters: Counters,
        *,
        prints: PrintCounts | None = None,
        durable_seconds: float = DURABLE_SECONDS,
        max_batches: int = MAX_BATCHES,
        refuse_unknown_fields: bool = False,
    ) -> None:
        """Without `prints` no print is a duplicate."""
        self._bus = bus
        self._log = log
        self._prints: PrintCounts = _NoPrintCounts() if prints is None else prints
        self._event_clock = event_clock
        self._counters = counters
        self._durable_seconds = durable_seconds
        self._max_batches = max_batches
        self._decoder = EventDecoder(refuse_unknown_fields=refuse_unknown_fields)
        self._order = asyncio.Lock()
        self._batches = 0
        self._bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # Fingerprints by key of the batches that are not answered yet.
        self._taking: dict[str, bytes] = {}
        self._memory = AnswerMemory()
        self._answered: dict[tuple[Transport, str], Counter] = {}
        self._duplicates = counters.counter("ingest_duplicates_total", "Fills, bookings and prints received again")
        self._rounded = counters.counter(
            "ingest_rounded_total", "Numbers rounded to the digits after the point that are kept"
        )
        self._unknown_fields = counters.counter(
            "ingest_unknown_fields_total", "Fields that are not those of their type"
        )
        self._durable_time = counters.histogram(
            "ingest_durable_seconds", "Time from publishing the last event of a batch to having all of it on disk"
        )
        self._rejected = {
            reason: counters.counter("ingest_rejected_total", "Events rejected", reason=reason)
            for reason in ("undecodable", "conflict", "no_room")
        }

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        """Takes a batch, and returns the answer to it. While the log is full, a batch from `ws` waits and any
        other is refused.

        The status is 200 if any event was accepted or a duplicate, 422 if every event was rejected or the key is that
        of other content, 400 for bytes that cannot be split, 409 while a batch with the same key is being taken, 413
        for more than `MAX_EVENTS`, 503 if the log is full or cannot be read, or the disk is late."""
        pending = self._refuse_at_once(data, source, key)
        if pending is None:
            self._batches += 1
            self._bytes += len(data)
            self._idle.clear()
            try:
                pending = await self._take(data, source, is_lines, key)
            finally:
                self._batches -= 1
                self._bytes -= len(data)
                if not self._batches:
                    self._idle.set()
        self._count_answer(source, pending.label)
        return pending.answer

    async def take_read(self, items: Sequence[Event | bytes], *, source: str, cursor: str | None = None) -> Taken:
        """Publishes what a source has read: events that it has decoded, and bytes as `take` takes them. Returns before
        they are on disk; see `settle`. Waits while the log is full, and while the store should know an event but
        cannot be asked."""
        while not self._log.has_room:
            if not await self._log.durable(self._log.position, self._durable_seconds):
                await asyncio.sleep(ROOM_SECONDS)
        ts_init = self._event_clock.time_ns()
        outcome = BatchOutcome()
        elements = await self._elements_of(items, ts_init, outcome)
        lost, undecodable, published = self._log.lost, outcome.rejected, 0
        while True:
            async with self._order:
                self._log.begin_batch()
                try:
                    position = await self._publish(elements, ts_init, outcome, source, published)
                    if cursor is not None and self._log.lost == lost:
                        self._log.keep_cursor(source, cursor)
                        position = self._log.position
                    return Taken(outcome, position, is_kept=self._log.lost == lost)
                except StoreError:
                    # Nobody sends them again, so they wait here.
                    published = outcome.events - undecodable
                finally:
                    self._log.end_batch()
            await asyncio.sleep(ROOM_SECONDS)

    async def settle(self, position: int) -> None:
        """Waits until everything up to a position in the log is on disk, however long that takes."""
        while True:
            if await self._log.durable(position, self._durable_seconds):
                return
            await asyncio.sleep(ROOM_SECONDS)

    async def drain(self, timeout_seconds: float) -> None:
        """Waits until every batch has been answered, including those of senders that have disconnected."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)

    def _count_answer(self, source: Transport, label: str) -> None:
        counter = self._answered.get((source, label))
        if counter is None:
            counter = self._answered[source, label] = self._counters.counter(
                "ingest_batches_total", "Batches answered", door=source, outcome=label
            )
        counter.add()

    def _refuse_at_once(self, data: bytes, source: Transport, key: str | None) -> _PendingAnswer | None:
        if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
            return _unreadable(refusal(400, f"key: expected 1 to {MAX_KEY_CHARACTERS} characters"))
        if source != "ws":
            if self._batches >= self._max_batches or self._bytes + len(data) > MAX_BATCH_BYTES:
                return _busy("too much is being taken now")
            if not self._log.has_room:
                return _busy(self._why_no_room())
        if key is not None and key in self._taking:
            if self._taking[key] != _fingerprint(data):
                return _other_content()
            return _PendingAnswer(refusal(409, "a batch with this key is being taken"), "in_flight")
        return None

    async def _take(self, data: bytes, source: Transport, is_lines: bool | None, key: str | None) -> _PendingAnswer:
        # Nothing is awaited before the lock, so that callers acquire it in the order of their calls.
        fingerprint = b""
        if key is not None:
            fingerprint = self._taking[key] = _fingerprint(data)
        try:
            async with self._order:
                if source == "ws" and not self._log.has_room:
                    await self._log.durable(self._log.position, self._durable_seconds)
                    if not self._log.has_room:
                        return _busy(self._why_no_room())
                try:
                    pending = None if key is None else await self._replay(key, fingerprint)
                except StoreError as error:
                    return _busy(f"the store cannot be read: {error}")
                if pending is None:
                    pending = await self._apply(data, is_lines, key, fingerprint)
            return await self._wait_for_disk(pending)
        finally:
            if key is not None:
                del self._taking[key]

    async def _replay(self, key: str, fingerprint: bytes) -> _PendingAnswer | None:
        """Returns the earlier answer under `key`, or a refusal if its batch had other content; None if there is
        none."""
        known = self._memory.get(key)
        if known is None:
            stored = await self._log.recall(key)
            if stored is None:
                return None
            known = Remembered(stored[0], IngestAnswer(stored[1], stored[2]), 0)
        if known.fingerprint != fingerprint:
            return _other_content()
        answer = IngestAnswer(known.answer.status, known.answer.body, is_replayed=True)
        return _PendingAnswer(answer, "replayed", known.position)

    async def _apply(self, data: bytes, is_lines: bool | None, key: str | None, fingerprint: bytes) -> _PendingAnswer:
        if data.count(b",") > MAX_COMMAS or (is_lines and data.count(b"\n") > MAX_EVENTS):
            return _unreadable(_too_many())
        ts_init = self._event_clock.time_ns()
        elements: Sequence[Element | AnyEvent] | None = None if is_lines else self._decoder.decode_all(data, ts_init)
        if elements is None:
            try:
                elements = await self._split(data, is_lines)
            except EventError as error:
                return _unreadable(refusal(400, str(error)))
            if len(elements) > MAX_EVENTS:
                return _unreadable(_too_many())
        outcome = BatchOutcome()
        self._log.begin_batch()
        try:
            position = await self._publish(elements, ts_init, outcome)
            answer = outcome.answer()
            if key is not None:
                self._log.remember(key, fingerprint, answer.status, answer.body)
                position = self._log.position
                self._memory.put(key, Remembered(fingerprint, answer, position))
        except StoreError as error:
            return _PendingAnswer(
                refusal(
                    503,
                    f"taken in part, the rest may have been taken before, and the store cannot be read: {error}; send "
                    "it again with the same key or ids",
                    BUSY_RETRY_SECONDS,
                ),
                "unreadable_store",
            )
        finally:
            self._log.end_batch()
        return _PendingAnswer(answer, outcome.label, position)

    async def _split(self, data: bytes, is_lines: bool | None) -> Sequence[Element]:
        """Returns the elements of a batch, or more than `MAX_EVENTS` of them. Raises EventError."""
        split = self._decoder.split(data, is_lines=is_lines)
        if isinstance(split, Sequence):
            return split
        elements: list[Element] = []
        slice_end_ns = time.monotonic_ns() + SLICE_NS
        for element in split:
            elements.append(element)
            if len(elements) > MAX_EVENTS:
                break
            if time.monotonic_ns() >= slice_end_ns:
                await asyncio.sleep(0)
                slice_end_ns = time.monotonic_ns() + SLICE_NS
        return elements

    async def _elements_of(
        self, items: Sequence[Event | bytes], ts_init: int, outcome: BatchOutcome
    ) -> Sequence[Element | AnyEvent]:
        """Returns the events of a source, checked, and those in its bytes, decoded as far as that is quick."""
        elements: list[Element | AnyEvent] = []
        slice_end_ns = time.monotonic_ns() + SLICE_NS
        for number, item in enumerate(items):
            if number % SLICE_EVENTS == 0 and time.monotonic_ns() >= slice_end_ns:
                await asyncio.sleep(0)
                slice_end_ns = time.monotonic_ns() + SLICE_NS
            index = len(elements)
            if isinstance(item, Event):
                checked = self._decoder.check_decoded(item, index, ts_init)
                if isinstance(checked, Event):
                    elements.append(checked)
                else:
                    self._rejected["undecodable"].add()
                    outcome.reject(index, str(checked))
                continue
            decoded = self._decoder.decode_all(item, ts_init)
            if decoded is not None:
                elements += decoded
                continue
            try:
                if item.count(b",") > MAX_COMMAS or len(split := await self._split(item, None)) > MAX_EVENTS:
                    raise EventError(f"expected at most {MAX_EVENTS} events in a message")
                elements += split
            except EventError as error:
                self._rejected["undecodable"].add()
                outcome.reject(index, str(error))
        return elements

    async def _publish(
        self,
        elements: Sequence[Element | AnyEvent],
        ts_init: int,
        outcome: BatchOutcome,
        source: str = SOURCE,
        first: int = 0,
    ) -> int:
        """Decodes what is not decoded yet, and publishes, from element `first` on; returns the position that must be on
        disk before the answer is given. Raises StoreError at the first event of which the store should know, but cannot
        be asked."""
        log = self._log
        position = 0
        slice_end_ns = time.monotonic_ns() + SLICE_NS
        for start in range(first, len(elements), SLICE_EVENTS):
            if start > first and time.monotonic_ns() >= slice_end_ns:
                await asyncio.sleep(0)
                slice_end_ns = time.monotonic_ns() + SLICE_NS
            before, duplicates = log.position, outcome.duplicates
            self._publish_slice(elements[start : start + SLICE_EVENTS], start, ts_init, outcome, source)
            # What a duplicate repeats may still be queued.
            if log.position != before or outcome.duplicates != duplicates:
                position = log.position
        return position

    def _publish_slice(
        self, elements: Sequence[Element | AnyEvent], start: int, ts_init: int, outcome: BatchOutcome, source: str
    ) -> None:
        # hot: once per event (benchmarks/bench_intake.py)
        bus, log, prints = self._bus, self._log, self._prints
        publish, accepted = bus.publish, Verdict.ACCEPTED
        repeated = prints.repeated_prints
        n_accepted = 0
        try:
            elements = self._decoder.decode_slice(elements, ts_init) or elements
            for index, element in enumerate(elements, start):
                event: Event | None = (
                    element if isinstance(element, Event) else self._decode(element, index, ts_init, outcome)
                )
                if event is None:
                    continue
                kind = event.__class__
                if kind is Fill and event.corrects:  # type: ignore[attr-defined]
                    event = as_counted(event)
                publish(event, source)
                if bus.remark is not None and self._is_refused(event, index, outcome):
                    continue
                if kind is Print and prints.repeated_prints != repeated:
                    repeated = prints.repeated_prints
                    self._duplicates.add()
                    outcome.duplicates += 1
                elif log.last_verdict is accepted or not (
                    kind in _KEYED or (isinstance(event, Position) and event.adopt)
                ):
                    n_accepted += 1
                elif log.last_verdict is Verdict.DUPLICATE:
                    self._duplicates.add()
                    outcome.duplicates += 1
                else:
                    self._rejected["conflict"].add()
                    name = TYPE_NAMES[kind]
                    outcome.reject(index, f"conflict: a {name} of this key has other content - at `$[{index}]`")
        finally:
            outcome.accepted += n_accepted

    def _decode(self, element: Element, index: int, ts_init: int, outcome: BatchOutcome) -> AnyEvent | None:
        """Returns an event, None for one that is rejected; its sender is told about unknown fields, and rounded numbers
        are counted."""
        reading = self._decoder.decode_element(element, index, ts_init)
        if isinstance(reading, Event):
            return reading
        if isinstance(reading, EventError):
            self._rejected["undecodable"].add()
            outcome.reject(index, str(reading))
            return None
        if reading.rounded:
            self._rounded.add(reading.rounded)
        event = reading.event
        for name in reading.unknown:
            self._unknown_fields.add()
            outcome.warn(index, f"$[{index}].{name[:MAX_NAME_LENGTH]}", partial(describe_unknown, type(event), name))
        return event

    def _is_refused(self, event: Event, index: int, outcome: BatchOutcome) -> bool:
        """Tells the sender what a subscriber of the bus has to say about an event; returns whether it refused it."""
        remark, self._bus.remark = self._bus.remark, None
        if remark is None or remark.event is not event:
            return False
        path, text = f"$[{index}].{remark.field}", remark.text
        if remark.is_refusal:
            self._rejected["no_room"].add()
            outcome.reject(index, f"{text} - at `{path}`")
        else:
            outcome.warn(index, path, lambda: text)
        return remark.is_refusal

    async def _wait_for_disk(self, pending: _PendingAnswer) -> _PendingAnswer:
        """Returns `pending` once its position is on disk, or a 503 if that takes too long."""
        started_ns = time.monotonic_ns()
        if not await self._log.durable(pending.position, self._durable_seconds):
            why = f": {self._log.fault}" if self._log.fault else f" within {self._durable_seconds:g} s"
            return _PendingAnswer(
                refusal(
                    503,
                    f"taken, but not on disk{why}; send it again with the same key or ids to be sure",
                    BUSY_RETRY_SECONDS,
                ),
                "not_durable",
            )
        if pending.position:
            self._durable_time.record(time.monotonic_ns() - started_ns)
        return pending

    def _why_no_room(self) -> str:
        return f"the store cannot write: {self._log.fault}" if self._log.fault else "the store is behind"


def _fingerprint(data: bytes) -> bytes:
    return blake2b(data, digest_size=_FINGERPRINT_BYTES).digest()


def _unreadable(answer: IngestAnswer) -> _PendingAnswer:
    return _PendingAnswer(answer, "unreadable")


def _too_many() -> IngestAnswer:
    return refusal(413, f"expected at most {MAX_EVENTS} events")


def _other_content() -> _PendingAnswer:
    return _PendingAnswer(refusal(422, "this key was used for other content"), "other_content")


def _busy(why: str) -> _PendingAnswer:
    return _PendingAnswer(refusal(503, f"{why}; nothing was taken, send it again", BUSY_RETRY_SECONDS), "busy")
