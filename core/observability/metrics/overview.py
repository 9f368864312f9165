"""The small documents derived from the collectors: the list of symbols and the summary.

Nothing is computed here that a collector does not already know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from observability.clocks.timestamps import format_iso_ms
from observability.metrics.execution_collector import ExecutionCollector
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.strategy_collector import StrategyCollector
from observability.metrics.system_collector import SystemCollector


@dataclass(frozen=True, slots=True)
class Collectors:
    """The four collectors of one hub."""

    market: MarketDataCollector
    strategy: StrategyCollector
    execution: ExecutionCollector
    system: SystemCollector

    @property
    def sections(self) -> tuple[MarketDataCollector, StrategyCollector, ExecutionCollector, SystemCollector]:
        """In the order of the snapshot, which is also that of their refresh: strategies are marked to the market."""
        return self.market, self.strategy, self.execution, self.system


def symbols(collectors: Collectors) -> dict[str, Any]:
    """Returns `GET /api/metrics/symbols`."""
    tracked = collectors.market.symbols
    return {"symbols": tracked, "count": len(tracked)}


def summary(collectors: Collectors, now_ns: int) -> dict[str, Any]:
    """Returns `GET /api/metrics/summary`."""
    market = collectors.market
    states = [state for symbol in market.symbols if (state := market.symbol_state(symbol)) is not None]
    strategy = collectors.strategy.fields.to_json()
    execution = collectors.execution.fields.to_json()
    system = collectors.system.fields.to_json()
    return {
        "timestamp": format_iso_ms(now_ns),
        "market": {
            "symbols_tracked": len(states),
            "total_trades": sum(state.trades for state in states),
            "total_volume": sum(state.turnover.volume for state in states),
        },
        "strategy": {
            "active_strategies": collectors.strategy.strategy_count,
            "total_pnl": strategy["total_pnl"],
            "daily_pnl": strategy["daily_pnl"],
            "open_positions": strategy["open_positions"],
        },
        "execution": {name: execution[name] for name in ("orders_today", "fills_today", "fill_rate", "avg_latency_ms")},
        "system": {
            "cpu_usage": system["cpu_percent"],
            "memory_usage": system["memory_percent"],
            "uptime_seconds": system["uptime_seconds"],
            "health_status": system["health"],
        },
    }
