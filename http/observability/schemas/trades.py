"""Trades, bookings and orders, as the REST API and the lanes have them, and what trades add up to."""

from __future__ import annotations

from typing import Final, get_args

from observability.events import OrderStatus
from observability.schemas.builders import (
    BPS,
    Schema,
    anything,
    array,
    count,
    flag,
    mapping,
    moment,
    money,
    nullable,
    number,
    price,
    quantity,
    record,
    share,
    text,
    word,
)

SYMBOL: Final = text("The symbol.", "AAPL")
_SIDE: Final = word("The side.", ("buy", "sell"))
_STRATEGY: Final = text("The strategy; empty if none was named.", "mean_reversion")
_VENUE: Final = text("The venue; empty if none was named.", "XNAS")
BY_CURRENCY: Final = mapping(money("An amount in that currency.", 12.5), "Amounts by currency.", "EUR")

_TERMS: Final = record(
    "TradeTerms",
    "What a correction may change.",
    {
        "quantity": quantity("The quantity."),
        "price": price("The price."),
        "commission": money("The commission.", 0.5),
    },
)

TRADE: Final = record(
    "Trade",
    "One of our trades: a fill, and what it has realised.",
    {
        "trade_id": text("As the fill had it, or its newest correction.", "t1"),
        "order_id": text("Its order; empty for what a venue did to a position.", "o1"),
        "symbol": SYMBOL,
        "side": _SIDE,
        "quantity": quantity("As the fill had it, or as its corrections say."),
        "price": price("The same."),
        "timestamp": moment("When it was executed."),
        "strategy": _STRATEGY,
        "venue": _VENUE,
        "commission": money("The fee; negative for a rebate.", 0.5),
        "commission_asset": text("The currency of the commission.", "USD", null=True),
        "latency_ms": number("As the fill had it.", 1.2, null=True),
        "slippage_bps": number("Against the order's arrival price; a cost when positive.", 3.76, null=True),
        "pnl": money("What it realised, net of fees; null if it closed nothing.", 44.28, null=True),
        "gross_pnl": money("The same before fees.", 45.3, null=True),
        "pnl_currency": text("The currency of both.", "USD", null=True),
        "round_trip": count("The same for all trades of one round trip.", 16, null=True),
        "liquidity": word("Whether it added or took liquidity.", ("maker", "taker", "")),
        "position_side": word("The side in hedge mode.", ("", "long", "short", "both")),
        "reason": text("Why it was filled, if no order did it: `liquidation`, ...", ""),
        "status": word("Null for a fill that counts as it was delivered.", ("busted", "corrected"), null=True),
        "corrected_by": count("`seq` of the newest bust or correction.", 17, null=True),
        "original": nullable(_TERMS, "As it was delivered; null without a correction."),
    },
)

EFFECT: Final = record(
    "BookingEffect",
    "What a booking has changed.",
    {
        "amount": money("The amount in all.", 12.5, null=True),
        "strategies": mapping(money("Its amount.", 12.5), "The amount of each strategy.", "mean_reversion"),
        "quantities": mapping(quantity("Its quantity."), "After a split: what each strategy holds.", "mean_reversion"),
        "flow": anything("What it adds to the external flows, as decimals.", {"amount": "12.5"}),
        "status": word("How far a correction has come.", ("pending", "applied", "void", "given_up")),
        "trade": count("`seq` of the trade that it corrects.", 16),
        "strategy": _STRATEGY,
        "before": nullable(_TERMS, "What the trade counted with; null if not at all."),
        "after": nullable(_TERMS, "What it counts with now."),
        "reason": text("What there is to say of it.", "its fill has not come yet", null=True),
        "legs": anything("One effect for each trade, if it corrects two.", []),
        "print": anything("The print of the market that it corrects.", {}),
        "shown_since": text("When the fill came, and its fault with it.", "2026-01-05T10:31:07.123456789Z"),
        "shown_until": text("When the correction was applied.", "2026-01-05T10:44:12.000000001Z"),
    },
    optional=(
        "amount", "strategies", "quantities", "flow", "status", "trade", "strategy", "before", "after", "reason",
        "legs", "print", "shown_since", "shown_until",
    ),
)  # fmt: skip

BOOKING: Final = record(
    "Booking",
    "What has changed the book and is no fill. It has the further fields of its event.",
    {
        "kind": word(
            "Its kind.",
            (
                "cash", "instrument", "rate", "funding", "dividend", "split", "settlement", "bust", "correct", "adopt",
            ),
        ),
        "strategy": text("The strategy that it belongs to; empty for several, or none.", "mean_reversion"),
        "timestamp": moment("Its time."),
        "effect": EFFECT,
    },
) | {"additionalProperties": True}  # fmt: skip

_STATUS: Final = word("The status of the report.", get_args(OrderStatus))

_REPORT: Final[dict[str, Schema]] = {
    "status": _STATUS,
    "quantity": quantity("The order's quantity, not the remainder."),
    "price": price("The order's limit; null without one.", null=True),
    "order_type": text("Such as `limit`.", "limit"),
    "reason": text("Why, for rejects and others.", ""),
    "arrival_price": price("The engine's price when the order arrived.", null=True),
    "decision_timestamp": moment("When it was decided.", null=True),
    "replaces": text("The order in whose place this one goes on.", ""),
    "timestamp": moment("The engine's time."),
    "received": moment("When the report came."),
}

ORDER_REPORT_FIELDS: Final[dict[str, Schema]] = {
    "order_id": text("The order.", "o1"),
    "symbol": SYMBOL,
    "side": _SIDE,
    "strategy": _STRATEGY,
    "venue": _VENUE,
    "client_order_id": text("The client's own id.", "c1"),
    **_REPORT,
}

_LEG: Final = number("Milliseconds; null while an end of it is not known.", 1.01, "ms", null=True)
LEGS: Final = {
    "decision_to_send": "From the decision to `pending_new`.",
    "send_to_ack": "From `pending_new` to `new`.",
    "ack_to_first_fill": "From `new` to the first fill.",
    "send_to_first_fill": "From `pending_new` to the first fill.",
    "send_to_complete": "From `pending_new` to the end.",
    "cancel_to_ack": "From `pending_cancel` to `canceled`.",
}
_ORDER: Final[dict[str, Schema]] = {
    "order_id": text("The engine's or exchange's id.", "o1"),
    "client_order_id": text("The client's own id.", "c1"),
    "symbol": SYMBOL,
    "side": _SIDE,
    "strategy": _STRATEGY,
    "venue": _VENUE,
    "status": word("The newest status; null while only fills are known.", get_args(OrderStatus), null=True),
    "open": flag("Whether it may still be filled."),
    "order_type": text("Such as `limit`.", "limit"),
    "quantity": quantity("Of the newest report.", null=True),
    "price": price("Of the newest report.", null=True),
    "filled_quantity": quantity("The sum of its fills."),
    "remaining_quantity": quantity("What may still be filled.", 0.0, null=True),
    "average_price": price("The average price of its fills.", null=True),
    "commission": money("The fees of its fills.", 8.93, null=True),
    "currency": text("The currency of `commission`.", "USD", null=True),
    "unvalued_fees": BY_CURRENCY | {"description": "Fees without a rate, by their own currency."},
    "arrival_price": price("The first arrival price that a report gave.", null=True),
    "slippage_bps": number("The average price against it; a cost when positive.", 3.76, null=True),
    "latency_ms": number("From `pending_new` to `new` or `rejected`.", 1.01, null=True),
    "latency": record(
        "OrderLatency", "How long each leg took.", {name: _LEG | {"description": s} for name, s in LEGS.items()}
    ),
    "reason": text("The newest reason that a report gave, its first 256 characters.", ""),
    "replaces": text("The order that this one goes on for.", ""),
    "replaced_by": text("The order that goes on for this one.", ""),
    "n_reports": count("Reports that have come.", 3),
    "n_fills": count("Fills that have come.", 1),
    "created": moment("The time of the first report or fill to come."),
    "updated": moment("The latest time of any."),
}
ORDER: Final = record("OrderState", "One of our orders.", _ORDER)

_ORDER_MARKOUT: Final = record(
    "OrderMarkout",
    "A figure of one order's fills.",
    {
        "price": price("In the price's unit.", 0.06, null=True),
        "bps": number("Relative to the notional.", 7.52, BPS, null=True),
        "n": count("Fills behind it.", 1),
    },
)

ORDER_LIFE: Final = record(
    "OrderLife",
    "The whole life of one order.",
    {
        **_ORDER,
        "effective_spread": _ORDER_MARKOUT,
        "markouts": mapping(_ORDER_MARKOUT, "By horizon after each fill; a gain when positive.", "1s"),
        "chain": array(text("An id.", "o1"), "The orders that replaced one another, oldest first."),
        "reports": array(
            record("OrderReport", "A report.", {**_REPORT, "seq": count("Rises from report to report.", 86)}),
            "Its reports, oldest first.",
        ),
        "fills": array(TRADE, "Its trades, oldest first."),
        "complete": flag("Whether these are all reports and fills.", example=True),
    },
)

_SIDE_SUMS: Final = record(
    "SideSums",
    "The trades of one side.",
    {
        "count": count("Trades."),
        "volume": quantity("Their quantity."),
        "notional": money("Quantity x price x multiplier.", 58500.0, null=True),
    },
)

TRADE_STATS: Final[dict[str, Schema]] = {
    "count": count("Trades.", 25),
    "volume": quantity("Their quantity.", 4200.0),
    "notional": money("Quantity x price x multiplier.", 475472.7, null=True),
    "avg_price": price("Weighted by quantity; null for several symbols.", null=True),
    "avg_size": quantity("Volume / count.", 168.0, null=True),
    "buy": _SIDE_SUMS,
    "sell": _SIDE_SUMS,
    "commission": money("All commissions.", 40.1, null=True),
    "realized_pnl": money("Realised, net of all commissions.", 158.0, null=True),
    "n_closing": count("Round trips.", 4),
    "n_wins": count("Those with a gain.", 2),
    "n_losses": count("Those with a loss.", 2),
    "n_breakeven": count("Those with neither.", 0),
    "n_unvalued": count("Those in no figure, because a fee of theirs had no rate.", 0),
    "win_rate": share("Won / (won + lost).", 0.5, null=True),
    "profit_factor": number("Gains / losses.", 1.6, "ratio", null=True),
    "expectancy": money("What a round trip brings on average.", 40.5, null=True),
    "best": money("The best round trip.", 250.0, null=True),
    "worst": money("The worst round trip.", -120.0, null=True),
    "reporting_currency": text("The currency of all sums.", "USD"),
    "currencies": mapping(
        record(
            "CurrencySums",
            "The sums in one currency.",
            {
                "notional": money("Notional.", 475472.7),
                "commission": money("Commissions.", 40.1),
                "realized_pnl": money("Realised.", 158.0),
            },
        ),
        "Sums by currency, not converted.",
        "USD",
    ),
    "unconverted_reason": text("Why sums are null.", "no rate EUR/USD", null=True),
}
