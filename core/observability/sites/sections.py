"""The sections of the merged snapshot: every part of every site under `SITE/NAME`, totals over the live sites, and the
section `sites` with the state of each.

    sites         {"london": {"status": "live", ...}, "tokyo": {"status": "stale", ...}}
    market_data   {"london/AAPL": {...}, "tokyo/AAPL": {...}}
    strategy      totals, "missing_sites", "sites": {"london": fields, ...}, and its groups by `SITE/NAME`
    execution     totals, "missing_sites", "sites"
    system        this host, "missing_sites", "sites", and "metrics" by `SITE/NAME`

A part keeps its bytes until its site sends other ones. What a stale site has sent last stays, marked stale where parts
can be, and no total has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.errors import SourceError
from observability.history.history import History
from observability.history.series_writer import SeriesWriter
from observability.metrics import BaseCollector
from observability.metrics.alerts.book import AlertContent, rule_alert_id
from observability.metrics.execution_collector import SERIES_FIELDS as EXECUTION_FIELDS
from observability.metrics.strategy.totals import SERIES_FIELDS as STRATEGY_FIELDS
from observability.metrics.system_collector import SystemCollector
from observability.sites.naming import prefixed, renamed
from observability.sites.site import Site, SitePart, SiteSnapshot, Status, missing_sites
from observability.sites.totals import EXECUTION, strategy_total, total_of
from observability.snapshot.sections import Group, JsonPart

SITES: Final = "sites"
SITE_RULE: Final = "site_missing"
# Until a site that has never been seen counts as missed.
START_SECONDS: Final = 5.0

Fields = dict[str, Any]
Total = Callable[[Mapping[str, Fields]], Fields]
"""Returns the fields of a section over all live sites, from those at each, by name of the site."""


class MergedPart(JsonPart):
    """A part of a site under its name among those of all sites."""

    __slots__ = ("source", "symbol")

    def __init__(self, symbol: str | None) -> None:
        super().__init__()
        self.symbol = symbol
        self.source: tuple[bytes, bool] | None = None
        """The bytes that it is made of, and whether their site is live."""


class SitesSection(BaseCollector):
    """The section `sites`. It is refreshed before the others, which read what it has decided."""

    fields: JsonPart | None = None

    def __init__(self, sites: Sequence[Site], clock: Clock, system: SystemCollector) -> None:
        """`clock` is the host's. A site that is not live raises an alert in the book of `system`."""
        super().__init__(SITES)
        self.sites = sites
        self.last_input_ns: int | None = None
        self.is_touched = True
        self._clock = clock
        self._system = system
        self._started_mono_ns = clock.mono_ns()
        self._parts = {site.name: JsonPart() for site in sites}
        self.groups: tuple[Group, ...] = (Group(None, self._parts),)

    @property
    def missing(self) -> list[str]:
        """The names of the sites that no total has."""
        return missing_sites(self.sites)

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick
        self.is_touched = True
        mono_ns = self._clock.mono_ns()
        for site in self.sites:
            site.refresh(now_ns, mono_ns)
            self._parts[site.name].offer(site.to_json())
            self._note(site, now_ns, mono_ns)
        arrivals = [site.arrived_mono_ns for site in self.sites if site.snapshot is not None]
        if arrivals:
            self.last_input_ns = now_ns - (mono_ns - max(arrivals))

    async def get_current_metrics(self) -> Fields:
        return {name: part.to_json() for name, part in self._parts.items()}

    async def _start_impl(self) -> None: ...

    async def _stop_impl(self) -> None: ...

    def _note(self, site: Site, now_ns: int, mono_ns: int) -> None:
        """Raises the alert of a site, or resolves it."""
        book, ident = self._system.alert_book, rule_alert_id(SITE_RULE, site.name)
        is_missed = site.status == "stale" or mono_ns - self._started_mono_ns > START_SECONDS * NS_PER_S
        if site.is_live:
            book.resolve(ident, now_ns)
        elif is_missed and not book.is_raised(ident):
            content = AlertContent(
                f"{SITE_RULE}/{site.name}",
                "critical",
                f"Site {site.name} is {site.status}",
                f"{site.reason}. No total has its figures.",
                rule=SITE_RULE,
                member=site.name,
            )
            book.raise_rule(content, now_ns)


class MergedSection(BaseCollector):
    """One section of all sites. `total` makes its own fields."""

    def __init__(
        self,
        name: str,
        sites: SitesSection,
        groups: Sequence[tuple[str | None, bool]] = (),
        total: Total | None = None,
        series: SeriesWriter | None = None,
    ) -> None:
        """`groups` has the name of each group of the section, and whether it is an array. Without `total` the section
        has no fields. `series` gets a row per tick, of undefined numbers while a site is missing."""
        super().__init__(name)
        self.fields: JsonPart | None = None if total is None else JsonPart()
        self._sites = sites
        self._total = total
        self._series = series
        self._parts: dict[str | None, dict[str, MergedPart]] = {group: {} for group, _ in groups}
        self._parts_of_sites: dict[str | None, dict[str, Mapping[str, MergedPart]]] = {
            group: {site.name: {} for site in sites.sites} for group, _ in groups
        }
        self._by_site: dict[str, JsonPart] = {}
        self._merged: dict[str, tuple[SiteSnapshot, Status]] = {}
        self.site_fields: dict[str, Fields] = {}
        """The fields of the section at each site that was ever seen."""
        self.last_input_ns: int | None = None
        self.is_touched = True
        self.groups: tuple[Group, ...] = tuple(Group(group, self._parts[group], as_list) for group, as_list in groups)
        if total is not None:
            self.groups += (Group(SITES, self._by_site),)

    def parts(self, group: str | None) -> Mapping[str, MergedPart]:
        """Returns the parts of a group, by `SITE/NAME`."""
        return self._parts[group]

    def own_fields(self) -> Fields:
        """Returns the fields over all live sites."""
        return {} if self.fields is None else self.fields.to_json()

    def live_fields(self) -> dict[str, Fields]:
        """Returns the fields of the section at each live site."""
        return {
            site.name: self.site_fields[site.name]
            for site in self._sites.sites
            if site.is_live and site.name in self.site_fields
        }

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick and section
        self.is_touched = True
        self.last_input_ns = self._sites.last_input_ns
        has_changed = self.fields is not None and self.fields.version == 0
        for site in self._sites.sites:
            snapshot, status = site.snapshot, site.status
            before, status_before = self._merged.get(site.name, (None, None))
            if snapshot is None or (snapshot is before and status == status_before):
                continue
            self._merged[site.name] = snapshot, status
            try:
                if before is not None and status == status_before and snapshot.has_keys_of(before):
                    self._merge_changed(site, snapshot, before.message.seq)
                else:
                    self._merge_all(site, snapshot)
            except SourceError as error:
                site.fail(str(error))
            has_changed = True
        if self.fields is not None and self._total is not None and has_changed:
            self.fields.offer({**self._total(self.live_fields()), "missing_sites": self._sites.missing})
        if self._series is not None and self.fields is not None:
            fields = {} if self._sites.missing else self.fields.to_json()
            row = tuple(math.nan if (value := fields.get(name)) is None else value for name in self._series.fields)
            self._series.record(now_ns, row)

    async def get_current_metrics(self) -> Fields:
        found: Fields = {} if self.fields is None else dict(self.fields.to_json())
        for group in self.groups:
            members = {key: part.to_json() for key, part in group.parts.items()}
            if group.name is None:
                found |= members
            else:
                found[group.name] = list(members.values()) if group.as_list else members
        return found

    async def _start_impl(self) -> None: ...

    async def _stop_impl(self) -> None: ...

    def _merge_all(self, site: Site, snapshot: SiteSnapshot) -> None:
        """Takes on the parts of a site whose bytes or status differ from before, and leaves out those that are gone."""
        seen: dict[str | None, dict[str, MergedPart]] = {group: {} for group in self._parts}
        for part in snapshot.parts(self.name):
            if part.key is None:
                self._take_fields(site, snapshot, part)
            elif part.group in seen:
                name = prefixed(site.name, part.key)
                seen[part.group][name] = self._merged_part(site, snapshot, part, name)
        for group, found in seen.items():
            self._replace(site, group, found)

    def _merge_changed(self, site: Site, snapshot: SiteSnapshot, after_seq: int) -> None:
        """Takes on the parts of a site that have changed after a tick of its hub, where no other is new or gone."""
        # hot: once per tick, site and section
        for part in snapshot.parts(self.name, after_seq):
            if part.key is None:
                self._take_fields(site, snapshot, part)
            elif part.group in self._parts:
                self._merged_part(site, snapshot, part, prefixed(site.name, part.key))

    def _take_fields(self, site: Site, snapshot: SiteSnapshot, part: SitePart) -> None:
        fields = snapshot.decode(self.name, part)
        self.site_fields[site.name] = fields
        if self._total is not None:
            self._by_site.setdefault(site.name, JsonPart()).offer(fields)

    def _merged_part(self, site: Site, snapshot: SiteSnapshot, part: SitePart, name: str) -> MergedPart:
        merged = self._parts[part.group].get(name)
        if merged is None:
            merged = MergedPart(None if part.symbol is None else prefixed(site.name, part.symbol))
        source = part.data, site.is_live
        if merged.source != source:
            found = snapshot.decode(self.name, part)
            merged.source = source
            merged.offer(renamed(site.name, found, is_stale=not site.is_live))
        return merged

    def _replace(self, site: Site, group: str | None, found: Mapping[str, MergedPart]) -> None:
        """Puts the parts of a site where they stand among those of the others: in the order of the sites."""
        of_sites = self._parts_of_sites[group]
        if list(of_sites[site.name]) == list(found):
            return
        of_sites[site.name] = found
        parts = self._parts[group]
        parts.clear()
        for each in of_sites.values():
            parts.update(each)


@dataclass(frozen=True, slots=True)
class MergedSections:
    """The sections of an aggregator that show its sites."""

    sites: SitesSection
    market: MergedSection
    strategy: MergedSection
    execution: MergedSection


def merged_sections(sites: Sequence[Site], clock: Clock, system: SystemCollector, history: History) -> MergedSections:
    """Makes the sections. The totals of `strategy` and `execution` are recorded in `history`."""
    state = SitesSection(sites, clock, system)
    strategy = MergedSection(
        "strategy",
        state,
        (("strategies", False), ("positions", True), ("symbols", False)),
        strategy_total,
        history.open("strategy", "", STRATEGY_FIELDS),
    )

    def execution_total(live: Mapping[str, Fields]) -> Fields:
        currencies = (fields["reporting_currency"] for fields in strategy.live_fields().values())
        return total_of(EXECUTION, live, currencies)

    execution = MergedSection("execution", state, (), execution_total, history.open("execution", "", EXECUTION_FIELDS))
    return MergedSections(state, MergedSection("market_data", state, ((None, False),)), strategy, execution)
