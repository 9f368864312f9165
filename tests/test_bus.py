"""The bus: which subscribers receive an event, in which order, and what an exception from one of them does."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from observability.bus import Bus, Remark, default_bus
from observability.errors import EventRefused
from observability.events import Event, Heartbeat, Print, Quote

QUOTE = Quote("AAPL", 1.0, 2.0)
BEAT = Heartbeat("engine")


def failing(_: Event) -> None:
    raise ValueError("boom")


def test_an_event_reaches_only_the_subscribers_of_its_class() -> None:
    bus, quotes, beats = Bus(), list[Event](), list[Event]()
    bus.subscribe(Quote, quotes.append)
    bus.subscribe(Heartbeat, beats.append)
    bus.publish(QUOTE)
    assert (quotes, beats) == ([QUOTE], [])


def test_subscribers_are_called_in_the_order_of_their_subscription() -> None:
    bus, called = Bus(), list[int]()
    for number in range(5):
        bus.subscribe(Quote, lambda _, number=number: called.append(number))  # type: ignore[misc]
    bus.publish(QUOTE)
    assert called == [0, 1, 2, 3, 4]


def test_events_are_delivered_in_order() -> None:
    bus, seen = Bus(), list[Event]()
    bus.subscribe(Quote, seen.append)
    bus.subscribe(Heartbeat, seen.append)
    bus.publish_all([QUOTE, BEAT, QUOTE])
    assert seen == [QUOTE, BEAT, QUOTE]


def test_an_exception_from_a_subscriber_does_not_affect_the_others() -> None:
    bus, before, after = Bus(), list[Event](), list[Event]()
    bus.subscribe(Quote, before.append)
    bus.subscribe(Quote, failing)
    bus.subscribe(Quote, after.append)
    bus.publish_all([QUOTE, QUOTE])
    assert (len(before), len(after), bus.handler_errors) == (2, 2, 2)


def refusing(_: Event) -> None:
    raise EventRefused("symbol", "no room")


def test_an_event_that_a_subscriber_refuses_does_not_reach_the_ones_after_it() -> None:
    bus, before, after = Bus(), list[Event](), list[Event]()
    bus.subscribe(Quote, before.append)
    bus.subscribe(Quote, refusing)
    bus.subscribe(Quote, after.append)
    bus.subscribe(Heartbeat, after.append)
    bus.publish_all([QUOTE, BEAT])
    assert (before, after, bus.handler_errors) == ([QUOTE], [BEAT], 0)
    assert bus.remark == Remark(QUOTE, "symbol", "no room", is_refusal=True)


def test_a_failing_subscriber_is_logged_once_per_class(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    bus.subscribe(Quote, failing)
    bus.subscribe(Heartbeat, failing)
    bus.publish_all([QUOTE, QUOTE, BEAT, BEAT])
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert "Quote" in caplog.records[0].getMessage()
    assert "Heartbeat" in caplog.records[1].getMessage()
    assert caplog.records[0].exc_info is not None


def test_no_event_arrives_after_unsubscribing() -> None:
    bus, seen = Bus(), list[Event]()
    unsubscribe = bus.subscribe(Quote, seen.append)
    unsubscribe()
    unsubscribe()
    bus.publish(QUOTE)
    assert seen == []


def test_unsubscribing_leaves_the_other_subscribers() -> None:
    bus, seen = Bus(), list[Event]()
    unsubscribe = bus.subscribe(Quote, failing)
    bus.subscribe(Quote, seen.append)
    unsubscribe()
    bus.publish(QUOTE)
    assert (len(seen), bus.handler_errors) == (1, 0)


def test_unsubscribing_during_a_delivery_loses_no_event() -> None:
    bus, seen = Bus(), list[Event]()
    unsubscribe: Callable[[], None]

    def once(_: Quote) -> None:
        seen.append(_)
        unsubscribe()

    unsubscribe = bus.subscribe(Quote, once)
    bus.subscribe(Quote, seen.append)
    bus.publish_all([QUOTE, QUOTE])
    assert len(seen) == 3


def test_subscribing_during_a_delivery_takes_effect_with_the_next_event() -> None:
    bus, seen = Bus(), list[Event]()

    def join(_: Heartbeat) -> None:
        bus.subscribe(Heartbeat, seen.append)

    unsubscribe = bus.subscribe(Heartbeat, join)
    bus.publish(BEAT)
    unsubscribe()
    assert seen == []
    bus.publish(BEAT)
    assert seen == [BEAT]


def test_an_event_published_by_a_subscriber_precedes_the_next_one() -> None:
    bus, seen = Bus(), list[str]()

    def answer(_: Quote) -> None:
        seen.append("quote")
        bus.publish(BEAT)

    bus.subscribe(Quote, answer)
    bus.subscribe(Heartbeat, lambda _: seen.append("beat"))
    bus.publish_all([QUOTE, QUOTE])
    assert seen == ["quote", "beat", "quote", "beat"]


def test_events_without_subscribers_are_counted_by_source_and_class() -> None:
    bus = Bus()
    bus.publish_all([QUOTE, QUOTE, BEAT], "replay")
    bus.publish(QUOTE)
    assert (bus.published["replay"][Quote], bus.published["replay"][Heartbeat]) == (2, 1)
    assert (bus.published["local"][Quote], bus.published["local"][Print]) == (1, 0)


def test_there_is_one_default_bus() -> None:
    assert default_bus() is default_bus()
