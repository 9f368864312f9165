"""The gate of ingest: takes a batch of events as bytes, publishes what can be used, and answers once it is on disk.

No request and no socket here (see `routes/ingest.py` and `ingest_stream.py` of `observability.http`): arguments and
answers are plain values, so that they can come from another process.

    bytes --> split --> decode, publish (slice by slice) --> remember the key --> durable? --> answer
                              one batch at a time                           any number at a time

- The events of one batch are published in their order and next to each other: no other batch comes in between. Batches
  are taken in the order in which `take` was called.
- An answer means that whatever must be durable is on disk, of repeated events too. A 503 says that this is not known:
  the same again, with the same key or the same ids, changes nothing twice.
- A batch is on disk whole or not at all, with the answer under its key: after a crash the same again is either taken as
  if for the first time, or answered as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Final, Literal, Protocol

from observability.bus import Bus
from observability.clocks.clock import Clock
from observability.clocks.slices import SLICE_NS
from observability.errors import EventError
from observability.events import Fill
from observability.ingest.answers import BUSY_RETRY_SECONDS, AnswerMemory, IngestAnswer, Remembered, Tally, refusal
from observability.ingest.decoder import Element, EventDecoder
from observability.memory.counters import Counters

SOURCE: Final = "ingest"
MAX_EVENTS: Final = 10_000
# No event has more values than this on average; what has is not worth the time of taking it apart.
MAX_COMMAS: Final = 32 * MAX_EVENTS
MAX_KEY_CHARACTERS: Final = 255
# Taken over HTTP and not answered yet, of all senders together; what comes over WebSocket is bounded by its reading.
MAX_BATCHES: Final = 1024
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
DURABLE_SECONDS: Final = 5.0
# The clock is asked once in so many events.
SLICE_EVENTS: Final = 32

Transport = Literal["http", "ws"]
_FINGERPRINT_BYTES: Final = 16


class Verdict(Enum):
    """What became of a fill."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class DurableLog(Protocol):
    """Where events go that must survive: subscribed to the bus behind the collectors."""

    @property
    def last_verdict(self) -> Verdict:
        """Of the fill that was published last."""

    @property
    def position(self) -> int:
        """Of the newest row that is queued."""

    @property
    def has_room(self) -> bool:
        """Whether rows can be queued."""

    @property
    def fault(self) -> str | None:
        """Why nothing can be written now."""

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        """Returns whether everything up to `position` is on disk, at the latest after `timeout_seconds`."""

    def begin_batch(self) -> None:
        """Everything from here to `end_batch` is to be on disk together."""

    def end_batch(self) -> None: ...

    def remember(self, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        """Queues what was answered under a key, behind the rows of its batch."""

    async def recall(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Returns fingerprint, status and body that are on disk under a key."""


@dataclass(frozen=True, slots=True)
class _Settlement:
    """An answer, and what has to be on disk before it is given."""

    answer: IngestAnswer
    outcome: str
    position: int = 0


class Gate(Protocol):
    """Where batches go: the hub's gate, or what stands for it in another process."""

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        """Takes a batch, and returns what became of it."""


class IngestGate:
    """One per hub."""

    def __init__(
        self,
        bus: Bus,
        log: DurableLog,
        event_clock: Clock,
        counters: Counters,
        *,
        durable_seconds: float = DURABLE_SECONDS,
        max_batches: int = MAX_BATCHES,
    ) -> None:
        self._bus = bus
        self._log = log
        self._event_clock = event_clock
        self._counters = counters
        self._durable_seconds = durable_seconds
        self._max_batches = max_batches
        self._decoder = EventDecoder()
        self._order = asyncio.Lock()
        self._batches = 0
        self._bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # Fingerprints by key, of batches that are being taken.
        self._taking: dict[str, bytes] = {}
        self._memory = AnswerMemory()
        self._duplicates = counters.counter("ingest_duplicates_total", "Fills that had been taken before")
        self._durable_time = counters.histogram(
            "ingest_durable_seconds", "From a batch's last event published to all of it on disk"
        )
        self._rejected = {
            reason: counters.counter("ingest_rejected_total", "Events rejected", reason=reason)
            for reason in ("undecodable", "conflict")
        }

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        """Takes a batch. `source` is the door it came through; a batch from `ws` waits for room in the log where one
        from `http` is refused.

        200 if anything was of use, 422 if nothing was or the key had other content, 400 for what cannot be read, 409
        while the same key is being taken, 413 for more than `MAX_EVENTS`, 503 if there is no room or the disk is late.
        """
        settlement = self._refused_at_once(data, source, key)
        if settlement is None:
            self._batches += 1
            self._bytes += len(data)
            self._idle.clear()
            try:
                settlement = await self._take(data, source, is_lines, key)
            finally:
                self._batches -= 1
                self._bytes -= len(data)
                if not self._batches:
                    self._idle.set()
        self._counters.counter(
            "ingest_batches_total", "Batches answered", door=source, outcome=settlement.outcome
        ).add()
        return settlement.answer

    async def drain(self, timeout_seconds: float) -> None:
        """Waits until every batch has been answered, those too whose senders have gone away."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)

    def _refused_at_once(self, data: bytes, source: Transport, key: str | None) -> _Settlement | None:
        if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
            return _unreadable(refusal(400, f"key: expected 1 to {MAX_KEY_CHARACTERS} characters"))
        if source == "http":
            if self._batches >= self._max_batches or self._bytes + len(data) > MAX_BATCH_BYTES:
                return _busy("too much is being taken now")
            if not self._log.has_room:
                return _busy(self._why_no_room())
        if key is not None and key in self._taking:
            if self._taking[key] != _fingerprint(data):
                return _other_content()
            return _Settlement(refusal(409, "a batch with this key is being taken"), "in_flight")
        return None

    async def _take(self, data: bytes, source: Transport, is_lines: bool | None, key: str | None) -> _Settlement:
        # No turn of the loop before the lock: callers take it in the order in which they came.
        fingerprint = b""
        if key is not None:
            fingerprint = self._taking[key] = _fingerprint(data)
        try:
            async with self._order:
                if source == "ws" and not self._log.has_room:
                    await self._log.durable(self._log.position, self._durable_seconds)
                    if not self._log.has_room:
                        return _busy(self._why_no_room())
                settlement = None if key is None else await self._replay(key, fingerprint)
                if settlement is None:
                    settlement = await self._apply(data, is_lines, key, fingerprint)
            return await self._settle(settlement)
        finally:
            if key is not None:
                del self._taking[key]

    async def _replay(self, key: str, fingerprint: bytes) -> _Settlement | None:
        """Returns what was answered under `key`, or that it was for something else."""
        known = self._memory.get(key)
        if known is None:
            stored = await self._log.recall(key)
            if stored is None:
                return None
            known = Remembered(stored[0], IngestAnswer(stored[1], stored[2]), 0)
        if known.fingerprint != fingerprint:
            return _other_content()
        answer = IngestAnswer(known.answer.status, known.answer.body, is_replayed=True)
        return _Settlement(answer, "replayed", known.position)

    async def _apply(self, data: bytes, is_lines: bool | None, key: str | None, fingerprint: bytes) -> _Settlement:
        if data.count(b",") > MAX_COMMAS or (is_lines and data.count(b"\n") > MAX_EVENTS):
            return _unreadable(_too_many())
        try:
            elements = self._decoder.split(data, is_lines=is_lines)
        except EventError as error:
            return _unreadable(refusal(400, str(error)))
        if len(elements) > MAX_EVENTS:
            return _unreadable(_too_many())
        tally = Tally()
        self._log.begin_batch()
        try:
            position = await self._publish(elements, tally)
            answer = tally.answer()
            if key is not None:
                self._log.remember(key, fingerprint, answer.status, answer.body)
                position = self._log.position
                self._memory.put(key, Remembered(fingerprint, answer, position))
        finally:
            self._log.end_batch()
        return _Settlement(answer, tally.outcome, position)

    async def _publish(self, elements: Sequence[Element], tally: Tally) -> int:
        """Decodes and publishes; returns the position that has to be on disk."""
        # hot: once per event (benchmarks/bench_ingest.py)
        decode, publish, log = self._decoder.decode_element, self._bus.publish, self._log
        ts_init = self._event_clock.time_ns()
        position = 0
        slice_end_ns = time.monotonic_ns() + SLICE_NS
        for index, element in enumerate(elements):
            if index % SLICE_EVENTS == 0 and time.monotonic_ns() >= slice_end_ns:
                await asyncio.sleep(0)
                slice_end_ns = time.monotonic_ns() + SLICE_NS
            event = decode(element, index, ts_init)
            if isinstance(event, EventError):
                self._rejected["undecodable"].add()
                tally.reject(index, str(event))
                continue
            before = log.position
            publish(event, SOURCE)
            after = log.position
            if after != before:
                position = after
            if event.__class__ is not Fill or log.last_verdict is Verdict.ACCEPTED:
                tally.accepted += 1
            elif log.last_verdict is Verdict.DUPLICATE:
                self._duplicates.add()
                tally.duplicates += 1
                # The first one may still be on its way.
                position = after
            else:
                self._rejected["conflict"].add()
                tally.reject(index, f"conflict: a fill of this key has other content - at `$[{index}]`")
        return position

    async def _settle(self, settlement: _Settlement) -> _Settlement:
        """Returns `settlement` once it may be told, or that it may not yet."""
        started_ns = time.monotonic_ns()
        if not await self._log.durable(settlement.position, self._durable_seconds):
            why = f": {self._log.fault}" if self._log.fault else f" within {self._durable_seconds:g} s"
            return _Settlement(
                refusal(
                    503,
                    f"taken, but not on disk{why}; send it again with the same key or ids to be sure",
                    BUSY_RETRY_SECONDS,
                ),
                "not_durable",
            )
        if settlement.position:
            self._durable_time.record(time.monotonic_ns() - started_ns)
        return settlement

    def _why_no_room(self) -> str:
        return f"the store cannot write: {self._log.fault}" if self._log.fault else "the store is behind"


def _fingerprint(data: bytes) -> bytes:
    return blake2b(data, digest_size=_FINGERPRINT_BYTES).digest()


def _unreadable(answer: IngestAnswer) -> _Settlement:
    return _Settlement(answer, "unreadable")


def _too_many() -> IngestAnswer:
    return refusal(413, f"expected at most {MAX_EVENTS} events")


def _other_content() -> _Settlement:
    return _Settlement(refusal(422, "this key was used for other content"), "other_content")


def _busy(why: str) -> _Settlement:
    return _Settlement(refusal(503, f"{why}; nothing was taken, send it again", BUSY_RETRY_SECONDS), "busy")
