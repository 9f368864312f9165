"""The metrics of a snapshot and of the API: four collectors, their parts by subject, and what makes them durable."""

from observability.metrics.collectors import BaseCollector, BusCollector, register_collector
from observability.metrics.execution_collector import ExecutionCollector
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.strategy_collector import StrategyCollector
from observability.metrics.system_collector import SystemCollector

__all__ = [
    "BaseCollector",
    "BusCollector",
    "ExecutionCollector",
    "MarketDataCollector",
    "StrategyCollector",
    "SystemCollector",
    "register_collector",
]
