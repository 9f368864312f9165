"""The figures of one order: labels and exact amounts that count in the session of its first report.

An order's figures before and after a report are compared, and the difference is added to its groups. So the totals do
not depend on the order of the reports. A figure that cannot be computed is a label too, with the reason after a colon.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from observability.events import TERMINAL_STATUSES
from observability.instruments.instrument import Terms
from observability.metrics.arithmetic.decimals import ONE, ROUNDED, ZERO, multiply, quotient, subtract
from observability.metrics.execution.amounts import is_money, name_in
from observability.metrics.execution.order import OrderState
from observability.metrics.execution.shortfall import Shortfall, implementation_shortfall

QUANTUM: Final = Decimal("1e-18")
_COUNTED_STATUSES = TERMINAL_STATUSES | {"partially_filled"}


Figures = tuple[tuple[str, ...], dict[str, Decimal]]
"""Labels, each of which counts 1, and amounts, which are added up."""

NO_FIGURES: Final[Figures] = ((), {})


def cost_of(side: str, quantity: Decimal, notional: Decimal, reference: Decimal) -> Decimal:
    """Returns the cost of a quantity against a reference price, in price times quantity; a cost is positive."""
    cost = subtract(notional, multiply(reference, quantity))
    return cost if side == "buy" else cost.copy_negate()


def special_figures(order: OrderState, terms: Terms, reporting: str) -> Figures:
    """Returns the figures of an order whose amounts are of their own kind: in another currency than the reporting one,
    or of an inverse contract."""
    labels, amounts = order_figures(order, terms.multiplier)
    if terms.currency == reporting:
        return labels, amounts
    return labels, {
        name_in(name, terms.currency) if is_money(name) else name: amount for name, amount in amounts.items()
    }


def worth(price: Decimal) -> Decimal:
    """Returns what takes the place of a price in the amounts of an inverse contract: it rises with the price, and
    quantity * multiplier * worth is the amount."""
    return quotient(ONE, price).copy_negate()


def order_figures(order: OrderState, multiplier: Decimal) -> Figures:
    """Returns the figures of an order, by the reports so far; `multiplier` is its contract's."""
    # hot: twice per order report and fill (benchmarks/bench_intake.py)
    amounts: dict[str, Decimal] = {}
    if order.is_replaced:
        # Its successor counts in its place, and has the quantity that was left.
        labels = ["replaced"]
        if order.filled:
            amounts["ordered"] = amounts["executed"] = order.filled
    else:
        labels = ["orders"]
        if order.is_accepted:
            labels.append("accepted")
            if order.quantity is not None:
                amounts["ordered"] = order.quantity
                amounts["executed"] = order.executed
        _add_status(order, labels)
    if order.filled:
        arrival = order.arrival_price
        if arrival is not None and arrival > 0:
            labels.append("slippage")
            _add_cost(amounts, "slippage", order, arrival, multiplier)
        vwap = _market_vwap(order)
        if isinstance(vwap, Decimal):
            labels.append("vwap")
            _add_cost(amounts, "vwap", order, vwap, multiplier)
        else:
            labels.append(vwap)
    if order.is_terminal or (order.is_replaced and order.filled):
        shortfall = _shortfall(order, multiplier)
        if isinstance(shortfall, Shortfall):
            labels.append("shortfall")
            amounts.update(zip(_SHORTFALL_AMOUNTS, shortfall, strict=True))
        else:
            labels.append(shortfall)
    return tuple(labels), amounts


_SHORTFALL_AMOUNTS = tuple(f"money_{name}" for name in Shortfall._fields)


def _add_cost(
    amounts: dict[str, Decimal], name: str, order: OrderState, reference: Decimal, multiplier: Decimal
) -> None:
    """Adds the cost of what was filled against a reference price, and its notional at that price, both as money."""
    notional = order.notional
    if order.terms is not None and order.terms.is_inverse:
        notional, reference = order.reciprocal.copy_negate(), worth(reference)
    amounts[f"{name}_money"] = multiply(cost_of(order.side, order.filled, notional, reference), multiplier)
    amounts[f"{name}_notional"] = multiply(multiply(order.filled, reference.copy_abs()), multiplier)
    amounts[f"{name}_quantity"] = order.filled


def _add_status(order: OrderState, labels: list[str]) -> None:
    """Adds the status of an order, and which of its reports and fills are missing."""
    status = order.status
    is_counted = status in _COUNTED_STATUSES
    if status is not None and is_counted:
        labels.append(status)
    if order.cancel_ns is not None and order.canceled_ns is None and not order.is_terminal:
        labels.append("cancel_unacknowledged")
    n = len(labels)
    if status is None:
        labels.append("without_report")
    elif order.sent_ns is None:
        labels.append("without_send")
    # Only a later report proves that the acknowledgement is missing.
    if order.acked_ns is None and (is_counted or order.filled):
        labels.append("without_ack")
    if status == "filled" and order.executed > order.filled:
        labels.append("without_fills")
    if len(labels) > n:
        labels.append("missing_report")


def _market_vwap(order: OrderState) -> Decimal | str:
    """Returns the market's VWAP from the order's first report to its last fill, or a label with the reason why there is
    none."""
    if order.volume_start is None or order.notional_start is None or order.volume_end is None:
        return "vwap:not_followed"
    assert order.notional_end is not None, "always set together with the volume"
    # The market keeps the same object while it does not trade.
    if order.volume_end is order.volume_start:
        return "vwap:no_market_volume"
    volume = subtract(order.volume_end, order.volume_start)
    if volume <= 0:
        return "vwap:no_market_volume"
    vwap = ROUNDED.divide(subtract(order.notional_end, order.notional_start), volume)
    vwap = vwap.quantize(QUANTUM, context=ROUNDED)
    return vwap if vwap > 0 else "vwap:not_positive"


def _shortfall(order: OrderState, multiplier: Decimal) -> Shortfall | str:
    arrival = order.first_mid if order.arrival_price is None else order.arrival_price
    if arrival is None:
        return "shortfall:no_arrival_price"
    decision = arrival if order.decided_ns is None else order.decision_mid
    if decision is None:
        return "shortfall:no_decision_price"
    if order.quantity is None or order.executed > order.filled:
        return "shortfall:missing_fills"
    quantity = order.filled if order.is_replaced else max(order.quantity, order.filled)
    end = order.end_mid
    if end is None:
        if quantity > order.filled:
            return "shortfall:no_end_price"
        # An order filled completely has no opportunity cost, so the price does not matter.
        end = ZERO
    if order.unvalued_fees:
        return "shortfall:fee_not_valued"
    notional = order.notional
    is_inverse = order.terms is not None and order.terms.is_inverse
    if is_inverse:
        if min(decision, arrival) <= 0 or (end <= 0 and quantity > order.filled):
            return "shortfall:not_positive"
        notional, decision, arrival = order.reciprocal.copy_negate(), worth(decision), worth(arrival)
        end = worth(end) if end > 0 else ZERO
    # With money per unit in the place of prices, the parts are money.
    notional, decision, arrival, end = (multiply(price, multiplier) for price in (notional, decision, arrival, end))
    shortfall = implementation_shortfall(
        order.side, quantity, order.filled, notional, order.fees, decision, arrival, end
    )  # fmt: skip
    return shortfall._replace(notional=shortfall.notional.copy_abs()) if is_inverse else shortfall
