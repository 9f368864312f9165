"""The sums over sets of orders: over all, and by strategy, symbol and venue.

order, fill, horizon passed --> labels, amounts --> all
                                                --> by_strategy[s]      of bounded number; the rest share
                                                --> by_symbol[s]        the group "(other)"
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

# Combinations of names whose groups are cached, 300 bytes each.
MAX_CACHED_NAMES: Final = 4096


class GroupState(msgspec.Struct, array_like=True):
    """One group in a checkpoint."""

    counts: dict[str, int] = {}
    amounts: dict[str, Decimal] = {}
    legs: dict[str, HistogramState] = {}
    legs_total: dict[str, HistogramState] = {}
    symbol: str | None = None
    is_mixed: bool = False


class ExecutionGroup:
    """Adds up one set of orders: counts and sums of the session, latencies of the session and since the start."""

    __slots__ = ("_json", "_packed", "amounts", "counts", "is_mixed", "legs", "legs_total", "symbol")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.amounts: dict[str, Decimal] = {}
        self.symbol: str | None = None
        """The first symbol of the session that amounts were added for."""
        self.is_mixed = False
        """Whether there were several: their quantities and prices are of different units."""
        self.legs = {leg: SparseHistogram() for leg in LEGS}
        self.legs_total = {leg: SparseHistogram() for leg in LEGS}
        self._json: dict[str, Any] | None = None
        self._packed: msgspec.Raw | None = None

    def begin_session(self) -> None:
        """Resets everything that belongs to the session."""
        self._note_change()
        self.counts = {}
        self.amounts = {}
        self.symbol, self.is_mixed = None, False
        self.legs = {leg: SparseHistogram() for leg in LEGS}

    def count(self, labels: Iterable[str], sign: int = 1) -> None:
        """Counts one of each label; with a sign of -1, removes one."""
        self._note_change()
        counts = self.counts
        for label in labels:
            counts[label] = counts.get(label, 0) + sign

    def note_symbol(self, symbol: str) -> None:
        """Notes which symbol amounts are added for."""
        if self.symbol is None:
            self.symbol = symbol
        elif symbol != self.symbol:
            self.is_mixed = True

    def add(self, amounts: Iterable[tuple[str, Decimal]]) -> None:
        """Adds exact amounts."""
        self._note_change()
        sums = self.amounts
        for name, amount in amounts:
            sums[name] = EXACT.add(sums.get(name, ZERO), amount)

    def record(self, leg: str, duration_ns: int, *, is_of_session: bool) -> None:
        """Counts one duration since the start and, if it belongs to the session, in the session."""
        self._note_change()
        self.legs_total[leg].record(duration_ns)
        if is_of_session:
            self.legs[leg].record(duration_ns)

    def to_json(self) -> dict[str, Any]:
        """Returns every figure with its sample count; do not modify it."""
        if self._json is None:
            self._json = {
                **quality_of(self.counts, self.amounts, is_mixed=self.is_mixed),
                "latency": {leg: histogram.summary() for leg, histogram in self.legs.items()},
                "latency_total": {leg: histogram.summary() for leg, histogram in self.legs_total.items()},
            }
        return self._json

    def to_state(self) -> GroupState:
        return GroupState(
            self.counts, self.amounts, _states_of(self.legs), _states_of(self.legs_total), self.symbol,
            self.is_mixed,
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: GroupState) -> ExecutionGroup:
        group = cls()
        group.counts, group.amounts = state.counts, state.amounts
        group.symbol, group.is_mixed = state.symbol, state.is_mixed
        for histograms, states in ((group.legs, state.legs), (group.legs_total, state.legs_total)):
            histograms.update({leg: SparseHistogram.from_state(states[leg]) for leg in LEGS if leg in states})
        return group

    def packed(self) -> msgspec.Raw:
        """Returns the packed state; the same bytes until something is counted."""
        if self._packed is None:
            self._packed = msgspec.Raw(pack(self.to_state()))
        return self._packed

    def _note_change(self) -> None:
        self._json = self._packed = None


class GroupsState(msgspec.Struct, array_like=True):
    """All groups in a checkpoint; each is a packed GroupState."""

    all: msgspec.Raw
    by: dict[str, dict[str, msgspec.Raw]] = {}


class ExecutionGroups:
    """The groups that an order belongs to: `all`, and one per dimension. At most `max_groups` per dimension have a name
    of their own; groups are never removed."""

    def __init__(self, max_groups: int) -> None:
        self.all = ExecutionGroup()
        self.by: dict[str, dict[str, ExecutionGroup]] = {dimension: {} for dimension in DIMENSIONS}
        self._max_groups = max_groups
        self._cached: dict[tuple[str, str, str], tuple[ExecutionGroup, ...]] = {}

    def of(self, strategy: str, symbol: str, venue: str) -> tuple[ExecutionGroup, ...]:
        """Returns the four groups of an order."""
        # hot: twice per fill, once per order report (benchmarks/bench_intake.py)
        names = (strategy, symbol, venue)
        groups = self._cached.get(names)
        if groups is None:
            if len(self._cached) >= MAX_CACHED_NAMES:
                self._cached.clear()
            groups = (self.all, *(self._group(self.by[by], name) for by, name in zip(DIMENSIONS, names, strict=True)))
            self._cached[names] = groups
        return groups

    def begin_session(self) -> None:
        """Resets everything that belongs to the session, in every group."""
        for group in self._everything():
            group.begin_session()

    def to_json(self) -> dict[str, Any]:
        """Returns the figures of `all`, with `by_strategy`, `by_symbol` and `by_venue` added; do not modify it."""
        return self.all.to_json() | {
            f"by_{dimension}": {name: group.to_json() for name, group in groups.items()}
            for dimension, groups in self.by.items()
        }

    def to_state(self) -> GroupsState:
        return GroupsState(
            self.all.packed(),
            {by: {name: group.packed() for name, group in groups.items()} for by, groups in self.by.items()},
        )

    def load_state(self, state: GroupsState) -> None:
        self._cached.clear()
        self.all = _unpacked(state.all)
        for by, groups in self.by.items():
            groups.clear()
            groups.update({name: _unpacked(packed) for name, packed in state.by.get(by, {}).items()})

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


def _states_of(histograms: dict[str, SparseHistogram]) -> dict[str, HistogramState]:
    return {leg: histogram.to_state() for leg, histogram in histograms.items() if histogram.count or histogram.negative}


def _unpacked(packed: msgspec.Raw) -> ExecutionGroup:
    return ExecutionGroup.from_state(unpack(bytes(packed), GroupState))
