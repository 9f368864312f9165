"""The hub's side of edges on other hosts: publishes frames and documents to them, and answers their questions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from observability.clocks.clock import Clock
from observability.cluster.batches import BatchAnswerer, Take
from observability.cluster.desk import Desk
from observability.cluster.failover.frame_numbers import FrameNumbers
from observability.cluster.failover.lease import Lease, LeaseKeeper, holder_of
from observability.cluster.failover.presence import HostStatus, Presence, status_of
from observability.cluster.failover.records import RecordShipper
from observability.cluster.failover.standby import state_of
from observability.cluster.frame_publisher import FramePublisher
from observability.cluster.lanes import LanePublisher, ReadNewer
from observability.cluster.link import Link
from observability.cluster.questions import QuestionAnswerer
from observability.cluster.server_check import check_hub_access, say_what_is_not_known
from observability.config.config import Config
from observability.processes.rpc import RpcHandler
from observability.snapshot.frames import FRAMES_KEPT, Frame
from observability.snapshot.hub import Hub
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.shared_frames import shown_clock_ns
from observability.store.store import Store

logger = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class HubSide:
    """What the hub does for other hosts."""

    answer: RpcHandler
    """Answers a question of an edge."""
    take: Take
    """Takes a batch of an engine."""
    read_newer: ReadNewer
    """Reads the entries of a lane."""


class ChangedDocuments:
    """Leaves out the documents that edges have: those that are still what an earlier message had. Each is sent again in
    half the time that a message is kept, so that an edge which has just started gets all of them."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[bytes | None, int]] = {}
        self._messages = 0

    def of(self, documents: SharedDocuments) -> SharedDocuments:
        # hot: once per tick of a hub that publishes
        self._messages += 1
        bodies: dict[str, bytes | None] = {}
        for name, body in documents.by_name.items():
            sent, at = self._sent.get(name, (None, 0))
            if body is None or (body is sent and self._messages - at < FRAMES_KEPT // 2):
                bodies[name] = None
            else:
                bodies[name] = body
                self._sent[name] = body, self._messages
        return SharedDocuments(bodies, documents.old)


class EdgeGateway:
    """One hub's connection to the NATS servers of its desk, and what goes over it."""

    def __init__(
        self,
        config: Config,
        desk: Desk,
        hub: Hub,
        clock: Clock,
        calls: HubSide,
        store: Store | None,
        always: Collection[str],
        on_replaced: Callable[[str], None],
    ) -> None:
        """The documents in `always` are current in every message. Calls `on_replaced` with the reason once another hub
        has taken over; this one must then do nothing more."""
        self._hub = hub
        self._always = frozenset(always)
        self.link = Link(desk, clock)
        self.link.add_opener(lambda connection: check_hub_access(connection, desk))
        self._lease = Lease(self.link, config.cluster_lease, holder_of(config.data_dir))
        self._keeper = LeaseKeeper(self.link, self._lease, hub.counters, on_replaced)
        self._publisher = FramePublisher(
            self.link, hub.frames.epoch, config.metric_collection_interval, hub.counters, on_replaced
        )
        self.numbers = FrameNumbers(hub.frames, config.metric_collection_interval, self.link.server_ns)
        """Belongs into the checkpoint."""
        self._lanes = LanePublisher(self.link, calls.read_newer, hub.counters)
        self._shipper: RecordShipper | None = None
        if store is not None:
            self._shipper = RecordShipper(self.link, state_of(store), hub.counters, on_replaced)
            store.ship_by(self._shipper.ship)
        self.presence = Presence(self.link, clock, self._status, hub.counters)
        self._changed = ChangedDocuments()
        self._connections = 0
        self._questions = QuestionAnswerer(self.link, calls.answer)
        self._batches = BatchAnswerer(self.link, calls.take)

    @property
    def trouble(self) -> str | None:
        """Why edges do not get the newest snapshot; None if they do."""
        return self.link.trouble or self._publisher.trouble

    async def open(self) -> None:
        """Connects. Raises OSError, EOFError or SourceError."""
        await self.link.open()
        if self._shipper is not None:
            say_what_is_not_known()
        self.link.start()
        self._keeper.start()
        self._publisher.start()
        self.presence.start()

    def count_on(self) -> None:
        """Lets the frames of this hub count on from those of the hub before it. Call it once the checkpoint is loaded,
        and before the first frame."""
        self.numbers.continue_after(self._publisher.newest_seq)

    @property
    def newest_lane_seq(self) -> int:
        """The number of the newest lane entry that an earlier hub has published; known once this is open."""
        return self._lanes.newest_seq

    def start(self) -> None:
        """Begins to publish the lanes. Call it once they hold what they held in the process before."""
        self._lanes.start()

    def start_answering(self) -> None:
        """Begins to take questions and batches. Call it once all that answers them is there: until then, what a sender
        has sent could be counted and not stored."""
        self._questions.start()
        self._batches.start()

    def wake_lanes(self) -> None:
        """Says that a lane has a new entry."""
        self._lanes.wake()

    async def drain(self) -> None:
        """Answers the questions and the batches that have come, and refuses those that come after them."""
        await self._questions.drain(DRAIN_SECONDS)
        await self._batches.drain(DRAIN_SECONDS)

    async def stop(self) -> None:
        """Gives the lease back. Call it once the store has stopped."""
        await self.presence.stop()
        await self._publisher.stop()
        await self._lanes.stop()
        await self._keeper.stop()
        await self.link.close()

    def send_frame(self, frame: Frame) -> None:
        # hot: once per tick of a hub that publishes
        if not self._lease.is_held:
            return
        if self.link.connections != self._connections:
            # What was sent over the last connection may not have come.
            self._connections, self._changed = self.link.connections, ChangedDocuments()
        documents = self._changed.of(self._hub.documents_to_share(self._always))
        self._publisher.put(frame, documents, shown_clock_ns(self._hub.event_clock, frame))

    def _status(self, _: HostStatus | None) -> HostStatus:
        frames = self._hub.frames
        return status_of(
            "hub",
            term=self._lease.revision if self._lease.is_held else 0,
            since_ns=self._lease.since_ns,
            epoch=frames.epoch,
            seq=frames.latest_seq,
            log_seq=None if self._shipper is None else self._shipper.seq,
        )
