"""Orders as people look them up: memory and the store together answer as a memory that forgets nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub_run import NOON, D, HubRun, S, fill, in_data_directory, order
from observability.events import Fill, Order
from observability.metrics import assembly
from observability.metrics.execution.order import OrderState
from observability.metrics.execution.orders.listing import OrderFilter, order_json
from observability.metrics.execution.orders.queries import LedgerOrders, Orders, find_lives
from observability.metrics.execution_collector import ExecutionSettings
from observability.store import schema

STATUSES = ["pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "expired", "pending_cancel"]
STRATEGIES = ["alpha", "beta", ""]
ALL = OrderFilter()

# (order, status or None for a fill, strategy, whether it opens the second symbol)
RECORDS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([*STATUSES, None]), st.sampled_from(STRATEGIES), st.booleans()),
    min_size=1,
    max_size=40,
)
FILTERS = st.builds(
    OrderFilter,
    is_open=st.none() | st.booleans(),
    status=st.none() | st.sampled_from(STATUSES),
    strategy=st.none() | st.sampled_from(["alpha", "default"]),
    symbol=st.none() | st.sampled_from(["AAPL", "ES"]),
    start_ns=st.none() | st.integers(1, 40).map(lambda n: NOON + n * S),
    end_ns=st.none() | st.integers(1, 40).map(lambda n: NOON + n * S),
)


def orders_of(run: HubRun) -> Orders:
    execution, store = run.collectors.execution, run.persistence.store
    memory = LedgerOrders(lambda: execution.ledger, execution.reports, execution.trades)
    return Orders(memory, None if store is None else store.reader)


def orders_of_store(run: HubRun) -> Orders:
    """Returns the orders as a process with an empty memory finds them."""
    empty = HubRun(None).collectors.execution
    assert run.persistence.store is not None
    memory = LedgerOrders(lambda: empty.ledger, empty.reports, empty.trades)
    return Orders(memory, run.persistence.store.reader)


def records(drawn: Sequence[tuple[int, Any, str, bool]]) -> list[Order | Fill]:
    events: list[Order | Fill] = []
    for at, (number, status, strategy, is_second) in enumerate(drawn):
        # Each a second later than the one before, so that no report repeats another.
        ts = NOON + at * S
        fields: dict[str, Any] = {
            "symbol": "ES" if is_second else "AAPL", "strategy": strategy, "ts": ts, "ts_init": ts + 1
        }  # fmt: skip
        if status is None:
            events.append(replace_order_id(fill(at, quantity=D(1), **fields), f"o{number}"))
        else:
            events.append(order(number, status, decision_ts=None, **fields))
    return events


def replace_order_id(event: Fill, order_id: str) -> Fill:
    event.order_id = order_id
    return event


async def everything(orders: Orders, wanted: OrderFilter, limit: int) -> list[OrderState]:
    """Returns all pages, one after the other."""
    found: list[OrderState] = []
    before_seq = None
    while True:
        page = await orders.query(wanted, limit, before_seq)
        assert len(page.orders) <= limit
        found += page.orders
        if page.next_seq is None:
            return found
        assert before_seq is None or page.next_seq < before_seq
        before_seq = page.next_seq


def documents(orders: Sequence[OrderState]) -> list[dict[str, Any]]:
    return [order_json(each) for each in orders]


def with_small_memory(
    monkeypatch: pytest.MonkeyPatch, script: Callable[[Path], Awaitable[None]], *, max_recent: int = 2
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            assembly, "ExecutionSettings", partial(ExecutionSettings, max_recent_orders=max_recent, max_open_orders=3)
        )
        in_data_directory(script)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS, FILTERS, st.integers(1, 4))
def test_memory_and_store_list_what_a_boundless_memory_does(
    monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[int, Any, str, bool]], wanted: OrderFilter, limit: int
) -> None:
    # An order without a report is not listed from the store.
    events: list[Order | Fill] = []
    reported = set()
    for event in records(drawn):
        if isinstance(event, Order):
            reported.add((event.symbol, event.order_id))
        if (event.symbol, event.order_id) in reported:
            events.append(event)

    async def script(directory: Path) -> None:
        small = HubRun(directory)
        await small.start()
        for event in events:
            small.bus.publish(event)
        await small.written()
        orders = orders_of(small)
        found = await everything(orders, ALL, limit)
        assert {(each.symbol, each.order_id) for each in found} == reported
        assert len(found) == len(reported)
        assert [each.seq for each in found] == sorted((each.seq for each in found), reverse=True)
        matching = await everything(orders, wanted, limit)
        assert documents(matching) == documents([each for each in found if wanted.predicate()(each)])
        await small.stop(is_clean=True)

    with_small_memory(monkeypatch, script)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_an_order_from_the_store_is_as_the_ledger_had_it(
    monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[int, Any, str, bool]]
) -> None:
    boundless = HubRun(None)

    async def script(directory: Path) -> None:
        small = HubRun(directory)
        await boundless.start()
        await small.start()
        for event in records(drawn):
            boundless.bus.publish(event)
            small.bus.publish(event)
        await small.written()
        for number in range(1, 13):
            found = await orders_of(small).find(f"o{number}")
            expected = await orders_of(boundless).find(f"o{number}")
            assert {each.order.symbol: order_json(each.order) for each in found} == {
                each.order.symbol: order_json(each.order) for each in expected
            }
            assert all(each.is_complete for each in found)
        await small.stop(is_clean=True)

    with_small_memory(monkeypatch, script)


def test_a_fee_in_another_currency_is_valued_or_shown_apart() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(order(1, "new"))
        fees = [{"commission": D("0.5")}, {"commission": D("0.01"), "commission_asset": "BNB"}]
        for number, fee in enumerate(fees, 1):
            run.bus.publish(replace_order_id(fill(number, quantity=D(1), **fee), "o1"))
        await run.written()
        recent, stored = await orders_of(run).find("o1"), await orders_of_store(run).find("o1")
        for (life,) in (recent, stored):
            shown = order_json(life.order)
            assert (shown["commission"], shown["currency"], shown["unvalued_fees"]) == (None, "USD", {"BNB": 0.01})
            assert life.order.fees == D("0.5")
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_an_order_is_found_by_indexes_alone() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        schema.migrate(connection)
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        find_lives(connection, "o1")
        connection.execute(schema.INSERT_ORDER_REPORT, (
            *(1, 2, 3, "o1", "AAPL", "buy", "1", "new", None, "", "", "", "", "", None, None, "", 1),
        ))  # fmt: skip
        find_lives(connection, "o1")
        connection.set_trace_callback(None)
        plans = [
            row[3]
            for statement in statements
            if statement.startswith("SELECT")
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    assert len(plans) > 4
    assert [plan for plan in plans if plan.startswith("SCAN") or "PRIMARY KEY" in plan] == []


def test_pages_reach_old_open_orders_behind_forgotten_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        for number in (1, 2, 3):
            run.bus.publish(order(number, "new"))
        for number in range(4, 10):
            run.bus.publish(order(number, "rejected", strategy="beta"))
        await run.written()
        found = await everything(orders_of(run), OrderFilter(strategy="alpha"), 1)
        assert [each.order_id for each in found] == ["o3", "o2", "o1"]
        await run.stop(is_clean=True)

    with_small_memory(monkeypatch, script)


def test_an_order_that_was_forgotten_and_came_back_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        for number in (1, 2, 3):
            run.bus.publish(order(number, "rejected"))
        run.bus.publish(replace_order_id(fill(20), "o1"))
        run.bus.publish(order(1, "rejected", ts=NOON + 30 * S, ts_init=NOON + 30 * S))
        for number in (4, 5, 6):
            run.bus.publish(order(number, "rejected"))
        await run.written()
        found = await everything(orders_of(run), ALL, 2)
        assert [each.order_id for each in found] == ["o6", "o5", "o4", "o3", "o2", "o1"]
        assert (found[-1].n_reports, found[-1].n_fills) == (2, 1)
        await run.stop(is_clean=True)

    with_small_memory(monkeypatch, script)
