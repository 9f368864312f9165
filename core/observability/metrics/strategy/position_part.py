"""One position of one strategy as the snapshot shows it: accounting, mark, and the position that the engine reports."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import iso_or_none
from observability.events import Fill, Position, code_of
from observability.instruments.instrument import Terms
from observability.metrics.arithmetic.decimals import (
    ONE,
    ROUNDED,
    ZERO,
    add,
    exact_text_or_none,
    multiply,
    shifted,
    subtract,
    to_float,
    to_float_or_none,
)
from observability.metrics.arithmetic.ledger import Amounts, Ledger
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.market.time_order import happened_ns
from observability.metrics.market.touch import Mark, MarkInputs, MarkSource, mark_of
from observability.metrics.market.tracked_symbol import TrackedSymbol
from observability.metrics.strategy.position import AverageCostPosition, Closing, signed_quantity
from observability.metrics.strategy.position_venues import PositionVenues
from observability.metrics.strategy.state import PositionState
from observability.metrics.trades.position_side import HeldSide, place_of
from observability.metrics.trades.trade import Trade
from observability.snapshot.sections import JsonPart

_EXACT_FIGURES: Final = ("quantity", "avg_price", "mark", "unrealized_pnl", "realized_pnl", "fees")


class PositionPart(JsonPart):
    """A position, marked to the mid, else the last price (see `TrackedSymbol.mark`), else, without any market data, to
    its own last fill. Its money is in the currency of its instrument, and `amounts` are its account's in that one.

    `mark_updated` is the time of the event that last changed the mark. `stale` is whether the quote or print that the
    mark is from is too old, or is a fill; an age would differ at every tick. `difference` is the engine's quantity
    minus ours. A position that was traded at several venues has `venues` (`position_venues.py`).
    """

    __slots__ = (
        "_quoted",
        "_shown",
        "amounts",
        "exposure",
        "has_input",
        "is_marked",
        "is_paid",
        "is_stale",
        "key",
        "mark",
        "mark_ns",
        "mark_scale",
        "mark_source",
        "market_version",
        "place",
        "position",
        "position_side",
        "report",
        "round_trip",
        "strategy",
        "symbol",
        "terms",
        "unrealized",
        "updated_ns",
        "value",
        "venues",
    )

    def __init__(self, strategy: str, symbol: str, terms: Terms, ledger: Ledger, position_side: HeldSide = "") -> None:
        super().__init__()
        self.strategy = strategy
        self.symbol = symbol
        self.position_side = position_side
        self.place = place_of(symbol, position_side)
        """Its key within its account."""
        self.key = position_key(strategy, self.place)
        self.terms = terms
        self.amounts: Amounts = ledger.of(terms.currency)
        self.position = AverageCostPosition.under(terms)
        self.venues = PositionVenues()
        self.mark = ZERO
        self.mark_source: MarkSource = "fill"
        self.mark_ns = 0
        self.mark_scale: Ratio | None = None
        """What the mark is to be scaled by, because it is from before a split."""
        self.value = ZERO
        self.exposure = ZERO
        """The signed value as a long or short position: a long one in an inverse contract is worth more as the price
        rises, although its amount is below zero."""
        self.is_paid = terms.is_paid
        self.unrealized = ZERO
        self.updated_ns = 0
        self.round_trip: int | None = None
        """The `seq` of the trade that opened the newest round trip; None for one that an earlier version opened."""
        self.is_stale = True
        self.report: Position | None = None
        """The engine's newest report; None before the first."""
        self.has_input = True
        """Whether something but the mark has changed since the last refresh."""
        self.is_marked = False
        """Whether the mark has."""
        # The prices that the mark was made from; its Decimals are computed again only when these change.
        self._quoted: MarkInputs | None = None
        # What the JSON shows, as decimals.
        self._shown: tuple[Decimal | None, ...] = (None,) * len(_EXACT_FIGURES)
        self.market_version = -1
        """The version of the market at the last refresh; -1 for none that counts."""

    def to_state(self) -> PositionState:
        """Returns the state. It shares this position's own object, so it must be packed at once."""
        terms = self.terms
        return PositionState(
            self.symbol, self.position, self.mark, self.mark_source, self.mark_ns, self.updated_ns, self.round_trip,
            self.venues, self.position_side, terms.currency, terms.base, terms.is_paid,
            self.mark_scale,
        )  # fmt: skip

    @classmethod
    def from_state(cls, strategy: str, state: PositionState, ledger: Ledger) -> PositionPart:
        """Returns the position of a checkpoint, at the mark and under the terms that it had."""
        position = state.position
        currency = code_of(state.currency) or ledger.own.currency
        terms = Terms(currency, position.multiplier, position.is_inverse, code_of(state.base), state.is_paid)
        part = cls(strategy, state.symbol, terms, ledger, state.position_side)
        part.position, part.venues = position, state.venues
        part.mark, part.mark_source, part.mark_ns = state.mark, state.mark_source, state.mark_ns
        part.updated_ns, part.round_trip = state.updated_ns, state.round_trip
        part.mark_scale = None if state.mark_scale is None else Ratio(*state.mark_scale)
        part._value_position()
        return part

    def apply(self, fill: Fill, trade: Trade, rates: Rates) -> Closing | None:
        """Adds one fill, and writes what it realised and its round trip into its trade."""
        position, terms, venues = self.position, self.terms, self.venues
        if not position.quantity:
            self.round_trip = trade.seq
            position.is_unvalued = False
        trade.currency = terms.currency
        signed, fee = signed_quantity(fill), fill.commission
        if fill.commission_asset and fill.commission_asset != terms.currency:
            signed, fee = self._charge(fill, trade, rates)
        if position.is_inverse or position.multiplier is not ONE:
            trade.notional = position.amount(fill.quantity, fill.price).copy_abs()
        is_at_several = fill.venue != venues.name and venues.is_other(fill.venue, position)
        closing = position.apply(signed, fill.price, fee, happened_ns(fill))
        if is_at_several:
            venues.attribute(fill.venue, position)
        trade.round_trip = self.round_trip
        if closing is not None:
            trade.pnl, trade.gross_pnl = None if position.is_unvalued else closing.pnl, closing.gross
            if closing.is_flat and position.quantity:
                self.round_trip = trade.seq
                # Of the fill's own fee, both round trips have a share.
                position.is_unvalued = bool(fill.commission_asset) and trade.is_fee_unvalued
        if self.mark_source == "fill":
            self.mark, self.mark_scale = fill.price, None
            self.mark_ns = fill.ts_init
        self.updated_ns = fill.ts_init
        self.has_input = True
        self._value_position()
        return closing

    def adopt(self, event: Position, seq: int) -> None:
        """Opens the flat position as it was before the first fill; `seq` is that of the booking, and of the round trip
        that begins."""
        self.position.adopt(event.quantity, event.avg_price, happened_ns(event))
        self.venues.is_adopted = True
        self.round_trip = seq
        self.mark, self.mark_ns = event.avg_price, event.ts_init
        self.updated_ns = event.ts_init
        self.has_input = True
        self._value_position()

    def settle(self, price: Decimal, venue: str, ts_ns: int) -> Closing | None:
        """Closes the position at a price that no fill has made, or the part that it holds at `venue`."""
        position, venues = self.position, self.venues
        quantity = position.quantity if not venue or venues.is_all_at(venue) else venues.quantity_at(venue)
        if not quantity:
            return None
        closing = position.apply(quantity.copy_negate(), price, ZERO, ts_ns)
        venues.settle(venue, price, position)
        self.updated_ns = max(self.updated_ns, ts_ns)
        self.has_input = True
        self._value_position()
        return closing

    def split(self, ratio: Ratio, market: TrackedSymbol | None, now_ns: int) -> None:
        """Changes quantity and mark of the open position, which stays worth what it is. The mark is that of the market
        as of then until a new price comes."""
        position, value = self.position, self.value
        position.split(ratio)
        self.venues.split(ratio)
        unscaled = ROUNDED.multiply(multiply(position.quantity, self.mark), position.multiplier)
        self.mark_scale = Ratio(unscaled, value) if unscaled else None
        self._quoted = None if market is None else market.mark_inputs(now_ns)
        self.report = None
        self.updated_ns = max(self.updated_ns, now_ns)
        self.has_input = True
        self._value_position()

    def replace(self, before: PositionPart, after: PositionPart, venue: str) -> None:
        """Replaces what some fills have made of the position, which `before` has since it was flat, by what `after`
        has. They differ in a fill at `venue`."""
        position, old, new = self.position, before.position, after.position
        self.position = msgspec.structs.replace(
            new,
            realized_gross=shifted(position.realized_gross, old.realized_gross, new.realized_gross),
            fees=shifted(position.fees, old.fees, new.fees),
            closed_quantity=shifted(position.closed_quantity, old.closed_quantity, new.closed_quantity),
            held_time=shifted(position.held_time, old.held_time, new.held_time),
            unvalued_fees=_shifted_fees(position.unvalued_fees, old.unvalued_fees, new.unvalued_fees),
        )
        self.venues.replace(venue, old, new)
        self.round_trip = after.round_trip
        if self.mark_source == "fill":
            self.mark, self.mark_ns, self.mark_scale = after.mark, after.mark_ns, after.mark_scale
        self.has_input = True
        self._value_position()

    def mark_to(self, mark: Mark, arrived_ns: int) -> bool:
        """Marks the position to prices that arrived at `arrived_ns`; returns whether that changes its mark."""
        # hot: once per event that moves the prices of an open position (benchmarks/bench_intake.py)
        price, source = mark
        if price == self.mark and source == self.mark_source and self.mark_scale is None:
            return False
        self.mark, self.mark_source, self.mark_scale = price, source, None
        self.mark_ns = arrived_ns
        if arrived_ns > self.updated_ns:
            self.updated_ns = arrived_ns
        self.is_marked = True
        self._value_position()
        return True

    def take_mark(self, market: TrackedSymbol, now_ns: int) -> None:
        """Marks the position to the market as of `now_ns`."""
        quoted = market.mark_inputs(now_ns)
        if quoted != self._quoted:
            # Restored with a mark from before a split, it has the very prices that the market has scaled.
            is_kept = self._quoted is None and self.mark_scale is not None
            self._quoted = quoted
            mark = None if is_kept else mark_of(quoted)
            if mark is not None:
                self.mark_to(mark, market.source_arrived_ns(mark[1]))

    def refresh(self, market: TrackedSymbol | None, now_ns: int) -> bool:
        """Brings the JSON of the position up to `now_ns`; returns whether its value has changed."""
        # hot: once per open position per tick (benchmarks/bench_tick.py)
        is_stale = True
        if market is not None:
            # Events have marked it already, unless the quote has become stale or a restart has brought the prices.
            self.take_mark(market, now_ns)
            self.market_version = -1 if market.has_input else market.version
            is_stale = market.is_source_stale(self.mark_source, now_ns)
        is_moved = self.is_marked or self.has_input
        if is_moved or is_stale != self.is_stale:
            is_only_marked = self.is_marked and not self.has_input and not self.venues.sums
            self.has_input = self.is_marked = False
            self.is_stale = is_stale
            if is_only_marked:
                self._offer_mark()
            else:
                self._offer()
        return is_moved

    def exact_json(self) -> dict[str, str | None]:
        """Returns the figures of its JSON as the decimals that they are, with at most 18 digits after the point."""
        return {name: exact_text_or_none(value) for name, value in zip(_EXACT_FIGURES, self._shown, strict=True)}

    def _charge(self, fill: Fill, trade: Trade, rates: Rates) -> tuple[Decimal, Decimal]:
        """Returns the signed quantity of a fill whose fee is in another currency, and the fee in that of the position.

        A fee in the base asset is taken from what was bought, or sold beside it: at the price of the fill it is worth
        the fee. Any other is valued at the newest rate, which is kept with the trade.
        """
        signed, terms, asset = signed_quantity(fill), self.terms, fill.commission_asset
        if asset == terms.base:
            trade.fee_value = multiply(fill.commission, fill.price)
            return subtract(signed, fill.commission), trade.fee_value
        if trade.fee_value is None:
            trade.fee_value = rates.value(fill.commission, asset, terms.currency)
        if trade.fee_value is None:
            unvalued = self.position.unvalued_fees
            unvalued[asset] = add(unvalued.get(asset, ZERO), fill.commission)
            self.position.is_unvalued = True
            return signed, ZERO
        return signed, trade.fee_value

    def _value_position(self) -> None:
        position = self.position
        if position.is_inverse:
            value = position.value(self.mark)
            self.exposure = value.copy_negate()
        else:
            value = multiply(position.quantity, self.mark)
            if position.multiplier is not ONE:
                value = multiply(value, position.multiplier)
            if self.mark_scale is not None:
                value = self.mark_scale.of_price(value)
            self.exposure = value
        self.value = value
        self.unrealized = subtract(value, position.open_cost)

    def _offer_mark(self) -> None:
        """Shows another mark, and all else as before."""
        # hot: once per tick and open position that has another mark (benchmarks/bench_tick.py)
        quantity, avg_price, _, _, realized, fees = self._shown
        self._shown = (quantity, avg_price, self.mark, self.unrealized, realized, fees)
        json = self.to_json().copy()
        json["mark"] = to_float(self.mark)
        json["mark_source"] = self.mark_source
        json["unrealized_pnl"] = to_float(self.unrealized)
        json["mark_updated"] = marked = iso_or_none(self.mark_ns)
        json["updated"] = marked if self.updated_ns == self.mark_ns else iso_or_none(self.updated_ns)
        json["stale"] = self.is_stale
        self.offer(json)

    def _offer(self) -> None:
        position = self.position
        report = self.report
        mark = self.mark if self.mark_scale is None else self.mark_scale.of_price(self.mark)
        avg_price = position.avg_price
        realized = None if position.unvalued_fees else position.realized
        fees = None if position.unvalued_fees else position.fees
        self._shown = (position.quantity, avg_price, mark, self.unrealized, realized, fees)
        json: dict[str, Any] = {
            "key": self.key,
            "symbol": self.symbol,
            "strategy": self.strategy,
            "position_side": self.position_side,
            "quantity": to_float(position.quantity),
            "avg_price": to_float_or_none(avg_price),
            "mark": to_float(mark),
            "mark_source": self.mark_source,
            "unrealized_pnl": to_float(self.unrealized),
            "realized_pnl": to_float_or_none(realized),
            "currency": self.terms.currency,
            "unvalued_fees": {asset: to_float(fee) for asset, fee in position.unvalued_fees.items()},
            "engine_quantity": None if report is None else to_float(report.quantity),
            "engine_avg_price": None if report is None else to_float(report.avg_price),
            "difference": None if report is None else to_float(subtract(report.quantity, position.quantity)),
            "mark_updated": iso_or_none(self.mark_ns),
            "updated": iso_or_none(self.updated_ns),
            "stale": self.is_stale,
        }
        if self.venues.sums:
            json["venues"] = self.venues.to_json(position.quantity, self.value)
        self.offer(json)


def _shifted_fees(fees: dict[str, Decimal], old: dict[str, Decimal], new: dict[str, Decimal]) -> dict[str, Decimal]:
    """Returns fees by asset with `new` in place of `old`, without those of which nothing is left."""
    sums = {asset: shifted(*(each.get(asset, ZERO) for each in (fees, old, new))) for asset in {**fees, **new}}
    return {asset: fee for asset, fee in sums.items() if fee}


def position_key(strategy: str, place: str) -> str:
    """Returns the key of a position, STRATEGY/PLACE. Its first slash is the one between: slashes and percent signs of
    the strategy are escaped as in a URL, so that no two positions share a key."""
    return f"{strategy.replace('%', '%25').replace('/', '%2F')}/{place}"
