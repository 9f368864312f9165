"""Which quote or print of a symbol is the newest: the one with the latest time of the exchange (`ts`), and of equal
times the one that arrived last.

    arrival  10   11   12   13   14            two connections, one slower
    ts       10   11    8   13    9            newest: 10, 11, 11, 13, 13

A time that cannot be right decides nothing:
- dated ahead: more than MAX_AHEAD_NS after its arrival (summer time, a wrong unit). The event is taken to have happened
  when it arrived, and is the newest only while all that is known are events dated ahead.
- a clock that disagrees: for RUN_NS nothing has come but events that are late, or dated ahead, by the same amount. From
  then on such events are in the order of their arrival, until one with a better time comes.
"""

from __future__ import annotations

import logging
from typing import Final

from observability.clocks.timestamps import NS_PER_MINUTE, NS_PER_S
from observability.events import Event

logger = logging.getLogger(__name__)

# Clocks of hosts and exchanges that are kept at all differ by less; a recording of Binance is 1.3 s ahead.
MAX_AHEAD_NS: Final = 5 * NS_PER_S
# How long, and with how many events, a clock must disagree by the same amount (within MAX_AHEAD_NS).
RUN_NS: Final = NS_PER_MINUTE
RUN_EVENTS: Final = 10
# An arrival this long before an earlier one is of another time: a recording is replayed again, or the server was
# restarted after its host's clock had been set back.
MAX_BACK_NS: Final = NS_PER_MINUTE


def happened_ns(event: Event) -> int:
    """Returns when a fill or order report of ours is taken to have happened: at its `ts`, or when it arrived if it is
    dated ahead."""
    # hot: twice per fill, once per order report (benchmarks/bench_intake.py)
    ts_ns, ts_init = event.ts, event.ts_init
    if not isinstance(ts_ns, int):
        return ts_init
    return ts_init if 0 < ts_init < ts_ns - MAX_AHEAD_NS else ts_ns


def is_dated_ahead(event: Event) -> bool:
    # hot: twice per order report and fill (benchmarks/bench_intake.py)
    ts_ns = event.ts
    return ts_ns.__class__ is int and 0 < event.ts_init < ts_ns - MAX_AHEAD_NS


class TimeOrder:
    """The order of one symbol's quotes, or of its prints. The collector sets `newest_ns` and `arrived_ns` in place for
    events in order; the others go through `place`."""

    __slots__ = (
        "_run_events",
        "_run_ns",
        "_run_offset_ns",
        "_trusted_ns",
        "ahead",
        "arrived_ns",
        "clock_offset_ns",
        "late",
        "name",
        "newest_ns",
    )

    def __init__(self, name: str) -> None:
        """`name` is what the log calls the feed."""
        self.name = name
        self.newest_ns = 0
        """`ts` of the newest event; 0 without one, and while it is one dated ahead."""
        self.arrived_ns = 0
        """When the newest event arrived; 0 without one."""
        self.late = 0
        """Events of the session that were older than the newest one when they arrived."""
        self.ahead = 0
        """Events of the session that were dated ahead."""
        self.clock_offset_ns: int | None = None
        """By how much a clock disagrees, as arrival - `ts`; None if none does."""
        # The arrival of the last event that was dated by it.
        self._trusted_ns = 0
        # The run of events that may prove that one disagrees.
        self._run_ns = 0
        self._run_events = 0
        self._run_offset_ns = 0

    def is_fresh(self, now_ns: int, max_age_ns: int) -> bool:
        """Returns whether the newest event arrived at most `max_age_ns` ago."""
        return self.arrived_ns > 0 and -MAX_BACK_NS <= now_ns - self.arrived_ns <= max_age_ns

    def place(self, ts_ns: int, now_ns: int) -> tuple[bool, int]:
        """Places an event that is older than the newest one or dated ahead; `now_ns` is its arrival.

        Returns whether it is the newest, and the time at which it is taken to have happened.
        """
        if now_ns <= 0 or ts_ns <= 0:
            # A publisher inside this process may leave the times unset.
            is_newest = ts_ns <= 0 or ts_ns >= self.newest_ns
            if is_newest:
                self.newest_ns, self.arrived_ns = max(ts_ns, self.newest_ns), now_ns
            return is_newest, ts_ns
        offset_ns = now_ns - ts_ns
        is_ahead = offset_ns < -MAX_AHEAD_NS
        if is_ahead:
            self._count_ahead(-offset_ns)
        if self.clock_offset_ns is not None:
            if self.arrived_ns != self._trusted_ns:
                # An event has come in order since.
                self.clock_offset_ns = None
            elif abs(offset_ns - self.clock_offset_ns) <= MAX_AHEAD_NS:
                return self._take_arrival(now_ns)
            elif abs(offset_ns) < abs(self.clock_offset_ns) and not is_ahead:
                self.clock_offset_ns = None
                self.newest_ns, self.arrived_ns = ts_ns, now_ns
                return True, ts_ns
        if is_ahead:
            if self.newest_ns <= 0:
                self.newest_ns, self.arrived_ns = 0, now_ns
                return True, now_ns
        else:
            self.late += 1
        if self._is_disagreement(offset_ns, now_ns):
            return self._take_arrival(now_ns)
        return False, now_ns if is_ahead else ts_ns

    def restore_clock(self, offset_ns: int | None) -> None:
        """Continues with the disagreement of an earlier process, after `arrived_ns` has been restored."""
        self.clock_offset_ns, self._trusted_ns = offset_ns, self.arrived_ns

    def begin_session(self) -> None:
        """Sets the counts to zero."""
        self.late = self.ahead = 0

    def forget(self) -> None:
        """Lets any next event be the newest."""
        self.newest_ns = self.arrived_ns = 0
        self.clock_offset_ns = None
        self._run_events = 0

    def _count_ahead(self, lead_ns: int) -> None:
        self.ahead += 1
        if self.ahead == 1:
            logger.warning(
                "one of the %s is dated %.1f s after its arrival, which cannot be right; further ones in this session "
                "are only counted",
                self.name, lead_ns / NS_PER_S,
            )  # fmt: skip

    def _take_arrival(self, now_ns: int) -> tuple[bool, int]:
        """Dates an event of a clock that disagrees by its arrival."""
        self.newest_ns = self.arrived_ns = self._trusted_ns = now_ns
        return True, now_ns

    def _is_disagreement(self, offset_ns: int, now_ns: int) -> bool:
        """Adds an event out of order to the run; returns whether the run proves that a clock disagrees."""
        is_continued = self._run_events > 0 and self.arrived_ns <= self._run_ns <= now_ns
        if not is_continued or abs(offset_ns - self._run_offset_ns) > MAX_AHEAD_NS:
            self._run_ns, self._run_events, self._run_offset_ns = now_ns, 1, offset_ns
            return False
        self._run_events += 1
        if now_ns - self._run_ns < RUN_NS or self._run_events < RUN_EVENTS:
            return False
        self.clock_offset_ns = self._run_offset_ns
        self._run_events = 0
        logger.warning(
            "all %s of the last minute were dated %.1f s %s their arrival: a clock is wrong, and they are taken in the "
            "order of arrival",
            self.name, abs(offset_ns) / NS_PER_S, "before" if offset_ns > 0 else "after",
        )  # fmt: skip
        return True
