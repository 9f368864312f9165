"""Listeners: each gets everything, whatever becomes of the others."""

from __future__ import annotations

import pytest

from observability.listeners import ERRORS, Listeners
from observability.memory.counters import Counters


def fail(*_: object) -> None:
    raise ValueError("a fault")


def test_a_listener_that_fails_costs_no_other_one_its_news() -> None:
    counters, before, after = Counters(), [], []
    listeners: Listeners[int, str] = Listeners("a number", counters.counter(*ERRORS))
    for listener in (lambda *news: before.append(news), fail, lambda *news: after.append(news)):
        listeners.add(listener)
    for number in (1, 2):
        listeners.call(number, "a")
    assert before == after == [(1, "a"), (2, "a")]
    assert counters.total("listener_errors_total") == 2


def test_a_failure_is_logged_once_per_listener(caplog: pytest.LogCaptureFixture) -> None:
    listeners: Listeners[int] = Listeners("a number")
    listeners.add(fail)
    listeners.add(lambda _: fail())
    for number in range(3):
        listeners.call(number)
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    assert all("failed on a number, which the others still get" in record.getMessage() for record in caplog.records)
