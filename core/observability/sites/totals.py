"""Totals over sites: which fields of a section are sums, and what the others are where there are several sites.

AMOUNTS     exact sums of decimals; null if a site has none, if the sites report in different currencies, or if no
            site is live
COUNTS      sums of whole numbers; null if a site has none, as its hub is older than the count, or if no site is live
LARGEST     the largest of all sites
TEXTS       what the sites say, each behind its name
UNDEFINED   null, with `undefined_reason`: ratios, percentiles and paths of several accounts do not follow from
            those of each
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from observability.metrics.arithmetic.decimals import exact_decimal, exact_sum, to_float

UNDEFINED_REASON: Final = "not defined over several sites; `sites` has that of each"
NO_SITE_REASON: Final = "no site is live"

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SectionTotals:
    """What each field of a section is over several sites; every field is in one of these."""

    amounts: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    largest: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    """Texts that say why a field in `undefined` is null."""
    special: tuple[str, ...] = ()
    """What only one section has."""


STRATEGY: Final = SectionTotals(
    amounts=(
        "total_pnl", "realized_pnl", "realized_gross_pnl", "unrealized_pnl", "fees", "income", "gross_exposure",
        "net_exposure", "equity", "daily_pnl", "starting_capital", "external_flows", "reported_equity",
    ),
    counts=(
        "open_positions", "signals", "fills", "n_closing", "duplicate_fills", "conflicting_fills", "bookings",
        "duplicate_bookings", "conflicting_bookings", "fills_refused", "overclosing_fills", "strategies_refused",
        "positions_at_fill_price", "position_breaks", "corrections", "pending_corrections",
    ),
    texts=("path_reason",),
    undefined=(
        "drawdown", "max_drawdown", "drawdown_pct", "max_drawdown_pct", "drawdown_peak_time", "max_drawdown_peak_time",
        "max_drawdown_trough_time", "max_drawdown_recovered_time", "sharpe", "sortino", "n_days", "win_rate",
        "profit_factor", "expectancy",
    ),
    special=(
        "currencies", "unconverted", "unconverted_reason", "reporting_currency", "rates",
    ),
)  # fmt: skip

EXECUTION: Final = SectionTotals(
    amounts=("commission",),
    counts=(
        "orders_today", "fills_today", "open_orders", "partially_filled", "filled", "canceled", "cancelled", "rejected",
        "expired", "replaced", "n_latency", "n_latency_negative", "n_slippage", "n_shortfall", "duplicate_fills",
        "conflicting_fills", "conflicting_orders", "late_reports", "missing_reports", "cancels_unacknowledged",
        "unacknowledged_cancels", "overfilled", "evicted_orders",
    ),
    largest=("latency_max_ms",),
    undefined=(
        "fill_rate", "fill_rate_orders", "fill_rate_terminal", "reject_rate", "cancel_rate", "avg_latency_ms",
        "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_p999_ms", "avg_slippage_bps", "shortfall_bps",
    ),
    reasons=("fill_rate_reason",),
)  # fmt: skip


def total_of(totals: SectionTotals, live: Mapping[str, Fields], currencies: Iterable[str]) -> dict[str, Any]:
    """Returns the fields of a section over the live sites, by name of the site. `currencies` are those in which they
    report."""
    parts = list(live.values())
    has_one_currency = len(set(currencies)) == 1
    reason = UNDEFINED_REASON if live else NO_SITE_REASON
    return {
        **{name: _sum(parts, name) if has_one_currency else None for name in totals.amounts},
        **{name: _count(parts, name) for name in totals.counts},
        **{name: max((part[name] for part in parts if part.get(name) is not None), default=None)
           for name in totals.largest},
        **{name: texts_of(live, name) for name in totals.texts},
        **dict.fromkeys(totals.undefined),
        **dict.fromkeys(totals.reasons, reason),
        "undefined_reason": reason,
    }  # fmt: skip


def strategy_total(live: Mapping[str, Fields]) -> dict[str, Any]:
    """Returns the fields of the section `strategy` over the live sites."""
    currencies = {part["reporting_currency"]: name for name, part in live.items()}
    by_currency: dict[str, list[Fields]] = {}
    for part in live.values():
        for currency, amounts in part["currencies"].items():
            by_currency.setdefault(currency, []).append(amounts)
    unconverted: dict[str, list[Fields]] = {}
    for part in live.values():
        for currency, amount in part["unconverted"].items():
            unconverted.setdefault(currency, []).append({"amount": amount})
    return {
        **total_of(STRATEGY, live, currencies),
        # Each sum is of one currency, so these are right however the sites report.
        "currencies": {
            currency: {name: _sum(found, name) for name in found[0]} for currency, found in sorted(by_currency.items())
        },
        "unconverted": {currency: _sum(found, "amount") for currency, found in sorted(unconverted.items())},
        "unconverted_reason": _why_no_sum(live, currencies),
        "reporting_currency": next(iter(currencies)) if len(currencies) == 1 else None,
        "rates": [{**rate, "site": name} for name, part in live.items() for rate in part["rates"]],
    }


def texts_of(live: Mapping[str, Fields], name: str) -> str | None:
    """Returns what the sites say in a field, each behind its name; None if they say nothing."""
    said = [f"{site}: {text}" for site, part in live.items() if (text := part.get(name)) is not None]
    return "; ".join(said) or None


def _why_no_sum(live: Mapping[str, Fields], currencies: Mapping[str, str]) -> str | None:
    if not live:
        return NO_SITE_REASON
    if len(currencies) > 1:
        reporting = ", ".join(f"{site} in {currency}" for currency, site in currencies.items())
        return f"the sites report in different currencies: {reporting}"
    return texts_of(live, "unconverted_reason")


def _count(parts: Sequence[Fields], name: str) -> int | None:
    values = _values(parts, name)
    return None if values is None else sum(values)


def _sum(parts: Sequence[Fields], name: str) -> float | None:
    """Returns an exact sum of what the sites publish, as the nearest number."""
    values = _values(parts, name)
    return None if values is None else to_float(exact_sum(exact_decimal(value) for value in values))


def _values(parts: Sequence[Fields], name: str) -> list[Any] | None:
    """Returns a field at each site; None if a site has none, or there is no site."""
    values = [value for part in parts if (value := part.get(name)) is not None]
    return values if values and len(values) == len(parts) else None
