"""A worker's calls to the hub: what the worker gets is what the hub's own objects return."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

import pytest

from observability.bus import Bus
from observability.errors import HubUnavailable
from observability.events import Fill, Funding, Order
from observability.http11.refusals import Unavailable
from observability.ingest.answers import IngestAnswer
from observability.ingest.gate import Transport
from observability.metrics.alerts.book import AlertState
from observability.metrics.execution.orders.listing import OrderFilter
from observability.metrics.execution.orders.queries import LedgerOrders
from observability.metrics.execution_collector import ExecutionCollector
from observability.metrics.trades.booking import BookingFilter
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.booking_queries import RecentBookings
from observability.metrics.trades.queries import RecentTrades
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.metrics.trades.trade_log import EVERY_READER, TradeLog
from observability.monitoring.acknowledgements import Acknowledged
from observability.monitoring.silencing import Silenced
from observability.notify.silences import Silence
from observability.server.relay import CallFailed, HubCalls, RemoteHub
from observability.snapshot.frames import NO_INDEX, FrameRing, PublishedDocument
from server_process import TIMEOUT_SECONDS

NS_PER_S = 10**9


class FakeGate:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, ...]] = []

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        await asyncio.sleep(0)
        self.taken.append((data, source, is_lines, key))
        return IngestAnswer(200, b"{}", is_replayed=True, retry_after_seconds=3)


SILENCE = Silence("s1", 1, 2, "ana", "known", ("stale_*",), ("X",))


class FakeAcknowledger:
    """Knows one alert, and fails for another."""

    async def acknowledge(self, alert_id: str, author: str = "", comment: str = "") -> Acknowledged | None:
        if alert_id == "broken":
            raise RuntimeError("a secret")
        if alert_id != "a1":
            return None
        return Acknowledged(
            AlertState(
                "a1", "k", "info", "title", "", 1, 2, acknowledged_ns=3, acknowledged_by=author, comment=comment
            ),
            is_on_disk=False,
        )


class FakeSilencer:
    """Takes every silence, and knows one."""

    async def add_silence(self, silence: Silence) -> Silenced | None:
        return Silenced(silence, is_on_disk=True)

    async def end_silence(self, silence_id: str) -> Silenced | None:
        return Silenced(SILENCE, is_on_disk=False) if silence_id == SILENCE.silence_id else None


class Host:
    """A hub and a worker of it, with nothing between them."""

    def __init__(self) -> None:
        self.gate = FakeGate()
        self.log = TradeLog()
        self.trades = RecentTrades(self.log)
        self.bus = Bus()
        self.bookings = RecentBookings(BookingLog(self.bus))
        self.frames = FrameRing("e")
        self.execution = ExecutionCollector(bus=self.bus, trades=self.log)
        self.orders = LedgerOrders(lambda: self.execution.ledger, self.execution.reports, self.log)
        calls = HubCalls(
            self.gate, FakeAcknowledger(), FakeSilencer(), self.trades, self.bookings, self.orders, self.frames
        )
        self.worker = RemoteHub(calls.answer)

    def add_trade(self, number: int, side: str, price: str, pnl: str | None = None) -> None:
        profit = None if pnl is None else Decimal(pnl)
        self.log.restore(
            Trade(
                number, str(number), f"o{number}", "X", side, Decimal("0.10"), Decimal(price), number * NS_PER_S,
                "s", "v", Decimal("1E-7"), "maker", 1.5, None, profit,
            ),
            EVERY_READER,
        )  # fmt: skip


def test_bookings_arrive_with_every_decimal_unchanged() -> None:
    host = Host()
    host.bus.publish(Funding("X", Decimal("-0.10"), "f1", ts=10**18, ts_init=10**18))
    page, total = run(host.worker.bookings(BookingFilter(symbol="X")))
    assert ([str(each.event.amount) for each in page], total) == (["-0.10"], 1)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_SECONDS))


def test_a_batch_of_events_reaches_the_hubs_gate() -> None:
    host = Host()
    answer = run(host.worker.take(b"[1]", source="ws", is_lines=None, key="k"))
    assert host.gate.taken == [(b"[1]", "ws", None, "k")]
    assert answer == IngestAnswer(200, b"{}", is_replayed=True, retry_after_seconds=3)


def test_an_acknowledgement_returns_the_alert_and_whether_it_is_on_disk() -> None:
    acknowledged = run(Host().worker.acknowledge("a1"))
    assert acknowledged == Acknowledged(
        AlertState("a1", "k", "info", "title", "", 1, 2, acknowledged_ns=3), is_on_disk=False
    )


def test_acknowledging_an_unknown_alert_returns_none() -> None:
    assert run(Host().worker.acknowledge("a2")) is None


def test_an_acknowledgement_has_an_author_and_a_comment() -> None:
    acknowledged = run(Host().worker.acknowledge("a1", "ana", "on it"))
    assert acknowledged is not None
    assert (acknowledged.alert.acknowledged_by, acknowledged.alert.comment) == ("ana", "on it")


def test_silences_are_added_and_ended_by_the_hub() -> None:
    assert run(Host().worker.add_silence(SILENCE)) == Silenced(SILENCE, is_on_disk=True)
    assert run(Host().worker.end_silence("s1")) == Silenced(SILENCE, is_on_disk=False)
    assert run(Host().worker.end_silence("s2")) is None


def test_a_document_comes_with_the_tick_that_it_is_of() -> None:
    host = Host()
    assert run(host.worker.document("alerts")) is None
    host.frames.publish(b"{}", NO_INDEX, 1, 1, {"alerts": b"[1]"})
    assert run(host.worker.document("alerts")) == PublishedDocument("e", 1, b"[1]")


def test_trades_arrive_with_every_decimal_unchanged() -> None:
    host = Host()
    host.add_trade(1, "buy", "1E+3")
    host.add_trade(2, "sell", "1000.50", "0.05")
    wanted = TradeFilter(symbol="X", min_quantity=Decimal("0.1"))
    page, total = run(host.worker.query(wanted, 1, 0, None))
    assert (page, total) == run(host.trades.query(wanted, 1, 0, None))
    assert (str(page[0].price), str(page[0].commission), total) == ("1000.50", "1E-7", 2)
    assert run(host.worker.query(wanted, 5, 0, 2)) == run(host.trades.query(wanted, 5, 0, 2))
    assert run(host.worker.find("1")) == run(host.trades.find("1"))
    assert run(host.worker.find("3")) == []


def test_the_stats_of_trades_arrive_exact() -> None:
    host = Host()
    host.add_trade(1, "buy", "0.1")
    host.add_trade(2, "sell", "0.3", "0.02")
    stats = run(host.worker.stats(TradeFilter(end_ns=3 * NS_PER_S)))
    assert stats == run(host.trades.stats(TradeFilter(end_ns=3 * NS_PER_S)))
    assert stats.money[""].sell == Decimal("0.030")


def test_orders_arrive_with_their_reports_and_fills_unchanged() -> None:
    host = Host()
    run(host.execution.start())
    report = Order("o1", "X", "buy", Decimal("0.10"), "new", Decimal("1E+3"), reason="r", ts=1, ts_init=2)
    host.bus.publish(report)
    host.bus.publish(Fill("t1", "X", "buy", Decimal("0.04"), Decimal("999.50"), "o1", ts=3, ts_init=4))
    page = run(host.worker.recent_orders(OrderFilter(symbol="X"), 5, None))
    assert page == run(host.orders.recent_orders(OrderFilter(symbol="X"), 5, None))
    assert (str(page.orders[0].quantity), page.orders[0].filled) == ("0.10", Decimal("0.04"))
    (life,) = run(host.worker.find_orders("o1"))
    assert [life] == run(host.orders.find_orders("o1"))
    assert (life.reports[0].event, life.trades[0].price) == (report, Decimal("999.50"))
    assert run(host.worker.held_orders([("X", "o1"), ("Y", "o1")])) == [True, False]


def test_a_failed_call_is_logged_by_the_hub_and_carries_no_detail(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CallFailed) as failed:
        run(Host().worker.acknowledge("broken"))
    assert "secret" not in str(failed.value)
    assert "Acknowledge failed" in caplog.text
    assert "a secret" in caplog.text


async def gone(message: bytes) -> bytes:
    raise HubUnavailable("it has ended before it answered")


def test_without_a_hub_a_request_gets_503_with_retry_after() -> None:
    with pytest.raises(Unavailable) as refused:
        run(RemoteHub(gone).acknowledge("a1"))
    assert refused.value.status == 503
    assert refused.value.headers == ((b"Retry-After", b"1"),)


def test_without_a_hub_a_batch_gets_503_with_retry_after() -> None:
    answer = run(RemoteHub(gone).take(b"[1]", source="ws"))
    assert (answer.status, answer.retry_after_seconds) == (503, 1)
