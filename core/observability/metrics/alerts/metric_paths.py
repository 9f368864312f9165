"""The paths by which alert rules name metrics, and the values that a path leads to.

    strategy.drawdown_pct                a field of a section, or a nested field
    market_data.BTCUSDT.spread_bps       a field of a member; a member's name may contain dots (BRK.B)
    market_data.*.stale                  the field of every member
    strategy.strategies.*.total_pnl      the field of every member of a named group
    queue.depth                          a field of a custom collector
    server.ticks_missed                  a figure of the server itself
    metric.NAME                          the values of `metric` events, one member per set of labels

Values are read from the JSON that the collectors have made for the snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from observability.history.aggregates import LAST, Column
from observability.history.archive import StoredMinutes
from observability.history.history import History
from observability.history.layout import TIERS
from observability.history.series import Series
from observability.metrics.system.user_metrics import UserMetrics, labels_text
from observability.snapshot.sections import Group, Section

EVERY: Final = "*"
SERVER: Final = "server"
USER: Final = "metric"
UPDATED: Final = "updated_ns"
"""The field beside a `metric` with the time of its last event."""
# All other sections are measured on this host, so their durations go by its clock.
_OF_THE_EVENTS: Final = frozenset({USER, "market_data", "strategy", "execution"})

Fields = Mapping[str, Any]
Samples = Sequence[tuple[int, float]]
"""Values, each with its time, oldest first."""
Figure = Callable[[], float | bool | None]
"""Returns one figure of the server."""

CURVES: Final = "strategies"
"""The section of the history that has a series per strategy."""
_CURVES: Final = f"{CURVES}."

# Fields that the history has under another name.
_IN_HISTORY: Final = {("market_data", "last_price"): "last"}

_PATH = re.compile(r"([^.\s]+)\.(?:(\S.*)\.)?([^.*]+)", re.DOTALL)
_USER_PATH = re.compile(r"(metric)\.()([^*]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MetricPath:
    """The path of a value: `field` of `place` in `section`."""

    section: str
    place: str
    """Group, member, `*`, or nested objects; empty for the section itself."""
    field: str

    @classmethod
    def parse(cls, text: str) -> MetricPath:
        """Parses a path. Raises ValueError if the text is not a path."""
        match = _USER_PATH.fullmatch(text) or _PATH.fullmatch(text)
        if match is None or EVERY in match[1] or EVERY in (match[2] or "").removesuffix(EVERY):
            raise ValueError(text)
        place = match[2] or ""
        if place.endswith(EVERY) and place != EVERY and not place.endswith("." + EVERY):
            raise ValueError(text)
        return cls(match[1], place, match[3])

    @property
    def is_many(self) -> bool:
        """Whether the path has a value per member."""
        return self.place.endswith(EVERY) or self.section == USER

    @property
    def is_of_events(self) -> bool:
        """Whether the value is computed from events, so that durations go by the event clock."""
        return self.section in _OF_THE_EVENTS

    def __str__(self) -> str:
        return ".".join(part for part in (self.section, self.place, self.field) if part)


class MetricSources:
    """Everything that a path can lead to: the sections, the users' metrics, the server's figures, custom collectors."""

    def __init__(
        self,
        sections: Sequence[Section],
        user_metrics: UserMetrics,
        figures: Mapping[str, Figure],
        custom: Mapping[str, bytes],
        history: History | None = None,
        minutes: StoredMinutes | None = None,
    ) -> None:
        """The past of what is in `history` is known, and beyond its memory what is in `minutes`."""
        self._sections = {section.name: section for section in sections}
        self._user_metrics = user_metrics
        self.server: Fields = _Figures(figures)
        """The figures of the server."""
        self._custom = custom
        self._history = history
        self._minutes = minutes

    def read(self, path: MetricPath) -> Iterator[tuple[str, Fields]]:
        """Yields each member's name (empty if there is only one) and the object that the field is in."""
        # hot: once per rule per second
        if path.section == SERVER:
            yield "", self.server
        elif path.section == USER:
            for metric in self._user_metrics.named(path.field):
                yield labels_text(metric.labels), {UPDATED: metric.ts_ns, path.field: metric.value}
        elif path.section in self._sections:
            yield from _read_section(self._sections[path.section], path.place)
        elif path.section in self._custom:
            yield from _read_object(msgspec.json.decode(self._custom[path.section]), path.place)

    def own_fields(self, path: MetricPath) -> Callable[[], Fields] | None:
        """Returns what returns the object that the field is in, if that is a section's own: the same object until one
        of its fields changes. None for any other path."""
        section = self._sections.get(path.section)
        if section is None or path.place or section.fields is None:
            return None
        return section.fields.to_json

    def past(self, path: MetricPath, member: str, start_ns: int, end_ns: int) -> Samples:
        """Returns the values that memory has of a field, each with its time, oldest first: the last one of each minute,
        or of each second of less than an hour. A field may have none."""
        found = self._series_of(path, member)
        if found is None:
            return ()
        series, column = found
        # A measure takes no more samples of an hour or more.
        wanted_ns = NS_PER_MINUTE if end_ns - start_ns >= NS_PER_HOUR else NS_PER_S
        tier = next(n for n, tier in enumerate(TIERS) if tier.interval_ns == wanted_ns)
        block = series.view().copy_block(tier, start_ns, end_ns, [column])
        return list(zip(block.times, block.columns[0], strict=True))

    async def stored_past(self, path: MetricPath, member: str, start_ns: int, end_ns: int) -> Samples:
        """Returns the same of every minute that the store has. Raises StoreError."""
        found = self._series_of(path, member)
        if found is None or self._minutes is None:
            return ()
        series, column = found
        block = await self._minutes.read(series, [column], start_ns, end_ns, NS_PER_MINUTE)
        return list(zip(block.times, block.columns[0], strict=True))

    def is_beyond_memory(self, span_ns: int) -> bool:
        """Returns whether the store knows more of a span until now than memory."""
        return self._minutes is not None and span_ns > TIERS[-1].rows * TIERS[-1].interval_ns

    def _series_of(self, path: MetricPath, member: str) -> tuple[Series, Column] | None:
        """Returns the series and column of a field in the history; None if it has none."""
        series = None if self._history is None else self._history.find(*_place_in_history(path, member))
        field = _IN_HISTORY.get((path.section, path.field), path.field)
        if series is None or field not in series.fields:
            return None
        return series, Column(series.fields.index(field), LAST)

    def is_known_section(self, path: MetricPath) -> bool:
        return path.section in (SERVER, USER) or path.section in self._sections or path.section in self._custom

    def near_misses(self, path: MetricPath) -> list[str]:
        """Returns existing paths similar to one that leads nowhere, the most similar first."""
        if not self.is_known_section(path):
            sections = get_close_matches(path.section, (SERVER, *self._sections, *self._custom))
            return [str(MetricPath(name, path.place, path.field)) for name in sections]
        fields = {name for _, fields in self.read(path) for name in fields}
        return [str(MetricPath(path.section, path.place, name)) for name in get_close_matches(path.field, fields)]


def _place_in_history(path: MetricPath, member: str) -> tuple[str, str]:
    """Returns section and key of the series of the history that has a path's values."""
    section, place = path.section, path.place
    if section == "strategy" and place.startswith(_CURVES):
        section, place = CURVES, place.removeprefix(_CURVES)
    return section, member if place == EVERY else place


class _Figures(Fields):
    """The figures of the server, each of which is read when it is looked up."""

    def __init__(self, figures: Mapping[str, Figure]) -> None:
        self._figures = figures

    def __getitem__(self, name: str) -> float | bool | None:
        return self._figures[name]()

    def get(self, name: str, default: Any = None) -> Any:
        # Without an exception for a name that there is not.
        figure = self._figures.get(name)
        return default if figure is None else figure()

    def __contains__(self, name: object) -> bool:
        return name in self._figures

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)


def _read_section(section: Section, place: str) -> Iterator[tuple[str, Fields]]:
    for group in section.groups:
        prefix = "" if group.name is None else f"{group.name}."
        if place and place.startswith(prefix):
            yield from _read_group(group, place.removeprefix(prefix))
    if section.fields is not None:
        yield from _read_object(section.fields.to_json(), place)


def _read_group(group: Group, member: str) -> Iterator[tuple[str, Fields]]:
    if member == EVERY:
        for name, part in group.parts.items():
            yield name, part.to_json()
    elif member in group.parts:
        yield "", group.parts[member].to_json()


def _read_object(value: Any, place: str) -> Iterator[tuple[str, Fields]]:
    """Yields the object at `place`, or each object in it if `place` ends with `*`."""
    names = place.split(".") if place else []
    wants_every = bool(names) and names[-1] == EVERY
    for name in names[:-1] if wants_every else names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        return
    if not wants_every:
        yield "", value
    else:
        yield from ((name, member) for name, member in value.items() if isinstance(member, Mapping))
