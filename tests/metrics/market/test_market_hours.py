"""Symbols whose instrument names a calendar: their sessions, and what is said of them while their market is closed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from observability.bus import Bus
from observability.events import Instrument, Print, Quote
from observability.instruments.hours import NOT_INSTALLED, MarketHours, Schedule
from observability.instruments.table import InstrumentTable
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings
from observability.metrics.strategy_collector import StrategyCollector

S = 10**9


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


OPENS = [ns(f"2025-11-{day}T14:30") for day in ("24", "25", "26", "28")]
# The last one closes early; of that of the 1st only the opening is known.
CLOSES = [*(ns(f"2025-11-{day}T21:00") for day in ("24", "25", "26")), ns("2025-11-28T18:00")]
LAST = ns("2026-12-01T14:30")
XNYS = Schedule([*OPENS, ns("2025-12-01T14:30"), LAST],
                [*(edge for pair in zip(OPENS, CLOSES, strict=True) for edge in pair),
                 ns("2025-12-01T14:30"), ns("2025-12-01T21:00"), LAST, LAST + S])  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MarketHours, "_read", lambda *_: None)


class Desk:
    """A market and the instruments, whose calendar XNYS is known."""

    def __init__(self, schedule: Schedule | None = XNYS) -> None:
        self.bus = Bus()
        self.instruments = InstrumentTable()
        hours = self.instruments.calendars.hours("XNYS")
        assert hours is not None
        if schedule is not None:
            hours.take(schedule)
        self.start()

    def start(self) -> None:
        self.market = MarketDataCollector(bus=self.bus, settings=MarketDataSettings(), instruments=self.instruments)
        self.strategy = StrategyCollector(bus=self.bus, market=self.market, instruments=self.instruments)
        asyncio.run(self.market.start())
        asyncio.run(self.strategy.start())

    def describe(self, when: str, calendar: str = "XNYS") -> None:
        self.bus.publish(Instrument("AAPL", "equity", "USD", calendar=calendar, ts_init=ns(when), ts=ns(when)))

    def trade(self, when: str, size: float = 1.0, price: float = 100.0) -> None:
        self.bus.publish(Print("AAPL", price, size, ts=ns(when), ts_init=ns(when)))

    def quote(self, when: str) -> None:
        self.bus.publish(Quote("AAPL", 99.0, 101.0, ts=ns(when), ts_init=ns(when)))

    def shown(self, when: str) -> dict[str, Any]:
        self.market.refresh(ns(when))
        return dict(self.market.groups[0].parts["AAPL"].to_json())

    def flags(self, when: str) -> tuple[bool | None, bool, bool | None]:
        shown = self.shown(when)
        return shown["closed"], shown["stale"], shown["quote_stale"]


def test_volumes_are_those_since_the_market_has_opened_last() -> None:
    desk = Desk()
    desk.describe("2025-11-26T14:00")
    desk.trade("2025-11-26T14:29", 8.0)
    desk.trade("2025-11-26T14:30", 1.0)
    desk.trade("2025-11-26T22:00", 2.0)
    # A holiday, on which something is printed all the same.
    desk.trade("2025-11-27T15:00", 4.0)
    assert desk.shown("2025-11-27T15:00")["volume"] == 7.0
    desk.trade("2025-11-28T14:30", 16.0)
    assert (desk.shown("2025-11-28T14:30")["volume"], desk.shown("2025-11-28T14:30")["trades"]) == (16.0, 1)


def test_a_market_that_is_closed_is_said_to_be_closed_and_not_stale() -> None:
    desk = Desk()
    desk.describe("2025-11-26T14:00")
    desk.quote("2025-11-26T20:59:59")
    assert desk.flags("2025-11-26T20:59:59") == (False, False, False)
    assert desk.flags("2025-11-26T21:00:00") == (True, False, False)
    assert desk.flags("2025-11-27T15:00:00") == (True, False, False)
    # Open again, it has as long as any other to say something.
    assert desk.flags("2025-11-28T14:30:00") == (False, False, False)
    assert desk.flags("2025-11-28T14:30:05") == (False, False, False)
    assert desk.flags("2025-11-28T14:30:06") == (False, True, True)
    assert desk.flags("2025-11-28T18:00:00") == (True, False, False)
    assert desk.shown("2025-11-28T18:00:00")["spread_bps"] is None


def test_without_a_calendar_nothing_is_said_of_the_hours() -> None:
    desk = Desk()
    desk.quote("2025-11-26T20:59:59")
    assert desk.flags("2025-11-26T21:00:05") == (None, True, True)


def test_what_came_before_an_instrument_was_described_stays_until_the_next_session() -> None:
    desk = Desk()
    desk.trade("2025-11-26T16:00", 3.0)
    desk.describe("2025-11-26T16:01")
    desk.trade("2025-11-26T16:02", 4.0)
    desk.trade("2025-11-27T00:01", 5.0)
    assert desk.shown("2025-11-27T00:01")["volume"] == 12.0
    desk.trade("2025-11-28T14:31", 6.0)
    assert desk.shown("2025-11-28T14:31")["volume"] == 6.0


def test_no_session_ends_while_a_calendar_is_being_read() -> None:
    desk = Desk(schedule=None)
    desk.describe("2025-11-26T16:00")
    desk.trade("2025-11-26T16:01", 3.0)
    desk.trade("2025-11-27T00:01", 4.0)
    assert (desk.shown("2025-11-27T00:01")["volume"], desk.flags("2025-11-27T00:01")[0]) == (7.0, None)
    hours = desk.instruments.hours("AAPL")
    assert hours is not None
    hours.take(XNYS)
    assert desk.flags("2025-11-27T00:02")[0] is True
    desk.trade("2025-11-28T14:31", 6.0)
    assert desk.shown("2025-11-28T14:31")["volume"] == 6.0


def test_a_restart_stays_in_the_session_of_the_calendar_or_begins_the_next() -> None:
    for when, volume in (("2025-11-27T00:01", 7.0), ("2025-11-28T14:31", 4.0)):
        desk = Desk()
        desk.describe("2025-11-26T14:31")
        desk.trade("2025-11-26T16:01", 3.0)
        saved = desk.market.save(), desk.strategy.save()
        later = Desk()
        later.market.load(saved[0])
        later.strategy.load(saved[1])
        later.trade(when, 4.0)
        assert later.shown(when)["volume"] == volume, when


def test_a_calendar_that_cannot_be_used_is_told_to_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    monkeypatch.setattr(desk.instruments.calendars, "_is_installed", False)
    desk.describe("2025-11-26T14:00")
    assert desk.bus.remark is not None
    assert (desk.bus.remark.field, desk.bus.remark.text) == ("calendar", NOT_INSTALLED)
    assert desk.instruments.to_json()[0]["calendar_fault"] == NOT_INSTALLED
    desk.trade("2025-11-26T16:01", 3.0)
    desk.trade("2025-11-27T00:01", 4.0)
    assert desk.shown("2025-11-27T00:01")["volume"] == 4.0
