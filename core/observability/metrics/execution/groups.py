"""The sums over sets of orders: over all, and by strategy, symbol and venue.

order, fill, horizon passed --> tally of its strategy, symbol and venue
                tick, document, checkpoint --> settle --> all
                                                      --> by_strategy[s]      of bounded number; the rest share
                                                      --> by_symbol[s]        the group "(other)"
                                                      --> by_venue[v]

An event counts once, in a tally; the four groups of the tally take its sums when somebody reads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from observability.clocks.timestamps import NS_PER_S
from observability.metrics.arithmetic.decimals import ZERO, add, subtract
from observability.metrics.arithmetic.histogram import Durations, HistogramState, SparseHistogram
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.execution.amounts import Sums, are_in_several
from observability.metrics.execution.figures import Figures
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

LegDurations = tuple[str, Durations, Durations]
"""A leg, its durations, and those of them that are of orders of the session."""

# Combinations of names whose tallies are cached, 700 bytes each.
MAX_CACHED_NAMES: Final = 4096


class GroupState(msgspec.Struct, array_like=True):
    """One group in a checkpoint."""

    counts: dict[str, int] = {}
    amounts: dict[str, Decimal] = {}
    legs: dict[str, HistogramState] = {}
    legs_total: dict[str, HistogramState] = {}
    symbol: str | None = None
    is_mixed: bool = False
    legs_taken_back: dict[str, HistogramState] = {}


class ExecutionGroup:
    """Adds up one set of orders: counts and sums of the session, latencies of the session and since the start."""

    __slots__ = (
        "_json", "_packed", "amounts", "counts", "is_mixed", "legs", "legs_taken_back", "legs_total", "symbol",
    )  # fmt: skip

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.amounts: dict[str, Decimal] = {}
        self.symbol: str | None = None
        """The first symbol of the session that amounts were added for."""
        self.is_mixed = False
        """Whether there were several: their quantities and prices are of different units."""
        self.legs = {leg: SparseHistogram() for leg in LEGS}
        self.legs_total = {leg: SparseHistogram() for leg in LEGS}
        self.legs_taken_back: dict[str, SparseHistogram] = {}
        """What corrections have taken out of `legs_total`."""
        self._json: dict[str, Any] | None = None
        self._packed: msgspec.Raw | None = None

    def begin_session(self) -> None:
        """Resets everything that belongs to the session."""
        self._json = self._packed = None
        self.counts = {}
        self.amounts = {}
        self.symbol, self.is_mixed = None, False
        self.legs = {leg: SparseHistogram() for leg in LEGS}

    def take(self, tally: Tally, durations: Iterable[LegDurations]) -> None:
        """Adds everything in a tally, of which `durations` are sorted by leg."""
        self._json = self._packed = None
        counts = self.counts
        for label, count in tally.counts.items():
            counts[label] = counts.get(label, 0) + count
        if tally.amounts:
            if self.symbol is None:
                self.symbol = tally.symbol
            elif self.symbol != tally.symbol:
                self.is_mixed = True
            sums = self.amounts
            for name, amount in tally.amounts.items():
                sums[name] = add(sums.get(name, ZERO), amount)
        for leg, every, of_session in durations:
            self.legs_total[leg].record_all(every)
            self.legs[leg].record_all(of_session)

    def forget(self, leg: str, duration_ns: int, others: Collection[int], *, is_of_session: bool) -> None:
        """Takes back the duration of a leg; `others` are the known durations of that leg of other orders."""
        self._json = self._packed = None
        total = self.legs_total[leg]
        count = total.count
        total.forget(duration_ns, others)
        if total.count < count:
            self.legs_taken_back.setdefault(leg, SparseHistogram()).record(duration_ns)
        if is_of_session:
            self.legs[leg].forget(duration_ns, others)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever counted, or all of it was taken back."""
        return not (
            any(self.counts.values())
            or any(self.amounts.values())
            or any(each.count or each.negative for each in self.legs_total.values())
        )

    def set_symbols(self, symbols: Collection[str]) -> None:
        """Notes which symbols the amounts are of."""
        is_mixed = len(symbols) > 1
        if is_mixed != self.is_mixed or (self.symbol not in symbols and self.symbol is not None):
            self._json = self._packed = None
            self.symbol, self.is_mixed = next(iter(symbols), None), is_mixed

    def sums(self, rates: Rates | None) -> Sums:
        """Returns the amounts, with money in the reporting currency."""
        return Sums(self.amounts, rates)

    def to_json(self, rates: Rates | None = None) -> dict[str, Any]:
        """Returns every figure with its sample count; do not modify it."""
        if self._json is None or (rates is not None and are_in_several(self.amounts)):
            reporting = "" if rates is None else rates.reporting
            self._json = {
                **quality_of(self.counts, self.sums(rates), is_mixed=self.is_mixed, reporting=reporting),
                "latency": {leg: histogram.summary() for leg, histogram in self.legs.items()},
                "latency_total": {leg: histogram.summary() for leg, histogram in self.legs_total.items()},
            }
        return self._json

    def to_state(self) -> GroupState:
        return GroupState(
            self.counts, self.amounts, _states_of(self.legs), _states_of(self.legs_total), self.symbol,
            self.is_mixed, _states_of(self.legs_taken_back),
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: GroupState) -> ExecutionGroup:
        group = cls()
        group.counts, group.amounts = state.counts, state.amounts
        group.symbol, group.is_mixed = state.symbol, state.is_mixed
        for histograms, states in ((group.legs, state.legs), (group.legs_total, state.legs_total)):
            histograms.update({leg: SparseHistogram.from_state(states[leg]) for leg in LEGS if leg in states})
        group.legs_taken_back = {
            leg: SparseHistogram.from_state(histogram) for leg, histogram in state.legs_taken_back.items()
        }
        return group

    def ever_recorded(self, leg: str, bounds_ns: Sequence[int]) -> tuple[float, int, list[int]]:
        """Returns the sum in seconds of all latencies of a leg since the first start, how many they are, and how many
        are at most each bound, also those that were taken back: none of these ever falls."""
        total = self.legs_total[leg]
        cumulative = total.cumulative(bounds_ns)
        taken_back = self.legs_taken_back.get(leg)
        if taken_back is None:
            return total.total_ns / NS_PER_S, total.count, cumulative
        return (
            (total.total_ns + taken_back.total_ns) / NS_PER_S,
            total.count + taken_back.count,
            [sum(pair) for pair in zip(cumulative, taken_back.cumulative(bounds_ns), strict=True)],
        )

    def packed(self) -> msgspec.Raw:
        """Returns the packed state; the same bytes until something is counted."""
        if self._packed is None:
            self._packed = msgspec.Raw(pack(self.to_state()))
        return self._packed


class Tally:
    """What the orders of one strategy, symbol and venue add to their four groups, since these were last read."""

    __slots__ = ("amounts", "counts", "durations", "groups", "is_empty", "labels", "symbol")

    def __init__(self, groups: tuple[ExecutionGroup, ...], symbol: str) -> None:
        self.groups = groups
        self.symbol = symbol
        self.is_empty = True
        self.clear()

    def clear(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.labels: defaultdict[tuple[str, ...], int] = defaultdict(int)
        """How many orders have all of these labels, each of which counts 1."""
        self.amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.durations: list[tuple[str, int, bool]] = []
        """Leg, nanoseconds, and whether the order is of the session."""

    def by_leg(self) -> list[LegDurations]:
        """Returns the durations of each leg that has any."""
        every: dict[str, list[int]] = {}
        of_session: dict[str, list[int]] = {}
        for leg, duration_ns, is_of_session in self.durations:
            every.setdefault(leg, []).append(duration_ns)
            if is_of_session:
                of_session.setdefault(leg, []).append(duration_ns)
        found: list[LegDurations] = []
        for leg, durations_ns in every.items():
            counted, current = Durations(durations_ns), of_session.get(leg, [])
            found.append((leg, counted, counted if len(current) == len(durations_ns) else Durations(current)))
        return found

    def count_labels(self) -> None:
        counts = self.counts
        for labels, count in self.labels.items():
            for label in labels:
                counts[label] += count
        self.labels.clear()

    def count(self, label: str) -> None:
        self.counts[label] += 1

    def add(self, name: str, amount: Decimal) -> None:
        """Adds an exact amount."""
        self.amounts[name] = add(self.amounts[name], amount)

    def replace(self, before: Figures, after: Figures) -> None:
        """Replaces an order's earlier figures by its current ones."""
        # hot: once per order report and fill (benchmarks/bench_intake.py)
        sums = self.amounts
        (earlier_labels, earlier), (labels, amounts) = before, after
        if labels != earlier_labels:
            # Few orders differ in their labels, so these are told apart once for all of them.
            self.labels[labels] += 1
            self.labels[earlier_labels] -= 1
        for name, amount in amounts.items():
            was = earlier.get(name)
            if was is None:
                sums[name] = add(sums[name], amount)
            elif was != amount:
                sums[name] = add(sums[name], subtract(amount, was))
        for name, was in earlier.items():
            if name not in amounts:
                sums[name] = subtract(sums[name], was)


class OrderNames(Protocol):
    """What decides about the groups of an order."""

    strategy: str
    symbol: str
    venue: str


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
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._unsettled: list[Tally] = []
        self.count_changes: Callable[[], None] | None = None
        """Counts the orders that have changed since the groups were last read."""

    def tally(self, strategy: str, symbol: str, venue: str) -> Tally:
        """Returns the tally of an order, to be added to at once."""
        # hot: two or three times per fill, once per order report (benchmarks/bench_intake.py)
        names = (strategy, symbol, venue)
        tally = self._tallies.get(names) or self._begin(names)
        if tally.is_empty:
            tally.is_empty = False
            self._unsettled.append(tally)
        return tally

    def settle(self) -> None:
        """Brings every group up to date. Call it before reading one."""
        if self.count_changes is not None:
            self.count_changes()
        for tally in self._unsettled:
            tally.count_labels()
            durations = tally.by_leg()
            for group in tally.groups:
                group.take(tally, durations)
            tally.clear()
            tally.is_empty = True
        self._unsettled.clear()

    def drop_empty(self) -> None:
        """Drops the groups of which everything was taken back."""
        self.settle()
        for groups in self.by.values():
            for name in [name for name, group in groups.items() if group.is_empty]:
                del groups[name]
                self._tallies.clear()

    def find_mixed(self, orders: Iterable[OrderNames]) -> None:
        """Finds out which of the groups are of several symbols; `orders` are all orders and fills that have amounts."""
        symbols: dict[tuple[str, str], dict[str, None]] = {}
        for order in orders:
            symbols.setdefault(("", ""), {})[order.symbol] = None
            for dimension, name in zip(DIMENSIONS, (order.strategy, order.symbol, order.venue), strict=True):
                group = (name or NO_NAME) if (name or NO_NAME) in self.by[dimension] else OTHER_GROUP
                symbols.setdefault((dimension, group), {})[order.symbol] = None
        self.all.set_symbols(symbols.get(("", ""), {}))
        for dimension, groups in self.by.items():
            for name, each in groups.items():
                each.set_symbols(symbols.get((dimension, name), {}))

    def begin_session(self) -> None:
        """Resets everything that belongs to the session, in every group."""
        self.settle()
        for group in self._everything():
            group.begin_session()

    def to_json(self, rates: Rates | None = None) -> dict[str, Any]:
        """Returns the figures of `all`, with `by_strategy`, `by_symbol` and `by_venue` added; do not modify it."""
        self.settle()
        return self.all.to_json(rates) | {
            f"by_{dimension}": {name: group.to_json(rates) for name, group in groups.items()}
            for dimension, groups in self.by.items()
        }

    def to_state(self) -> GroupsState:
        self.settle()
        return GroupsState(
            self.all.packed(),
            {by: {name: group.packed() for name, group in groups.items()} for by, groups in self.by.items()},
        )

    def load_state(self, state: GroupsState) -> None:
        """Replaces every group. Call it before anything is counted."""
        self.all = _unpacked(state.all)
        for by, groups in self.by.items():
            groups.clear()
            groups.update({name: _unpacked(packed) for name, packed in state.by.get(by, {}).items()})

    def _everything(self) -> Collection[ExecutionGroup]:
        return [self.all, *(group for groups in self.by.values() for group in groups.values())]

    def _begin(self, names: tuple[str, str, str]) -> Tally:
        if len(self._tallies) >= MAX_CACHED_NAMES:
            self.settle()
            self._tallies.clear()
        groups = (self.all, *(self._group(self.by[by], name) for by, name in zip(DIMENSIONS, names, strict=True)))
        tally = self._tallies[names] = Tally(groups, names[1])
        return tally

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
