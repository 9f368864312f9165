"""Creates the four collectors and their history from a configuration, and the documents made from several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from observability.bus import Bus
from observability.clocks.clock import Clock
from observability.clocks.timestamps import iso_or_none
from observability.config.config import Config
from observability.config.trading import EVERY_VENUE, zone_of
from observability.history.history import History
from observability.history.layout import Budget
from observability.instruments.table import InstrumentTable
from observability.logs.log_ring import LogRing
from observability.metrics.alerts.losses import Loss
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.arithmetic.sessions import SessionCalendar
from observability.metrics.execution.orders.report_log import ReportLog
from observability.metrics.execution_collector import SERIES_FIELDS as EXECUTION_FIELDS
from observability.metrics.execution_collector import ExecutionCollector, ExecutionSettings
from observability.metrics.market.bar_table import FIELDS as BAR_FIELDS
from observability.metrics.market.tracked_symbol import SERIES_FIELDS as SYMBOL_FIELDS
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings
from observability.metrics.strategy.account import CURVE_FIELDS
from observability.metrics.strategy.totals import SERIES_FIELDS as STRATEGY_FIELDS
from observability.metrics.strategy_collector import StrategyCollector, StrategySettings
from observability.metrics.system_collector import SERIES_FIELDS as SYSTEM_FIELDS
from observability.metrics.system_collector import SystemCollector, SystemSettings
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.trade_log import DailyIds, TradeLog
from observability.store.checkpoint import EventSequence


@dataclass(frozen=True, slots=True)
class Collectors:
    """The four collectors of one hub, and the log of the bookings that they are told of."""

    market: MarketDataCollector
    strategy: StrategyCollector
    execution: ExecutionCollector
    system: SystemCollector
    bookings: BookingLog

    @property
    def sections(self) -> tuple[MarketDataCollector, StrategyCollector, ExecutionCollector, SystemCollector]:
        """The collectors in the order of the snapshot and of their refresh: strategies are marked to the market."""
        return self.market, self.strategy, self.execution, self.system


def history_budget(max_symbols: int, max_strategies: int = StrategySettings().max_strategies) -> Budget:
    """Returns the capacity of the history: a series and a table of bars per symbol, a series per strategy and for those
    beyond as many, and a series per other section."""
    series = {len(SYMBOL_FIELDS): max_symbols}
    for fields in (STRATEGY_FIELDS, EXECUTION_FIELDS, SYSTEM_FIELDS):
        series[len(fields)] = series.get(len(fields), 0) + 1
    series[len(CURVE_FIELDS)] = series.get(len(CURVE_FIELDS), 0) + max_strategies + 1
    return Budget(series, {len(BAR_FIELDS): max_symbols})


def make_history(
    max_symbols: int,
    memory: memoryview[int] | None = None,
    max_strategies: int = StrategySettings().max_strategies,
) -> History:
    """Creates the history, in `memory` if several processes share it."""
    return History(history_budget(max_symbols, max_strategies), memory)


def make_collectors(
    config: Config,
    bus: Bus,
    event_clock: Clock,
    history: History,
    sequence: EventSequence | None = None,
    engine_log: LogRing | None = None,
) -> Collectors:
    """Creates the collectors on one bus, clock, calendar and trade log. `sequence` numbers trades and order reports;
    the engine's log lines go to `engine_log`."""
    multipliers = dict(config.contract_multipliers)
    calendar = SessionCalendar(zone_of(config.session_timezone), config.session_start)
    daily_ids = DailyIds(
        frozenset(config.daily_trade_ids), EVERY_VENUE in config.daily_trade_ids, session_end_ns=calendar.end_ns
    )
    instruments = InstrumentTable(config.reporting_currency, multipliers)
    trades = TradeLog(sequence=sequence, multipliers=multipliers, daily_ids=daily_ids)
    # It decides about each booking before a collector sees it, so it subscribes first.
    bookings = BookingLog(bus, sequence)
    market = MarketDataCollector(
        bus=bus,
        clock=event_clock,
        history=history,
        bookings=bookings,
        instruments=instruments,
        settings=MarketDataSettings(
            max_symbols=config.max_symbols,
            stale_after_seconds=config.stale_after,
            stale_after_seconds_by_symbol=dict(config.stale_after_by_symbol),
            session_end_ns=calendar.end_ns,
        ),
    )
    strategy = StrategyCollector(
        bus=bus,
        clock=event_clock,
        history=history,
        market=market,
        trades=trades,
        bookings=bookings,
        instruments=instruments,
        settings=StrategySettings(
            multipliers=multipliers,
            calendar=calendar,
            starting_capital=config.starting_capital,
            annualization=config.annualization,
            risk_free_rate=config.risk_free_rate,
            max_positions=config.max_positions,
            max_strategies=config.max_strategies,
        ),
    )
    execution = ExecutionCollector(
        bus=bus,
        clock=event_clock,
        history=history,
        market=market,
        trades=trades,
        reports=ReportLog(sequence),
        bookings=bookings,
        settings=ExecutionSettings(session_end_ns=calendar.end_ns),
        instruments=instruments,
        rates=strategy.rates,
    )
    system = SystemCollector(
        bus=bus,
        clock=event_clock,
        history=history,
        engine_log=engine_log,
        settings=SystemSettings(data_dir=config.data_dir),
    )
    system.losses.add(
        Loss(
            "conflicting_fills",
            lambda: trades.conflicts,
            "Fills are lost: other content under a known key",
            "{count} so far had the venue, symbol, trade id, side and order of an earlier fill, and other content. "
            "They are kept apart and are in no figure; compare them with the broker's statement.",
            "critical",
        ),
        Loss(
            "conflicting_bookings",
            lambda: bookings.conflicts,
            "Bookings are lost: other content under a known id",
            "{count} so far had the kind and id of an earlier booking, and other content. They are kept apart and are "
            "in no figure; GET /api/strategy/breaks has both.",
            "critical",
        ),
        Loss(
            "conflicting_orders",
            lambda: execution.order_breaks.count,
            "Order reports differ between deliveries",
            "{count} so far had the order, status and time of an earlier report, and another quantity or price. The "
            "first ones count; GET /api/strategy/breaks has both.",
        ),
        Loss(
            "refused_fills",
            lambda: strategy.fills_refused,
            "Fills are lost: all positions are open",
            "{count} so far were refused and are in no figure. Raise MAX_POSITIONS, and send them again.",
            "critical",
        ),
        Loss(
            "overclosing_fills",
            lambda: strategy.overclosing_fills,
            "Fills are lost: they close more than is held",
            "{count} so far were refused and are in no figure: they would have closed more of the long or short side "
            "than it holds. Send what opened it first, or adopt the position, and send them again.",
            "critical",
        ),
        Loss(
            "refused_symbols",
            lambda: market.symbols_refused,
            "Symbols are refused",
            "{count} so far: all MAX_SYMBOLS are in use. Positions in them are marked to their own last fill.",
        ),
        Loss(
            "strategies",
            lambda: strategy.strategies_refused,
            "Strategies share one account",
            "{count} so far have no account of their own and share (other). Their positions are not compared with the "
            "engine's.",
        ),
        Loss(
            "position_reports",
            lambda: strategy.reports_dropped,
            "Reported positions are not compared",
            "{count} so far were dropped for others that were reported later. Raise MAX_POSITIONS.",
        ),
        Loss(
            "evicted_orders",
            lambda: execution.evicted_orders,
            "Open orders are no longer counted as open",
            "{count} so far, the oldest first: too many are open.",
        ),
    )
    return Collectors(market, strategy, execution, system, bookings)


def symbols_document(collectors: Collectors) -> dict[str, Any]:
    """Returns `GET /api/metrics/symbols`."""
    tracked = collectors.market.symbols
    return {"symbols": tracked, "count": len(tracked)}


def instruments_document(collectors: Collectors) -> dict[str, Any]:
    """Returns `GET /api/instruments`. Rates are texts, to keep the digits that were sent."""
    strategy = collectors.strategy
    instruments = strategy.instruments.to_json()
    return {
        "reporting_currency": strategy.rates.reporting,
        "instruments": instruments,
        "count": len(instruments),
        "rates": [
            {
                "base": rate.base,
                "quote": rate.quote,
                "rate": str(rate.rate),
                "updated": iso_or_none(rate.updated_ns),
                "source": rate.source,
                "symbol": rate.symbol or None,
            }
            for rate in strategy.rates.known.values()
        ],
    }


def rates_of(document: bytes) -> Rates:
    """Returns the rates in a document of `instruments_document`."""
    found = orjson.loads(document)
    rates = Rates(found["reporting_currency"])
    for rate in found["rates"]:
        rates.put((rate["base"], rate["quote"]), Decimal(rate["rate"]), 0)
    return rates


def summary_document(collectors: Collectors) -> dict[str, Any]:
    """Returns `GET /api/metrics/summary`."""
    market = collectors.market
    tracked = [found for symbol in market.symbols if (found := market.symbol(symbol)) is not None]
    return make_summary(
        symbols=len(tracked),
        trades=sum(each.trades for each in tracked),
        volume=sum(each.turnover.volume for each in tracked),
        active_strategies=collectors.strategy.strategy_count,
        strategy=collectors.strategy.fields.to_json(),
        execution=collectors.execution.fields.to_json(),
        system=collectors.system.fields.to_json(),
    )


def make_summary(
    *,
    symbols: int | None,
    trades: int | None,
    volume: float | None,
    active_strategies: int | None,
    strategy: Mapping[str, Any],
    execution: Mapping[str, Any],
    system: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns `GET /api/metrics/summary`, from the fields of the sections."""
    return {
        "market": {"symbols_tracked": symbols, "total_trades": trades, "total_volume": volume},
        "strategy": {
            "active_strategies": active_strategies,
            **{name: strategy[name] for name in ("total_pnl", "daily_pnl", "open_positions")},
        },
        "execution": {name: execution[name] for name in ("orders_today", "fills_today", "fill_rate", "avg_latency_ms")},
        "system": {
            "cpu_percent": system["cpu_percent"],
            "memory_percent": system["memory_percent"],
            "uptime_seconds": system["uptime_seconds"],
            "health": system["health"],
            # The first version's names.
            "cpu_usage": system["cpu_percent"],
            "memory_usage": system["memory_percent"],
            "health_status": system["health"],
        },
    }
