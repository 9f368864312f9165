"""The P&L of one symbol over all strategies as the snapshot shows it, also while every position in it is flat."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

import msgspec

from observability.instruments.instrument import Instrument
from observability.metrics.arithmetic.decimals import ZERO, add, to_float
from observability.metrics.arithmetic.ledger import Amounts, AmountsState, Ledger
from observability.metrics.arithmetic.rates import Rates
from observability.snapshot.sections import JsonPart


class SymbolSums(msgspec.Struct):
    """What all fills of a symbol add up to, in a checkpoint."""

    symbol: str = ""
    realized_gross: Decimal = ZERO
    fees: Decimal = ZERO
    fills: int = 0
    income: Decimal = ZERO
    """The money above is that of an earlier version, which knew one currency only."""
    amounts: list[AmountsState] = []
    """By currency."""


class Valued(Protocol):
    """An open position."""

    amounts: Amounts
    unrealized: Decimal


class SymbolPart(JsonPart):
    """The sums of one symbol; with the unrealised P&L of its open positions they are a part of the account's."""

    __slots__ = ("_instrument_json", "fills", "has_input", "ledger", "rates", "symbol")

    def __init__(self, sums: SymbolSums, rates: Rates, instrument: Instrument | None) -> None:
        """Without an `instrument` the sums are of several symbols."""
        super().__init__()
        self.symbol = sums.symbol
        self._instrument_json = None if instrument is None else instrument.terms_json()
        self.rates = rates
        self.ledger = Ledger(rates)
        self.ledger.load_state(
            sums.amounts or [AmountsState(rates.reporting, sums.realized_gross, sums.fees, sums.income)]
        )
        self.fills = sums.fills
        self.has_input = True
        self.show(())

    def describe(self, instrument: Instrument) -> None:
        """Shows another instrument from now on."""
        self._instrument_json = instrument.terms_json()
        self.has_input = True

    @property
    def sums(self) -> SymbolSums:
        return SymbolSums(self.symbol, fills=self.fills, amounts=self.ledger.to_state())

    def add(self, amounts: Amounts, gross: Decimal, fee: Decimal, fills: int = 1) -> None:
        """Adds what a fill has realised before fees, and its fee, in the currency of `amounts`, its account's."""
        self.has_input = True
        ledger = self.ledger
        mine = ledger.own if amounts.conversion is ledger.own.conversion else ledger.of(amounts.currency)
        mine.book(gross, fee)
        self.fills += fills

    def earn(self, amounts: Amounts, income: Decimal) -> None:
        """Adds P&L that no fill has made, in the currency of `amounts`, its account's."""
        self.has_input = True
        self.ledger.of(amounts.currency).earn(income)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever counted, or all of it was taken back."""
        return not self.fills and self.ledger.is_empty

    def show(self, parts: Iterable[Valued]) -> None:
        """Brings the JSON up to the sums and the unrealised P&L of the open positions."""
        # hot: once per symbol with open positions per tick in which something moved (benchmarks/bench_tick.py)
        ledger = self.ledger
        own = ledger.own
        before, own.unrealized = own.unrealized, ZERO
        for each in ledger.foreign:
            each.unrealized = ZERO
        for part in parts:
            amounts = own if part.amounts.conversion is own.conversion else ledger.of(part.amounts.currency)
            unrealized = amounts.unrealized
            amounts.unrealized = part.unrealized if unrealized is ZERO else add(unrealized, part.unrealized)
        # A rate may have changed amounts in other currencies.
        if not self.has_input and not ledger.foreign:
            if own.unrealized != before:
                json = self.to_json().copy()
                json["total_pnl"] = to_float(own.total)
                json["unrealized_pnl"] = to_float(own.unrealized)
                self.offer(json)
            return
        self.has_input = False
        self.offer(ledger.shown_pnl() | {"fills": self.fills, "instrument": self._instrument_json})
