"""The P&L of one symbol over all strategies as the snapshot shows it, also while every position in it is flat."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ZERO, to_float
from observability.snapshot.sections import JsonPart


class SymbolSums(msgspec.Struct):
    """What all fills of a symbol add up to; checkpoints store all of it."""

    symbol: str = ""
    realized_gross: Decimal = ZERO
    fees: Decimal = ZERO
    fills: int = 0
    income: Decimal = ZERO


class SymbolPart(JsonPart):
    """The sums of one symbol; with the unrealised P&L of its open positions they are a part of the account's."""

    __slots__ = ("_unrealized", "has_input", "sums", "symbol")

    def __init__(self, sums: SymbolSums) -> None:
        super().__init__()
        self.symbol = sums.symbol
        self.sums = sums
        self.has_input = True
        self._unrealized = ZERO
        self.show(ZERO)

    def add(self, realized_gross: Decimal, fee: Decimal, fills: int = 1) -> None:
        """Adds what a fill has realised before fees, and its fee."""
        self.has_input = True
        sums = self.sums
        sums.realized_gross = EXACT.add(sums.realized_gross, realized_gross)
        sums.fees = EXACT.add(sums.fees, fee)
        sums.fills += fills

    def earn(self, amount: Decimal) -> None:
        """Adds P&L that no fill has made."""
        self.has_input = True
        self.sums.income = EXACT.add(self.sums.income, amount)

    def show(self, unrealized: Decimal) -> None:
        """Brings the JSON up to the sums and the unrealised P&L of the open positions."""
        # hot: once per symbol with open positions per tick in which something moved (benchmarks/bench_tick.py)
        if not self.has_input and unrealized == self._unrealized:
            return
        self.has_input = False
        self._unrealized = unrealized
        sums = self.sums
        realized = EXACT.add(EXACT.subtract(sums.realized_gross, sums.fees), sums.income)
        self.offer(
            {
                "total_pnl": to_float(EXACT.add(realized, unrealized)),
                "realized_pnl": to_float(realized),
                "realized_gross_pnl": to_float(sums.realized_gross),
                "unrealized_pnl": to_float(unrealized),
                "fees": to_float(sums.fees),
                "income": to_float(sums.income),
                "fills": sums.fills,
            }
        )
