"""The broadcast: sends each frame to every client, without encoding or copying anything per client, and without
waiting for a slow one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from observability.clocks.clock import Clock
from observability.memory.counters import Counters
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame

# The loop runs between chunks, so that a REST answer waits for one chunk and not for all clients.
CHUNK_CLIENTS: Final = 128


class Receiver(Protocol):
    """A client of the broadcast."""

    @property
    def buffered_bytes(self) -> Callable[[], int]: ...

    def send_frame(self, frame: Frame) -> None: ...

    def skip_frame(self) -> None: ...

    def send_text(self, data: bytes) -> None: ...


class Broadcaster:
    """Sends each frame to every client whose transport buffer is empty. Other clients are skipped and counted; they get
    a later frame instead, which is complete and replaces the skipped one."""

    def __init__(self, counters: Counters, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self.clients: dict[Receiver, None] = {}
        self.fanout = DurationHistogram()
        """Durations from the tick until the last byte of its frame was handed to the kernel."""
        self._clock = clock
        self._loop = loop
        self._active = counters.gauge("websocket_connections_active", "WebSocket clients connected now")
        self._sent = counters.counter("websocket_messages_sent_total", "Snapshots handed to the kernel, all clients")
        self._skipped = counters.counter(
            "websocket_frames_skipped_total", "Snapshots not sent to a client that had not taken the one before"
        )
        self._duration = counters.histogram(
            "websocket_send_duration_seconds", "From the tick to the last byte handed to the kernel, per snapshot"
        )
        self._sent_listeners: list[Callable[[Frame, int], None]] = []
        self._frame: Frame | None = None
        self._waiting: Sequence[Receiver] = ()
        self._position = 0

    @property
    def messages_sent(self) -> int:
        return self._sent.value

    @property
    def frames_skipped(self) -> int:
        return self._skipped.value

    @property
    def clients_behind(self) -> int:
        """Clients that have not read everything sent to them."""
        return sum(1 for client in self.clients if client.buffered_bytes())

    def add_sent_listener(self, listener: Callable[[Frame, int], None]) -> None:
        """Calls `listener` with each frame that has been sent to every client, and the nanoseconds since its tick."""
        self._sent_listeners.append(listener)

    def add(self, client: Receiver) -> None:
        self.clients[client] = None
        self._active.set(len(self.clients))

    def discard(self, client: Receiver) -> None:
        self.clients.pop(client, None)
        self._active.set(len(self.clients))

    def send_frame(self, frame: Frame) -> None:
        """Starts to send `frame`. Clients that still wait for the previous frame skip that one."""
        in_progress = self._position < len(self._waiting)
        if in_progress:
            late = self._waiting[self._position :]
            for client in late:
                client.skip_frame()
            self._skipped.add(len(late))
        self._frame = frame
        self._waiting = tuple(self.clients)
        self._position = 0
        if not in_progress:  # otherwise the chunk that is scheduled sends the new frame
            self._send_chunk()

    def _send_chunk(self) -> None:
        # hot: once per client per tick (benchmarks/bench_fanout.py)
        frame = self._frame
        assert frame is not None
        end = self._position + CHUNK_CLIENTS
        chunk = self._waiting[self._position : end]
        skipped = 0
        for client in chunk:
            if client.buffered_bytes():
                client.skip_frame()
                skipped += 1
            else:
                client.send_frame(frame)
        self._position = end
        self._sent.add(len(chunk) - skipped)
        if skipped:
            self._skipped.add(skipped)
        if end < len(self._waiting):
            self._loop.call_soon(self._send_chunk)
        elif self._waiting:
            duration_ns = self._clock.mono_ns() - frame.mono_ns
            self._duration.record(duration_ns)
            self.fanout.record(duration_ns)
            for listener in self._sent_listeners:
                listener(frame, duration_ns)
