"""The lossless lanes over several machines: the hub writes entries to a stream, edges write them into the mapping.

    stream    | trades 1..40 | alerts 41 | trades 42 43 | ...      a message has the entries of one lane that had come
                                                                   by then; `Obs-Last` is the newest one's number

One message at a time is on its way, with the number that its predecessor in the stream must have, so that a hub which
has been replaced cannot write. After a lost connection the stream itself says which entries it lacks; the hub has them
in its ring, and older ones in its store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from observability.cluster.follower import Place, StreamFollower
from observability.cluster.link import Link, last_message
from observability.cluster.streams import append, make_stream
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.memory.entry_log import EntryLog, LoggedEntry
from observability.memory.layout import LANES
from observability.sources.brokers.nats_connection import Message, NatsConnection

logger = logging.getLogger(__name__)

LAST: Final = "Obs-Last"
# Entries of one message. A tick of a busy desk has fewer.
MAX_ENTRIES: Final = 256
# Of the stream: as many entries as an edge keeps in memory are rarely more than this.
MAX_STREAM_BYTES: Final = 64 * 1024 * 1024
PAUSE_SECONDS: Final = 0.1

ReadNewer = Callable[[str, int, int], Awaitable[Sequence[LoggedEntry]]]
"""Returns the first entries of a lane after a number, at most so many."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(list[LoggedEntry]).decode


class LanePublisher:
    """The hub's side."""

    def __init__(self, link: Link, read_newer: ReadNewer, counters: Counters) -> None:
        self.newest_seq = 0
        """The number of the newest entry that an earlier hub has published; known once the link is open."""
        self._link = link
        self._read_newer = read_newer
        self._published_seqs = dict.fromkeys(LANES, 0)
        self._expected = 0
        self._connection: NatsConnection | None = None
        self._wake = asyncio.Event()
        self._publishing: asyncio.Task[None] | None = None
        self._published = counters.counter(
            "cluster_lane_entries_published_total", "Lane entries that the NATS servers have stored"
        )
        link.add_opener(self._begin)

    def start(self) -> None:
        """Begins to publish. Call it once the lanes hold what they held in the process before."""
        self._publishing = asyncio.get_running_loop().create_task(self._publish_all())

    async def stop(self) -> None:
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)

    def wake(self) -> None:
        """Says that a lane has a new entry."""
        self._wake.set()

    async def _begin(self, connection: NatsConnection) -> None:
        desk = self._link.desk
        info = await make_stream(
            self._link, connection, desk.lane_stream, desk.lane_subject("*"), storage="file", max_bytes=MAX_STREAM_BYTES
        )
        self._expected = info["state"]["last_seq"]
        for lane in LANES:
            message = await last_message(connection, desk.lane_stream, desk.lane_subject(lane))
            self._published_seqs[lane] = int((message.headers or {}).get(LAST, "0"))
        self.newest_seq = max(self._published_seqs.values())
        self._connection = connection
        self._wake.set()

    async def _publish_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                for lane in LANES:
                    while await self._publish_some(lane):
                        pass
            except (EOFError, SourceError) as error:
                if self._connection is not None:
                    self._connection.end(error)
            except Exception:
                logger.exception("entries of a lane cannot be read; trying again")
                await asyncio.sleep(PAUSE_SECONDS)
                self._wake.set()

    async def _publish_some(self, lane: str) -> bool:
        """Publishes the next entries of a lane; returns False if there are none, or no connection."""
        connection, link = self._connection, self._link
        if connection is None or link.connection is not connection:
            return False
        entries = await self._read_newer(lane, self._published_seqs[lane], MAX_ENTRIES)
        if not entries:
            return False
        body = _encode(entries)
        while len(body) > connection.max_payload // 2 and len(entries) > 1:
            entries = entries[: len(entries) // 2]
            body = _encode(entries)
        last = entries[-1][0]
        answer = await append(connection, link.desk.lane_subject(lane), body, {LAST: str(last)}, self._expected)
        if not answer:
            raise SourceError("the stream of lanes is gone")
        if "error" in answer:
            raise SourceError(f"entries of a lane were refused: {answer['error'].get('description')}")
        self._expected = answer["seq"]
        self._published_seqs[lane] = last
        self._published.add(len(entries))
        return True


class LaneReceiver:
    """The edge's side: appends each entry once, in order. Calls `on_entries` after each message."""

    def __init__(
        self, link: Link, logs: Mapping[str, EntryLog], counters: Counters, on_entries: Callable[[], None]
    ) -> None:
        """`logs` are those of the mapping, by lane."""
        self._logs = logs
        self._subjects = {link.desk.lane_subject(lane): lane for lane in LANES}
        self._newest = {lane: log.newest_number for lane, log in logs.items()}
        self._on_entries = on_entries
        self._received = counters.counter("cluster_lane_entries_received_total", "Lane entries that this edge got")
        StreamFollower(link, link.desk.lane_stream, link.desk.lane_subject("*"), self._take)

    def _take(self, message: Message, place: Place) -> None:
        lane = self._subjects.get(message.subject)
        if lane is None:
            return
        try:
            entries = _decode(message.data)
        except msgspec.DecodeError as error:
            logger.error("message %d of the lanes cannot be read: %s", place.seq, error)
            return
        for seq, symbol, members in entries:
            if seq > self._newest[lane]:
                self._newest[lane] = seq
                self._logs[lane].append(seq, symbol, members)
                self._received.add()
        self._on_entries()
