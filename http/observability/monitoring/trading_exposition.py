"""Trading figures for Prometheus: P&L, positions, orders, execution and market data, of the newest snapshot.

Any process renders them from what the hub has published, so a scrape costs the hub nothing. Names and units follow the
conventions of Prometheus: seconds, and ratios instead of percent and basis points. Money is in the reporting currency.
A figure that is null, because it is undefined or unknown, has no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_S
from observability.config.config import METRICS_LABELS
from observability.memory.counters import DURATION_BOUNDS_SECONDS
from observability.metrics.execution_collector import ExecutionCollector

EXECUTION_FIGURES: Final = "execution_figures"
"""Names the document in which the hub publishes execution quality and latencies for a scrape."""

OTHER_VALUES: Final = "(other)"
"""Stands for the values of a label that are not shown."""

MAX_AGE_NS: Final = 10 * NS_PER_S
"""An older snapshot is not shown as the present."""

_PERCENT: Final = 0.01
_BPS: Final = 0.0001
_MS: Final = 0.001

# OpenMetrics: names and values of an exemplar's labels have at most 128 characters together.
_MAX_EXEMPLAR_CHARS: Final = 128

Fields = Mapping[str, Any]
Rows = Sequence[tuple[str, Fields]]
"""The labels, as they are written, and the fields of each sample of a family."""


@dataclass(frozen=True, slots=True)
class _Gauge:
    """One family: its name and help, and the field of the snapshot that it shows, times `scale`."""

    name: str
    help: str
    field: str
    scale: float = 1.0


def _named(gauges: Iterable[_Gauge], *names: str) -> tuple[_Gauge, ...]:
    return tuple(gauge for gauge in gauges if gauge.name in names)


_MONEY: Final = (
    _Gauge("pnl", "Realised and unrealised P&L since the start", "total_pnl"),
    _Gauge("daily_pnl", "P&L since the session began", "daily_pnl"),
    _Gauge("realized_pnl", "Realised P&L, net of fees", "realized_pnl"),
    _Gauge("unrealized_pnl", "P&L of the open positions at their marks", "unrealized_pnl"),
    _Gauge("fees", "Fees paid", "fees"),
    _Gauge("drawdown", "Distance of the P&L from its peak", "drawdown"),
    _Gauge("max_drawdown", "The deepest drawdown", "max_drawdown"),
    _Gauge("gross_exposure", "Sum of the absolute values of the positions", "gross_exposure"),
    _Gauge("net_exposure", "Sum of the signed values of the positions", "net_exposure"),
    _Gauge("open_positions", "Positions that are not flat", "open_positions"),
    _Gauge("fills", "Fills in the accounts", "fills"),
    _Gauge("signals", "Signals of strategies", "signals"),
    _Gauge("win_ratio", "Round trips that gained, of all", "win_rate"),
)
_ACCOUNT: Final = (
    *_MONEY,
    _Gauge("equity", "Starting capital, cash flows and P&L", "equity"),
    _Gauge("drawdown_ratio", "Drawdown relative to the peak equity", "drawdown_pct", _PERCENT),
    _Gauge("max_drawdown_ratio", "The deepest drawdown relative to the peak equity", "max_drawdown_pct", _PERCENT),
    _Gauge("sharpe_ratio", "Annualised Sharpe ratio of the daily returns", "sharpe"),
    _Gauge("sortino_ratio", "Annualised Sortino ratio of the daily returns", "sortino"),
    _Gauge("position_breaks", "Positions whose quantity the engine reports differently", "position_breaks"),
    _Gauge("conflicting_fills", "Fills with the key of another one and other content", "conflicting_fills"),
    _Gauge("refused_fills", "Fills that are in no figure, because all positions were open", "fills_refused"),
    _Gauge("overclosing_fills", "Fills that are in no figure, because a side held less", "overclosing_fills"),
)  # fmt: skip
_POSITION: Final = (
    _Gauge("quantity", "Signed quantity", "quantity"),
    _Gauge("average_price", "Average cost", "avg_price"),
    _Gauge("mark_price", "The price that the position is valued at", "mark"),
    _Gauge("unrealized_pnl", "P&L at the mark", "unrealized_pnl"),
    _Gauge("stale", "1 while the mark is too old", "stale"),
)
_SYMBOL: Final = (
    _Gauge("last_price", "Price of the newest print", "last_price"),
    _Gauge("bid_price", "Best bid", "bid"),
    _Gauge("ask_price", "Best ask", "ask"),
    _Gauge("spread_ratio", "Spread relative to the mid", "spread_bps", _BPS),
    _Gauge("volume", "Volume printed in the session", "volume"),
    _Gauge("prints", "Prints in the session", "trades"),
    _Gauge("updates_per_second", "Quotes and prints lately", "update_rate"),
    _Gauge("feed_latency_p99_seconds", "99th percentile from the venue to here", "feed_latency_p99_ms", _MS),
    _Gauge("stale", "1 while the newest quote or print is too old", "stale"),
)  # fmt: skip
_VENUE: Final = _named(
    _SYMBOL, "last_price", "bid_price", "ask_price", "volume", "prints", "feed_latency_p99_seconds", "stale"
)
_LEFT_OUT: Final = _Gauge("label_values_left_out", "Values of a label that METRICS_MAX_VALUES leaves out", "values")
_ORDERS: Final = {
    "open": "open_orders",
    "partially_filled": "partially_filled",
    "filled": "filled",
    "canceled": "canceled",
    "rejected": "rejected",
    "expired": "expired",
    "replaced": "replaced",
}
_SHORTFALL_PARTS: Final = ("delay", "trading", "opportunity", "fees")
_QUALITY: Final = (
    _Gauge("orders", "Orders of the session", "orders"),
    _Gauge("fill_ratio", "Orders filled completely, of those accepted", "fill_rate_orders"),
    _Gauge("reject_ratio", "Orders rejected, of all", "reject_rate"),
    _Gauge("cancel_ratio", "Orders cancelled, of all", "cancel_rate"),
    _Gauge("arrival_slippage_ratio", "Cost of the average against the arrival price", "arrival_slippage_bps", _BPS),
    _Gauge("vwap_deviation_ratio", "Cost of the average price against the market's VWAP", "vwap_deviation_bps", _BPS),
    *(
        _Gauge(f"shortfall_{part}_ratio", f"Implementation shortfall by {part}, of the notional", f"{part}_bps", _BPS)
        for part in _SHORTFALL_PARTS
    ),
)
_AGE: Final = _Gauge("snapshot_age_seconds", "Age of the snapshot that trading figures are of", "age", 1 / NS_PER_S)
_FILLS: Final = _Gauge("session_fills", "Fills of the session", "fills_today")
_SESSION_ORDERS: Final = _Gauge("session_orders", "Orders of the session by status", "orders")
_REJECTS: Final = _Gauge("session_rejects", "Rejected orders of the session by reason and venue", "orders")
_MARKOUT: Final = _Gauge("markout_ratio", "Move of the mid after a fill, in its favour", "bps", _BPS)
_OF_SYMBOL: Final = _named(_MONEY, "pnl", "realized_pnl", "unrealized_pnl", "fees")
_GROUPS: Final = {"strategy": "by_strategy", "symbol": "by_symbol", "venue": "by_venue"}


def execution_figures(execution: ExecutionCollector) -> dict[str, Any]:
    """Returns the hub's document EXECUTION_FIGURES."""
    return {"quality": execution.quality(), "latencies": execution.latencies()}


@dataclass(frozen=True, slots=True)
class TradingLabels:
    """What trading figures are broken down by, and how far."""

    names: frozenset[str] = frozenset(METRICS_LABELS)
    """Without one of these, the families that have it as a label are left out."""
    max_values: int = 1_000
    """How many strategies, symbols and venues have figures of their own; those with positions first."""


class TradingFigures:
    """Renders one snapshot and one document EXECUTION_FIGURES, a family at a time.

    The text is that of both formats, but for exemplars, which only OpenMetrics has. The client library takes five times
    as long for the thousands of samples of hundreds of symbols.
    """

    def __init__(
        self,
        snapshot: Fields,
        execution: Fields | None,
        age_ns: int,
        labels: TradingLabels = TradingLabels(),
        *,
        has_exemplars: bool = False,
    ) -> None:
        """Without `execution` there are no costs and latencies. `age_ns` is the snapshot's age."""
        self._snapshot = snapshot
        self._execution = execution
        self._age_ns = age_ns
        self._labels = labels
        self._has_exemplars = has_exemplars
        self._kept: dict[str, frozenset[str] | None] = {}
        self._absent: tuple[str, ...] = ()

    def families(self) -> Iterator[bytes]:
        age: Rows = [("", {"age": self._age_ns})]
        yield from _families("trading", (_AGE,), age)
        if self._age_ns > MAX_AGE_NS:
            return
        snapshot = self._snapshot
        strategy, execution = snapshot["strategy"], snapshot["execution"]
        quality = {} if self._execution is None else self._execution["quality"]
        yield from self._choose(snapshot, quality)
        # A graph cannot say which sites a total lacks, nor that what an absent site has sent last is old.
        absent = strategy.get("missing_sites") or ()
        self._absent = tuple(f"{site}/" for site in absent)
        is_whole = not absent
        yield from _families("trading", _ACCOUNT, [("", strategy)] if is_whole else [])
        if self._has("strategy"):
            yield from _families("trading_strategy", _MONEY, self._rows("strategy", strategy["strategies"]))
        if self._has("symbol"):
            yield from _families("trading_symbol", _OF_SYMBOL, self._rows("symbol", strategy["symbols"]))
        if self._has("strategy", "symbol"):
            yield from _families("trading_position", _POSITION, self._positions(strategy))
        if self._has("symbol"):
            yield from _families("market", _SYMBOL, self._rows("symbol", snapshot["market_data"]))
        if self._has("symbol", "venue"):
            yield from _families("market_venue", _VENUE, self._venues(snapshot["market_data"]))
        yield from _families("execution", (_FILLS,), [("", execution)] if is_whole else [])
        orders: Rows = [(_labels(status=status), {"orders": execution.get(field)}) for status, field in _ORDERS.items()]
        yield from _families("execution", (_SESSION_ORDERS,), orders if is_whole else [])
        if self._execution is not None:
            yield from _quality("execution", [("", quality)])
            yield from _families("execution", (_REJECTS,), self._rejects(quality["reject_reasons"]))
            for label, field in _GROUPS.items():
                if self._has(label):
                    yield from _quality(f"execution_{label}", self._rows(label, quality.get(field) or {}))
            yield _latency(self._execution["latencies"], has_exemplars=self._has_exemplars)

    def _has(self, *labels: str) -> bool:
        return self._labels.names.issuperset(labels)

    def _choose(self, snapshot: Fields, quality: Fields) -> Iterator[bytes]:
        """Decides which values of each label are shown; yields how many are not."""
        strategy, market = snapshot["strategy"], snapshot["market_data"]
        venues = (name for part in market.values() for name in part.get("venues") or ())
        rejecting = (each["venue"] for each in quality.get("reject_reasons") or ())
        found: dict[str, Iterable[str]] = {
            "strategy": chain(strategy["strategies"], quality.get("by_strategy") or ()),
            "symbol": chain(
                (part["symbol"] for part in strategy["positions"]),
                strategy["symbols"], quality.get("by_symbol") or (), market,
            ),
            "venue": chain(quality.get("by_venue") or (), rejecting, venues),
        }  # fmt: skip
        left_out: list[tuple[str, Fields]] = []
        for label, values in found.items():
            names = dict.fromkeys(values)
            over = len(names) - self._labels.max_values
            self._kept[label] = frozenset(islice(names, self._labels.max_values)) if over > 0 else None
            left_out.append((_labels(label=label), {"values": max(0, over) if self._has(label) else None}))
        yield from _families("trading", (_LEFT_OUT,), left_out)

    def _shows(self, label: str, value: str) -> bool:
        kept = self._kept[label]
        return (kept is None or value in kept) and not value.startswith(self._absent)

    def _rows(self, label: str, parts: Fields) -> Rows:
        return [(_labels(**{label: name}), fields) for name, fields in parts.items() if self._shows(label, name)]

    def _venues(self, market: Fields) -> Rows:
        return [
            (_labels(symbol=symbol, venue=venue), fields)
            for symbol, part in market.items()
            if self._shows("symbol", symbol)
            for venue, fields in (part.get("venues") or {}).items()
            if self._shows("venue", venue)
        ]

    def _rejects(self, reasons: Sequence[Fields]) -> Rows:
        """Returns the rejects by reason and venue; by reason alone without that label."""
        counts: dict[str, int] = {}
        for each in reasons:
            names = {"reason": each["reason"]}
            if self._has("venue"):
                names["venue"] = each["venue"] if self._shows("venue", each["venue"]) else OTHER_VALUES
            labels = _labels(**names)
            counts[labels] = counts.get(labels, 0) + each["orders"]
        return [(labels, {"orders": count}) for labels, count in counts.items()]

    def _positions(self, strategy: Fields) -> Rows:
        """Returns the rows of the positions. Money in another currency than the reporting one has a label that says so,
        so that no sum is made of both by accident."""
        rows = []
        for part in strategy["positions"]:
            if not (self._shows("strategy", part["strategy"]) and self._shows("symbol", part["symbol"])):
                continue
            labels = {"strategy": part["strategy"], "symbol": part["symbol"]}
            if part.get("position_side"):
                labels["side"] = part["position_side"]
            currency = part.get("currency")
            if currency != strategy.get("reporting_currency", currency):
                labels["currency"] = currency
            rows.append((_labels(**labels), part))
        return rows


def _families(prefix: str, gauges: Iterable[_Gauge], rows: Rows) -> Iterator[bytes]:
    for gauge in gauges:
        name, field, scale = f"{prefix}_{gauge.name}", gauge.field, gauge.scale
        lines = [f"# HELP {name} {gauge.help}\n# TYPE {name} gauge\n"]
        for labels, fields in rows:
            value = fields.get(field)
            if value is not None:
                lines.append(f"{name}{labels} {value * scale!r}\n")
        yield "".join(lines).encode()


def _quality(prefix: str, groups: Rows) -> Iterator[bytes]:
    yield from _families(prefix, _QUALITY, [(labels, _flat(fields)) for labels, fields in groups])
    markouts: Rows = [
        (_with(labels, f'horizon="{horizon}"'), markout)
        for labels, fields in groups
        for horizon, markout in fields["markouts"].items()
    ]
    yield from _families(prefix, (_MARKOUT,), markouts)


def _flat(quality: Fields) -> Fields:
    """Returns the figures of one group by the fields of _QUALITY."""
    shortfall = quality["implementation_shortfall"]
    figures = {gauge.field: quality.get(gauge.field) for gauge in _QUALITY}
    return {
        **{field: found["value"] if isinstance(found, dict) else found for field, found in figures.items()},
        **{f"{part}_bps": shortfall[f"{part}_bps"] for part in _SHORTFALL_PARTS},
    }


def _latency(latencies: Fields, *, has_exemplars: bool) -> bytes:
    name = "execution_latency_seconds"
    lines = [f"# HELP {name} Latencies of orders by leg, since the first start\n# TYPE {name} histogram\n"]
    for leg, (total, count, counts, exemplars) in latencies.items():
        labels = _labels(leg=leg)
        for bucket, (bound, below) in enumerate((*zip(DURATION_BOUNDS_SECONDS, counts, strict=True), ("+Inf", count))):
            le = _with(labels, f'le="{bound}"')
            # JSON has made text of the numbers.
            exemplar = _exemplar(exemplars.get(str(bucket))) if has_exemplars else ""
            lines.append(f"{name}_bucket{le} {below}{exemplar}\n")
        lines.append(f"{name}_count{labels} {count}\n{name}_sum{labels} {total!r}\n")
    return "".join(lines).encode()


def _exemplar(found: Sequence[Any] | None) -> str:
    if found is None:
        return ""
    order_id, symbol, seconds, ts_seconds = found
    labels = {"order_id": order_id, "symbol": symbol}
    if sum(len(name) + len(value) for name, value in labels.items()) > _MAX_EXEMPLAR_CHARS:
        return ""
    return f" # {_labels(**labels)} {seconds!r} {ts_seconds:.3f}"


def _labels(**values: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _with(labels: str, further: str) -> str:
    return f"{labels[:-1]},{further}}}" if labels else f"{{{further}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
