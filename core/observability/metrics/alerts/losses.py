"""Losses: what a collector could not take, made visible as an alert and in the health until someone has seen it.

    count (of refused fills, symbols, ...) --once per second--> grown? --> alert of the engine's kind, at most one
                                                                           transition per minute and loss
                                                            --> health: degraded while that alert is active

A loss keeps the health from being healthy until its alert is acknowledged, and again when it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.events import Alert, Severity
from observability.metrics.alerts.book import AlertBook, alert_id

# How often a growing loss raises its alert again.
PAUSE_NS: Final = NS_PER_MINUTE
KEY_PREFIX: Final = "observability/"


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of loss. `title` and `detail` are its alert's, where `detail` has a place for {count}."""

    name: str
    count: Callable[[], int]
    title: str
    detail: str
    severity: Severity = "warning"

    @property
    def alert_id(self) -> str:
        return alert_id(self.alert(1, 0))

    def alert(self, count: int, ts_ns: int) -> Alert:
        """Returns the event that raises the alert, or for a count of 0 resolves it."""
        return Alert(
            self.severity,
            self.title,
            self.detail.format(count=count),
            KEY_PREFIX + self.name,
            "raised" if count else "resolved",
            ts=ts_ns,
            ts_init=ts_ns,
        )


class Losses:
    """The losses of the collectors of one hub."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._losses: tuple[Loss, ...] = ()
        # By name: the count that the alert was last raised with, and when.
        self._raised: dict[str, int] = {}
        self._raised_ns: dict[str, int] = {}

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._losses)

    def add(self, *losses: Loss) -> None:
        self._losses += losses

    def check(self, now_ns: int) -> None:
        """Raises the alert of each loss that has grown, and resolves it once nothing is lost any more."""
        for loss in self._losses:
            count, raised = loss.count(), self._raised.get(loss.name, 0)
            if count == raised or (count > raised > 0 and self._is_paused(loss, now_ns)):
                continue
            self._raised[loss.name] = count
            if count > raised or not count:
                self._raised_ns[loss.name] = now_ns
                self._book.note(loss.alert(count, now_ns))

    def reasons(self) -> Iterator[str]:
        """Yields why the health is degraded: the title of each loss whose alert is not acknowledged."""
        return (loss.title for loss in self._losses if self._raised.get(loss.name) and not self._is_seen(loss))

    def to_state(self) -> dict[str, int]:
        return self._raised

    def load_state(self, state: Mapping[str, int]) -> None:
        self._raised = dict(state)

    def _is_paused(self, loss: Loss, now_ns: int) -> bool:
        return 0 <= now_ns - self._raised_ns.get(loss.name, 0) < PAUSE_NS

    def _is_seen(self, loss: Loss) -> bool:
        """Returns whether someone has acknowledged the alert; one that others have displaced was not seen."""
        state = self._book.get(loss.alert_id)
        return state is not None and state.stage != "active"
