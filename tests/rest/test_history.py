"""`POST /api/metrics/history` over rings, a real store and bars."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S, format_iso_ms
from observability.history.archive import Archive, StoredMinutes
from observability.history.history import History
from observability.history.layout import Budget
from observability.http11.messages import Response
from observability.http11.parser import RequestParser
from observability.memory.counters import Counters
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.market.bar_table import BARS, Bar, BarTable
from observability.metrics.market.bar_table import FIELDS as BAR_FIELDS
from observability.rest.exports import MAX_EXPORTS, Exports
from observability.rest.history import MAX_COLUMN_NUMBERS, HistoryRoutes
from observability.routing.application import Application
from observability.routing.router import Router, StreamedResponse
from observability.store.file import DATABASE_NAME
from observability.store.limits import StoreLimits
from observability.store.reader import StoreReader
from observability.store.store import Store

TICK_NS = 100 * NS_PER_MS
MINUTE_NS = 60 * NS_PER_S
DAY_NS = 1440 * MINUTE_NS
NOON_NS = 1_700_000_000 * NS_PER_S // DAY_NS * DAY_NS + DAY_NS // 2
SOON = 30.0


class Desk:
    """The route over a history of two symbols and a section; tests set the time."""

    def __init__(
        self,
        archive: Archive | None = None,
        reader: StoreReader | None = None,
        tick_ns: int = TICK_NS,
        max_exports: int = MAX_EXPORTS,
    ) -> None:
        self.history = History(Budget({2: 3}, {len(BAR_FIELDS): 1}))
        if archive is not None:
            archive.attach(self.history)
        # Not in the order in which an answer lists them.
        self.msft = self.history.open("market_data", "MSFT", ("last", "mid"))
        self.system = self.history.open("system", "", ("cpu_percent", "memory_percent"))
        self.aapl = self.history.open("market_data", "AAPL", ("last", "mid"))
        self.clock = FakeClock(NOON_NS)
        router = Router()
        history = self.history.reader(Counters())
        minutes = None if reader is None else StoredMinutes(reader)
        exports = Exports(self.clock, asyncio.Lock(), max_exports)
        bars = BarHistory(history, reader)
        HistoryRoutes(history, self.clock, tick_ns, minutes, bars, exports=exports).add_to(router)
        self._application = Application(router, clock=self.clock)

    def keep_bars(self) -> None:
        """Records ten minutes of one symbol's bars."""
        ring = BarTable(self.history.open_table(BARS, "AAPL", BAR_FIELDS))
        for n in range(10):
            ring.put(Bar(NOON_NS + n * MINUTE_NS, 1.0 + n, 3.0 + n, 0.5 + n, 2.0 + n, 10.0, 4, 2.0))

    def tick(self, ts_ns: int, value: float) -> None:
        self.clock.now_ns = ts_ns
        for series in (self.msft, self.system, self.aapl):
            series.record(ts_ns, (value, -value))

    async def answer(self, **question: Any) -> Response | StreamedResponse:
        body = json.dumps(question).encode()
        parser = RequestParser()
        head = b"POST /api/metrics/history HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        parser.feed(head % len(body) + body)
        request = parser.next_request()
        assert request is not None
        pattern, answer = self._application.dispatch(request)
        if isinstance(answer, Awaitable):
            answer = await self._application.settle(request, pattern, answer)
        assert isinstance(answer, Response | StreamedResponse)
        return answer

    async def post(self, **question: Any) -> dict[str, Any]:
        answer = await self.answer(**question)
        assert isinstance(answer, Response)
        document: dict[str, Any] = json.loads(answer.body)
        assert document.get("status", 200) == answer.status
        return document

    def ask(self, **question: Any) -> dict[str, Any]:
        return asyncio.run(self.post(**question))

    def export(self, **question: Any) -> tuple[Response, list[dict[str, str]]]:
        """Returns the head and the rows of an export as CSV."""

        async def read() -> tuple[Response, bytes]:
            answer = await self.answer(**question, format="csv")
            assert isinstance(answer, StreamedResponse)
            return answer.head, b"".join([piece async for piece in answer.pieces])

        head, data = asyncio.run(read())
        return head, list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def with_store(directory: Path, use: Callable[[Store, Archive], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Store.open(directory, StoreLimits(), Counters())
        store.start(asyncio.get_running_loop())
        archive = Archive(store)
        try:
            await use(store, archive)
        finally:
            await store.stop()

    asyncio.run(main())


@pytest.fixture(scope="module")
def hour() -> Desk:
    """A little over an hour at 10 Hz, so that ticks and seconds have been lapped."""
    desk = Desk()
    for n in range(37_000):
        desk.tick(NOON_NS + n * TICK_NS, float(n))
    return desk


def test_rows_are_ordered_by_time_then_type_and_symbol() -> None:
    desk = Desk()
    for n in range(3):
        desk.tick(NOON_NS + n * TICK_NS, float(n))
    rows = desk.ask(interval="100ms", metrics=["last", "cpu_percent"])["data"]
    assert rows == [
        {"timestamp": format_iso_ms(NOON_NS + n * TICK_NS), **label, name: float(n)}
        for n in range(3)
        for name, label in (
            ("last", {"type": "market_data", "symbol": "AAPL"}),
            ("last", {"type": "market_data", "symbol": "MSFT"}),
            ("cpu_percent", {"type": "system"}),
        )
    ]


def test_columns_hold_the_same_values_as_rows(hour: Desk) -> None:
    question: dict[str, Any] = {"interval": "7s", "time_range": "1h", "aggregates": ["first", "mean", "count"]}
    rows = hour.ask(**question)["data"]
    columns = hour.ask(**question, format="columns")
    assert columns["count"] == len(rows)
    unrolled = []
    for curve in columns["data"]:
        label = {name: curve[name] for name in ("type", "symbol") if name in curve}
        for n, timestamp in enumerate(curve["timestamp"]):
            values = {
                name: {which: column[n] for which, column in value.items()}
                for name, value in curve.items()
                if isinstance(value, dict)
            }
            unrolled.append({"timestamp": timestamp, **label, **values})
    assert sorted(unrolled, key=lambda row: row["timestamp"]) == rows


def test_an_undefined_value_is_null() -> None:
    desk = Desk()
    desk.tick(NOON_NS, math.nan)
    names = ["first", "min", "max", "last", "mean", "count"]
    (row,) = desk.ask(interval="1s", symbols=["AAPL"], metric_types=["market_data"], metrics=["mid"])["data"]
    assert row["mid"] is None
    (row,) = desk.ask(interval="1s", symbols=["AAPL"], metric_types=["market_data"], aggregates=names)["data"]
    assert row["mid"] == {**dict.fromkeys(names), "count": 0}


@pytest.mark.parametrize("limit", [1, 2, 3, 100, 9_999])
def test_a_limit_keeps_the_newest_rows(hour: Desk, limit: int) -> None:
    question: dict[str, Any] = {"interval": "1s", "metric_types": ["market_data"]}
    everything = hour.ask(**question)
    some = hour.ask(**question, limit=limit)
    assert some["data"] == everything["data"][-limit:]
    assert (some["count"], some["truncated"]) == (min(limit, everything["count"]), limit < everything["count"])


def test_a_limit_keeps_the_newest_points_of_each_column(hour: Desk) -> None:
    question: dict[str, Any] = {"interval": "1s", "format": "columns", "metrics": ["last"]}
    everything = hour.ask(**question)
    some = hour.ask(**question, limit=100)
    assert [curve["last"] for curve in some["data"]] == [curve["last"][-100:] for curve in everything["data"]]
    assert (some["count"], some["truncated"], everything["truncated"]) == (200, True, False)


def test_tiers_give_the_spacing_of_points_in_each_stretch_of_time(hour: Desk) -> None:
    answer = hour.ask(interval="100ms", time_range="24h", symbols=["AAPL"], metrics=["last"])
    assert [stretch["interval"] for stretch in answer["tiers"]] == ["1m", "1s", "100ms"]
    assert answer["tiers"][0]["start"] == answer["start_time"]
    assert answer["tiers"][-1]["end"] == answer["end_time"]
    times = [row["timestamp"] for row in answer["data"]]
    for stretch in answer["tiers"]:
        here = [ts for ts in times if stretch["start"] <= ts < stretch["end"]]
        assert here
        assert len(here) == len(set(here))


def test_an_interval_is_a_multiple_of_the_configured_tick() -> None:
    desk = Desk(tick_ns=50 * NS_PER_MS)
    assert desk.ask(interval="150ms")["interval"] == "150ms"
    (fault,) = desk.ask(interval="120ms")["errors"]
    assert fault["parameter"] == "interval"
    assert "50ms" in fault["error"]


def test_100ms_is_accepted_whatever_the_time_between_ticks() -> None:
    assert Desk(tick_ns=MINUTE_NS).ask(interval="100ms")["interval"] == "100ms"


def test_the_numbers_of_all_columns_together_are_limited(hour: Desk) -> None:
    assert MAX_COLUMN_NUMBERS >= 64 * 4 * 3000
    desk = Desk()
    for n in range(30_000):
        desk.tick(NOON_NS + n * TICK_NS, float(n))
    names = ["first", "min", "max", "last", "mean", "count"]
    answer = desk.ask(interval="100ms", format="columns", aggregates=names)
    assert answer["count"] * 2 * len(names) <= MAX_COLUMN_NUMBERS


def test_bars_are_available_at_any_number_of_minutes() -> None:
    desk = Desk()
    desk.keep_bars()
    desk.clock.now_ns = NOON_NS + 10 * MINUTE_NS
    answer = desk.ask(metric_types=["bars"], interval="5m")
    assert answer["data"] == [
        {
            "timestamp": format_iso_ms(NOON_NS + n * MINUTE_NS), "type": "bars", "symbol": "AAPL", "open": 1.0 + n,
            "high": 7.0 + n, "low": 0.5 + n, "close": 6.0 + n, "volume": 50.0, "trades": 20, "vwap": 2.0,
        }
        for n in (0, 5)
    ]  # fmt: skip


def test_bars_have_an_interval_of_one_minute_by_default() -> None:
    desk = Desk()
    desk.keep_bars()
    desk.clock.now_ns = NOON_NS + 10 * MINUTE_NS
    answer = desk.ask(metric_types=["bars"], metrics=["close"], format="columns", limit=4)
    assert answer["interval"] == "1m"
    assert [curve["close"] for curve in answer["data"]] == [[8.0, 9.0, 10.0, 11.0]]


def test_an_export_of_sections_and_bars_has_a_column_per_field_of_either() -> None:
    desk = Desk()
    desk.keep_bars()
    desk.tick(NOON_NS + 9 * MINUTE_NS, math.nan)
    question: dict[str, Any] = {"interval": "5m", "metric_types": ["market_data", "bars"], "symbols": ["AAPL"]}
    _, exported = desk.export(**question)
    rows = desk.ask(**question)["data"]
    assert list(exported[0]) == ["timestamp", "type", "symbol", "last", "mid", *BAR_FIELDS]
    assert {row["type"]: (row["trades"], row["close"], row["last"]) for row in exported} == {
        "bars": ("20", "11.0", ""), "market_data": ("", "", "")
    }  # fmt: skip
    assert [(row["type"], row["timestamp"][:23]) for row in exported] == [
        (row["type"], row["timestamp"][:23]) for row in rows
    ]


@pytest.mark.parametrize("limit", [1, 250, 10_000])
def test_an_export_has_the_rows_of_the_limit_and_says_if_older_were_left_out(hour: Desk, limit: int) -> None:
    question: dict[str, Any] = {"interval": "7s", "time_range": "1h", "metrics": ["last"], "limit": limit}
    head, exported = hour.export(**question)
    answer = hour.ask(**question)
    assert [(row["symbol"], float(row["last"])) for row in exported] == [
        (row["symbol"], row["last"]) for row in answer["data"]
    ]
    assert ((b"Export-Truncated", b"true") in head.headers) is answer["truncated"]


def test_an_export_that_is_one_too_many_is_answered_with_503() -> None:
    desk = Desk(max_exports=0)
    assert asyncio.run(desk.post(format="csv"))["status"] == 503
    assert desk.ask(format="rows")["count"] == 0


def test_bars_are_included_only_on_request() -> None:
    desk = Desk()
    desk.keep_bars()
    desk.tick(NOON_NS + 10 * MINUTE_NS, 1.0)
    assert {row["type"] for row in desk.ask(interval="1m")["data"]} == {"market_data", "system"}


def test_days_before_the_rings_are_read_from_the_store(tmp_path: Path) -> None:
    days = 3
    ticks = [(NOON_NS + n * MINUTE_NS, float(n)) for n in range(days * 1440)]

    async def use(store: Store, archive: Archive) -> None:
        desk = Desk(archive, store.reader)
        for ts_ns, value in ticks:
            desk.tick(ts_ns, value)
        assert await store.durable(store.position, SOON)
        question: dict[str, Any] = {"time_range": "7d", "format": "columns", "metric_types": ["system"]}
        (curve,) = (await desk.post(**question, interval="1h", metrics=["cpu_percent"], aggregates=["count"]))["data"]
        assert curve["cpu_percent"]["count"] == [60] * 24 * days
        (curve,) = (await desk.post(**question, interval="1m", metrics=["cpu_percent"]))["data"]
        assert curve["cpu_percent"] == [value for _, value in ticks]
        answer = await desk.post(time_range="7d", interval="1s", metrics=["cpu_percent"], limit=2000)
        assert [row["cpu_percent"] for row in answer["data"]] == [value for _, value in ticks][-2000:]
        assert answer["truncated"]

    with_store(tmp_path, use)


def damage(directory: Path) -> None:
    for path in directory.glob(f"{DATABASE_NAME}*"):
        path.write_bytes(b"no database")


def test_a_store_that_cannot_be_read_is_answered_with_503(tmp_path: Path) -> None:
    async def use(store: Store, archive: Archive) -> None:
        desk = Desk(archive, store.reader)
        desk.tick(NOON_NS, 1.0)
        assert (await desk.post(interval="1m"))["count"] == 3
        await store.stop()
        damage(tmp_path)
        for form in ("rows", "csv"):
            assert (await desk.post(interval="1m", time_range="7d", format=form))["status"] == 503

    with_store(tmp_path, use)
