"""The broadcast: sends each frame to every subscriber, without encoding or copying anything per subscriber, and without
waiting for a slow one.

    subscriber   in a cohort   gets the frame by the cohort's prepared send     (most of them, most of the time)
                 on its own    has lanes, deltas, missed frames or a `lag` message due, or bytes unsent

A subscriber that falls behind leaves its cohort when its transport reports unsent bytes. It joins one again with the
first frame that it is sent whole. Where the server is late itself, the members of a cohort stay, and it tells them how
many frames they have skipped: a busy server does not do more per client than one with time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS
from observability.errors import ConfigError
from observability.listeners import ERRORS, Listeners
from observability.memory.counters import Counters
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame
from observability.stream.batches.aio import WriteContext
from observability.stream.batches.block import Batches
from observability.stream.batches.io_uring import SendRing
from observability.stream.cohort import (
    CALM_CHUNK_CLIENTS,
    CHUNK_CLIENTS,
    BatchSends,
    Cohort,
    CohortKey,
    Member,
    PicowsSends,
    Sends,
    frame_header,
    no_header,
)

logger = logging.getLogger(__name__)

# A prime: the first client to be sent a frame moves on by so many with each frame, so that none is always the last.
_ROTATION: Final = 61
# While a frame is being sent, and a crowd keeps the loop busy, the frame gets this many times the CPU time that the
# loop spends on the crowd: clients that connect all at once must not keep a snapshot from those that are connected. A
# request waits for at most about `_MAX_TURN_NS` nevertheless (observability bench --only storm). A few requests and
# pongs are no crowd: a request waits for one chunk then (observability bench --only beside). CPU time is what
# counts, because other programs that have the processor are no crowd either.
_SHARE: Final = 3
_CROWD_NS: Final = NS_PER_MS // 2
_MAX_TURN_NS: Final = 8 * NS_PER_MS


# Chunks grow once so many frames have been sent and nobody has asked for anything.
CALM_FRAMES: Final = 20


class Receiver(Member, Protocol):
    """A subscriber of the broadcast."""

    last_seq: int
    """The frame that was sent to it on its own last."""

    def cohort_key(self) -> CohortKey | None:
        """Returns the key of the cohort that could send the next frame; None if more than a frame is due."""

    def send_frame(self, frame: Frame) -> None: ...

    def send_text(self, data: bytes) -> None: ...


class Broadcaster:
    """Sends each frame to every subscriber whose transport buffer is empty. Other subscribers are skipped and counted;
    they get a later frame instead, which is complete and replaces the skipped one."""

    def __init__(
        self,
        counters: Counters,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        batches: Batches | None = None,
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """With `batches`, the frames of plain TCP connections are sent by them; otherwise by their transports. `cpu_ns`
        returns the CPU time of the loop's thread."""
        self.clients: dict[Receiver, Cohort[Receiver] | None] = {}
        """Every subscriber, with its cohort if it is in one."""
        self.clients_behind = 0
        """Subscribers that have not read everything sent to them."""
        self.fanout = DurationHistogram()
        """Durations from the tick until the last byte of its frame was handed to the kernel."""
        self._batches = batches
        self._clock = clock
        self._cpu_ns = cpu_ns
        self._loop = loop
        self._active = counters.gauge("websocket_connections_active", "Clients of the stream connected now")
        self._sent = counters.counter("websocket_messages_sent_total", "Snapshots handed to the kernel, all clients")
        self._skipped = counters.counter(
            "websocket_frames_skipped_total", "Snapshots not sent to a client that had not taken the one before"
        )
        self._duration = counters.histogram(
            "websocket_send_duration_seconds", "From the tick to the last byte handed to the kernel, per snapshot"
        )
        self._sent_listeners: Listeners[Frame, int] = Listeners("a frame that was sent", counters.counter(*ERRORS))
        self._cohorts: dict[CohortKey, Cohort[Receiver]] = {}
        self._others: dict[Receiver, None] = {}
        # Of the frame that is being sent, in this order: subscribers on their own, those first that did not get the one
        # before; chunks of cohorts; more subscribers on their own.
        self._frame: Frame | None = None
        self._chunk_clients = CHUNK_CLIENTS
        self._overdue: deque[Receiver] = deque()
        self._chunks: deque[tuple[Cohort[Receiver], int, int]] = deque()
        self._waiting: deque[Receiver] = deque()
        self._is_sending = False
        self._is_turn_due = False
        self._paused_ns = 0

    @property
    def messages_sent(self) -> int:
        return self._sent.value

    @property
    def frames_skipped(self) -> int:
        return self._skipped.value

    def add_sent_listener(self, listener: Callable[[Frame, int], None]) -> None:
        """Calls `listener` with each frame that has been sent to every client, and the nanoseconds since its tick."""
        self._sent_listeners.add(listener)

    def add(self, client: Receiver) -> None:
        """Adds a subscriber that has got the newest frame, or has it due."""
        self.clients[client] = None
        self._others[client] = None
        self._active.set(len(self.clients))
        self._join(client)

    def discard(self, client: Receiver) -> None:
        self.leave_cohort(client)
        self._others.pop(client, None)
        if self.clients.pop(client, self) is not self:
            self._active.set(len(self.clients))

    def leave_cohort(self, client: Receiver) -> None:
        """Sends to `client` on its own from now on: it has more due than the frame, or cannot be sent anything."""
        cohort = self.clients.get(client)
        if cohort is None:
            return
        skipped, index = cohort.skipped_by(client), cohort.discard(client)
        if skipped:
            client.skip_frames(skipped)
        if any(chunk is cohort and start <= index < end for chunk, start, end in self._chunks):
            self._waiting.append(client)
        if not len(cohort) and not self._is_sending:
            del self._cohorts[cohort.key]
        self.clients[client] = None
        self._others[client] = None

    def ping(self, client: Receiver) -> bool:
        """Sends a ping to `client` with the next frame, at no cost. Returns False if it has to be sent by itself."""
        cohort = self.clients.get(client)
        return cohort is not None and cohort.ping(client)

    def send_frame(self, frame: Frame, chunk_clients: int = CHUNK_CLIENTS) -> None:
        """Starts to send `frame`, in chunks of so many clients. Subscribers that still wait for the previous frame skip
        that one."""
        was_sending = self._is_sending
        if not self.clients and not was_sending:
            self._frame = frame
            return
        overdue, stops = self._skip_rest() if was_sending else ({}, {})
        before = self._frame
        if before is not None:
            # The first number of another hub is the next but one.
            missed = frame.seq - before.seq - (1 if before.epoch == frame.epoch else 2)
            if missed > 0:
                self._skip_missed(missed)
        self._frame = frame
        self._is_sending = True
        room = self._chunk_clients = chunk_clients
        cohorts = deque(self._cohorts.values())
        cohorts.rotate(frame.seq)
        # All that did not get the previous frame come before those that did.
        self._overdue.extend(overdue)
        for cohort in (*stops, *(cohort for cohort in cohorts if cohort not in stops)):
            room = self._plan(cohort, frame, room, stops.get(cohort, frame.seq * _ROTATION))
        others = deque(client for client in self._others if client not in overdue)
        others.rotate(frame.seq * _ROTATION)
        # Those on their own come first on every second frame, unless some client has not got the one before.
        (self._waiting if was_sending or frame.seq % 2 else self._overdue).extend(others)
        if not was_sending:  # otherwise the turn that is scheduled sends the new frame
            self._paused_ns = self._cpu_ns()
            self._send_turn()

    def catch_up(self) -> None:
        """Sends more of the frame that is being sent, before the turn of the loop that would."""
        if self._is_sending:
            self._send_turn()

    def _plan(self, cohort: Cohort[Receiver], frame: Frame, room: int, first: int) -> int:
        """Cuts a cohort into chunks that begin with its member `first`, modulo their number. The first chunk has `room`
        for so many; returns the room left in the last."""
        size = cohort.begin(frame)
        first = first % size if size else 0
        for start, end in ((first, size), (0, first)):
            while start < end:
                stop = min(start + room, end)
                self._chunks.append((cohort, start, stop))
                room = room - (stop - start) or self._chunk_clients
                start = stop
        return room

    def _send_turn(self) -> None:
        """Sends chunks for one turn of the loop: one, or several if the loop has been busy with a crowd."""
        # hot: once per chunk of clients per tick (observability bench --only fanout)
        frame, cpu_ns = self._frame, self._cpu_ns
        assert frame is not None
        began_ns = now_ns = cpu_ns()
        elsewhere_ns = began_ns - self._paused_ns
        end_ns = began_ns + min(elsewhere_ns * _SHARE, _MAX_TURN_NS) if elsewhere_ns >= _CROWD_NS else began_ns
        while True:
            self._send_chunk(frame)
            if not (self._chunks or self._waiting or self._overdue):
                self._finish(frame)
                return
            now_ns = cpu_ns()
            if now_ns >= end_ns:
                break
        self._paused_ns = now_ns
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._is_turn_due = False
        if self._is_sending:
            self._send_turn()

    def _send_chunk(self, frame: Frame) -> None:
        # hot: once per chunk of clients per tick (observability bench --only fanout)
        room = self._chunk_clients
        if self._overdue:
            room = self._send_to_others(self._overdue, frame, room)
        while room and self._chunks:
            cohort, start, end = self._chunks[0]
            if end - start > room:
                return
            room -= end - start
            del self._chunks[0]
            sent, behind = cohort.send(start, end)
            self._sent.add(sent)
            for member in behind:
                self.leave_cohort(member)
        if room and self._waiting:
            self._send_to_others(self._waiting, frame, room)

    def _send_to_others(self, others: deque[Receiver], frame: Frame, room: int) -> int:
        """Sends to as many subscribers on their own as there is room for; returns the room that is left."""
        sent = skipped = 0
        count = min(room, len(others))
        for _ in range(count):
            client = others.popleft()
            if client not in self._others or client.last_seq == frame.seq:
                continue
            if client.buffered_bytes():
                client.skip_frames(1, frame.seq)
                skipped += 1
            else:
                client.send_frame(frame)
                sent += 1
                self._join(client)
        self._sent.add(sent)
        if skipped:
            self._skipped.add(skipped)
        return room - count

    def _finish(self, frame: Frame) -> None:
        self._is_sending = False
        for cohort in tuple(self._cohorts.values()):
            cohort.end()
            if not len(cohort):
                del self._cohorts[cohort.key]
        if self.clients:
            duration_ns = self._clock.mono_ns() - frame.mono_ns
            self._duration.record(duration_ns)
            self.fanout.record(duration_ns)
            self._sent_listeners.call(frame, duration_ns)

    def _skip_rest(self) -> tuple[dict[Receiver, None], dict[Cohort[Receiver], int]]:
        """Skips the frame for everyone that still waits for it. Returns the subscribers on their own that skip it, and
        the first member of each cohort that does."""
        frame = self._frame
        assert frame is not None
        overdue: dict[Receiver, None] = {}
        stops: dict[Cohort[Receiver], int] = {}
        chunks, others = tuple(self._chunks), (*self._overdue, *self._waiting)
        self._overdue.clear()
        self._chunks.clear()
        self._waiting.clear()
        for client in others:
            if client in self._others and client.last_seq != frame.seq and client not in overdue:
                client.skip_frames()
                overdue[client] = None
        skipped = len(overdue)
        for cohort, start, end in chunks:
            skipped += cohort.skip(start, end)
            stops.setdefault(cohort, start)
        self._skipped.add(skipped)
        return overdue, stops

    def _skip_missed(self, count: int) -> None:
        """Skips frames that this worker was too late to read, for everyone."""
        self._skipped.add(count * len(self.clients))
        for cohort in self._cohorts.values():
            cohort.skip_all(count)
        for client in tuple(self._others):
            client.skip_frames(count)

    def _join(self, client: Receiver) -> None:
        """Moves a subscriber that has only frames due into their cohort."""
        key = client.cohort_key()
        if key is None or client.buffered_bytes():
            return
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(key, self._make_sends(key))
        if cohort.add(client):
            self.clients[client] = cohort
            self._others.pop(client, None)

    def _make_sends(self, key: CohortKey) -> Sends:
        if self._batches is None or not key.is_plain:
            return PicowsSends()
        if key.takes_events:
            return BatchSends(self._batches, no_header)
        return BatchSends(self._batches, frame_header, takes_pings=True)


class ChunkSize:
    """How many clients the chunks of a frame have: more while no request would have to wait for one of them."""

    def __init__(self) -> None:
        self._answers = 0
        self._calm_frames = 0

    def of_frame(self, answers: int) -> int:
        """Returns the size for the next frame; `answers` is how many requests have been answered so far."""
        self._calm_frames = self._calm_frames + 1 if answers == self._answers else 0
        self._answers = answers
        return CHUNK_CLIENTS if self._calm_frames < CALM_FRAMES else CALM_CHUNK_CLIENTS


def open_batches(broadcast: str, max_sockets: int) -> Batches | None:
    """Returns what hands many sends to the kernel by one system call: io_uring unless `broadcast` is `picows`, or Linux
    AIO where there is none; None where there is neither.

    Raises ConfigError if `broadcast` is `uring` and there is none.
    """
    if broadcast != "picows":
        try:
            ring = SendRing(max_sockets)
        except OSError as error:
            if broadcast == "uring":
                raise ConfigError(
                    [f"BROADCAST uring: the kernel gives no io_uring ({error}), expected auto or picows"]
                ) from None
            logger.info("the kernel gives no io_uring (%s)", error)
        else:
            logger.info("frames are sent by io_uring, many clients with one system call")
            return ring
    try:
        context = WriteContext()
    except OSError as error:
        logger.info("frames are sent by one system call per client: there is no Linux AIO (%s)", error)
        return None
    logger.info("frames are sent by Linux AIO, many clients with one system call")
    return context
