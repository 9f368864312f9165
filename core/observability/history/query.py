"""Queries: the points of a series at any interval, each stretch of time read from the tier that holds it best.

    time  ------------------------------------------------------------------------------------------>  now
    1s    | store, 1 min ring: a point per minute | cut | 1 s ring: a point per second | ticks: the open second |
    5m    | store, 1 min ring: a point per 5 minutes                  | 1 s ring, ticks: the open minute |

Where only a coarser tier reaches, the points are as far apart as its rows; nothing is interpolated. The caller reads
the store (see `archive.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from observability.history import layout
from observability.history.aggregates import Block, Column, resample
from observability.history.series import SeriesView

COARSEST: Final = len(layout.TIERS) - 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the time queried, and the distance between its points."""

    start_ns: int
    end_ns: int
    interval_ns: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is answered: the same cuts for all of its series, so that their points have the same times.

    `cuts[n]` is the time from which tier n is read instead of tier n + 1, whose rows are too far apart; -1 if tier n
    reaches back far enough.
    """

    interval_ns: int
    cuts: tuple[int, ...]

    def stretches(self, start_ns: int, end_ns: int) -> list[Stretch]:
        """Returns the stretches of equal spacing, oldest first."""
        found: list[Stretch] = []
        best = best_tier(self.interval_ns)
        for tier in range(COARSEST, best - 1, -1):
            stop_ns = end_ns if tier == best else min(end_ns, self.cuts[tier - 1])
            if stop_ns > start_ns:
                found.append(Stretch(start_ns, stop_ns, spacing_ns(self.interval_ns, tier)))
                start_ns = stop_ns
        return found


def make_plan(views: Sequence[SeriesView], interval_ns: int) -> Plan:
    """Returns the plan for reading these series together."""
    cuts = [-1] * COARSEST
    for finer in range(best_tier(interval_ns), COARSEST):
        spacing = spacing_ns(interval_ns, finer + 1)
        own = (_cut(view, finer, spacing) for view in views)
        cuts[finer] = max((cut_ns for cut_ns in own if cut_ns is not None), default=-1)
    return Plan(interval_ns, tuple(cuts))


def best_tier(interval_ns: int) -> int:
    """Returns the coarsest tier that has every point of an interval; tier 0, the ticks, if no other has."""
    return max((n for n in range(1, COARSEST + 1) if interval_ns % layout.TIERS[n].interval_ns == 0), default=0)


def spacing_ns(interval_ns: int, tier: int) -> int:
    """Returns the distance between the points of a tier: its first multiple that is not below the interval."""
    tier_ns = layout.TIERS[tier].interval_ns if tier > best_tier(interval_ns) else interval_ns
    return -(-interval_ns // tier_ns) * tier_ns


def stored_until_ns(view: SeriesView, start_ns: int, end_ns: int, plan: Plan) -> int:
    """Returns the time up to which the store must be read, where the rings begin; 0 if it need not be read."""
    stop_ns = _stop(view, COARSEST, end_ns, plan)
    if stop_ns <= start_ns:
        return 0
    known = (view.first_ns(tier) for tier in range(COARSEST, -1, -1))
    first_ns = next((ts_ns for ts_ns in known if ts_ns is not None), end_ns)
    return min(stop_ns, first_ns - first_ns % layout.TIERS[COARSEST].interval_ns)


def read_points(
    view: SeriesView, columns: Sequence[Column], start_ns: int, end_ns: int, plan: Plan, stored: Block | None = None
) -> Block:
    """Returns the points of the intervals in start_ns <= t < end_ns that have a row, oldest first. Each tick is in
    exactly one point.

    The interval that contains `start_ns` is complete. `stored` holds the points that the store has from before the
    rings.
    """
    points = Block.empty(len(columns))
    # Rows that become points of one spacing, none of them before `since_ns`.
    rows = Block.empty(len(columns)) if stored is None else stored
    spacing = spacing_ns(plan.interval_ns, COARSEST)
    since_ns = reached_ns = 0
    for tier in range(COARSEST, -1, -1):
        tier_spacing = spacing_ns(plan.interval_ns, tier)
        if tier_spacing != spacing:
            points.extend(resample(rows, columns, spacing, since_ns))
            rows = Block.empty(len(columns))
            spacing, since_ns = tier_spacing, reached_ns
        stop_ns = _stop(view, tier, end_ns, plan)
        if stop_ns > start_ns:
            rows.extend(view.copy_block(tier, max(reached_ns, start_ns - start_ns % spacing), stop_ns, columns))
        # The interval that is still open in this tier is read from the next finer one.
        newest_ns = view.span(tier).last_ns if tier else None
        if newest_ns is not None:
            reached_ns = max(reached_ns, min(stop_ns, newest_ns + layout.TIERS[tier].interval_ns))
    points.extend(resample(rows, columns, spacing, since_ns))
    return points


def _stop(view: SeriesView, tier: int, end_ns: int, plan: Plan) -> int:
    """Returns the time up to which the finished intervals of a tier are read."""
    if tier <= best_tier(plan.interval_ns):
        return end_ns
    own_ns = _cut(view, tier - 1, spacing_ns(plan.interval_ns, tier))
    return end_ns if own_ns is None else min(end_ns, max(own_ns, plan.cuts[tier - 1]))


def _cut(view: SeriesView, finer: int, spacing: int) -> int | None:
    """Returns the time from which a series is read from a tier instead of the next coarser one: -1 if the tier has
    everything, None if it has nothing."""
    tier_ns = layout.TIERS[finer + 1].interval_ns
    known = (view.first_ns(tier) for tier in range(finer, -1, -1))
    first_ns = next((ts_ns for ts_ns in known if ts_ns is not None), None)
    if first_ns is None:
        return None
    start_ns = first_ns - first_ns % tier_ns
    if not view.span(finer).is_lapped and start_ns != view.saved_start_ns(finer):
        # The tier holds this interval from its beginning: its oldest row is the first that was ever recorded.
        oldest_ns = view.first_ns(finer + 1)
        return start_ns if oldest_ns is not None and oldest_ns < start_ns else -1
    newest_ns = view.span(finer + 1).last_ns
    if newest_ns is None or start_ns > newest_ns:
        return first_ns
    return -(-first_ns // spacing) * spacing
