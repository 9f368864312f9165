"""The collectors: what a snapshot is made of.

Only names are re-exported here.
"""

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
