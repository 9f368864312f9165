"""Recovery: everything durable is restored in order and counts once, however often the process ended."""

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

from hub_run import NOON, D, HubRun, S, fill, in_data_directory, order, read_table
from observability.errors import StoreError
from observability.events import AnyEvent, Cash, Equity, Fill, Funding, Order, Position, Quote, Split
from observability.ingest.gate import Verdict
from observability.metrics import assembly
from observability.metrics.durability.recovery import UNWRITTEN_NUMBERS, find_known_order
from observability.metrics.execution.ledger import KnownOrder
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
        lambda number, cents: Funding("AAPL", D(cents) / 100, f"f{number}", strategy="alpha", ts=NOON, ts_init=NOON),
        st.integers(1, 9),
        st.integers(-2, 2),
    ),
    st.builds(
        lambda number, ratio: Split("ES", D(ratio), D(1), f"s{number}", ts=NOON, ts_init=NOON),
        st.integers(1, 3),
        st.sampled_from((2, 4, "0.5")),
    ),
    st.builds(
        lambda number, reason, name: Cash(D(100 + number), reason, "USD", f"c{number}", name, ts=NOON, ts_init=NOON),
        st.integers(1, 9),
        st.sampled_from(("deposit", "transfer", "interest")),
        st.sampled_from(("", "alpha")),
    ),
    st.builds(
        lambda quantity: Position("AAPL", D(quantity), D(100), "alpha", ts=NOON, ts_init=NOON), st.integers(-9, 9)
    ),
    st.builds(
        lambda bid: Quote("AAPL", bid / 4, bid / 4 + 0.25, 1.0, 1.0, "XNAS", ts=NOON, ts_init=NOON),
        st.integers(360, 440),
    ),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(EVENTS, st.sampled_from(("continue", "checkpoint", "stop", "kill"))), max_size=25))
def test_any_number_of_restarts_leaves_the_figures_of_one_run(steps: list[tuple[AnyEvent, str]]) -> None:
    async def script(directory: Path) -> None:
        whole, run = HubRun(None), HubRun(directory)
        await whole.start()
        await run.start()
        quote: Quote | None = None
        for event, action in steps:
            quote = event if isinstance(event, Quote) else quote
            for one in (whole, run):
                one.bus.publish(event)
            if action == "checkpoint":
                run.journal.checkpoint()
            elif action != "continue":
                await run.stop(is_clean=action == "stop")
                run = HubRun(directory)
                await run.start()
                # Quotes are not stored; the next one restores the mark.
                if quote is not None:
                    run.bus.publish(quote)
        ours, theirs = run.tick(), whole.tick()
        assert money_of(ours) == money_of(theirs)
        await run.stop(is_clean=True)

    in_data_directory(script)


MONEY = frozenset(
    {
        "income", "external_flows", "bookings", "conflicting_bookings",
        "total_pnl", "daily_pnl", "realized_pnl", "realized_gross_pnl", "unrealized_pnl", "fees", "open_positions",
        "gross_exposure", "net_exposure", "starting_capital", "equity", "fills", "n_wins", "n_losses", "n_breakeven",
        "position_breaks", "conflicting_fills", "orders_today", "fills_today", "open_orders", "filled", "cancelled",
        "rejected", "replaced", "fill_rate", "reject_rate", "avg_latency_ms", "commission",
    }
)  # fmt: skip


def money_of(state: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures that must not depend on restarts."""
    return {
        section: {
            name: money_of({name: value})[name] if isinstance(value, dict) else value
            for name, value in values.items()
            if isinstance(value, dict) or name in MONEY
        }
        for section, values in state.items()
    }


def test_a_capital_that_was_reported_at_a_mark_survives_a_kill() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(fill(1, quantity=D(10), price=D(90), commission=D(0)))
        run.bus.publish(Quote("AAPL", 94.0, 96.0, ts=NOON + S, ts_init=NOON + S))
        run.bus.publish(Equity(D(1000), "", ts=NOON + S, ts_init=NOON + S))
        assert run.tick()["strategy"]["starting_capital"] == 950.0
        await run.stop(is_clean=False)
        run = HubRun(directory)
        await run.start()
        assert run.tick()["strategy"]["starting_capital"] == 950.0
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_a_deposit_is_replayed_with_the_profit_of_its_moment() -> None:
    async def script(directory: Path) -> None:
        returns = []
        for is_killed in (False, True):
            (directory / str(is_killed)).mkdir()
            run = HubRun(directory / str(is_killed))
            await run.start()
            run.bus.publish(Equity(D(1000), "", ts=NOON, ts_init=NOON))
            run.bus.publish(fill(1, quantity=D(10), price=D(100), commission=D(0)))
            run.bus.publish(Quote("AAPL", 109.0, 111.0, ts=NOON + S, ts_init=NOON + S))
            run.bus.publish(Cash(D(1100), "deposit", cash_id="c1", ts=NOON + S, ts_init=NOON + S))
            if is_killed:
                await run.stop(is_clean=False)
                # Without the quote, the position is marked to its fill.
                run = HubRun(directory / str(is_killed))
                await run.start()
                run.bus.publish(Quote("AAPL", 109.0, 111.0, ts=NOON + S, ts_init=NOON + 2 * S))
            run.frame(NOON + 86_400 * S)
            figures = run.collectors.strategy.performance()["account"]
            returns.append((figures["annual_return"]["value"], figures["drawdown"]["maximum_percent"]["percent"]))
            await run.stop(is_clean=True)
        assert returns[0] == returns[1]
        assert returns[0][0] == pytest.approx(1.1**365 - 1)

    in_data_directory(script)


def test_a_replayed_event_equals_the_original_event() -> None:
    taken: list[Any] = []
    events = [
        order(1, "pending_new", replaces="o0"),
        order(2, "new", price=None, arrival_price=None, decision_ts=None, quantity=D("0.000000000000000001")),
        fill(1, ts_init=NOON + 7, latency_ms=1.5, liquidity="maker", quantity=D("1.10"), price=D("-37.63")),
        Equity(D("250000.50"), "alpha", ts=NOON, ts_init=NOON + 1),
        Position("AAPL", D(-3), D("1E+3"), "alpha", ts=NOON, ts_init=NOON + 1),
    ]

    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        # The report that sets the capital is part of a checkpoint.
        run.bus.publish(Equity(D(1), "alpha", ts=NOON, ts_init=NOON))
        run.bus.publish_all(events)
        await run.stop(is_clean=False)
        run = HubRun(directory)
        for kind in (Order, Fill, Equity, Position):
            run.bus.subscribe(kind, taken.append)
        await run.start()
        await run.stop(is_clean=True)

    in_data_directory(script)
    assert taken == events


def test_a_repeated_report_of_a_dropped_order_counts_once_after_a_kill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "ExecutionSettings", partial(ExecutionSettings, max_recent_orders=2))

    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        for number in (1, 2, 3, 4):
            run.bus.publish(order(number, "rejected"))
        await run.written()
        for number in (1, 2):
            run.bus.publish(order(number, "rejected"))
        assert run.tick()["execution"]["orders_today"] == 4
        await run.stop(is_clean=False)
        run = HubRun(directory)
        await run.start()
        assert run.tick()["execution"]["orders_today"] == 4
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_a_fill_takes_the_strategy_of_an_order_that_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "ExecutionSettings", partial(ExecutionSettings, max_recent_orders=1))

    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        for number, strategy in ((1, ""), (1, "alpha"), (1, "beta"), (2, "gamma"), (3, "gamma")):
            run.bus.publish(order(number, "rejected", strategy=strategy, ts=NOON + number, client_order_id=strategy))
        await run.stop(is_clean=False)
        run = HubRun(directory)
        await run.start()
        run.bus.publish(fill(1, strategy=""))
        run.bus.publish(fill(9, strategy=""))
        accounts = run.tick()["strategies"]
        assert {name: account["fills"] for name, account in accounts.items()} == {"alpha": 1, "default": 1}
        await run.stop(is_clean=True)
        assert read_table(directory, "SELECT strategy FROM fills ORDER BY seq") == [("alpha",), ("default",)]

    in_data_directory(script)


def test_a_report_is_known_by_its_order_symbol_status_and_time() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(order(1, "rejected"))
        await run.stop(is_clean=True)
        with closing(open_reader(directory / DATABASE_NAME)) as connection:
            reports = [
                order(1, "rejected"),
                order(1, "new"),
                order(1, "rejected", ts=NOON),
                order(2, "rejected"),
                order(1, "rejected", symbol="ES"),
            ]
            found = [find_known_order(connection, report) for report in reports]
            assert found == [KnownOrder(1, True), KnownOrder(1, False), KnownOrder(1, False), None, None]

    in_data_directory(script)


def test_a_fill_counts_even_if_the_store_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("observability.metrics.durability.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        # Stands for a failing disk: the table of fills cannot be read from here on.
        with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other:
            other.execute("ALTER TABLE fills RENAME TO gone")
        run.bus.publish(fill(1))
        run.bus.publish(fill(2))
        assert run.tick()["strategy"]["fills"] == 2
        await run.stop(is_clean=True)

    in_data_directory(script)
    assert caplog.text.count("the store cannot be read") == 1


def test_a_senders_fill_waits_until_the_store_can_tell_whether_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.metrics.durability.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(fill(1), "ingest")
        await run.stop(is_clean=True)
        run = HubRun(directory)
        await run.start()
        with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other:
            other.execute("ALTER TABLE fills RENAME TO gone")
            for number in (1, 2):
                with pytest.raises(StoreError):
                    run.bus.publish(fill(number), "ingest")
            assert run.tick()["strategy"]["fills"] == 1
            other.execute("ALTER TABLE gone RENAME TO fills")
        verdicts = []
        for number in (1, 2):
            run.bus.publish(fill(number), "ingest")
            verdicts.append(run.journal.last_verdict)
        assert verdicts == [Verdict.DUPLICATE, Verdict.ACCEPTED]
        assert run.tick()["strategy"]["fills"] == 2
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_a_clean_stop_leaves_no_log_beside_the_database() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(fill(1))
        await run.stop(is_clean=True)
        left.extend(os.listdir(directory))

    left: list[str] = []
    in_data_directory(script)
    assert sorted(left) == ["lock", DATABASE_NAME]


def test_numbers_continue_after_a_stop_and_skip_some_after_a_kill() -> None:
    async def script(directory: Path) -> None:
        numbers = []
        for number, is_clean in ((1, True), (2, False), (3, True)):
            run = HubRun(directory)
            await run.start()
            run.bus.publish(fill(number))
            await run.written()
            numbers.append(run.persistence.sequence.newest)
            await run.stop(is_clean=is_clean)
        assert numbers == [1, 2, 3 + UNWRITTEN_NUMBERS]

    in_data_directory(script)


def test_a_fill_dropped_from_memory_is_found_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.metrics.durability.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        for expected in (Verdict.ACCEPTED, Verdict.DUPLICATE):
            run = HubRun(directory)
            await run.start()
            run.bus.publish(fill(1))
            assert run.journal.last_verdict is expected
            await run.stop(is_clean=True)

    in_data_directory(script)


def test_the_anchor_of_the_daily_pnl_survives_a_kill_after_the_boundary() -> None:
    day = 86_400 * S

    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(Quote("AAPL", 99.0, 101.0, ts=NOON, ts_init=NOON))
        run.bus.publish(fill(1, price=D(90), commission=D(0)))
        run.frame(NOON + S)
        # The next day begins at another price than the last one of the day before.
        run.bus.publish(Quote("AAPL", 109.0, 111.0, ts=NOON + day, ts_init=NOON + day))
        run.frame(NOON + day + S)
        await run.written()
        await run.stop(is_clean=False)
        run = HubRun(directory)
        await run.start()
        run.bus.publish(Quote("AAPL", 119.0, 121.0, ts=NOON + day + 2 * S, ts_init=NOON + day + 2 * S))
        run.clock.now_ns = NOON + day + 2 * S
        assert run.tick()["strategy"]["daily_pnl"] == 200.0
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_an_answer_is_recalled_by_its_idempotency_key_after_a_restart() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.journal.remember("key", b"print", 200, b"{}")
        await run.stop(is_clean=False)
        run = HubRun(directory)
        await run.start()
        assert await run.journal.recall("key") == (b"print", 200, b"{}")
        assert await run.journal.recall("other") is None
        await run.stop(is_clean=True)

    in_data_directory(script)
