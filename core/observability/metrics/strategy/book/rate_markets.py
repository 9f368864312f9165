"""The markets that rates are taken from: of the symbols whose price is a rate between two currencies, those that
something is converted at.

    rates wanted --> a direct pair, else the two pairs of one cross --> these symbols are held, as if by a position
                                                                    --> each of their marks is the rate

Only these few cost anything: a thousand other pairs may be quoted beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.rates import Pair, Rates

Watch = Callable[[str, bool], None]
"""Called with a symbol whose marks are wanted from now on, or no longer."""


class Market(Protocol):
    """The symbols that are quoted."""

    @property
    def symbols(self) -> tuple[str, ...]: ...

    def add_symbol_listener(self, listener: Callable[[str], None]) -> None: ...


class RateMarkets:
    """Chooses the symbols. A pair is quoted by the symbol that came first."""

    def __init__(self, rates: Rates, instruments: InstrumentTable, watch: Watch) -> None:
        self._rates = rates
        self._instruments = instruments
        self._watch = watch
        self._symbols: dict[Pair, str] = {}
        self._pairs: dict[str, Pair] = {}
        self._watched: set[str] = set()
        self._seen: set[str] = set()
        instruments.add_terms_listener(self.on_terms)
        rates.on_wanted = self.plan

    def attach(self, market: Market) -> None:
        """Follows the symbols of a market, those that it has already included."""
        for symbol in market.symbols:
            self.on_symbol(symbol)
        market.add_symbol_listener(self.on_symbol)

    def pair_of(self, symbol: str) -> Pair | None:
        """Returns the pair that a watched symbol quotes."""
        return self._pairs.get(symbol) if symbol in self._watched else None

    def on_symbol(self, symbol: str) -> None:
        """Adds a symbol of the market, if its price is a rate."""
        self._seen.add(symbol)
        pair = self._instruments.find(symbol).pair
        if pair is None:
            return
        pair = self._rates.pair_of(pair)
        self._pairs[symbol] = pair
        if pair not in self._symbols:
            self._symbols[pair] = symbol
            self._rates.quoted.add(pair)
            self.plan()

    def on_terms(self, symbol: str) -> None:
        """Looks at a symbol again whose instrument has changed."""
        if symbol not in self._seen:
            return
        pair = self._pairs.pop(symbol, None)
        if pair is not None and self._symbols.get(pair) == symbol:
            del self._symbols[pair]
            self._rates.quoted.discard(pair)
            other = next((other for other, its in self._pairs.items() if its == pair), None)
            if other is not None:
                self._symbols[pair] = other
                self._rates.quoted.add(pair)
        self.on_symbol(symbol)
        self.plan()

    def plan(self) -> None:
        """Chooses the symbols anew: whenever another rate is wanted, or another pair is quoted."""
        wanted = {self._symbols[pair] for pair in self._rates.pairs_wanted() if pair in self._symbols}
        for symbol in self._watched - wanted:
            self._watched.discard(symbol)
            self._watch(symbol, False)
        for symbol in wanted - self._watched:
            self._watched.add(symbol)
            self._watch(symbol, True)
