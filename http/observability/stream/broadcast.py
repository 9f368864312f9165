"""The broadcast: the bytes of one frame to every client.

Nothing is encoded or copied per client here, and nobody waits for a slow reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from observability.clocks.clock import Clock
from observability.memory.counters import Counters
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame

# A turn of the loop between chunks keeps REST answers waiting for one chunk, not for all clients.
CHUNK_CLIENTS: Final = 128


class Receiver(Protocol):
    """A client of the broadcast."""

    @property
    def buffered_bytes(self) -> Callable[[], int]: ...

    def send_frame(self, frame: Frame) -> None: ...

    def skip_frame(self) -> None: ...

    def send_text(self, data: bytes) -> None: ...


class Broadcaster:
    """Sends each frame to every client whose last one has left; the others are skipped this time and counted, and get
    a newer frame instead: each frame is complete, so the newest replaces what was missed."""

    def __init__(self, counters: Counters, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self.clients: dict[Receiver, None] = {}
        self.fanout = DurationHistogram()
        """From the tick to the last byte handed to the kernel, per frame."""
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
        self.on_sent: Callable[[Frame, int], None] | None = None
        """Called with each frame that has gone to everybody, and how long after its tick that was."""
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
        """Clients that have not taken everything sent to them."""
        return sum(1 for client in self.clients if client.buffered_bytes())

    def add(self, client: Receiver) -> None:
        self.clients[client] = None
        self._active.set(len(self.clients))

    def discard(self, client: Receiver) -> None:
        self.clients.pop(client, None)
        self._active.set(len(self.clients))

    def send_frame(self, frame: Frame) -> None:
        """Starts to send `frame`; whoever still waits for the one before is skipped and gets this one."""
        in_progress = self._position < len(self._waiting)
        if in_progress:
            late = self._waiting[self._position :]
            for client in late:
                client.skip_frame()
            self._skipped.add(len(late))
        self._frame = frame
        self._waiting = tuple(self.clients)
        self._position = 0
        if not in_progress:  # else the chunk that is due goes on with the new frame
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
            if self.on_sent is not None:
                self.on_sent(frame, duration_ns)
