"""The symbols that we have orders in, and when what waits for their market is due.

Nothing of a market here (see `followed_symbol.py`), and nothing of what is measured (see `markouts.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from observability.metrics.execution.markouts import Markouts
from observability.metrics.execution.order_market import FollowedState, OrderMarket
from observability.metrics.market_data_collector import MarketDataCollector

logger = logging.getLogger(__name__)

# 50 kB each at most (see `followed_symbol.py`).
MAX_FOLLOWED: Final = 256


class OrderMarkets:
    """Follows a symbol from its first order on, as far as there is a market to follow.

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
        self._symbols: dict[str, OrderMarket] = {}
        self._is_full = False

    def follow(self, symbol: str) -> OrderMarket | None:
        """Returns the symbol, followed from now on; None beyond `max_symbols`, whose figures have no prices then."""
        followed = self._symbols.get(symbol)
        if followed is None and self._market is not None:
            if len(self._symbols) < self._max_symbols:
                return self._begin(self._market, symbol)
            if not self._is_full:
                self._is_full = True
                logger.warning(
                    "more than %d symbols have orders: further ones are measured without prices", self._max_symbols
                )
        return followed

    def due_ns(self, symbol: str) -> int | None:
        """Returns the next horizon of a symbol, None without one."""
        return self._markouts.due_ns(symbol)

    def settle(self, followed: OrderMarket, now_ns: int) -> None:
        """Counts the horizons of a symbol that lie before `now_ns`."""
        due_ns = self._markouts.due_ns(followed.symbol)
        if due_ns is not None and due_ns < now_ns:
            self._on_due(now_ns)
            self._markouts.settle(followed, now_ns)

    def settle_all(self, now_ns: int) -> bool:
        """Counts the horizons of all symbols that lie before `now_ns`; returns whether there were any."""
        if not self._markouts.pending:
            return False
        is_any = False
        for followed in self._symbols.values():
            due_ns = self._markouts.due_ns(followed.symbol)
            if due_ns is not None and due_ns < now_ns:
                self._markouts.settle(followed, now_ns)
                is_any = True
        return is_any

    def dump_state(self) -> list[FollowedState]:
        """Returns every symbol."""
        return [followed.dump_state() for followed in self._symbols.values()]

    def load_state(self, states: Sequence[FollowedState]) -> None:
        """Takes over what was dumped; after the fills that wait."""
        self._symbols = {state.symbol: OrderMarket.from_state(state, self) for state in states}

    def attach(self) -> None:
        """Follows what was loaded."""
        if self._market is not None:
            for followed in self._symbols.values():
                self._market.follow(followed.symbol, followed)

    def _begin(self, market: MarketDataCollector, symbol: str) -> OrderMarket:
        followed = self._symbols[symbol] = OrderMarket(symbol, market.stale_after_ns(symbol), self)
        state = market.symbol(symbol)
        if state is not None:
            followed.begin(state)
        market.follow(symbol, followed)
        return followed
