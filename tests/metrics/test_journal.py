"""The journal and what a restart makes of it: everything durable comes back, in order, and counts once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability.core.bus import Bus
from observability.core.clock import EventClock
from observability.core.config import Config
from observability.core.counters import Counters
from observability.core.events import Alert, AnyEvent, Equity, Fill, Order, Position, Quote
from observability.core.frames import Frame
from observability.core.ingest import Verdict
from observability.core.store_file import DATABASE_NAME
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.bar_ring import Bar
from observability.metrics.journal import ALERTS, TRADES, Record
from observability.metrics.persistence import Persistence
from observability.metrics.recovery import UNWRITTEN_NUMBERS

NOON = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
S = 1_000_000_000
D = Decimal


class SteppedClock:
    """A host's clock that moves when it is told to; no checkpoint is due by the time that passes."""

    def __init__(self) -> None:
        self.now_ns = NOON

    def time_ns(self) -> int:
        return self.now_ns

    def mono_ns(self) -> int:
        return 0


class Life:
    """One life of a hub's keepers of state: from the opening of a directory (None: nothing survives) to its end."""

    def __init__(self, directory: Path | None) -> None:
        self.clock = SteppedClock()
        event_clock = EventClock(self.clock)
        config = Config(max_symbols=4, data_dir=directory)
        self.bus = Bus()
        history = make_history(4)
        self.persistence = Persistence(config, self.bus, history, Counters(), self.clock, event_clock)
        self.collectors = make_collectors(config, self.bus, event_clock, history, self.persistence.sequence)
        self.journal = self.persistence.attach(self.collectors)
        self.told: list[Record] = []

    async def begin(self) -> None:
        for collector in self.collectors.sections[:3]:
            await collector.start()
        self.bus.subscribe(Alert, self.collectors.system.on_alert)
        self.persistence.recover()
        self.journal.on_announced(lambda *record: self.told.append(record))
        self.persistence.start(asyncio.get_running_loop())

    def tick(self) -> dict[str, Any]:
        """Refreshes every section; returns the money and the orders."""
        now_ns = self.clock.now_ns
        for section in self.collectors.sections[:3]:
            section.refresh(now_ns)
        strategy = self.collectors.strategy
        return {
            "strategy": dict(strategy.fields.to_json()),
            "strategies": {
                name: dict(account.to_json())
                for name in ("alpha", "beta")
                if (account := strategy.account(name)) is not None
            },
            "execution": dict(self.collectors.execution.fields.to_json()),
        }

    def frame(self, now_ns: int) -> None:
        """What a tick at `now_ns` does."""
        self.clock.now_ns = now_ns
        self.tick()
        frame = Frame()
        frame.ts_ns = now_ns
        self.journal.on_frame(frame)

    async def written(self) -> None:
        assert await self.journal.durable(self.journal.position, 30)

    async def end(self, *, is_clean: bool) -> None:
        """Stops; not cleanly means without the last checkpoint, as after a kill once everything queued was written."""
        store = self.persistence.store
        if is_clean or store is None:
            await self.persistence.stop()
        else:
            await store.stop()


def lives(script: Callable[[Path], Awaitable[None]]) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(script(Path(directory)))


def fill(number: int, **changes: Any) -> Fill:
    ts = NOON + number * S
    fields: dict[str, Any] = {
        "symbol": "AAPL", "side": "buy", "quantity": D(10), "price": D("100.25"), "commission": D("0.1"),
        "strategy": "alpha", "venue": "XNAS", "ts": ts, "ts_init": ts,
    }  # fmt: skip
    return Fill(f"t{number}", f"o{number}", **(fields | changes))


def order(number: int, status: Any, **changes: Any) -> Order:
    ts = NOON + number * S
    fields: dict[str, Any] = {
        "symbol": "AAPL", "side": "buy", "quantity": D(10), "price": D("100.5"), "order_type": "limit",
        "strategy": "alpha", "venue": "XNAS", "client_order_id": "c", "reason": "r", "arrival_price": D(100),
        "decision_ts": ts - 5, "ts": ts, "ts_init": ts,
    }  # fmt: skip
    return Order(f"o{number}", status=status, **(fields | changes))


def read_table(directory: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / DATABASE_NAME)) as connection:
        return connection.execute(question).fetchall()


EVENTS = st.one_of(
    st.builds(
        fill,
        st.integers(1, 40),
        side=st.sampled_from(("buy", "sell")),
        quantity=st.integers(1, 300).map(lambda n: D(n) / 100),
        price=st.integers(90_000_000, 110_000_000).map(lambda n: D(n) / 10**6),
        strategy=st.sampled_from(("alpha", "beta")),
        symbol=st.sampled_from(("AAPL", "ES")),
    ),
    st.builds(order, st.integers(1, 40), st.sampled_from(("pending_new", "new", "filled", "canceled", "rejected"))),
    st.builds(lambda value: Equity(D(value) / 100, "", ts=NOON, ts_init=NOON), st.integers(10_000, 1_000_000)),
    st.builds(
        lambda quantity: Position("AAPL", D(quantity), D(100), "alpha", ts=NOON, ts_init=NOON), st.integers(-9, 9)
    ),
    st.builds(
        lambda bid: Quote("AAPL", bid / 4, bid / 4 + 0.25, 1.0, 1.0, "XNAS", ts=NOON, ts_init=NOON),
        st.integers(360, 440),
    ),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(EVENTS, st.sampled_from(("go on", "checkpoint", "stop", "die"))), max_size=25))
def test_any_lives_come_to_what_one_life_comes_to(steps: list[tuple[AnyEvent, str]]) -> None:
    async def script(directory: Path) -> None:
        whole, life = Life(None), Life(directory)
        await whole.begin()
        await life.begin()
        quote: Quote | None = None
        for event, action in steps:
            quote = event if isinstance(event, Quote) else quote
            for one in (whole, life):
                one.bus.publish(event)
            if action == "checkpoint":
                life.journal.checkpoint()
            elif action != "go on":
                await life.end(is_clean=action == "stop")
                life = Life(directory)
                await life.begin()
                # Quotes are not written: the engine's next one makes the mark what it was.
                if quote is not None:
                    life.bus.publish(quote)
        ours, theirs = life.tick(), whole.tick()
        assert money_of(ours) == money_of(theirs)
        await life.end(is_clean=True)

    lives(script)


MONEY = frozenset(
    {
        "total_pnl", "daily_pnl", "realized_pnl", "realized_gross_pnl", "unrealized_pnl", "fees", "open_positions",
        "gross_exposure", "net_exposure", "starting_capital", "equity", "fills", "n_wins", "n_losses", "n_breakeven",
        "position_breaks", "conflicting_fills", "orders_today", "fills_today", "open_orders", "filled", "cancelled",
        "rejected", "fill_rate", "reject_rate", "avg_latency_ms", "commission",
    }
)  # fmt: skip


def money_of(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what must not depend on how often the process ended."""
    return {
        section: {
            name: money_of({name: value})[name] if isinstance(value, dict) else value
            for name, value in values.items()
            if isinstance(value, dict) or name in MONEY
        }
        for section, values in state.items()
    }


def test_an_event_made_of_its_row_is_the_event_that_made_the_row() -> None:
    taken: list[Any] = []
    events = [
        order(1, "pending_new"),
        order(2, "new", price=None, arrival_price=None, decision_ts=None, quantity=D("0.000000000000000001")),
        fill(1, ts_init=NOON + 7, latency_ms=1.5, liquidity="maker", quantity=D("1.10"), price=D("-37.63")),
        Equity(D("250000.50"), "alpha", ts=NOON, ts_init=NOON + 1),
        Position("AAPL", D(-3), D("1E+3"), "alpha", ts=NOON, ts_init=NOON + 1),
    ]

    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish_all(events)
        await life.end(is_clean=False)
        life = Life(directory)
        for kind in (Order, Fill, Equity, Position):
            life.bus.subscribe(kind, taken.append)
        await life.begin()
        await life.end(is_clean=True)

    lives(script)
    assert taken == events


def test_numbers_go_on_after_a_stop_and_leave_what_may_have_been_shown_after_a_kill() -> None:
    async def script(directory: Path) -> None:
        numbers = []
        for number, is_clean in ((1, True), (2, False), (3, True)):
            life = Life(directory)
            await life.begin()
            life.bus.publish(fill(number))
            await life.written()
            numbers.append(life.persistence.sequence.newest)
            await life.end(is_clean=is_clean)
        assert numbers == [1, 2, 3 + UNWRITTEN_NUMBERS]

    lives(script)


def test_a_fill_is_told_once_it_is_on_disk_and_not_before() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        await life.written()
        with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other:
            # While another connection writes, nothing can be committed.
            other.execute("BEGIN IMMEDIATE")
            life.bus.publish(fill(1))
            assert not await life.journal.durable(life.journal.position, 0.05)
            assert life.told == []
            other.execute("ROLLBACK")
        await life.written()
        ((channel, seq, symbol, document),) = life.told
        assert (channel, seq, symbol, document["trade_id"], "durable" in document) == (TRADES, 1, "AAPL", "t1", False)
        await life.end(is_clean=True)

    lives(script)


def test_what_is_told_is_on_disk_by_then() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        store = life.persistence.store
        assert store is not None
        positions: dict[str, int] = {}
        early: list[str] = []

        def on_told(channel: str, seq: int, symbol: str | None, document: dict[str, Any]) -> None:
            if positions[document["trade_id"]] > store.durable_position:
                early.append(document["trade_id"])

        life.journal.on_announced(on_told)
        for number in range(1, 201):
            life.bus.publish(fill(number))
            positions[f"t{number}"] = life.journal.position
            await asyncio.sleep(0)
        await life.written()
        assert (len(life.told), early) == (200, [])
        await life.end(is_clean=True)

    lives(script)


def test_a_fill_that_memory_has_forgotten_is_known_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.metrics.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        for expected in (Verdict.ACCEPTED, Verdict.DUPLICATE):
            life = Life(directory)
            await life.begin()
            life.bus.publish(fill(1))
            assert life.journal.last_verdict is expected
            await life.end(is_clean=True)

    lives(script)


def test_a_bar_made_again_of_fewer_prints_does_not_replace_the_whole_one() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        for volume, trades in ((10.0, 2), (7.0, 1), (12.0, 3)):
            life.journal.on_bar("AAPL", Bar(NOON, 1.0, 2.0, 1.0, 2.0, volume, trades, 1.5))
        life.journal.on_bar("AAPL", Bar(NOON, 1.0, 2.0, 1.0, 2.0, 5.0, 1, 1.5))
        await life.end(is_clean=True)
        assert read_table(directory, "SELECT symbol, ts_ns, volume, trades FROM bars") == [("AAPL", NOON, 12.0, 3)]

    lives(script)


def test_without_a_store_everything_is_told_at_once() -> None:
    async def script(_: Path) -> None:
        life = Life(None)
        await life.begin()
        life.bus.publish(fill(1))
        life.bus.publish(Alert("critical", "kill switch", ts=NOON, ts_init=NOON))
        assert [(channel, seq) for channel, seq, _, _ in life.told] == [(TRADES, 1), (ALERTS, 2)]
        assert await life.journal.is_written()
        await life.end(is_clean=True)

    lives(script)


def test_the_verdict_on_a_fill_is_known_and_a_conflict_is_kept_apart_once() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        verdicts = []
        for event in (fill(1), fill(1), fill(1, price=D(1)), fill(1, price=D(1)), fill(2)):
            life.bus.publish(event)
            verdicts.append(life.journal.last_verdict)
        assert verdicts == [
            Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.CONFLICT, Verdict.ACCEPTED
        ]  # fmt: skip
        await life.end(is_clean=True)
        assert read_table(directory, "SELECT trade_id, price FROM conflicts") == [("t1", "1")]
        assert read_table(directory, "SELECT trade_id FROM fills ORDER BY seq") == [("t1",), ("t2",)]
        life = Life(directory)
        await life.begin()
        life.bus.publish(fill(1, price=D(1)))
        assert life.journal.last_verdict is Verdict.CONFLICT
        assert life.collectors.execution.trades.conflicts == 1
        await life.end(is_clean=True)
        assert len(read_table(directory, "SELECT seq FROM conflicts")) == 1

    lives(script)


def test_what_the_daily_pnl_counts_from_survives_a_kill_right_behind_the_boundary() -> None:
    day = 86_400 * S

    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(Quote("AAPL", 99.0, 101.0, ts=NOON, ts_init=NOON))
        life.bus.publish(fill(1, price=D(90), commission=D(0)))
        life.frame(NOON + S)
        # The next day begins at another price than the last one of the day before.
        life.bus.publish(Quote("AAPL", 109.0, 111.0, ts=NOON + day, ts_init=NOON + day))
        life.frame(NOON + day + S)
        await life.written()
        await life.end(is_clean=False)
        life = Life(directory)
        await life.begin()
        life.bus.publish(Quote("AAPL", 119.0, 121.0, ts=NOON + day + 2 * S, ts_init=NOON + day + 2 * S))
        life.clock.now_ns = NOON + day + 2 * S
        assert life.tick()["strategy"]["daily_pnl"] == 200.0
        await life.end(is_clean=True)

    lives(script)


def test_each_minute_has_the_equity_of_the_account_and_of_each_strategy() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(Equity(D("1000.50"), ts=NOON, ts_init=NOON))
        life.bus.publish(fill(1, price=D("100.25"), commission=D("0.1")))
        for second in (1, 2, 61):
            life.frame(NOON + second * S)
        await life.end(is_clean=True)
        found = read_table(directory, "SELECT ts_ns, strategy, total_pnl, capital FROM equity ORDER BY ts_ns, strategy")
        assert found == [
            (NOON, "", "-0.10", "1000.50"), (NOON, "alpha", "-0.10", None),
            (NOON + 60 * S, "", "-0.10", "1000.50"), (NOON + 60 * S, "alpha", "-0.10", None),
        ]  # fmt: skip

    lives(script)


def test_a_slippage_that_is_known_later_gets_into_the_row() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(fill(1, price=D(101)))
        life.bus.publish(order(1, "new", arrival_price=D(100)))
        await life.end(is_clean=True)
        assert read_table(directory, "SELECT slippage_bps FROM fills") == [(100.0,)]

    lives(script)


def test_an_answer_is_recalled_by_its_key_in_the_next_life() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.journal.remember("key", b"print", 200, b"{}")
        await life.end(is_clean=False)
        life = Life(directory)
        await life.begin()
        assert await life.journal.recall("key") == (b"print", 200, b"{}")
        assert await life.journal.recall("other") is None
        await life.end(is_clean=True)

    lives(script)
