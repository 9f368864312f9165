"""Listeners: functions that are called in turn with what has happened. One that fails costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVarTuple

logger = logging.getLogger(__name__)

# Name and meaning of the counter of the listeners of a tick.
ERRORS: Final = ("listener_errors_total", "Calls with a new frame, or one that was sent, that raised in a listener")

Ts = TypeVarTuple("Ts")


class Count(Protocol):
    """What counts the calls that failed."""

    def add(self) -> None: ...


class Listeners(Generic[*Ts]):
    """Calls each listener, in the order in which they were added. An exception from one does not affect the others; it
    is logged once per listener."""

    __slots__ = ("_errors", "_listeners", "_reported", "_what")

    def __init__(self, what: str, errors: Count | None = None) -> None:
        """`what` they listen to, for the log. `errors` counts the calls that failed."""
        self._what = what
        self._errors = errors
        self._listeners: list[Callable[[*Ts], object]] = []
        self._reported: set[Callable[[*Ts], object]] = set()

    def add(self, listener: Callable[[*Ts], object]) -> None:
        self._listeners.append(listener)

    def call(self, *news: *Ts) -> None:
        # hot: once per tick, lane entry and commit (benchmarks/bench_tick.py)
        for listener in self._listeners:
            try:
                listener(*news)
            except Exception:
                self._report(listener)

    def _report(self, listener: Callable[[*Ts], object]) -> None:
        if self._errors is not None:
            self._errors.add()
        if listener not in self._reported:
            self._reported.add(listener)
            logger.exception(
                "%r failed on %s, which the others still get; its further failures are not logged", listener, self._what
            )
