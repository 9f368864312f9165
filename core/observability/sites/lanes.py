"""The lossless lanes of an aggregator: the entries of all sites from its start on, and its own alerts.

Each entry of a site comes once and in the order of that site. It gets a number of the aggregator's: microseconds since
1970 and rising, so that those of a later aggregator are higher than any that a client has seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import orjson

from observability.clocks.clock import Clock
from observability.cluster.follower import Place, StreamFollower
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.memory.entry_log import EntryLog, LoggedEntry
from observability.memory.layout import ALERTS_LANE, LANES
from observability.metrics.alerts.book import Action, AlertState, transition_document
from observability.sites.frame_check import AlertPart, Part, decoded
from observability.sites.naming import alert_at, prefixed, renamed
from observability.sites.site import Site
from observability.sources.brokers.nats_connection import Message

logger = logging.getLogger(__name__)

_NS_PER_US: Final = 1000

_decode: Final = msgspec.msgpack.Decoder(list[LoggedEntry]).decode


class SiteLanes:
    """Follows the lanes of the sites. Calls `on_entries` after each message."""

    def __init__(
        self,
        sites: Sequence[Site],
        logs: Mapping[str, EntryLog],
        clock: Clock,
        counters: Counters,
        on_entries: Callable[[], None],
    ) -> None:
        """`logs` are those of the mapping, by lane."""
        self._logs = logs
        self._clock = clock
        self._on_entries = on_entries
        self._newest = max(log.newest_number for log in logs.values())
        # The newest entry of each lane of each site: a hub whose stream was lost publishes older ones again.
        self._taken: dict[tuple[str, str], int] = {}
        for site in sites:
            desk = site.link.desk
            received = counters.counter(
                "cluster_site_lane_entries_received_total", "Lane entries of a site that came", site=site.name
            )
            take = partial(self.take, site.name, {desk.lane_subject(lane): lane for lane in LANES}, received.add)
            StreamFollower(site.link, desk.lane_stream, desk.lane_subject("*"), take, is_from_now=True)

    def on_transition(self, state: AlertState, action: Action) -> None:
        """Appends a transition of an alert of the aggregator's own."""
        self._append(ALERTS_LANE, None, {**transition_document(state, action), "site": None})

    def take(
        self, site: str, lanes: Mapping[str, str], count: Callable[[], None], message: Message, place: Place
    ) -> None:
        """Takes a message of a site, whose lanes are by subject."""
        lane = lanes.get(message.subject)
        if lane is None:
            return
        kind = AlertPart if lane == ALERTS_LANE else Part
        try:
            entries = [
                (seq, symbol, decoded(b"{%b}" % members, kind)) for seq, symbol, members in _decode(message.data)
            ]
        except (msgspec.DecodeError, SourceError) as error:
            logger.error("message %d of the lanes of site %s cannot be read: %s", place.seq, site, error)
            return
        for seq, symbol, document in entries:
            if seq <= self._taken.get((site, lane), 0):
                continue
            self._taken[site, lane] = seq
            shown = alert_at(site, document) if lane == ALERTS_LANE else renamed(site, document, is_stale=False)
            self._append(lane, None if symbol is None else prefixed(site, symbol), {**shown, "site": site})
            count()
        self._on_entries()

    def _append(self, lane: str, symbol: str | None, document: Mapping[str, Any]) -> None:
        self._newest = max(self._newest + 1, self._clock.time_ns() // _NS_PER_US)
        if not self._logs[lane].append(self._newest, symbol, orjson.dumps(document)[1:-1]):
            logger.error("an entry of lane %s does not fit into the shared memory: no client gets it", lane)
