"""An order counted anew from its reports and its fills, after one of the fills was corrected.

    reports --> reported_*: the status, the end and the acceptance that the reports alone make of it
    fills   --> what is filled, and when                      both --> status, end, times

An order ends with the first of two: the report that it has ended, or the fill that completes it. Which came first is
decided by arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from observability.events import TERMINAL_STATUSES
from observability.metrics.arithmetic.decimals import EXACT, ZERO
from observability.metrics.execution.order import OrderState
from observability.metrics.market.time_order import happened_ns
from observability.metrics.trades.trade import Trade


def recount(order: OrderState, trades: Sequence[Trade]) -> None:
    """Makes an order what it is with these fills and no others: all of its trades, busted ones too, in the order of
    their arrival."""
    fills = [(rank, trade) for rank, trade in enumerate(trades) if not trade.is_busted]
    order.n_fills = len(fills)
    order.filled = order.notional = order.fees = order.reciprocal = ZERO
    order.unvalued_fees, order.fees_apart = 0, None
    for _, fill in fills:
        order.add_amounts(fill)
    times = [happened_ns(fill.to_fill()) for _, fill in fills]
    order.first_fill_ns, order.last_fill_ns = min(times, default=None), max(times, default=None)
    turnovers = order.turnovers or []
    newest = fills[-1][0] if fills else len(turnovers)
    order.volume_end, order.notional_end = turnovers[newest] if newest < len(turnovers) else (None, None)
    order.is_accepted = order.is_reported_accepted or bool(fills)
    _recount_status(order, fills, times)


def is_counted(order: OrderState, trades: Sequence[Trade]) -> bool:
    """Returns whether these are all of an order's fills."""
    return order.n_arrived == len(trades)


def count_overfilled(order: OrderState, trades: Sequence[Trade]) -> int:
    """Returns how many fills took the order beyond its quantity."""
    n, filled = 0, ZERO
    for rank, trade in enumerate(trades):
        if not trade.is_busted and order.quantity is not None:
            filled = EXACT.add(filled, trade.quantity)
            # Of earlier fills it was not known.
            n += filled > order.quantity and rank >= order.first_report_rank
    return n


def _recount_status(order: OrderState, fills: Sequence[tuple[int, Trade]], times: Sequence[int]) -> None:
    status = order.status = order.reported_status
    order.ended_ns = order.end_mid = None
    if status is None:
        return
    index = None if order.quantity is None else _completing(fills, order.quantity)
    is_reported = status in TERMINAL_STATUSES
    if index is not None and not (is_reported and _is_reported_before(order, fills[index][0])):
        order.status = "filled"
        order.is_replaced = False
        if fills[index][0] >= order.first_report_rank:
            order.ended_ns, order.end_mid = max(times[: index + 1]), fills[index][1].mid
        else:
            # It was complete as soon as its quantity was known.
            times_before = [
                time for time, (rank, _) in zip(times, fills, strict=True) if rank < order.first_report_rank
            ]
            order.ended_ns, order.end_mid = max([order.first_report_ns, *times_before]), order.first_report_mid
    elif is_reported:
        assert order.reported_end_ns is not None, "noted with the status"
        before = [time for time, (rank, _) in zip(times, fills, strict=True) if rank < order.reported_end_rank]
        order.ended_ns, order.end_mid = max([order.reported_end_ns, *before]), order.reported_end_mid
    elif fills:
        order.status = "partially_filled"


def _is_reported_before(order: OrderState, rank: int) -> bool:
    """Returns whether an order was reported to have ended before the fill of that rank has completed it."""
    if rank < order.first_report_rank:
        return order.is_reported_ended_first
    return order.reported_end_rank <= rank


def _completing(fills: Sequence[tuple[int, Trade]], quantity: Decimal) -> int | None:
    """Returns the index of the fill with which an order of that quantity is complete."""
    filled = ZERO
    for index, (_, fill) in enumerate(fills):
        filled = EXACT.add(filled, fill.quantity)
        if filled >= quantity:
            return index
    return None
