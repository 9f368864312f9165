"""Everything that the equity is made of now, as the path of the equity begins with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from observability.metrics.arithmetic.rates import Rates
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.book.equity_path import HeldState, PathState, WalkedState
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.position_part import PositionPart


def path_state(
    accounts: Iterable[StrategyAccount],
    drawdown: Drawdown,
    rates: Rates,
    marks: Mapping[str, Decimal],
    capitals: Mapping[str, Decimal],
    seq: int,
) -> PathState:
    """Returns the state. It shares the drawdowns, so it must be packed at once. `drawdown` is that of all accounts."""
    marked = dict(marks)
    walked = []
    for account in accounts:
        parts = [part for part in account.positions.values() if part.position.quantity]
        # A mark from before a split is that of old shares: it is with its position, and no price of the symbol.
        marked.update(
            {part.symbol: part.mark for part in parts if part.mark_source != "fill" and part.mark_scale is None}
        )
        walked.append(WalkedState(account.name, account.cash, account.drawdown, [_held(part) for part in parts]))
    factors = {name: each.fraction for name, each in rates.conversions.items()}
    return PathState(seq, walked, drawdown, marked, factors, dict(capitals))


def _held(part: PositionPart) -> HeldState:
    scale = None if part.mark_scale is None else (part.mark_scale.numerator, part.mark_scale.denominator)
    return HeldState(part.place, part.symbol, part.terms, part.position.quantity, part.mark, scale)
