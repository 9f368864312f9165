"""Acknowledging an alert in the hub: what is returned, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fake_clock import FakeClock
from observability.events import Alert
from observability.metrics.alerts.book import AlertBook, alert_id
from observability.monitoring.acknowledgements import Acknowledged, HubAcknowledger

DISK_FULL = Alert("critical", "disk full", key="disk", ts=1, ts_init=1)
# The same event sent again would change nothing.
STILL_FULL = Alert("critical", "disk full", key="disk", ts=2, ts_init=2)


async def written() -> bool:
    return True


async def too_slow() -> bool:
    return False


def acknowledge(
    book: AlertBook, ident: str, is_written: Callable[[], Awaitable[bool]] = written
) -> Acknowledged | None:
    return asyncio.run(HubAcknowledger(book, FakeClock(), is_written).acknowledge(ident))


def test_an_alert_is_returned_as_acknowledged() -> None:
    clock, book = FakeClock(), AlertBook(5)
    book.note(DISK_FULL)
    acknowledged = acknowledge(book, alert_id(DISK_FULL))
    assert acknowledged is not None
    assert (acknowledged.alert.acknowledged_ns, acknowledged.is_on_disk) == (clock.time_ns(), True)


def test_an_unknown_alert_is_none() -> None:
    assert acknowledge(AlertBook(5), "unknown") is None


def test_an_acknowledgement_that_is_not_written_in_time_holds_all_the_same() -> None:
    book = AlertBook(5)
    book.note(DISK_FULL)
    acknowledged = acknowledge(book, alert_id(DISK_FULL), too_slow)
    assert acknowledged is not None
    assert not acknowledged.is_on_disk
    assert [alert.stage for alert in book.all()] == ["acknowledged"]


def test_an_alert_raised_again_during_the_write_is_returned_as_it_was() -> None:
    book = AlertBook(5)
    book.note(DISK_FULL)

    async def raised_meanwhile() -> bool:
        book.note(STILL_FULL)
        return True

    acknowledged = acknowledge(book, alert_id(DISK_FULL), raised_meanwhile)
    assert acknowledged is not None
    assert (acknowledged.alert.count, book.all()[0].count) == (1, 2)
