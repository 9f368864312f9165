"""A site: the newest snapshot that the hub of one desk has published, and whether it is still current.

    missing   no frame has come since the aggregator started
    live      the newest frame is younger than the limit: STALE_SECONDS, or STALE_TICKS of the hub's if that is longer
    stale     it is older: the hub, its NATS servers or the network between is the cause

A frame's age counts from when the NATS servers stored it, by their clock, so frames that were kept for newcomers are as
old as they are. It grows by the aggregator's monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import orjson

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S, format_iso_ms
from observability.cluster.desk import Desk
from observability.cluster.follower import Place, StreamFollower
from observability.cluster.frame_message import FrameMessage, unpack_frame
from observability.cluster.frame_receiver import EPOCHS_KEPT
from observability.cluster.link import Link
from observability.cluster.questions import Questions
from observability.cluster.server_check import check_follower_access
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.sites.frame_check import SECTIONS, AlertsPart, decoded, type_of
from observability.snapshot.index import PART_NUMBERS, Shape, SnapshotIndex
from observability.sources.brokers.nats_connection import Message

logger = logging.getLogger(__name__)

STALE_SECONDS: Final = 2.0
STALE_TICKS: Final = 5
# Before the first tick of any hub.
ALL_TICKS: Final = -1

Status = Literal["live", "stale", "missing"]

_decode_shape = msgspec.msgpack.Decoder(Shape).decode


class SitePart(NamedTuple):
    """A part of a site's snapshot, as its hub has encoded it."""

    group: str | None
    """None for a section's own fields, and for the members of a section without groups."""
    key: str | None
    """None for a section's own fields."""
    symbol: str | None
    data: bytes


class SiteSnapshot:
    """A snapshot of a site, which is taken apart when that is asked for."""

    def __init__(self, message: FrameMessage, before: SiteSnapshot | None = None) -> None:
        """`before` is the one before it, whose shape it likely has. Raises SourceError if the index cannot be read."""
        self.message = message
        payload, self._encoded_shape, numbers, _ = message.parts
        self._payload = payload
        values = array("q")
        try:
            if before is not None and before._encoded_shape == self._encoded_shape:
                self._shape: Shape = before._shape
            else:
                self._shape = _read_shape(self._encoded_shape)
            values.frombytes(numbers)
        except (msgspec.DecodeError, ValueError) as error:
            raise SourceError(f"the index of frame {message.seq} cannot be read: {error}") from None
        expected = self._shape.first_part + PART_NUMBERS * self._shape.parts
        if len(values) != expected:
            raise SourceError(f"the index of frame {message.seq} has {len(values)} numbers, expected {expected}")
        self._index = SnapshotIndex(self._shape, values)
        self._checked: dict[str, list[SitePart]] = {}
        """The parts that have changed after the tick `_checked_after`, by section."""
        self._checked_after = ALL_TICKS
        self._decoded: dict[tuple[str, str | None, str | None], dict[str, Any]] = {}
        """The parts that were checked and not taken yet, by section, group and key."""

    def has_keys_of(self, before: SiteSnapshot) -> bool:
        """Whether an earlier snapshot is one of the same hub and has the same parts, whatever they say."""
        return before.message.epoch == self.message.epoch and before._encoded_shape == self._encoded_shape

    def parts(self, section: str, after_seq: int = ALL_TICKS) -> Iterable[SitePart]:
        """Returns the parts of a section in order; none if the site has no such section. With `after_seq` only those
        that have changed after that tick of the hub."""
        # hot: once per tick, site and section
        if after_seq == self._checked_after and section in self._checked:
            return self._checked[section]
        return self._find_parts(section, after_seq)

    def _find_parts(self, section: str, after_seq: int) -> list[SitePart]:
        numbers, found = self._index.numbers, []
        at = self._shape.first_part
        for shape in self._shape.sections:
            if shape.name != section:
                at += PART_NUMBERS * (shape.has_fields + sum(len(group.keys) for group in shape.groups))
                continue
            if shape.has_fields:
                if numbers[at + 2] > after_seq:
                    found.append(SitePart(None, None, None, b"{%b}" % self._cut(at)))
                at += PART_NUMBERS
            for group in shape.groups:
                for key, symbol in zip(group.keys, group.symbols, strict=True):
                    if numbers[at + 2] > after_seq:
                        data = self._cut(at)
                        found.append(
                            SitePart(group.name, key, symbol, data if group.as_list else _without_key(data, key))
                        )
                    at += PART_NUMBERS
            break
        return found

    def check(self, before: SiteSnapshot | None) -> None:
        """Raises SourceError if a part is not what the sections of an aggregator need. Those that have not changed
        since `before`, which was checked, are left out."""
        # hot: once per tick of a site
        after_seq = before.message.seq if before is not None and self.has_keys_of(before) else ALL_TICKS
        self._checked_after = after_seq
        for section in SECTIONS:
            self._checked[section] = self._find_parts(section, after_seq)
            for part in self._checked[section]:
                place = section, part.group, part.key
                try:
                    self._decoded[place] = decoded(part.data, type_of(*place))
                except SourceError as error:
                    where = "/".join(filter(None, place))
                    raise SourceError(f"{where} of frame {self.message.seq} cannot be used: {error}") from None

    def decode(self, section: str, part: SitePart) -> dict[str, Any]:
        """Returns the object of a part, which the caller may change. Raises SourceError."""
        # hot: once per part of a site that has changed
        place = section, part.group, part.key
        found = self._decoded.pop(place, None)
        return decoded(part.data, type_of(*place)) if found is None else found

    def _cut(self, at: int) -> bytes:
        return self._payload[self._index.part(at)]


class Site:
    """One desk as an aggregator sees it. `refresh` decides once per tick what the others read."""

    def __init__(self, desk: Desk, clock: Clock, counters: Counters) -> None:
        self.name = desk.name
        self.link = Link(desk, clock)
        self.questions = Questions(self.link)
        self.snapshot: SiteSnapshot | None = None
        """None while it is missing."""
        self.status: Status = "missing"
        self.alerts: bytes | None = None
        """The document of its alerts; None before it has come."""
        self.has_come = asyncio.Event()
        """Set once a frame has come."""
        self._clock = clock
        self._arrived_mono_ns = 0
        self._age_ns = 0
        self._timestamp_age_ns = 0
        self._came: SiteSnapshot | None = None
        self._limit_ns = 0
        self._superseded: deque[str] = deque(maxlen=EPOCHS_KEPT)
        """The epochs of hubs whose place another one has taken."""
        self._refusal: str | None = None
        self._is_index_right = True
        self.link.add_opener(lambda connection: check_follower_access(connection, desk))
        label = {"site": desk.name}
        self._received = counters.counter("cluster_site_frames_received_total", "Frames of a site that came", **label)
        self._refused = counters.counter(
            "cluster_site_frames_refused_total", "Frames of a site that are damaged, or cannot be used", **label
        )
        self._age = counters.float_gauge("cluster_site_age_seconds", "Age of the newest frame of a site", **label)
        self._is_live = counters.gauge("cluster_site_live", "Whether a site is live: its frames are current", **label)
        StreamFollower(self.link, desk.frame_stream, desk.frame_subject, self.take)

    @property
    def arrived_mono_ns(self) -> int:
        """When its newest frame came, by the host's monotonic clock."""
        return self._arrived_mono_ns

    @property
    def is_live(self) -> bool:
        return self.status == "live"

    @property
    def reason(self) -> str | None:
        """Why it is not live; None if it is."""
        if self.is_live:
            return None
        if self.link.trouble is not None:
            return self.link.trouble
        if self._refusal is not None:
            return self._refusal
        return "no frame has come yet" if self.snapshot is None else "its hub publishes no frames"

    def refresh(self, now_ns: int, mono_ns: int) -> None:
        """Takes on what has come since the last tick; the times are those of this tick."""
        # hot: once per tick and site
        self.snapshot = snapshot = self._came
        if snapshot is None:
            return
        self._age_ns = max(0, mono_ns - self._arrived_mono_ns)
        self._timestamp_age_ns = now_ns - snapshot.message.ts_ns
        self.status = "live" if self._age_ns <= self._limit_ns else "stale"
        self._age.set(self._age_ns / NS_PER_S)
        self._is_live.set(int(self.is_live))

    def to_json(self) -> dict[str, Any]:
        """Returns the site's state as the section `sites` shows it."""
        snapshot = self.snapshot
        if snapshot is None:
            found: dict[str, Any] = dict.fromkeys(("epoch", "seq", "timestamp", "age_ms", "timestamp_age_ms"))
        else:
            message = snapshot.message
            found = {
                "epoch": message.epoch,
                "seq": message.seq,
                "timestamp": format_iso_ms(message.ts_ns),
                "age_ms": round(self._age_ns / NS_PER_MS, 3),
                "timestamp_age_ms": round(self._timestamp_age_ns / NS_PER_MS, 3),
            }
        return {"status": self.status, "reason": self.reason, **found}

    def take(self, message: Message, place: Place) -> None:
        """Takes a frame that has come. One that is damaged, or cannot be used, is counted and left out."""
        # hot: once per tick of a site
        try:
            frame = unpack_frame(message.headers, message.data)
            snapshot = SiteSnapshot(frame, self._came)
            snapshot.check(self._came if self._is_index_right else None)
            alerts = frame.documents.get("system_alerts")
            if alerts is not None:
                decoded(alerts, AlertsPart)
        except SourceError as error:
            self._refuse(str(error))
            return
        if not self._is_newer(frame):
            return
        self._received.add()
        stored_ago_ns = max(0, self.link.server_ns() - place.stored_ns)
        self._arrived_mono_ns = self._clock.mono_ns() - stored_ago_ns
        self._limit_ns = max(round(STALE_SECONDS * NS_PER_S), STALE_TICKS * frame.interval_ns)
        self._came = snapshot
        self._refusal = None
        self.has_come.set()
        if alerts is not None:
            self.alerts = alerts

    def fail(self, why: str) -> None:
        """Takes the site for stale until another frame comes: of the newest one a part cannot be used that has changed
        though its index says that it has not. Frames that follow are looked at whole."""
        self._is_index_right = False
        self._limit_ns = -1
        self.status = "stale"
        self._refuse(why)

    def _is_newer(self, frame: FrameMessage) -> bool:
        """Whether nothing as new has come: servers that have lost the end of a stream send all of it again."""
        came = None if self._came is None else self._came.message
        if came is None:
            return True
        if frame.epoch == came.epoch:
            return frame.seq > came.seq
        if frame.epoch in self._superseded:
            return False
        self._superseded.append(came.epoch)
        # The next hub knows nothing of what the last one was asked.
        self.questions.abandon()
        return True

    def _refuse(self, why: str) -> None:
        self._refused.add()
        # Each frame of a hub with a fault may have another number, or another place, in what it says.
        if self._refusal is None:
            logger.error(
                "a frame of site %s is not shown: %s; the one before it stays until a good one comes", self.name, why
            )
        self._refusal = why


def missing_sites(sites: Sequence[Site]) -> list[str]:
    """Returns the names of the sites that no total has."""
    return [site.name for site in sites if not site.is_live]


def _read_shape(encoded: bytes) -> Shape:
    """Returns a shape in which every part has a symbol, or None for it. Raises ValueError and msgspec.DecodeError."""
    shape = _decode_shape(encoded)
    for section in shape.sections:
        for group in section.groups:
            if len(group.keys) != len(group.symbols):
                raise ValueError(f"{len(group.keys)} keys and {len(group.symbols)} symbols in {section.name}")
    return shape


def _without_key(data: bytes, key: str) -> bytes:
    """Returns the object of `"KEY":{...}`."""
    return data[len(orjson.dumps(key)) + 1 :]
