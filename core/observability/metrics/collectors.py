"""The interface that all collectors share, and the registry of custom ones."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from observability.bus import Bus, EventHandler, default_bus
from observability.errors import ConfigError
from observability.events import Event

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "observability.collectors"

# How many names that a collector has refused are kept so that each is logged once.
MAX_REFUSED_NAMES = 1024


class BaseCollector(ABC):
    """Keeps the current state of one section of the snapshot.

    A custom collector implements `_start_impl`, `_stop_impl` and `get_current_metrics`, and appears in the snapshot
    under its name. It runs in a task of its own: a slow or failing collector shows as null and is counted; the tick
    does not wait for it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_running = False
        self.metrics_collected = 0

    async def start(self) -> None:
        """Starts collecting; a second call does nothing."""
        if not self.is_running:
            await self._start_impl()
            self.is_running = True

    async def stop(self) -> None:
        """Stops collecting; the metrics stay readable."""
        if self.is_running:
            self.is_running = False
            await self._stop_impl()

    @abstractmethod
    async def _start_impl(self) -> None: ...

    @abstractmethod
    async def _stop_impl(self) -> None: ...

    @abstractmethod
    async def get_current_metrics(self) -> dict[str, Any]:
        """Returns this collector's section of the snapshot, as JSON types."""


class BusCollector(BaseCollector):
    """A collector that subscribes to a bus; by default to the one of the process."""

    def __init__(self, name: str, bus: Bus | None = None) -> None:
        super().__init__(name)
        self.bus = default_bus() if bus is None else bus
        self._unsubscribe: list[Callable[[], None]] = []

    @abstractmethod
    def _handlers(self) -> dict[type[Event], EventHandler]:
        """Returns one handler per event class to subscribe to."""

    async def _start_impl(self) -> None:
        self._unsubscribe = [self.bus.subscribe(kind, handler) for kind, handler in self._handlers().items()]

    async def _stop_impl(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []


CollectorFactory = Callable[[], BaseCollector]
_registered: dict[str, CollectorFactory] = {}


def register_collector(name: str, factory: CollectorFactory) -> None:
    """Registers a custom collector for every hub that starts from now on. The name is its key in the snapshot.

    Raises ConfigError if the name is taken.
    """
    if name in _registered:
        raise ConfigError([f"collector {name!r}: registered twice"])
    _registered[name] = factory


def custom_collectors() -> dict[str, BaseCollector]:
    """Creates every custom collector: those registered by name and those that are entry points of installed packages.

    A collector that cannot be imported or created is skipped and logged as an error, so that the others still start.
    """
    factories = dict(_registered)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.name in factories:
            logger.warning(
                "collector %r is registered and also an entry point; using the registered one", entry_point.name
            )
            continue
        try:
            factories[entry_point.name] = entry_point.load()
        except Exception:
            logger.exception(
                "collector %r (entry point %s) cannot be imported; skipping it", entry_point.name, entry_point.value
            )
    collectors: dict[str, BaseCollector] = {}
    for name, factory in factories.items():
        try:
            collectors[name] = factory()
        except Exception:
            logger.exception("collector %r cannot be created; skipping it", name)
    return collectors
