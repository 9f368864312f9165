"""The symbols that we have orders in, each with its market and the fills that wait for what becomes of it.

No subscription here (see `execution_collector.py`), and nothing of what is measured (see `markouts.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from observability.core.events import Print, Quote
from observability.core.timestamps import NS_PER_S
from observability.metrics.followed_symbol import FollowedState, FollowedSymbol
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.markouts import Markouts

logger = logging.getLogger(__name__)

# 50 kB each at most (see `followed_symbol.py`).
MAX_FOLLOWED: Final = 256
# Of symbols that the market data section does not know.
STALE_AFTER_NS: Final = 5 * NS_PER_S


class FollowedSymbols:
    """Follows a symbol from its first order on; a quote of any other costs one look-up.

    `on_due` is called with the time before horizons are counted, so that they fall into the session they belong to.
    """

    def __init__(
        self,
        market: MarketDataCollector | None,
        markouts: Markouts,
        on_due: Callable[[int], None],
        max_symbols: int,
    ) -> None:
        self._market = market
        self._markouts = markouts
        self._on_due = on_due
        self._max_symbols = max_symbols
        self._symbols: dict[str, FollowedSymbol] = {}
        self._refused: set[str] = set()

    def __len__(self) -> int:
        return len(self._symbols)

    def follow(self, symbol: str) -> FollowedSymbol | None:
        """Returns the symbol, followed from now on; None beyond `max_symbols`, whose figures have no prices then."""
        followed = self._symbols.get(symbol)
        if followed is None:
            if len(self._symbols) >= self._max_symbols:
                self._refuse(symbol)
                return None
            state = None if self._market is None else self._market.symbol_state(symbol)
            stale_after_ns = STALE_AFTER_NS if state is None else state.stale_after_ns
            followed = self._symbols[symbol] = FollowedSymbol(symbol, stale_after_ns, state)
        elif followed.market is None and self._market is not None:
            followed.market = self._market.symbol_state(symbol)
        return followed

    def wake(self, followed: FollowedSymbol) -> None:
        """Has the symbol's quotes look at what is due."""
        followed.sample(self._markouts.due_ns(followed.symbol))

    def on_quote(self, event: Quote) -> None:
        """Takes the touch over, after settling what was due before it."""
        # hot: once per quote (benchmarks/bench_intake.py)
        followed = self._symbols.get(event.symbol)
        if followed is None:
            return
        now_ns = event.ts_init
        is_due = now_ns >= followed.next_ns
        if is_due:
            due_ns = self._markouts.due_ns(event.symbol)
            if due_ns is not None and due_ns < now_ns:
                self._on_due(now_ns)
                self._markouts.settle(followed, now_ns)
        followed.bid = event.bid
        followed.ask = event.ask
        followed.touch_ns = now_ns
        if is_due:
            followed.sample(self._markouts.due_ns(event.symbol))

    def on_print(self, event: Print) -> None:
        """Adds one trade of the market."""
        # hot: once per print (benchmarks/bench_intake.py)
        followed = self._symbols.get(event.symbol)
        if followed is not None:
            followed.trade(event.price, event.size)

    def settle(self, now_ns: int) -> bool:
        """Counts the horizons of all symbols that lie before `now_ns`; returns whether there were any."""
        if not self._markouts.pending:
            return False
        is_any = False
        for followed in self._symbols.values():
            due_ns = self._markouts.due_ns(followed.symbol)
            if due_ns is not None and due_ns < now_ns:
                self._markouts.settle(followed, now_ns)
                self.wake(followed)
                is_any = True
        return is_any

    def dump_state(self) -> list[FollowedState]:
        """Returns every symbol."""
        return [followed.dump_state() for followed in self._symbols.values()]

    def load_state(self, states: Sequence[FollowedState]) -> None:
        """Takes over what was dumped; after the fills that wait."""
        self._symbols = {}
        for state in states:
            market = None if self._market is None else self._market.symbol_state(state.symbol)
            followed = self._symbols[state.symbol] = FollowedSymbol.from_state(state, market)
            if followed.touch_ns:
                self.wake(followed)

    def _refuse(self, symbol: str) -> None:
        if not self._refused:
            logger.warning("more than %d symbols have orders: further ones are measured without prices", len(self))
        if len(self._refused) < self._max_symbols:
            self._refused.add(symbol)
