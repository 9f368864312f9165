"""What was measured of one set of orders: of all, or of one strategy, symbol or venue.

No orders' states here (see `order_ledger.py`); what is counted arrives as labels and amounts (see `order_figures.py`).

    order, fill, horizon passed --> labels, amounts --> all
                                                    --> by_strategy[s]      of bounded number; the rest are one
                                                    --> by_symbol[s]        group called "(other)"
                                                    --> by_venue[v]
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ZERO
from observability.metrics.arithmetic.histogram import HistogramState, SparseHistogram
from observability.metrics.execution.quality import quality_of
from observability.store.checkpoint import pack, unpack

LEGS: Final = (
    "decision_to_send",
    "send_to_ack",
    "ack_to_first_fill",
    "send_to_first_fill",
    "send_to_complete",
    "cancel_to_ack",
    "reported_by_fills",
)

DIMENSIONS: Final = ("strategy", "symbol", "venue")
OTHER_GROUP: Final = "(other)"
NO_NAME: Final = "(none)"

# Measured: 4 kB each when new, 23 kB with 300 orders, 330 kB with 50,000 whose latencies spread over two decades.
MAX_GROUPS: Final = 64
# Combinations of names whose groups are looked up once, 300 bytes each.
MAX_FOUND: Final = 4096


class GroupState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of a group."""

    counts: dict[str, int] = {}
    amounts: dict[str, Decimal] = {}
    legs: dict[str, HistogramState] = {}
    legs_total: dict[str, HistogramState] = {}


class ExecutionGroup:
    """Adds up one set of orders: counts and sums of the session, latencies of the session and since the start."""

    __slots__ = ("_json", "_packed", "amounts", "counts", "legs", "legs_total")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.amounts: dict[str, Decimal] = {}
        self.legs = {leg: SparseHistogram() for leg in LEGS}
        self.legs_total = {leg: SparseHistogram() for leg in LEGS}
        self._json: dict[str, Any] | None = None
        self._packed: msgspec.Raw | None = None

    def begin_session(self) -> None:
        """Starts everything of the session anew."""
        self._note_change()
        self.counts = {}
        self.amounts = {}
        self.legs = {leg: SparseHistogram() for leg in LEGS}

    def count(self, labels: Iterable[str], sign: int = 1) -> None:
        """Counts one of each label, or with -1 takes it back."""
        self._note_change()
        counts = self.counts
        for label in labels:
            counts[label] = counts.get(label, 0) + sign

    def add(self, amounts: Iterable[tuple[str, Decimal]]) -> None:
        """Adds exact amounts."""
        self._note_change()
        sums = self.amounts
        for name, amount in amounts:
            sums[name] = EXACT.add(sums.get(name, ZERO), amount)

    def record(self, leg: str, duration_ns: int, *, is_of_session: bool) -> None:
        """Counts one duration since the start and, if it belongs there, in the session."""
        self._note_change()
        self.legs_total[leg].record(duration_ns)
        if is_of_session:
            self.legs[leg].record(duration_ns)

    def to_json(self) -> dict[str, Any]:
        """Returns every figure with its sample count; not to be changed."""
        if self._json is None:
            self._json = {
                **quality_of(self.counts, self.amounts),
                "latency": {leg: histogram.summary() for leg, histogram in self.legs.items()},
                "latency_total": {leg: histogram.summary() for leg, histogram in self.legs_total.items()},
            }
        return self._json

    def dump_state(self) -> msgspec.Raw:
        """Returns the packed state; the same bytes until something is counted."""
        if self._packed is None:
            state = GroupState(self.counts, self.amounts, _dump(self.legs), _dump(self.legs_total))
            self._packed = msgspec.Raw(pack(state))
        return self._packed

    def load_state(self, state: GroupState) -> None:
        """Takes over what was dumped."""
        self._note_change()
        self.counts, self.amounts = state.counts, state.amounts
        for histograms, states in ((self.legs, state.legs), (self.legs_total, state.legs_total)):
            histograms.update({leg: SparseHistogram.from_state(states[leg]) for leg in LEGS if leg in states})

    def _note_change(self) -> None:
        """Notes that what was derived is no longer so."""
        self._json = self._packed = None


class GroupsState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of all groups; each is a packed GroupState."""

    all: msgspec.Raw
    by: dict[str, dict[str, msgspec.Raw]] = {}


class ExecutionGroups:
    """The groups that an order belongs to: all, and one per dimension. At most `max_groups` per dimension have a name
    of their own; groups are kept for good."""

    def __init__(self, max_groups: int) -> None:
        self.all = ExecutionGroup()
        self.by: dict[str, dict[str, ExecutionGroup]] = {dimension: {} for dimension in DIMENSIONS}
        self._max_groups = max_groups
        self._found: dict[tuple[str, str, str], tuple[ExecutionGroup, ...]] = {}

    def of(self, strategy: str, symbol: str, venue: str) -> tuple[ExecutionGroup, ...]:
        """Returns the four groups of an order."""
        # hot: twice per fill, once per order report (benchmarks/bench_intake.py)
        names = (strategy, symbol, venue)
        found = self._found.get(names)
        if found is None:
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            found = (self.all, *(self._group(self.by[by], name) for by, name in zip(DIMENSIONS, names, strict=True)))
            self._found[names] = found
        return found

    def begin_session(self) -> None:
        """Starts all of them anew."""
        for group in self._everything():
            group.begin_session()

    def to_json(self) -> dict[str, Any]:
        """Returns the figures of all, and `by_strategy`, `by_symbol`, `by_venue`; not to be changed."""
        return self.all.to_json() | {
            f"by_{dimension}": {name: group.to_json() for name, group in groups.items()}
            for dimension, groups in self.by.items()
        }

    def dump_state(self) -> GroupsState:
        """Returns the packed groups."""
        return GroupsState(
            self.all.dump_state(),
            {by: {name: group.dump_state() for name, group in groups.items()} for by, groups in self.by.items()},
        )

    def load_state(self, state: GroupsState) -> None:
        """Takes over what was dumped."""
        self._found.clear()
        self.all = _load(state.all)
        for by, groups in self.by.items():
            groups.clear()
            groups.update({name: _load(packed) for name, packed in state.by.get(by, {}).items()})

    def _everything(self) -> Collection[ExecutionGroup]:
        return [self.all, *(group for groups in self.by.values() for group in groups.values())]

    def _group(self, groups: dict[str, ExecutionGroup], name: str) -> ExecutionGroup:
        group = groups.get(name or NO_NAME)
        if group is None:
            if len(groups) >= self._max_groups:
                name = OTHER_GROUP
            group = groups.get(name or NO_NAME)
            if group is None:
                group = groups[name or NO_NAME] = ExecutionGroup()
        return group


def _dump(histograms: dict[str, SparseHistogram]) -> dict[str, HistogramState]:
    return {leg: histogram.to_state() for leg, histogram in histograms.items() if histogram.count or histogram.negative}


def _load(packed: msgspec.Raw) -> ExecutionGroup:
    group = ExecutionGroup()
    group.load_state(unpack(bytes(packed), GroupState))
    return group
