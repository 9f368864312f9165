"""The history's memory: one process opens series and tables in it, the next continues them, any process reads them."""

from __future__ import annotations

from array import array

import pytest

from observability.clocks.timestamps import NS_PER_S
from observability.errors import CapacityError
from observability.history.history import History, HistoryReader
from observability.history.layout import Budget
from observability.memory.counters import Counters


def test_a_full_history_refuses_another_series() -> None:
    history = History(Budget({1: 2}, {}))
    history.open("market_data", "AAPL", ("last",))
    history.open("market_data", "AMZN", ("last",))
    with pytest.raises(CapacityError, match="history is full"):
        history.open("market_data", "MSFT", ("last",))


def test_opening_a_series_again_returns_the_same_one() -> None:
    history = History(Budget({1: 1}, {}))
    assert history.open("s", "k", ("x",)) is history.open("s", "k", ("x",))


def test_a_reader_finds_each_series_and_table_once_it_is_there() -> None:
    history = History(Budget({2: 2}, {1: 1}))
    reader = history.reader(Counters())
    history.open("market_data", "AAPL", ("last", "mid")).record(5, (1.0, 2.0))
    assert [(one.section, one.key, one.fields) for one in reader.series()] == [
        ("market_data", "AAPL", ("last", "mid")),
    ]
    history.open("market_data", "MSFT", ("last", "mid"))
    history.open_table("bars", "AAPL", ("close",)).put(0, array("d", (3.0,)))
    assert [one.key for one in reader.series()] == ["AAPL", "MSFT"]
    assert reader.table_keys("bars") == {"AAPL"}
    table = reader.table("bars", "AAPL")
    assert table is not None
    assert [row.payload.tolist() for row in table.copy_rows(0, 1)] == [[3.0]]
    assert [row.payload.tolist() for row in reader.series()[0].rings[0].copy_rows(0, 10)] == [[1.0, 2.0]]


def test_the_next_process_allocates_in_the_memory_that_is_left() -> None:
    budget = Budget({1: 2}, {1: 1})
    first = History(budget)
    first.open("s", "a", ("x",))
    first.open_table("t", "a", ("x",))
    then = History(budget, first.memory)
    then.open("s", "b", ("x",)).record(1, (1.0,))
    then.open("s", "a", ("x",))
    with pytest.raises(CapacityError):
        then.open("s", "c", ("x",))
    assert [series.key for series in first.reader(Counters()).series()] == ["a", "b"]
    assert first.series()[0].rings[0].cursor == 0


def test_memory_that_no_entry_names_is_cleared_before_use() -> None:
    budget = Budget({1: 1}, {1: 1})
    other = History(budget)
    other.open("s", "a", ("x",)).record(7, (1.0,))
    other.open_table("t", "a", ("x",)).put(NS_PER_S, array("d", (1.0,)))
    # The process died before it added them to the directory.
    history = History(budget, memory=other.memory)
    history._region.directory._header[0] = 0
    history = History(budget, memory=other.memory)
    series, table = history.open("s", "k", ("x",)), history.open_table("t", "k", ("x",))
    assert (series.rings[0].cursor, list(table.copy_rows(0, 10 * NS_PER_S))) == (0, [])


def test_a_continued_series_is_in_a_checkpoint_once() -> None:
    budget = Budget({1: 1}, {})
    first = History(budget)
    first.open("s", "k", ("x",)).record(1, (1.0,))
    then = History(budget, first.memory)
    then.load(first.save())
    then.open("s", "k", ("x",))
    assert then.save() == first.save()


def test_rows_overwritten_before_they_were_read_are_counted() -> None:
    history, counters = History(Budget({1: 1}, {})), Counters()
    writer = history.open("s", "k", ("x",))
    writer.record(0, (0.0,))
    reader: HistoryReader = history.reader(counters)
    (series,) = reader.series()
    view = series.view()
    for ts_ns in range(1, 4000):
        writer.record(ts_ns, (0.0,))
    assert view.span(0).copy_block(0, 1, [0]).times.tolist() == []
    reader.count_lost()
    reader.count_lost()
    assert counters.total("history_rows_lost_total") == 1
