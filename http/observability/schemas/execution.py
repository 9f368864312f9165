"""The section `execution` of a snapshot, and the document about execution quality."""

from __future__ import annotations

from typing import Final

from observability.schemas.builders import (
    BPS,
    Schema,
    array,
    count,
    mapping,
    money,
    number,
    price,
    quantity,
    record,
    share,
    text,
)
from observability.schemas.sites import SITE_FIELDS, UNDEFINED_REASON, of_sites, over_sites

_SECTION_FIELDS: Final[dict[str, Schema]] = {
    "orders_today": count("Orders of the session.", 19),
    "fills_today": count("Fills of the session.", 25),
    "open_orders": count("Orders open now.", 1),
    **{
        status: count(f"Orders of the session that are {status}.", 0)
        for status in ("partially_filled", "filled", "canceled")
    },
    "cancelled": count("The same as `canceled`.", 0),
    **{status: count(f"Orders of the session that are {status}.", 0) for status in ("rejected", "expired")},
    "replaced": count("Orders closed because another one goes on for them.", 0),
    "fill_rate": share("Quantity filled / ordered, over accepted orders.", 0.94, null=True),
    "fill_rate_reason": text("Why it is null.", "several symbols", null=True),
    "fill_rate_orders": share("Orders filled completely / accepted.", 0.94, null=True),
    "fill_rate_terminal": share("Orders filled completely / ended.", 0.94, null=True),
    "reject_rate": share("Rejected / all orders.", 0.01, null=True),
    "cancel_rate": share("Cancelled / all orders.", 0.05, null=True),
    "avg_latency_ms": number("From `pending_new` to acknowledgement: mean.", 1.06, null=True),
    "latency_p50_ms": number("The same: median.", 0.9, null=True),
    "latency_p95_ms": number("The same: 95th percentile.", 1.92, null=True),
    "latency_p99_ms": number("The same: 99th percentile.", 1.92, null=True),
    "latency_p999_ms": number("The same: 99.9th percentile.", 1.92, null=True),
    "latency_max_ms": number("The same: the largest.", 1.92, null=True),
    "n_latency": count("How many latencies.", 19),
    "n_latency_negative": count("How many where clocks disagreed.", 0),
    "avg_slippage_bps": number("Arrival slippage; a cost when positive.", 0.19, null=True),
    "n_slippage": count("The orders behind it.", 18),
    "shortfall_bps": number("Implementation shortfall; a cost when positive.", 1.08, null=True),
    "n_shortfall": count("The orders behind it.", 19),
    "commission": money("Of the session's fills.", 40.1, null=True),
    "duplicate_fills": count("Fills that had been counted already.", 0),
    "conflicting_fills": count("Fills with the key of another and other content.", 0),
    "conflicting_orders": count("Reports delivered again with another quantity or price.", 0),
    "late_reports": count("Reports that came too late to change anything.", 0),
    "missing_reports": count("Orders of which a report is missing.", 0),
    "cancels_unacknowledged": count("Open orders whose cancel was not answered.", 0),
    "unacknowledged_cancels": count("The same, as the first version called it.", 0),
    "overfilled": count("Fills that brought an order above its quantity.", 0),
    "evicted_orders": count("Orders no longer counted as open because there were too many.", 0),
}

EXECUTION_SECTION: Final = record(
    "ExecutionSection",
    "Orders, fills, latency and slippage of the session.",
    {
        **over_sites(_SECTION_FIELDS),
        **of_sites(record("SiteExecution", "The orders of one site.", _SECTION_FIELDS)),
        "undefined_reason": UNDEFINED_REASON,
    },
    optional=(*SITE_FIELDS, "undefined_reason"),
)

_LEFT_OUT: Final = mapping(count("Orders or fills.", 3), "What is not in the figure, by reason.", "no_fresh_mid")
_WEIGHTS: Final[dict[str, Schema]] = {
    "n": count("Orders or fills behind it.", 25),
    "quantity": quantity("Their quantity; null for several symbols.", null=True),
    "notional": money("Their notional.", 475472.7, null=True),
}
_REASON: Final = text("Why it is null.", "several symbols: their quantities have no common unit", null=True)


def _rate(meaning: str, *, has_reason: bool = False) -> Schema:
    return record(
        "",
        meaning,
        {
            "value": share(meaning, 0.94, null=True),
            "n": count("Orders behind it.", 19),
            **({"reason": _REASON} if has_reason else {}),
        },
    )


_SHORTFALL_PARTS: Final = {
    "total": "All of it.",
    "delay": "From the decision to the arrival.",
    "trading": "From the arrival to the fills.",
    "opportunity": "What was not filled.",
    "fees": "Fees.",
}

LATENCY: Final = record(
    "LatencySummary",
    "Durations of one leg of orders.",
    {
        "n": count("How many.", 19),
        "n_negative": count("Those below zero, where two clocks disagree; they are in no percentile.", 0),
        "mean_ms": number("Mean.", 1.06, null=True),
        "p50_ms": number("Median.", 0.9, null=True),
        "p90_ms": number("90th percentile.", 1.91, null=True),
        "p95_ms": number("95th percentile.", 1.92, null=True),
        "p99_ms": number("99th percentile.", 1.92, null=True),
        "p999_ms": number("99.9th percentile.", 1.92, null=True),
        "min_ms": number("The shortest.", 0.54, null=True),
        "max_ms": number("The longest.", 1.92, null=True),
    },
)

MARKOUT: Final = record(
    "Markout",
    "The price against the mid at one horizon after the fill; a gain when positive.",
    {
        "price": price("In the price's unit; null for several symbols.", 0.02, null=True),
        "bps": number("Weighted by notional.", 9.4, BPS, null=True),
        "realized_spread": price("-2 x the markout.", -0.04, null=True),
        "realized_spread_bps": number("The same in basis points.", -18.8, null=True),
        "standard_error_bps": number("Of `bps`, as a mean over orders.", 2.1, BPS, null=True),
        "orders": count("Orders behind the error.", 8),
        "standard_error_reason": text("Why there is no error.", "fewer than two orders", null=True),
        **_WEIGHTS,
        "left_out": _LEFT_OUT,
        "reason": _REASON,
    },
)

_QUALITY: Final[dict[str, Schema]] = {
    "orders": count("Orders whose first report came in this session.", 19),
    "replaced": count("Orders closed because another one goes on for them.", 0),
    "fills": count("Fills, those without an order included.", 25),
    "notional": money("What they have traded: quantity x price x multiplier.", 250_000.0, null=True),
    "commission": money("Their commissions.", 12.5, null=True),
    "fill_rate": _rate("Quantity filled / ordered.", has_reason=True),
    "fill_rate_orders": _rate("Orders filled completely / accepted."),
    "fill_rate_terminal": _rate("Orders filled completely / ended."),
    "reject_rate": _rate("Rejected / all orders."),
    "cancel_rate": _rate("Cancelled / all orders."),
    "arrival_slippage_bps": record(
        "",
        "Average price against the engine's arrival price; a cost when positive.",
        {"value": number("Weighted by notional.", 0.19, BPS, null=True), **_WEIGHTS},
    ),
    "implementation_shortfall": record(
        "Shortfall",
        "Real against paper portfolio, in parts; a cost when positive.",
        {
            **{name: money(meaning, 53.6, null=True) for name, meaning in _SHORTFALL_PARTS.items()},
            **{f"{name}_bps": number(meaning, 1.08, null=True) for name, meaning in _SHORTFALL_PARTS.items()},
            "notional": money("Of the orders behind it.", 495447.5, null=True),
            "n": count("Orders behind it.", 19),
            "left_out": _LEFT_OUT,
        },
    ),
    "vwap_deviation_bps": record(
        "",
        "Average price against the market's VWAP of the order's time; a cost when positive.",
        {"value": number("Weighted by notional.", -2.35, BPS, null=True), **_WEIGHTS, "left_out": _LEFT_OUT},
    ),
    "effective_spread": record(
        "EffectiveSpread",
        "2 x side x (price - mid at the fill); a cost when positive.",
        {
            "price": price("In the price's unit; null for several symbols.", 0.06, null=True),
            "bps": number("Weighted by notional.", 2.75, BPS, null=True),
            **_WEIGHTS,
            "left_out": _LEFT_OUT,
            "reason": _REASON,
        },
    ),
    "markouts": mapping(MARKOUT, "By horizon: 50ms, 1s, 10s, 1m and 5m after the fill.", "1s"),
    "unconverted_reason": text("Why sums of money are null.", "no rate EUR/USD", null=True),
    "missing_reports": record(
        "MissingReports",
        "Orders by the report that never came.",
        {
            "orders_without_report": count("No report at all.", 0),
            "orders_without_send": count("No `pending_new`.", 0),
            "orders_without_ack": count("No acknowledgement.", 0),
            "orders_without_fills": count("Filled by their status, without the fills.", 0),
            "cancels_unacknowledged": count("A cancel without an answer.", 0),
        },
    ),
    "latency": mapping(LATENCY, "Each leg of an order, of the session.", "send_to_ack"),
    "latency_total": mapping(LATENCY, "The same since the start.", "send_to_ack"),
}
GROUP: Final = record("ExecutionGroup", "The figures of one strategy, symbol or venue.", _QUALITY)

QUALITY: Final[dict[str, Schema]] = {
    **_QUALITY,
    "reject_reasons": array(
        record(
            "RejectReason",
            "Rejected orders with one reason at one venue.",
            {
                "reason": text("The text, cut to 120 characters.", "insufficient margin"),
                "venue": text("The venue.", "XNAS"),
                "orders": count("How many.", 3),
            },
        ),
        "The most frequent first.",
    ),
    "pending_markouts": count("Fills with a horizon still ahead of them.", 4),
    "by_strategy": mapping(GROUP, "The same figures per strategy.", "mean_reversion"),
    "by_symbol": mapping(GROUP, "The same figures per symbol.", "AAPL"),
    "by_venue": mapping(GROUP, "The same figures per venue.", "XNAS"),
}
