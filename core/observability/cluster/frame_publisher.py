"""The hub's side of several machines: publishes each frame once, in order, as the only hub of its desk.

Each message says which number its predecessor in the stream has. The servers refuse one that is not the next
(`Nats-Expected-Last-Sequence`), so two hubs can never publish in turns: who is refused looks whose frame is the newest,
and if it is another hub's, that hub has taken over. One frame at a time is on its way: of several, those behind the
first could be the next ones by chance, behind frames of the new hub, when the network delivers them late.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.cluster.frame_message import EPOCH, SEQ, FrameMessage, pack_frame
from observability.cluster.link import Link, last_message
from observability.cluster.streams import append, make_frame_stream
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.snapshot.frames import FRAMES_KEPT, Frame
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.shared_frames import FrameParts
from observability.sources.brokers.nats_connection import NatsConnection

logger = logging.getLogger(__name__)

# The servers count them as part of a message.
_HEADERS_BYTES: Final = 512


class FramePublisher:
    """Publishes the frames of one hub. What cannot be sent is counted, and not sent later: the next frame is newer."""

    def __init__(
        self,
        link: Link,
        epoch: str,
        interval_seconds: float,
        counters: Counters,
        on_replaced: Callable[[str], None],
    ) -> None:
        """Calls `on_replaced` once another hub publishes; this one must do nothing more then."""
        self.newest_seq = 0
        """The number of the newest frame that an earlier hub has published; known once the link is open."""
        self.trouble: str | None = None
        """Why edges do not get the newest frame; None if they do."""
        self._link = link
        self._epoch = epoch
        self._interval_seconds = interval_seconds
        self._on_replaced = on_replaced
        self._parts = FrameParts()
        self._connection: NatsConnection | None = None
        self._expected = 0
        self._has_published = False
        self._waiting: deque[tuple[Frame, SharedDocuments, int | None]] = deque(maxlen=FRAMES_KEPT)
        self._wake = asyncio.Event()
        self._publishing: asyncio.Task[None] | None = None
        self._published = counters.counter("cluster_frames_published_total", "Frames that the NATS servers have stored")
        self._unpublished = counters.counter(
            "cluster_frames_unpublished_total", "Frames that could not be published, and did not reach edges"
        )
        self._bytes = counters.counter("cluster_published_bytes_total", "Bytes of published frames, compressed")
        self._duration = counters.histogram(
            "cluster_publish_duration_seconds", "Time from publishing a frame to having it stored by the NATS servers"
        )
        link.add_opener(self._begin)

    def start(self) -> None:
        self._publishing = asyncio.get_running_loop().create_task(self._publish_all())

    async def stop(self) -> None:
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)

    def put(self, frame: Frame, documents: SharedDocuments, clock_ns: int | None) -> None:
        """Queues a frame with the documents of its tick. `clock_ns` is what workers show as the time, if it is not
        their host's."""
        # hot: once per tick of a hub that publishes
        if len(self._waiting) == FRAMES_KEPT:
            self._unpublished.add()
        self._waiting.append((frame, documents, clock_ns))
        self._wake.set()

    async def _begin(self, connection: NatsConnection) -> None:
        """Looks whose frames are in the stream, and continues behind them. Raises EOFError and SourceError."""
        info = await make_frame_stream(self._link, connection)
        last_seq = info["state"]["last_seq"]
        epoch, seq = await self._newest(connection)
        if self._has_published and epoch not in ("", self._epoch):
            self._on_replaced(f"another hub publishes to desk {self._link.desk.name}: its epoch is {epoch}")
            raise SourceError("another hub has taken over")
        self.newest_seq = seq
        self._expected, self._connection = last_seq, connection

    async def _newest(self, connection: NatsConnection) -> tuple[str, int]:
        """Returns epoch and number of the newest frame of the stream, empty and 0 without one."""
        desk = self._link.desk
        headers = (await last_message(connection, desk.frame_stream, desk.frame_subject)).headers or {}
        return headers.get(EPOCH, ""), int(headers.get(SEQ, "0"))

    async def _publish_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._publish(*self._waiting.popleft())

    async def _publish(self, frame: Frame, documents: SharedDocuments, clock_ns: int | None) -> None:
        # hot: once per tick of a hub that publishes
        connection, link = self._connection, self._link
        if connection is None or link.connection is not connection:
            self.trouble = f"no connection to the NATS servers: {link.trouble}"
            self._unpublished.add()
            return
        message = FrameMessage(
            epoch=frame.epoch,
            seq=frame.seq,
            ts_ns=frame.ts_ns,
            clock_ns=clock_ns or 0,
            published_ns=link.server_ns(),
            interval_ns=round(self._interval_seconds * NS_PER_S),
            parts=self._parts.of(frame),
            documents=documents.by_name,
            old=documents.old,
        )
        headers, body = pack_frame(message)
        if len(body) + _HEADERS_BYTES > connection.max_payload:
            self._refuse_size(len(body), connection.max_payload)
            return
        asked_ns = time.monotonic_ns()
        try:
            answer = await append(connection, link.desk.frame_subject, body, headers, self._expected)
            if "seq" not in answer:
                refusal = answer.get("error", {}).get("description", "its stream is gone")
                raise SourceError(f"a frame was refused: {refusal}")
        except (EOFError, SourceError) as error:
            # The next connection looks whose frame is the newest.
            self._unpublished.add()
            self._connection = None
            connection.end(error)
            return
        self._expected = answer["seq"]
        self._duration.record(time.monotonic_ns() - asked_ns)
        self.trouble, self._has_published = None, True
        self._published.add()
        self._bytes.add(len(body))

    def _refuse_size(self, size: int, most: int) -> None:
        self._unpublished.add()
        is_new = self.trouble is None
        self.trouble = (
            f"a frame of {size:,} compressed bytes is larger than the {most:,} bytes that the NATS servers take"
        )
        if is_new:
            logger.error("%s: edges do not get it; raise max_payload in the servers' configuration", self.trouble)
