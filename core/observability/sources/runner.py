"""The runner of one source: connects it, publishes what it reads, and connects it again for as long as the server runs.

    connect --> read --> gate (publish, store with the cursor) --> on disk? --> acknowledge
       ^          ^                        |                         |
       |          '------------------------'  reads on meanwhile, up to MAX_UNSETTLED events
       '-- pause, with full jitter <-- lost, or rows were dropped: continue after the newest cursor that is kept

Batches are acknowledged in order. What had been published and not acknowledged when a process died is read again, and
the gate recognises it as it recognises what any sender sends again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.errors import SourceError
from observability.ingest.gate import IngestGate, Taken
from observability.logs.line_budget import LineBudget
from observability.sources.health import SourceHealth, State
from observability.sources.source import Batch, Source

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
FIRST_PAUSE_SECONDS: Final = 0.2
LAST_PAUSE_SECONDS: Final = 15.0
# A connection that has lasted this long, or brought a message, was a success: the pauses begin anew.
LASTING_NS: Final = 10 * NS_PER_S
# Events that may be published and not on disk while the source is read on.
MAX_UNSETTLED: Final = 10_000
# How long the end of the server waits for the disk, so that the source need not send again.
SETTLE_SECONDS: Final = 2.0


class SourceRunner:
    """Runs one source until it is cancelled. `health` says how the source is doing."""

    def __init__(
        self,
        source: Source,
        gate: IngestGate,
        host_clock: Clock,
        cursor: str | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """`cursor` is that of the newest batch on disk. Calls `on_lost` when a connection has ended."""
        self.source = source
        self._on_lost = on_lost
        self.health = SourceHealth(source.name, host_clock, self._on_change)
        self._gate = gate
        self._clock = host_clock
        self._cursor = cursor
        self._durable_cursor = cursor
        self._attempts = 0
        # Batches that are published and not acknowledged: the position in the log, the cursor, the number of events.
        self._unsettled: deque[tuple[int, str | None, int]] = deque()
        self._n_unsettled = 0
        # Batches that the source has returned and that are not among those yet: acknowledging would include them.
        self._in_hand = 0
        self._ids = {"source": source.name}
        self._states = LineBudget()
        self._rejections = LineBudget()
        self._reported_error: str | None = None

    async def run(self) -> None:
        """Reads the source for ever."""
        while True:
            connected_ns: int | None = None
            messages = self.health.messages
            try:
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        await self.source.connect(self._cursor)
                    _raise_if_cancelled()
                    connected_ns = self._clock.mono_ns()
                    self.health.note_connected()
                    await self._read_on()
                finally:
                    await self._close()
            except Exception as error:
                if self.health.messages > messages or (
                    connected_ns is not None and self._clock.mono_ns() - connected_ns >= LASTING_NS
                ):
                    self._attempts = 0
                self.health.note_lost(self._described(error), is_failed=connected_ns is None)
                if connected_ns is not None and self._on_lost is not None:
                    self._on_lost()
            _raise_if_cancelled()
            await asyncio.sleep(self._pause_seconds())

    async def _read_on(self) -> None:
        """Reads until the connection is lost."""
        settling: asyncio.Task[None] | None = None
        reading: asyncio.Task[Batch] | None = None
        try:
            while True:
                if reading is None and self._n_unsettled < MAX_UNSETTLED:
                    reading = asyncio.ensure_future(self._read())
                if settling is None and self._unsettled:
                    settling = asyncio.ensure_future(self._settle())
                self.health.is_held = reading is None
                await asyncio.wait([task for task in (reading, settling) if task], return_when=asyncio.FIRST_COMPLETED)
                if settling is not None and settling.done():
                    done, settling = settling, None
                    done.result()
                if reading is not None and reading.done():
                    done_reading, reading = reading, None
                    await self._publish_whole(done_reading.result())
        finally:
            self.health.is_held = False
            await _end(reading)
            try:
                if reading is not None and not reading.cancelled() and reading.exception() is None:
                    # It has come at the last moment, and not every transport would bring it again.
                    await self._publish_whole(reading.result())
            finally:
                await self._end_settling(settling)

    async def _read(self) -> Batch:
        batch = await self.source.read()
        self._in_hand += 1
        return batch

    async def _publish_whole(self, batch: Batch) -> None:
        """Publishes a batch to its end, even if this task is cancelled meanwhile: half of it would come again."""
        publishing = asyncio.ensure_future(self._publish(batch))
        try:
            await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await asyncio.wait([publishing], timeout=SETTLE_SECONDS)
            publishing.cancel()
            raise

    async def _publish(self, batch: Batch) -> None:
        health = self.health
        health.note_messages(batch.messages)
        health.gaps += batch.gaps
        if batch.rejected:
            self._note_rejected(len(batch.rejected), batch.rejected[0])
        health.is_held = True
        taken = await self._gate.take_read(batch.events, source=self.source.name, cursor=batch.cursor)
        self._note_outcome(taken)
        if not taken.is_kept:
            self._cursor = self._durable_cursor
            raise _NotKept("the store is full; what it has dropped is read again")
        self._cursor = batch.cursor or self._cursor
        self._unsettled.append((taken.position, batch.cursor, max(1, len(batch.events))))
        self._n_unsettled += self._unsettled[-1][2]
        self._in_hand -= 1

    async def _settle(self) -> None:
        """Waits until every batch that is published is on disk, and acknowledges them; if newer ones are read or waited
        for by then, they are acknowledged with those."""
        position, _, _ = self._unsettled[-1]
        number = len(self._unsettled)
        await self._gate.settle(position)
        for _ in range(number):
            _, cursor, count = self._unsettled.popleft()
            self._n_unsettled -= count
            self._durable_cursor = cursor or self._durable_cursor
        if not self._unsettled and not self._in_hand:
            await self.source.acknowledge()

    async def _end_settling(self, settling: asyncio.Task[None] | None) -> None:
        """Gives the disk a moment, so that what is on it in time is acknowledged over the same connection."""
        with suppress(Exception):
            async with asyncio.timeout(SETTLE_SECONDS):
                if settling is not None:
                    await settling
                if self._unsettled:
                    await self._settle()
        await _end(settling)
        self._unsettled.clear()
        self._n_unsettled = self._in_hand = 0

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.source.close()
        except Exception as error:
            logger.debug("source %s: closing failed: %r", self.source.name, error)

    def _pause_seconds(self) -> float:
        bound = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._attempts, 16))
        self._attempts += 1
        return random.uniform(0.0, bound)

    # -- what is said of it

    def _note_outcome(self, taken: Taken) -> None:
        outcome = taken.outcome
        self.health.events += outcome.accepted + outcome.duplicates
        if outcome.rejected:
            self._note_rejected(outcome.rejected, str(outcome.faults[0]["error"]))

    def _note_rejected(self, number: int, why: str) -> None:
        self.health.rejected += number
        left_out = self._rejections.take()
        if left_out is not None:
            logger.warning(
                "source %s: %d %s rejected: %s%s",
                self.source.name, number, "message is" if number == 1 else "messages are", why, _and_more(left_out),
                extra={"ids": self._ids},
            )  # fmt: skip

    def _described(self, error: Exception) -> str:
        """Returns the error for people. An unexpected one, a defect of ours or of a library, is also logged once, with
        its traceback."""
        if isinstance(error, (OSError, EOFError, SourceError, _NotKept)):
            if isinstance(error, TimeoutError) and not str(error):
                return f"no answer within {CONNECT_SECONDS:g} s"
            return str(error) or ("the connection has ended" if isinstance(error, EOFError) else repr(error))
        described = f"{type(error).__name__}: {error}"
        if described != self._reported_error:
            self._reported_error = described
            logger.error("source %s failed unexpectedly", self.source.name, exc_info=error, extra={"ids": self._ids})
        return described

    def _on_change(self, old: State, new: State) -> None:
        left_out = self._states.take()
        if left_out is None:
            return
        health, more = self.health, _and_more(left_out)
        if new == "silent":
            logger.warning(
                "source %s is silent: connected, but no message for %.0f s%s",
                self.source.name, health.silence_seconds, more, extra={"ids": self._ids},
            )  # fmt: skip
        elif new == "connected":
            how = "brings messages again" if old == "silent" else "is connected"
            logger.info("source %s %s%s", self.source.name, how, more, extra={"ids": self._ids})
        elif new == "connecting":
            logger.warning(
                "source %s has lost its connection: %s; connecting again%s", self.source.name, health.error, more,
                extra={"ids": self._ids},
            )  # fmt: skip
        else:
            logger.warning(
                "source %s cannot be connected to: %s; trying again%s", self.source.name, health.error, more,
                extra={"ids": self._ids},
            )  # fmt: skip


class _NotKept(Exception):
    """The store has dropped rows of a batch."""


def _raise_if_cancelled() -> None:
    """Raises the cancellation of this task that a library has swallowed, as `asyncio.wait_for` of Python 3.11 does when
    the outcome that it waits for comes at the same moment. Otherwise the source would run on, and the server never
    end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _end(task: asyncio.Task[Batch] | asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _and_more(left_out: int) -> str:
    return f" ({left_out} such lines before were left out)" if left_out else ""
