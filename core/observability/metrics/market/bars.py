"""1-minute bars of one symbol's prints, by the prints' own time (`ts`), as an exchange's own bars are.

Nothing is stored here (see the listener) and no longer interval is made; five of these bars make one of five minutes.

    prints --> current bar --(a later minute begins, or its time is over by GRACE_NS)--> recent bars --> listener, ring
    a late print --> its recent bar, amended --> listener and ring again             too late a print --> `late_prints`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from observability.clocks.timestamps import MAX_NS, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from observability.events import Side
from observability.metrics.arithmetic.turnover import ExactTurnover, PrintSums, PrintSumsState
from observability.metrics.market.bar_table import Bar, BarRing

# A bar is finished when the event clock is past its end by this; what comes later amends it.
GRACE_NS: Final = 2 * NS_PER_S
# How many minutes before its newest one a symbol's bars can still be amended.
AMENDABLE_MINUTES: Final = 5
# A print dated later than this after its arrival is nobody's: it would make every real one too late.
MAX_AHEAD_NS: Final = NS_PER_HOUR

_NEVER: Final = MAX_NS


class OpenBar:
    """A bar that can still change. Open and close go by `ts`, and by arrival where that is the same."""

    __slots__ = ("close", "end_ns", "first_ns", "high", "is_changed", "last_ns", "low", "open", "sums", "ts_ns")

    def __init__(self, minute_ns: int, ts_ns: int, price: float) -> None:
        self.ts_ns = minute_ns
        self.end_ns = minute_ns + NS_PER_MINUTE
        self.first_ns = self.last_ns = ts_ns
        self.open = self.high = self.low = self.close = price
        self.sums = PrintSums()
        self.is_changed = True
        """Whether the listener has yet to see it as it is."""

    def widen(self, ts_ns: int, price: float) -> None:
        """Takes the price of a print in whatever order it comes."""
        if ts_ns >= self.last_ns:
            self.last_ns = ts_ns
            self.close = price
        elif ts_ns < self.first_ns:
            self.first_ns = ts_ns
            self.open = price
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price

    def to_bar(self) -> Bar:
        sums = self.sums
        return Bar(self.ts_ns, self.open, self.high, self.low, self.close, sums.volume, sums.trades, sums.vwap)

    def to_state(self) -> OpenBarState:
        prices = (self.open, self.high, self.low, self.close)
        times = (self.ts_ns, self.first_ns, self.last_ns)
        return OpenBarState(*times, *prices, self.sums.to_state(), self.is_changed)


class OpenBarState(msgspec.Struct, array_like=True):
    """A bar in a checkpoint."""

    ts_ns: int
    first_ns: int
    last_ns: int
    open: float
    high: float
    low: float
    close: float
    sums: PrintSumsState
    is_changed: bool

    def to_bar(self) -> OpenBar:
        bar = OpenBar(self.ts_ns, self.first_ns, self.open)
        bar.last_ns = self.last_ns
        bar.high, bar.low, bar.close = self.high, self.low, self.close
        bar.sums = PrintSums.from_state(self.sums)
        bar.is_changed = self.is_changed
        return bar


class BarsState(msgspec.Struct):
    """The bars that can still change, in a checkpoint."""

    current: OpenBarState | None = None
    recent: list[OpenBarState] = []
    newest_ns: int = -1
    late_prints: int = 0


# Stands where no bar is current: nothing is at or after its `last_ns` and before its `end_ns`.
_NO_BAR: Final = OpenBar(-NS_PER_MINUTE, -NS_PER_MINUTE, 0.0)
_NO_BAR.last_ns = _NO_BAR.end_ns = _NEVER


class SymbolBars:
    """Makes the bars of one symbol. `current` is for the collector, which widens it in place on its hot path.

    A print is added up once, by the session's turnover: the sums of the current bar are what that has counted since
    `_settled`, and so as exact.
    """

    __slots__ = (
        "_listener",
        "_newest_ns",
        "_recent",
        "_ring",
        "_settled",
        "_turnover",
        "current",
        "due_ns",
        "late_prints",
    )

    def __init__(self, turnover: ExactTurnover, listener: Callable[[Bar], None], ring: BarRing | None = None) -> None:
        """Without a `ring` the finished bars are kept in memory of this object's own."""
        self.current = _NO_BAR
        self.due_ns = _NEVER
        """When `finish` has something to do."""
        self.late_prints = 0
        """Prints in no bar: dated too long before the newest bar, or too far ahead of their arrival."""
        self._turnover = turnover
        self._listener = listener
        self._settled = PrintSums()
        # By minute: those before the current one that can be amended, at most AMENDABLE_MINUTES + 1 of them.
        self._recent: dict[int, OpenBar] = {}
        self._newest_ns = -1
        # If it is our own, made with the first bar: many a symbol is only quoted.
        self._ring = ring

    def take(self, ts_ns: int, price: float, size: float, side: Side | None, now_ns: int) -> None:
        """Adds a print that does not simply continue the current bar, to the turnover too; `now_ns` is its arrival.

        Raises EventError for what the turnover refuses; then nothing is added.
        """
        self._settle()
        self._turnover.add(price, size, side)
        minute_ns = ts_ns - ts_ns % NS_PER_MINUTE
        if minute_ns == self.current.ts_ns:
            self.current.widen(ts_ns, price)
            return
        if minute_ns > self._newest_ns and ts_ns <= now_ns + MAX_AHEAD_NS:
            self._close()
            self._newest_ns = minute_ns
            self._drop_old()
            self.current = OpenBar(minute_ns, ts_ns, price)
            self._plan(self.current)
            return
        if self._newest_ns - AMENDABLE_MINUTES * NS_PER_MINUTE <= minute_ns <= self._newest_ns:
            self._amend(minute_ns, ts_ns, price)
        else:
            self.late_prints += 1
        # It is in the turnover, but not in the current bar.
        self._settled = self._turnover.sums()

    def finish(self, now_ns: int) -> None:
        """Hands on what is finished at `now_ns` (event clock), and again what was amended since."""
        if self.current.end_ns + GRACE_NS <= now_ns:
            self._settle()
            self._close()
        self.due_ns = _NEVER
        self._plan(self.current)
        for bar in self._recent.values():
            if bar.is_changed and bar.end_ns + GRACE_NS <= now_ns:
                self._hand_on(bar)
            elif bar.is_changed:
                self._plan(bar)

    def turn_session(self) -> None:
        """Clears the turnover. A bar is of one session: what its minute brings in the next one amends it."""
        self._settle()
        self._close()
        self._turnover.clear()

    def copy_bars(self, start_ns: int, end_ns: int) -> Iterator[Bar]:
        """Yields the finished bars of the last 24 hours that begin in start_ns <= t < end_ns, oldest first."""
        return iter(()) if self._ring is None else self._ring.copy_bars(start_ns, end_ns)

    def to_state(self) -> BarsState:
        self._settle()
        return BarsState(
            None if self.current is _NO_BAR else self.current.to_state(),
            [bar.to_state() for bar in self._recent.values()],
            self._newest_ns,
            self.late_prints,
        )

    def load_state(self, state: BarsState) -> None:
        """Takes over what `to_state` returned; behind the turnover, which is loaded first. Of the finished bars only
        those that can still be amended come back."""
        self.current = _NO_BAR if state.current is None else state.current.to_bar()
        self._recent = {bar.ts_ns: bar.to_bar() for bar in state.recent}
        self._newest_ns = state.newest_ns
        self.late_prints = state.late_prints
        self._settled = self._turnover.sums()
        self.due_ns = 0
        # Whoever reads older ones elsewhere does so up to the first of these: none may be missing between them.
        for bar in self._recent.values():
            if not bar.is_changed:
                self._keep(bar.to_bar())

    def _settle(self) -> None:
        """Brings the sums of the current bar up to the turnover."""
        sums = self._turnover.sums()
        if self.current is not _NO_BAR:
            self.current.sums = self.current.sums.plus(sums.minus(self._settled))
        self._settled = sums

    def _close(self) -> None:
        if self.current is not _NO_BAR:
            self._recent[self.current.ts_ns] = self.current
            self.current = _NO_BAR

    def _drop_old(self) -> None:
        oldest_ns = self._newest_ns - AMENDABLE_MINUTES * NS_PER_MINUTE
        for minute_ns in [minute_ns for minute_ns in self._recent if minute_ns < oldest_ns]:
            bar = self._recent.pop(minute_ns)
            if bar.is_changed:
                self._hand_on(bar)

    def _amend(self, minute_ns: int, ts_ns: int, price: float) -> None:
        """Adds the print that the turnover has just counted to an earlier bar, or makes that."""
        bar = self._recent.get(minute_ns)
        if bar is None:
            bar = self._recent[minute_ns] = OpenBar(minute_ns, ts_ns, price)
        else:
            bar.widen(ts_ns, price)
        bar.sums = bar.sums.plus(self._turnover.sums().minus(self._settled))
        bar.is_changed = True
        self._plan(bar)

    def _plan(self, bar: OpenBar) -> None:
        self.due_ns = min(self.due_ns, bar.end_ns + GRACE_NS)

    def _hand_on(self, bar: OpenBar) -> None:
        bar.is_changed = False
        finished = bar.to_bar()
        self._keep(finished)
        self._listener(finished)

    def _keep(self, bar: Bar) -> None:
        if self._ring is None:
            self._ring = BarRing()
        self._ring.put(bar)
