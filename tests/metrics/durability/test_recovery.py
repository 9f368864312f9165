"""Recovery: everything durable comes back, in order, and counts once, however often the process ended."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lives import NOON, D, Life, S, fill, lives, order
from observability.events import AnyEvent, Equity, Fill, Order, Position, Quote
from observability.ingest.gate import Verdict
from observability.metrics import assembly
from observability.metrics.durability.recovery import UNWRITTEN_NUMBERS, was_taken
from observability.metrics.execution_collector import ExecutionSettings
from observability.store.file import DATABASE_NAME, open_reader

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


def test_a_report_of_a_forgotten_order_that_was_sent_again_counts_once_after_a_kill_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "ExecutionSettings", partial(ExecutionSettings, max_recent_orders=2))

    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        for number in (1, 2, 3, 4):
            life.bus.publish(order(number, "rejected"))
        await life.written()
        for number in (1, 2):
            life.bus.publish(order(number, "rejected"))
        assert life.tick()["execution"]["orders_today"] == 4
        await life.end(is_clean=False)
        life = Life(directory)
        await life.begin()
        assert life.tick()["execution"]["orders_today"] == 4
        await life.end(is_clean=True)

    lives(script)


def test_the_store_knows_a_report_by_its_order_status_and_time() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(order(1, "rejected"))
        await life.end(is_clean=True)
        with closing(open_reader(directory / DATABASE_NAME)) as connection:
            assert was_taken(connection, order(1, "rejected"))
            others = [
                order(2, "rejected"),
                order(1, "new"),
                order(1, "rejected", ts=NOON),
                order(1, "rejected", symbol="ES"),
            ]
            assert not any(was_taken(connection, other) for other in others)

    lives(script)


def test_a_fill_counts_though_the_store_cannot_be_asked_for_its_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("observability.metrics.durability.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        # As a disk would fail: no table can be read from here on.
        with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other:
            other.execute("ALTER TABLE fills RENAME TO gone")
        life.bus.publish(fill(1))
        life.bus.publish(fill(2))
        assert life.tick()["strategy"]["fills"] == 2
        await life.end(is_clean=True)

    lives(script)
    assert caplog.text.count("the store cannot be read") == 1


def test_a_clean_stop_leaves_one_whole_file() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(fill(1))
        await life.end(is_clean=True)
        left.extend(os.listdir(directory))

    left: list[str] = []
    lives(script)
    assert sorted(left) == ["lock", DATABASE_NAME]


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


def test_a_fill_that_memory_has_forgotten_is_known_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.metrics.durability.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        for expected in (Verdict.ACCEPTED, Verdict.DUPLICATE):
            life = Life(directory)
            await life.begin()
            life.bus.publish(fill(1))
            assert life.journal.last_verdict is expected
            await life.end(is_clean=True)

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
