"""The open positions in each symbol, of all strategies, which each price of the market marks anew.

A mark changes by time alone, too: once its quote is stale, a print that came after the quote takes the place of the
mid. That moment is known when the print comes, and is observed as of then, whatever comes next and however late:

    quote    mid 100                                        expires 5 s later
    print             90                                    |
    mark         100  .  .  .  .  .  .  .  .  .  .  .  .  . 90

The mid of a symbol that is traded at several venues changes, too, when one of its quotes becomes stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from observability.clocks.timestamps import MAX_NS
from observability.metrics.arithmetic.decimals import price_or_none
from observability.metrics.market.touch import Mark, MarkInputs, mark_of
from observability.metrics.market.tracked_symbol import TrackedSymbol
from observability.metrics.strategy.position_part import PositionPart

OnMark = Callable[["Holding", Mark, int, int], None]
"""Called with a holding, its new mark, the arrival of the quote or print that the mark is from, and the time from which
it holds."""


class Holdings(dict[str, "Holding"]):
    """The holdings by symbol, and when the next of their mids expires."""

    def __init__(self, on_move: OnMark, catch_up: Callable[[int], None]) -> None:
        """`catch_up` is called with the time of an event that comes after a mid has expired, before it counts."""
        super().__init__()
        self.next_expiry_ns = MAX_NS
        """No mid expires before this; one may not expire at it, because a quote has come since."""
        self._on_move = on_move
        self._catch_up = catch_up

    def open(self, symbol: str) -> Holding:
        """Adds the holding of a symbol."""
        holding = self[symbol] = Holding(symbol, self, self._on_move, self._catch_up)
        return holding

    def due(self, now_ns: int) -> Iterator[Holding]:
        """Yields the holdings whose mids expire by `now_ns`, in that order; the caller expires each before the next.
        One of several venues may expire again."""
        due: list[tuple[int, int, Holding]] = []
        next_ns = MAX_NS
        for number, holding in enumerate(self.values()):
            if holding.expires_ns <= now_ns:
                due.append((holding.expires_ns, number, holding))
            elif holding.expires_ns < next_ns:
                next_ns = holding.expires_ns
        self.next_expiry_ns = next_ns
        heapify(due)
        while due:
            expires_ns, number, holding = heappop(due)
            if holding.expires_ns == expires_ns:
                yield holding
            if holding.expires_ns <= now_ns:
                heappush(due, (holding.expires_ns, number, holding))


class Holding:
    """Hands each change of a symbol's prices to `on_move`, before the next event."""

    __slots__ = (
        "_catch_up", "_holdings", "_is_mid_expiring", "_last_price", "_on_move", "_printed_ns", "_venues", "expires_ns",
        "is_rate", "known", "parts", "quoted", "symbol",
    )  # fmt: skip

    def __init__(self, symbol: str, holdings: Holdings, on_move: OnMark, catch_up: Callable[[int], None]) -> None:
        self.symbol = symbol
        self.parts: dict[str, PositionPart] = {}
        """The open positions, by their keys."""
        self.known: set[str] = set()
        """The keys of all positions, those that are flat included."""
        self.is_rate = False
        """Whether amounts are converted at the price of the symbol."""
        self.quoted: MarkInputs | None = None
        """What the newest mark was made from; None if the marks may have changed since."""
        self.expires_ns = MAX_NS
        """When the last price takes the place of the mid, if no quote comes before."""
        # The print that does so: its price and its arrival.
        self._last_price: float | None = None
        self._printed_ns = 0
        # The market, if it is traded at several venues.
        self._venues: TrackedSymbol | None = None
        # Whether the last price takes the place of the mid, and not the best without a venue that of the best.
        self._is_mid_expiring = False
        self._holdings = holdings
        self._on_move = on_move
        self._catch_up = catch_up

    def on_price(self, market: TrackedSymbol, now_ns: int) -> None:
        # hot: once per quote and print of a symbol that is held (benchmarks/bench_intake.py)
        if now_ns >= self.expires_ns:
            self._catch_up(now_ns)
        quoted = market.mark_inputs(now_ns)
        # Most quotes change a size only.
        if quoted != self.quoted:
            self.quoted = quoted
            mark = mark_of(quoted)
            if mark is not None:
                self._on_move(self, mark, market.source_arrived_ns(mark[1]), now_ns)
        _, _, last_price, is_mid_current = quoted
        if market.venues is not None:
            self._watch_venues(market, is_mid_current=is_mid_current)
            return
        quoted_ns, printed_ns = market.quotes.arrived_ns, market.prints.arrived_ns
        if quoted_ns > printed_ns or not is_mid_current:
            self.expires_ns = MAX_NS
        else:
            self._last_price, self._printed_ns = last_price, printed_ns
            if self.expires_ns == MAX_NS or quoted_ns == printed_ns:
                self._schedule(market.mid_expires_ns())

    def watch(self, market: TrackedSymbol) -> None:
        """Notes what the market was before the first event."""
        if market.venues is not None:
            self._watch_venues(market, is_mid_current=True)
            return
        self._last_price, self._printed_ns = market.last_price, market.prints.arrived_ns
        self._schedule(market.mid_expires_ns())

    def split(self, market: TrackedSymbol, now_ns: int) -> None:
        """Takes over the prices that a split has scaled; the marks have been scaled with them."""
        self.quoted = market.mark_inputs(now_ns)
        self._last_price = market.last_price

    def expire(self, on_mark: OnMark) -> None:
        """Hands the mark that takes the place of the mid to `on_mark`."""
        now_ns, self.expires_ns = self.expires_ns, MAX_NS
        if self._venues is not None and not self._is_mid_expiring:
            self.on_price(self._venues, now_ns)
            return
        last = price_or_none(self._last_price)
        if last is not None:
            self.quoted = None
            on_mark(self, (last, "last"), self._printed_ns, now_ns)

    def _watch_venues(self, market: TrackedSymbol, *, is_mid_current: bool) -> None:
        """Notes when time alone changes the mark of a symbol that is traded at several venues."""
        assert market.venues is not None
        self._venues = market
        self._last_price, self._printed_ns = market.last_price, market.prints.arrived_ns
        quote_ns, mid_ns = market.venues.expires_ns, market.mid_expires_ns() if is_mid_current else MAX_NS
        self._is_mid_expiring = mid_ns <= quote_ns
        self._schedule(min(mid_ns, quote_ns))

    def _schedule(self, expires_ns: int) -> None:
        self.expires_ns = expires_ns
        if expires_ns < self._holdings.next_expiry_ns:
            self._holdings.next_expiry_ns = expires_ns
