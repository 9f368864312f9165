"""A fill of ours as it is kept, the key that identifies it, and the filter that selects some of many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from observability.clocks.timestamps import format_iso_ms
from observability.events import Fill, event_time_ns
from observability.metrics.arithmetic.decimals import ROUNDED, quotient, to_float, to_float_or_none
from observability.metrics.trades.correction import Change, Corrected, Terms
from observability.metrics.trades.position_side import HeldSide, held_side
from observability.metrics.trades.stats import TradeAmounts

DEFAULT_STRATEGY = "default"

_NOT_CORRECTED = {"status": None, "corrected_by": None, "original": None}

TradeKey = tuple[str, str, str, str, str, int, int]
"""What identifies a fill: venue, symbol, trade id, side, order id, day, leg.

Exchanges number trades per symbol; both sides of a trade may be ours, and so may several orders on one side of it.
`day` is the session of a venue whose ids begin anew each day, else 0. `leg` is 2 for the second part of a fill through
zero that the engine reports in two, else 1.
"""


class Trade(msgspec.Struct, gc=False):
    """One fill. `seq` rises from trade to trade."""

    seq: int
    trade_id: str
    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    ts_ns: int
    strategy: str
    venue: str
    commission: Decimal
    liquidity: str
    latency_ms: float | None = None
    slippage_bps: float | None = None
    pnl: Decimal | None = None
    """What the fill realised, net of its fee and of the opening fees of the quantity that it closed; None if it closed
    nothing."""
    mid: Decimal | None = None
    """The market's mid when the fill arrived; None if there was none. It is set once: a fill that is replayed after a
    restart meets another market and keeps the mid it had."""
    gross_pnl: Decimal | None = None
    """What the fill realised before fees; None if it closed nothing, or was stored by an earlier version."""
    round_trip: int | None = None
    """The round trip that it belongs to, as the `seq` of the fill that opened it; the one that it closed if it goes
    through zero. None if it was stored by an earlier version, or is in no account."""
    day: int = 0
    leg: int = 1
    """Both as in TradeKey."""
    is_flat: bool = False
    """Whether the fill closed its position exactly."""
    position_side: HeldSide = ""
    reason: str = ""
    commission_asset: str = ""
    """The currency of the commission; empty if the fill names none: then it is that of the P&L."""
    currency: str = ""
    """The currency of P&L and notional; empty if it was stored by an earlier version, or is in no account."""
    fee_value: Decimal | None = None
    """The commission in that currency, at the rate when the fill arrived, if it is in another one. It is set once: a
    replay after a restart meets other rates."""
    notional: Decimal | None = None
    """The amount of the fill; None if it is quantity times price."""

    @property
    def is_fee_unvalued(self) -> bool:
        """Whether the commission is in another currency, and no rate was known."""
        return bool(self.commission_asset) and self.commission_asset != self.currency and self.fee_value is None

    ts_init_ns: int = 0
    """When the fill arrived."""
    corrected: Corrected | None = None
    """Its corrections; None without any. Quantity, price and commission are those after them."""

    @classmethod
    def from_fill(cls, seq: int, fill: Fill, strategy: str) -> Trade:
        """Returns the trade of a fill that belongs to `strategy`, before any collector has added what it computes."""
        # hot: once per fill (benchmarks/bench_intake.py)
        trade = cls(
            seq, fill.trade_id, fill.order_id, fill.symbol, fill.side, fill.quantity, fill.price, event_time_ns(fill),
            strategy, fill.venue, fill.commission, fill.liquidity, fill.latency_ms,
        )  # fmt: skip
        trade.ts_init_ns = fill.ts_init
        # Most fills have none of these.
        if fill.position_side:
            trade.position_side = held_side(fill.position_side)
        if fill.reason:
            trade.reason = fill.reason
        if fill.commission_asset:
            trade.commission_asset = fill.commission_asset
        return trade

    def to_fill(self) -> Fill:
        """Returns the fill as it counts."""
        return Fill(
            self.trade_id,
            self.symbol,
            self.side,  # type: ignore[arg-type]  # one of the two, as the fill had it
            self.quantity,
            self.price,
            self.order_id,
            self.commission,
            self.liquidity,  # type: ignore[arg-type]
            self.strategy,
            self.venue,
            self.latency_ms,
            self.position_side,
            self.reason,
            self.commission_asset,
            ts=self.ts_ns,
            ts_init=self.ts_init_ns,
        )

    @property
    def terms(self) -> Terms:
        return Terms(self.quantity, self.price, self.commission, self.commission_asset)

    @property
    def original(self) -> Terms:
        """What the fill was delivered with first."""
        return self.terms if self.corrected is None else self.corrected.original

    @property
    def is_busted(self) -> bool:
        return self.corrected is not None and self.corrected.is_busted

    @property
    def counted(self) -> Terms | None:
        """What it counts with; None if it is busted."""
        return None if self.is_busted else self.terms

    @property
    def shown_id(self) -> str:
        """The id that it has now."""
        return (self.corrected.new_id if self.corrected is not None else "") or self.trade_id

    def correct(self, corrected: Corrected | None) -> None:
        """Takes the terms that it counts with after its corrections, or with None those that it was delivered with."""
        terms = self.original if corrected is None else corrected.terms
        self.corrected = corrected
        if self.fee_value is not None and self.commission and terms.commission != self.commission:
            # Its rate stays: a restart takes the value from a row that has corrections which are not applied yet.
            self.fee_value = self.fee_value_of(terms.commission)
        self.quantity, self.price, self.commission = terms.quantity, terms.price, terms.commission

    def fee_value_of(self, commission: Decimal) -> Decimal:
        """Returns the value of another commission, at the rate at which its own has one; its own is not zero."""
        assert self.fee_value is not None, "its own has a value"
        return quotient(ROUNDED.multiply(self.fee_value, commission), self.commission)

    def with_change(self, change: Change) -> Corrected:
        """Returns its corrections and a further one."""
        return (self.corrected or Corrected(self.original, ())).with_change(change)

    def amounts(self) -> TradeAmounts:
        return TradeAmounts(
            self.symbol, self.side, self.quantity, self.price, self.commission, self.pnl, self.gross_pnl,
            self.round_trip, self.commission_asset, self.currency, self.fee_value, self.notional,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "trade_id": self.shown_id,
            "order_id": self.order_id,
            "symbol": self.symbol,
            "side": self.side,
            "quantity": to_float(self.quantity),
            "price": to_float(self.price),
            "timestamp": format_iso_ms(self.ts_ns),
            "strategy": self.strategy,
            "venue": self.venue,
            "commission": to_float(self.commission),
            "commission_asset": self.commission_asset or self.currency or None,
            "latency_ms": self.latency_ms,
            "slippage_bps": self.slippage_bps,
            "pnl": to_float_or_none(self.pnl),
            "gross_pnl": to_float_or_none(self.gross_pnl),
            "pnl_currency": self.currency or None,
            "round_trip": self.round_trip,
            "liquidity": self.liquidity,
            "position_side": self.position_side,
            "reason": self.reason,
            **(_NOT_CORRECTED if self.corrected is None else self.corrected.to_json()),
        }


@dataclass(frozen=True, slots=True)
class TradeFilter:
    """Selects trades; a field that is None accepts every trade. start_ns <= time < end_ns."""

    symbol: str | None = None
    side: str | None = None
    strategy: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    min_quantity: Decimal | None = None
    max_quantity: Decimal | None = None
    position_side: HeldSide | None = None

    def predicate(self) -> Callable[[Trade], bool]:
        """Returns the test for one trade."""
        tests: list[Callable[[Trade], bool]] = []
        for name in ("symbol", "side", "strategy", "position_side"):
            wanted = getattr(self, name)
            if wanted is not None:
                tests.append(lambda trade, name=name, wanted=wanted: getattr(trade, name) == wanted)  # type: ignore[misc]
        start_ns, end_ns = self.start_ns, self.end_ns
        if start_ns is not None:
            tests.append(lambda trade: trade.ts_ns >= start_ns)
        if end_ns is not None:
            tests.append(lambda trade: trade.ts_ns < end_ns)
        low, high = self.min_quantity, self.max_quantity
        if low is not None:
            tests.append(lambda trade: trade.quantity >= low)
        if high is not None:
            tests.append(lambda trade: trade.quantity <= high)
        return lambda trade: all(test(trade) for test in tests)
