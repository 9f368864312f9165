"""1-minute bars of one symbol's prints by the prints' own time (`ts`), as an exchange's own bars are.

prints --> current bar --(a later minute begins, or its end is GRACE_NS ago)--> recent bars --> listener, table
a late print --> its recent bar, amended --> listener and table again          a print that is too late --> counted
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from observability.clocks.timestamps import MAX_NS, NS_PER_MINUTE, NS_PER_S
from observability.events import Side
from observability.metrics.arithmetic.turnover import ExactTurnover, PrintSums, PrintSumsState, sums_of
from observability.metrics.market.bar_table import Bar, BarTable
from observability.metrics.market.print_corrections import Counted, KeptPrint, newest_of

# A bar is finished when its end is this long ago by the event clock; later prints amend it.
GRACE_NS: Final = 2 * NS_PER_S
# How many minutes before its newest bar a symbol's bars can still be amended.
AMENDABLE_MINUTES: Final = 5

_NEVER: Final = MAX_NS


class OpenBar:
    """A bar that can still change. Open and close are the first and last print by `ts`, then by arrival."""

    __slots__ = (
        "close", "end_ns", "first_ns", "high", "is_changed", "is_corrected", "last_ns", "low", "open", "sums", "ts_ns",
    )  # fmt: skip

    def __init__(self, minute_ns: int, ts_ns: int, price: float) -> None:
        self.ts_ns = minute_ns
        self.end_ns = minute_ns + NS_PER_MINUTE
        self.first_ns = self.last_ns = ts_ns
        self.open = self.high = self.low = self.close = price
        self.sums = PrintSums()
        self.is_changed = True
        """Whether it has changed since it was published."""
        self.is_corrected = False
        """Whether prints of it were busted or corrected."""

    def widen(self, ts_ns: int, price: float) -> None:
        """Adds the price of a print, which may have arrived out of order."""
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
        sums, prices = self.sums, (self.open, self.high, self.low, self.close)
        return Bar(self.ts_ns, *prices, sums.volume, sums.trades, sums.vwap, self.is_corrected)

    def set_prices(self, prints: Sequence[KeptPrint]) -> None:
        """Sets the prices to those of all of its prints, of which there is one at least, in the order of arrival."""
        first, last = min(prints, key=lambda each: each.ts_ns), newest_of(prints)
        assert last is not None, "a bar has a print"
        self.first_ns, self.open = first.ts_ns, first.price
        self.last_ns, self.close = last.ts_ns, last.price
        self.high, self.low = max(each.price for each in prints), min(each.price for each in prints)

    def to_state(self) -> OpenBarState:
        prices = (self.open, self.high, self.low, self.close)
        times = (self.ts_ns, self.first_ns, self.last_ns)
        return OpenBarState(*times, *prices, self.sums.to_state(), self.is_changed, self.is_corrected)

    @classmethod
    def from_state(cls, state: OpenBarState) -> OpenBar:
        bar = cls(state.ts_ns, state.first_ns, state.open)
        bar.last_ns = state.last_ns
        bar.high, bar.low, bar.close = state.high, state.low, state.close
        bar.sums = PrintSums.from_state(state.sums)
        bar.is_changed, bar.is_corrected = state.is_changed, state.is_corrected
        return bar


class OpenBarState(msgspec.Struct, array_like=True):
    """An open bar in a checkpoint."""

    ts_ns: int
    first_ns: int
    last_ns: int
    open: float
    high: float
    low: float
    close: float
    sums: PrintSumsState
    is_changed: bool
    is_corrected: bool = False


class BarsState(msgspec.Struct):
    """The bars of a symbol that can still change, in a checkpoint."""

    current: OpenBarState | None = None
    recent: list[OpenBarState] = []
    newest_ns: int = -1
    late_prints: int = 0


# Stands for "no current bar", so that the hot path need not test for None: no print falls between equal times.
_NO_BAR: Final = OpenBar(-NS_PER_MINUTE, -NS_PER_MINUTE, 0.0)
_NO_BAR.last_ns = _NO_BAR.end_ns = _NEVER


class SymbolBars:
    """Makes the bars of one symbol. The collector widens `current` in place on its hot path.

    Each print is added up once, by the session's turnover. The sums of the current bar are the turnover's, minus those
    that it had when the bar was last settled, and therefore exact.
    """

    __slots__ = (
        "_listener",
        "_newest_ns",
        "_recent",
        "_settled",
        "_table",
        "_turnover",
        "current",
        "due_ns",
        "late_prints",
    )

    def __init__(self, turnover: ExactTurnover, listener: Callable[[Bar], None], table: BarTable | None = None) -> None:
        """Without a `table` the finished bars are in this object's own memory."""
        self.current = _NO_BAR
        self.due_ns = _NEVER
        """When `finish` must be called next."""
        self.late_prints = 0
        """Prints in no bar, because they came too long after the newest bar of their time."""
        self._turnover = turnover
        self._listener = listener
        self._settled = PrintSums()
        # By minute: the bars before the current one that can be amended, at most AMENDABLE_MINUTES + 1 of them.
        self._recent: dict[int, OpenBar] = {}
        self._newest_ns = -1
        # A table of our own is made with the first bar, because many symbols are only quoted.
        self._table = table

    def add(self, ts_ns: int, price: float, size: float, side: Side | None) -> None:
        """Adds a print that does not simply continue the current bar, to the turnover too. The caller sees to it that
        `ts_ns` is not in the future, which would make every later print a late one.

        Raises EventError for a print that the turnover refuses, and then adds nothing.
        """
        self._settle()
        self._turnover.add(price, size, side)
        minute_ns = ts_ns - ts_ns % NS_PER_MINUTE
        if minute_ns == self.current.ts_ns:
            self.current.widen(ts_ns, price)
            return
        if minute_ns > self._newest_ns:
            self._close()
            self._newest_ns = minute_ns
            self._drop_old()
            self.current = OpenBar(minute_ns, ts_ns, price)
            self._schedule(self.current)
            return
        if self._newest_ns - AMENDABLE_MINUTES * NS_PER_MINUTE <= minute_ns <= self._newest_ns:
            self._amend(minute_ns, ts_ns, price)
        else:
            self.late_prints += 1
        # The turnover has counted the print, but it is not part of the current bar.
        self._settled = self._turnover.sums()

    def amend(
        self, before: KeptPrint, after: Counted | None, kept: Sequence[KeptPrint], *, is_of_session: bool
    ) -> bool:
        """Takes a print back, from the turnover too if that has it, or makes it count with something else.

        `kept` are the remembered prints of the symbol after that, in the order of their arrival. Returns whether the
        bar of its minute is exact now: a bar with prints that are not remembered keeps its prices, and one that can be
        amended no longer also its sums.
        """
        self._settle()
        if is_of_session:
            self._turnover.remove(before.price, before.size, before.side)
            if after is not None:
                self._turnover.add(*after, before.side)
            self._settled = self._turnover.sums()
        minute_ns = before.ts_ns - before.ts_ns % NS_PER_MINUTE
        inside = [each for each in kept if minute_ns <= each.ts_ns < minute_ns + NS_PER_MINUTE]
        n_before = len(inside) + (after is None)
        bar = self.current if self.current.ts_ns == minute_ns else self._recent.get(minute_ns)
        if bar is None:
            return self._amend_finished(minute_ns, inside, n_before)
        is_whole = bar.sums.trades == n_before
        if not is_whole and before.arrived_ns >= bar.end_ns + AMENDABLE_MINUTES * NS_PER_MINUTE:
            # It may have come too late for its bar.
            return False
        bar.sums = bar.sums.minus(sums_of(before.price, before.size))
        if after is not None:
            bar.sums = bar.sums.plus(sums_of(*after))
        bar.is_changed = bar.is_corrected = True
        if not bar.sums.trades:
            self._remove(bar)
        elif is_whole:
            bar.set_prices(inside)
        if bar is not self.current:
            self._schedule(bar)
        return is_whole

    def newest(self) -> tuple[int, float] | None:
        """Returns when the last print of the newest bar happened, as far as it is known, and its price; None without
        a bar."""
        if self.current is not _NO_BAR:
            return self.current.last_ns, self.current.close
        if self._recent:
            newest = self._recent[max(self._recent)]
            return newest.last_ns, newest.close
        finished = list(self.copy_bars(0, MAX_NS))
        return (finished[-1].ts_ns, finished[-1].close) if finished else None

    def prices_since(self, start_ns: int) -> list[float]:
        """Returns the highs and lows of the bars from `start_ns` on."""
        bars = [bar.to_bar() for bar in (self.current, *self._recent.values()) if bar is not _NO_BAR]
        found = {bar.ts_ns: bar for bar in (*self.copy_bars(start_ns, MAX_NS), *bars)}
        return [price for bar in found.values() if bar.ts_ns >= start_ns for price in (bar.high, bar.low)]

    def finish(self, now_ns: int) -> None:
        """Publishes the bars that are finished at `now_ns` (event clock), and again those amended since."""
        if self.current.end_ns + GRACE_NS <= now_ns:
            self._settle()
            self._close()
        self.due_ns = _NEVER
        self._schedule(self.current)
        for bar in self._recent.values():
            if bar.is_changed and bar.end_ns + GRACE_NS <= now_ns:
                self._publish(bar)
            elif bar.is_changed:
                self._schedule(bar)

    def end_session(self) -> None:
        """Clears the turnover. A bar belongs to one session: prints of its minute in the next session amend it."""
        self._settle()
        self._close()
        self._turnover.clear()

    def go_back(self) -> None:
        """Publishes every bar and lets any next minute be the newest, because time has gone back."""
        self._settle()
        self._close()
        for bar in self._recent.values():
            if bar.is_changed:
                self._publish(bar)
        self._recent.clear()
        self._newest_ns = -1
        self.due_ns = _NEVER

    def copy_bars(self, start_ns: int, end_ns: int) -> Iterator[Bar]:
        """Yields the finished bars of the last 24 hours that begin in start_ns <= t < end_ns, oldest first."""
        return iter(()) if self._table is None else self._table.copy_bars(start_ns, end_ns)

    def to_state(self) -> BarsState:
        self._settle()
        return BarsState(
            None if self.current is _NO_BAR else self.current.to_state(),
            [bar.to_state() for bar in self._recent.values()],
            self._newest_ns,
            self.late_prints,
        )

    def load_state(self, state: BarsState) -> None:
        """Restores the bars that can still change. Call it after the turnover has been restored."""
        self.current = _NO_BAR if state.current is None else OpenBar.from_state(state.current)
        self._recent = {bar.ts_ns: OpenBar.from_state(bar) for bar in state.recent}
        self._newest_ns = state.newest_ns
        self.late_prints = state.late_prints
        self._settled = self._turnover.sums()
        self.due_ns = 0
        # A reader takes older bars from the store up to the first bar in the table, so none may be missing after it.
        for bar in self._recent.values():
            if not bar.is_changed:
                self._put(bar.to_bar())

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
                self._publish(bar)

    def _amend(self, minute_ns: int, ts_ns: int, price: float) -> None:
        """Adds the print that the turnover has just counted to an earlier bar, which may be a new one."""
        bar = self._recent.get(minute_ns)
        if bar is None:
            bar = self._recent[minute_ns] = OpenBar(minute_ns, ts_ns, price)
        else:
            bar.widen(ts_ns, price)
        bar.sums = bar.sums.plus(self._turnover.sums().minus(self._settled))
        bar.is_changed = True
        self._schedule(bar)

    def _amend_finished(self, minute_ns: int, inside: Sequence[KeptPrint], n_before: int) -> bool:
        """Makes a bar that can be amended no longer anew, if all of its prints are known."""
        before = None if self._table is None else self._table.bar(minute_ns)
        if before is None or before.trades != n_before:
            return False
        if not inside:
            self._publish_bar(before._replace(volume=0.0, trades=0, vwap=None, is_corrected=True))
            return True
        bar = OpenBar(minute_ns, minute_ns, 0.0)
        for each in inside:
            bar.sums = bar.sums.plus(sums_of(each.price, each.size))
        bar.set_prices(inside)
        bar.is_corrected = True
        self._publish(bar)
        return True

    def _remove(self, bar: OpenBar) -> None:
        """Removes a bar that has no print any more."""
        if bar is self.current:
            self.current = _NO_BAR
        else:
            del self._recent[bar.ts_ns]
        self._publish(bar)

    def _schedule(self, bar: OpenBar) -> None:
        self.due_ns = min(self.due_ns, bar.end_ns + GRACE_NS)

    def _publish(self, bar: OpenBar) -> None:
        bar.is_changed = False
        self._publish_bar(bar.to_bar())

    def _publish_bar(self, bar: Bar) -> None:
        self._put(bar)
        self._listener(bar)

    def _put(self, bar: Bar) -> None:
        if self._table is None:
            self._table = BarTable()
        self._table.put(bar)
