"""Queries over the stored trades: every answer is the one that the log of recent trades gives."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.metrics.trades.queries import StoredTrades, find_key, selection_of
from observability.metrics.trades.rows import fill_row
from observability.metrics.trades.stats import TradeStats
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.metrics.trades.trade_log import EVERY_READER, TradeLog
from observability.store.file import open_database, open_reader
from observability.store.reader import StoreReader
from observability.store.schema import FILL_COLUMNS, INSERT_FILL, MIGRATIONS, migrate

NOON = 1_340_280_000_000_000_000
ALL = TradeFilter()
T = TypeVar("T")

# The last two share a double although their last digits differ; so do the two decimals before them.
QUANTITIES = ["1", "2", "2.0", "100", "0.1", "0.10000000000000001", "9007199254740993", "9007199254740992"]


def trade(seq: int, **changes: Any) -> Trade:
    fields: dict[str, Any] = {
        "trade_id": f"t{seq}",
        "order_id": "o1",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": Decimal(10),
        "price": Decimal("150.25"),
        "ts_ns": NOON + seq,
        "strategy": "alpha",
        "venue": "XNAS",
        "commission": Decimal("0.1"),
        "liquidity": "",
    }
    return Trade(seq, **(fields | changes))


def row(trade: Trade) -> tuple[Any, ...]:
    return fill_row(trade, trade.ts_init_ns)


def stored(path: Path, trades: Sequence[Trade]) -> Path:
    with closing(open_database(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany(INSERT_FILL, map(row, trades))
        connection.execute("COMMIT")
    return path


def ask(path: Path, question: Callable[[StoredTrades], Awaitable[T]], window_rows: int = 3) -> T:
    """Returns the answer to `question`, with windows smaller than the rows it concerns."""

    async def main() -> T:
        reader = StoreReader(path, Counters())
        try:
            return await question(StoredTrades(reader, window_rows, sum_rows=window_rows))
        finally:
            await reader.stop()

    return asyncio.run(main())


maybe_ns = st.none() | st.integers(NOON, NOON + 40)
maybe_quantity = st.none() | st.sampled_from(QUANTITIES).map(Decimal)
filters = st.builds(
    TradeFilter,
    symbol=st.sampled_from([None, "AAPL", "AMZN", "NONE"]),
    side=st.sampled_from([None, None, "buy", "sell"]),
    strategy=st.sampled_from([None, None, "alpha", "beta"]),
    start_ns=maybe_ns,
    end_ns=maybe_ns,
    min_quantity=maybe_quantity,
    max_quantity=maybe_quantity,
)
amounts = st.decimals(-1000, 1000, places=18) | st.just(Decimal("0.1"))
fields = st.fixed_dictionaries(
    {
        "gap": st.integers(1, 3),
        "symbol": st.sampled_from(["AAPL", "AMZN"]),
        "side": st.sampled_from(["buy", "sell"]),
        "strategy": st.sampled_from(["alpha", "beta"]),
        "quantity": st.sampled_from(QUANTITIES).map(Decimal),
        "price": amounts,
        "commission": amounts,
        "pnl": st.none() | amounts,
        "gross_pnl": st.none() | amounts,
        "round_trip": st.none() | st.integers(1, 9),
        "mid": st.none() | amounts,
        "latency_ms": st.none() | st.just(0.25),
        "slippage_bps": st.none() | st.just(-1.5),
        "ts_ns": st.integers(NOON, NOON + 40),
    }
)


@st.composite
def some_trades(draw: st.DrawFn) -> list[Trade]:
    trades: list[Trade] = []
    seq = 0
    for changes in draw(st.lists(fields, max_size=25)):
        seq += changes.pop("gap")
        if changes["round_trip"] is not None:
            # No round trip begins after its trades.
            changes["round_trip"] = min(changes["round_trip"], seq)
        trades.append(trade(seq, **changes))
    return trades


@given(
    some_trades(), filters, st.integers(1, 12), st.sampled_from([0, 0, 1, 5, 20]), st.none() | st.integers(0, 60),
    st.sampled_from([1, 3, 100]),
)  # fmt: skip
def test_the_store_answers_as_the_log_of_recent_trades_does(
    tmp_path_factory: pytest.TempPathFactory,
    trades: list[Trade],
    wanted: TradeFilter,
    limit: int,
    offset: int,
    before_seq: int | None,
    window_rows: int,
) -> None:
    log = TradeLog()
    for each in trades:
        log.restore(each, EVERY_READER)
    path = stored(tmp_path_factory.mktemp("store") / "observability.db", trades)

    async def question(asked: StoredTrades) -> tuple[tuple[list[Trade], int], Any]:
        return await asked.query(wanted, limit, offset, before_seq), await asked.stats(wanted)

    page, stats = ask(path, question, window_rows)
    assert page == log.query(wanted, limit, offset, before_seq)
    assert stats == log.stats(wanted)


def test_trades_of_a_file_of_the_first_version_keep_their_pnl(tmp_path: Path) -> None:
    path = tmp_path / "db"
    first = [row(trade(1)), row(trade(2, side="sell", pnl=Decimal("4.9"))), row(trade(3, side="sell", pnl=Decimal(-1)))]
    columns, _, later = FILL_COLUMNS.partition(", gross_pnl, ")
    n = columns.count(",") + 1
    assert later
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:1])
        places = ", ".join("?" * n)
        connection.executemany(f"INSERT INTO fills ({columns}) VALUES ({places})", [each[:n] for each in first])
    open_database(path).close()

    async def question(asked: StoredTrades) -> tuple[list[Trade], TradeStats]:
        return (await asked.query(ALL))[0], await asked.stats(ALL)

    page, stats = ask(path, question)
    assert [(each.pnl, each.gross_pnl, each.round_trip) for each in page] == [
        (-1, None, None), (Decimal("4.9"), None, None), (None, None, None)
    ]  # fmt: skip
    (money,) = stats.money.values()
    assert (money.realized_pnl, money.outcomes.n_wins, money.outcomes.n_losses) == (Decimal("3.8"), 1, 1)


def test_quantities_are_compared_to_the_last_digit(tmp_path: Path) -> None:
    quantities = ["0.1", "0.10000000000000001", "9007199254740992", "9007199254740993"]
    path = stored(tmp_path / "db", [trade(seq, quantity=Decimal(text)) for seq, text in enumerate(quantities, start=1)])
    for bound, at_least, at_most in (
        ("0.10000000000000001", [4, 3, 2], [2, 1]),
        ("9007199254740993", [4], [4, 3, 2, 1]),
    ):
        for wanted, expected in (
            (TradeFilter(min_quantity=Decimal(bound)), at_least),
            (TradeFilter(max_quantity=Decimal(bound)), at_most),
        ):
            page, total = ask(path, lambda asked, wanted=wanted: asked.query(wanted))  # type: ignore[misc]
            assert ([each.seq for each in page], total) == (expected, len(expected))


def test_an_id_of_several_symbols_or_venues_has_several_trades(tmp_path: Path) -> None:
    same_id = [
        trade(1, trade_id="1"),
        trade(2, trade_id="1", symbol="AMZN"),
        trade(3, trade_id="2"),
        trade(4, trade_id="1", venue="BATS"),
    ]
    path = stored(tmp_path / "db", same_id)
    assert ask(path, lambda asked: asked.find("1")) == [same_id[0], same_id[1], same_id[3]]
    assert ask(path, lambda asked: asked.find("absent")) == []


def test_a_key_finds_its_trade_and_no_other(tmp_path: Path) -> None:
    trades = [trade(1, trade_id="1"), trade(2, trade_id="1", symbol="AMZN")]
    path = stored(tmp_path / "db", trades)
    with closing(open_reader(path)) as connection:
        assert find_key(connection, ("XNAS", "AMZN", "1", "buy", trades[1].order_id, 0, 1)) == [trades[1]]
        for other in (
            ("BATS", "AMZN", "1", "buy", trades[1].order_id, 0, 1),
            ("XNAS", "AMZN", "1", "sell", trades[1].order_id, 0, 1),
            ("XNAS", "AMZN", "1", "buy", "other", 0, 1),
            ("XNAS", "AMZN", "1", "buy", trades[1].order_id, 0, 2),
        ):
            assert find_key(connection, other) == []


def test_pages_by_cursor_are_not_moved_by_new_trades(tmp_path: Path) -> None:
    path = stored(tmp_path / "db", [trade(seq) for seq in range(1, 11)])

    async def question(asked: StoredTrades) -> list[int]:
        page, _ = await asked.query(ALL, limit=4)
        stored(path, [trade(11), trade(12)])
        following, total = await asked.query(ALL, limit=4, before_seq=page[-1].seq)
        assert total == 12
        return [each.seq for each in page + following]

    assert ask(path, question) == [10, 9, 8, 7, 6, 5, 4, 3]


@given(some_trades(), filters, st.none() | st.integers(0, 60), st.sampled_from([1, 3, 100]))
def test_all_pages_of_the_store_are_all_matching_trades(
    tmp_path_factory: pytest.TempPathFactory,
    trades: list[Trade],
    wanted: TradeFilter,
    before_seq: int | None,
    page_rows: int,
) -> None:
    log = TradeLog()
    for each in trades:
        log.restore(each, EVERY_READER)
    path = stored(tmp_path_factory.mktemp("store") / "observability.db", trades)

    async def question(asked: StoredTrades) -> list[list[Trade]]:
        return [page async for page in asked.pages(wanted, before_seq, page_rows)]

    pages = ask(path, question)
    assert [each for page in pages for each in page] == log.query(wanted, 1000, 0, before_seq)[0]
    assert all(len(page) <= page_rows for page in pages)


def test_pages_end_where_rows_are_pruned_meanwhile_and_have_no_newer_ones(tmp_path: Path) -> None:
    path = stored(tmp_path / "db", [trade(seq) for seq in range(1, 11)])

    async def question(asked: StoredTrades) -> list[int]:
        found: list[int] = []
        async for page in asked.pages(ALL, None, 3):
            if not found:
                stored(path, [trade(11)])
                with closing(open_database(path)) as connection:
                    connection.execute("DELETE FROM fills WHERE seq <= 5")
            found += [each.seq for each in page]
        return found

    assert ask(path, question) == [10, 9, 8, 7, 6]


def test_the_total_follows_added_and_pruned_rows(tmp_path: Path) -> None:
    path = stored(tmp_path / "db", [trade(seq) for seq in range(1, 6)])

    async def question(asked: StoredTrades) -> list[int]:
        totals = [(await asked.query(ALL))[1]]
        stored(path, [trade(6), trade(7)])
        totals.append((await asked.query(ALL))[1])
        with closing(open_database(path)) as connection:
            connection.execute("DELETE FROM fills WHERE seq <= 4")
        totals.append((await asked.query(ALL))[1])
        return totals

    assert ask(path, question) == [5, 7, 3]


def test_a_short_query_is_answered_during_a_long_one(tmp_path: Path) -> None:
    path = stored(tmp_path / "db", [trade(seq) for seq in range(1, 301)])
    answered: list[str] = []

    async def question(asked: StoredTrades) -> None:
        async def long() -> None:
            await asked.stats(ALL)
            answered.append("long")

        async def short() -> None:
            await asked.find("t1")
            answered.append("short")

        await asyncio.gather(long(), short())

    ask(path, question)
    assert answered == ["short", "long"]


@pytest.mark.parametrize(
    ("wanted", "plan"),
    [
        (ALL, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (TradeFilter(symbol="AAPL", side="buy"), "INDEX fills_by_symbol (symbol=? AND rowid>? AND rowid<?)"),
        (TradeFilter(strategy="alpha", side="buy"), "INDEX fills_by_strategy (strategy=? AND rowid>? AND rowid<?)"),
        (TradeFilter(side="buy", start_ns=NOON), "INDEX fills_by_side (side=? AND rowid>? AND rowid<?)"),
        (TradeFilter(start_ns=NOON, min_quantity=Decimal(5)), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    ],
)
def test_one_index_leads_and_nothing_is_sorted(tmp_path: Path, wanted: TradeFilter, plan: str) -> None:
    path = stored(tmp_path / "db", [trade(1)])
    with closing(open_reader(path)) as connection:
        selection = selection_of(connection, wanted)
        assert selection is not None
        sql = selection.sql("*", "ORDER BY seq DESC LIMIT 10")
        steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", selection.values(0, 9)).fetchall()
    assert [step[3] for step in steps] == [f"SEARCH fills USING {plan}"]


def test_a_missing_store_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent\.db: cannot be read"):
        ask(tmp_path / "absent.db", lambda asked: asked.find("1"))
