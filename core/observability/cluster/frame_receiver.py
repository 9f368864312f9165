"""The edge's side of several machines: writes the hub's frames and documents into the mapping, where workers find them.

The first messages are those that the stream has kept, so that a client may resume at an edge that has just started.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.cluster.follower import Place, StreamFollower
from observability.cluster.frame_message import unpack_frame
from observability.cluster.link import Link
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.shared_frames import PartsWriter
from observability.sources.brokers.nats_connection import Message

logger = logging.getLogger(__name__)

# The mapping keeps an epoch in a signed word of 64 bits.
_EPOCH_LIMIT: Final = 1 << 63
# More hubs than take each other's place while the stream keeps their frames.
EPOCHS_KEPT: Final = 64


class FrameReceiver:
    """Follows the stream of frames. Calls `on_frame` after each one, and `on_new_hub` before the first one of another
    hub than that of the one before."""

    def __init__(
        self,
        link: Link,
        mapping: SharedMapping,
        counters: Counters,
        clock: Clock,
        interval_seconds: float,
        on_frame: Callable[[], None],
        on_new_hub: Callable[[], None],
    ) -> None:
        self._link = link
        self._clock = clock
        self._interval_ns = round(interval_seconds * NS_PER_S)
        self._is_interval_told = False
        self.epoch = ""
        self.seq = 0
        """Epoch and number of the newest frame that has come."""
        self.lag_ns: int | None = None
        """From the hub's publishing of it to its arrival; None before the first one."""
        self._on_frame = on_frame
        self._on_new_hub = on_new_hub
        self._shown = _newest_in(mapping)
        """Epoch and number of the newest frame that clients have had, from this process or one before it."""
        self._epoch = None if self._shown is None else self._shown[0]
        self._superseded: deque[int] = deque(maxlen=EPOCHS_KEPT)
        """The epochs of hubs whose place another one has taken."""
        self._writer = PartsWriter(mapping, counters)
        self._documents: dict[str, bytes | None] = {}
        """The newest version of each document that has come."""
        self._is_refusing = False
        self._received = counters.counter("cluster_frames_received_total", "Frames of the hub that this edge got")
        self._refused = counters.counter(
            "cluster_frames_refused_total", "Frames that were damaged on their way, and were not shown"
        )
        self._bytes = counters.counter("cluster_received_bytes_total", "Bytes of frames received, compressed")
        self._lag = counters.float_gauge(
            "cluster_lag_seconds", "Time from the hub's publishing of the newest frame to its arrival at this edge"
        )
        self._lags = counters.histogram(
            "cluster_frame_lag_seconds", "Time from the hub's publishing of a frame to its arrival at this edge"
        )
        self._pending = counters.gauge("cluster_frames_pending", "Frames in the stream that this edge has not got yet")
        StreamFollower(link, link.desk.frame_stream, link.desk.frame_subject, self._take)

    def _take(self, message: Message, place: Place) -> None:
        # hot: once per tick and edge
        try:
            frame = unpack_frame(message.headers, message.data)
            epoch = int(frame.epoch, 16)
            if not 0 <= epoch < _EPOCH_LIMIT:
                raise ValueError(frame.epoch)
        except (SourceError, ValueError) as error:
            self._refuse(str(error))
            return
        self._is_refusing = False
        is_shown = self._is_shown(epoch, frame.seq, place)
        if epoch != self._epoch and not is_shown:
            if self._epoch is not None:
                self._superseded.append(self._epoch)
                self._on_new_hub()
            self._epoch = epoch
        now_ns = self._link.server_ns()
        self._note(now_ns - frame.published_ns, place, len(message.data))
        if frame.interval_ns != self._interval_ns and not self._is_interval_told:
            self._is_interval_told = True
            logger.error(
                "the hub makes a frame every %g s, and METRIC_COLLECTION_INTERVAL is %g here: give both the same",
                frame.interval_ns / NS_PER_S, self._interval_ns / NS_PER_S,
            )  # fmt: skip
        for name, body in frame.documents.items():
            if body is not None or name not in self._documents:
                self._documents[name] = body
        if is_shown:
            return
        # The hub's monotonic clock says nothing here; what matters is how old the frame is.
        age_ns = max(0, now_ns - place.stored_ns)
        meta = (epoch, frame.ts_ns, self._clock.mono_ns() - age_ns, 0)
        documents = SharedDocuments(self._documents, frame.old)
        self.epoch, self.seq = frame.epoch, frame.seq
        self._shown = epoch, frame.seq
        self._writer.write(frame.seq, meta, frame.parts, documents, frame.clock_ns or None)
        self._on_frame()

    def _is_shown(self, epoch: int, seq: int, place: Place) -> bool:
        """Whether clients have had this frame, or a newer one: servers that have lost the end of the stream send all of
        it again, and so do all servers to a new process. Of a desk that was made anew, which begins with low numbers,
        the newest frame is shown."""
        if self._shown is None:
            return False
        if epoch == self._shown[0]:
            return seq <= self._shown[1]
        return epoch in self._superseded or (place.pending > 0 and seq <= self._shown[1])

    def _note(self, lag_ns: int, place: Place, size: int) -> None:
        self._received.add()
        self._bytes.add(size)
        self._pending.set(place.pending)
        self.lag_ns = max(0, lag_ns)
        self._lag.set(self.lag_ns / NS_PER_S)
        if not place.pending:
            # Those that had been kept before this edge came tell of no delay.
            self._lags.record(max(0, lag_ns))

    def _refuse(self, why: str) -> None:
        self._refused.add()
        # Each frame that is damaged may have another number in what it says.
        if not self._is_refusing:
            logger.error("a frame is not shown: %s; the one before it stays until a good one comes", why)
        self._is_refusing = True


def _newest_in(mapping: SharedMapping) -> tuple[int, int] | None:
    """Returns epoch and number of the newest frame of a mapping."""
    frames = mapping.frames()
    record = frames.copy(frames.cursor) if frames.cursor else None
    return None if record is None else (record.meta[0], record.sequence)
