"""The tables of a snapshot, and how they are laid out as text."""

from __future__ import annotations

from typing import Any

import pytest

from observability.terminal.layout import joined, plain, plain_snapshot, widths
from observability.terminal.tables import (
    TABLES,
    Cell,
    Column,
    Row,
    Table,
    desk_words,
    duration,
    headlines,
    money,
    short,
    size,
)

SNAPSHOT: dict[str, Any] = {
    "seq": 7,
    "epoch": "e",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "market_data": {
        "AAPL": {"bid": 585.25, "ask": 585.27, "quote_updated": "2026-01-02T03:04:05.000Z"},
        "GOOG": {"quote_updated": "2026-01-02T03:04:05.000Z", "stale": False, "closed": True, "venues": {
            "XNAS": {"bid": 10.5, "updated": "2026-01-02T03:04:05.000Z", "stale": False}}},
        "MSFT": {"last_price": 1e-12, "quote_updated": "2026-01-02T03:03:00.000Z", "stale": True, "quote_stale": True},
    },
    "strategy": {
        "total_pnl": -1234.5,
        "reporting_currency": "USD",
        "currencies": {"USD": {"cash": 9.5}, "EUR": {"cash": 3.25, "realized": -1.0}, "YCN": {"cash": 2.0},
                       "JPY": {"cash": 5.0}},
        "unconverted": {"YCN": 2.0},
        "rates": [{"pair": "EUR/USD", "rate": 1.08, "updated": "2026-01-02T03:00:00.000Z", "stale": True},
                  {"pair": "USD/JPY", "rate": 151.5, "updated": "2026-01-02T03:00:00.000Z", "stale": False}],
        "strategies": {"mean": {"total_pnl": -1234.5, "win_rate": 0.25}},
        "positions": [{"symbol": "AAPL", "strategy": "mean", "quantity": -2.5, "mark": 100.0, "stale": True,
                       "unrealized_pnl": 5.0, "mark_updated": "2026-01-02T03:00:00.000Z"}],
    },
    "execution": {"fill_rate": None, "latency_p99_ms": 12.345},
    "system": {
        "health": "degraded", "health_reasons": ["cpu_percent >= 95"], "active_alerts": 2, "critical_alerts": 1,
        "event_loop_lag_ms": 0.1234, "metrics": {"queue{a=\"b\"}": {"value": 3.0}},
        "sources": {"zmq": {"state": "silent", "age_seconds": 75.0, "rate": 0.0, "gaps": 3, "error": None}},
    },
}  # fmt: skip


def tables() -> dict[str, Table]:
    return {table.title: table for table in (make(SNAPSHOT) for make in TABLES)}


def texts(table: Table, key: str) -> dict[str, str]:
    """Returns the cells of a row by column."""
    (row,) = (row for row in table.rows if row.key == key)
    return {column.title: one.text for column, one in zip(table.columns, row.cells, strict=True)}


def test_a_number_that_is_not_there_is_a_dash_and_never_zero() -> None:
    assert texts(tables()["Market"], "AAPL")["last"] == "-"
    assert {row.key: row.cells[1].text for row in tables()["Execution"].rows}["fill rate"] == "-"


def test_a_price_has_all_of_its_digits() -> None:
    market = tables()["Market"]
    assert (texts(market, "AAPL")["bid"], texts(market, "MSFT")["last"]) == ("585.25", "1e-12")


def test_what_is_stale_says_so_without_colours() -> None:
    assert texts(tables()["Market"], "MSFT")["quoted"] == "03:03:00 stale"
    assert texts(tables()["Market"], "AAPL")["quoted"] == "03:04:05"
    assert texts(tables()["Positions"], "AAPL mean")["mark"] == "100*"


def test_sources_and_the_metrics_of_the_user_are_shown() -> None:
    assert texts(tables()["Sources"], "zmq")["age"] == "1 min 15 s"
    assert texts(tables()["Sources"], "zmq")["state"] == "silent"
    assert {row.key: row.cells[1].text for row in tables()["System"].rows}['queue{a="b"}'] == "3"


def test_currencies_stand_beside_the_rate_that_they_are_converted_at() -> None:
    shown = tables()["Currencies"]
    euro = texts(shown, "EUR")
    assert (euro["cash"], euro["rate"], euro["pair"], euro["rate of"]) == ("3.25", "1.08*", "EUR/USD", "03:00:00")
    assert texts(shown, "JPY")["rate"] == "151.5"
    assert {row.key: row.cells[0].mark for row in shown.rows} == {"USD": "", "EUR": "", "YCN": "bad", "JPY": ""}


def test_venues_of_a_symbol_are_rows_of_their_own() -> None:
    shown = texts(tables()["Venues"], "GOOG XNAS")
    assert (shown["bid"], shown["updated"]) == ("10.5", "03:04:05")


def test_a_market_that_is_closed_says_so() -> None:
    assert texts(tables()["Market"], "GOOG")["quoted"] == "03:04:05 closed"


def test_every_table_can_be_made_of_a_snapshot_that_has_nothing() -> None:
    for make in TABLES:
        assert plain(make({}), 80)
    assert headlines({})[0][0] == "alerts -"


def numbers(*values: float | None) -> Table:
    cells = [Cell("-" if value is None else str(value), value) for value in values]
    rows = tuple(Row(f"key{at}", (Cell(f"key{at}", f"key{at}"), cell)) for at, cell in enumerate(cells))
    return Table("T", (Column("key", is_text=True), Column("value")), rows)


def test_rows_are_sorted_by_value_and_those_without_one_come_last() -> None:
    table = numbers(9, None, 10, -1)
    assert [row.cells[1].value for row in table.sorted(1, is_descending=True).rows] == [10, 9, -1, None]
    assert [row.cells[1].value for row in table.sorted(1, is_descending=False).rows] == [-1, 9, 10, None]


def test_a_filter_finds_words_in_any_case() -> None:
    assert [row.key for row in numbers(1, 2).filtered("KEY1").rows] == ["key1"]


def test_the_columns_that_do_not_fit_are_left_out() -> None:
    table = numbers(1_000_000)
    assert widths(table, 80) == [4, 7]
    assert widths(table, 12) == [4]
    assert plain(table, 12) == ["T", "key", "key0"]
    assert plain(table, None) == ["T", "key     value", "key0  1000000"]


def test_a_line_has_the_words_that_fit() -> None:
    assert joined(["alerts 2", "lag 1 ms", "health ok"], 20) == "alerts 2   lag 1 ms"
    assert joined(["too long"], 3) == "too"


@pytest.mark.parametrize("columns", [None, 80])
def test_a_snapshot_as_text_begins_with_its_worth(columns: int | None) -> None:
    lines = plain_snapshot(SNAPSHOT, "STALE", columns).splitlines()
    assert lines[:3] == [
        "STALE   tick 7 of 2026-01-02T03:04:05.678Z",
        "alerts 2, 1 CRITICAL   lag 0.123 ms   health degraded   cpu_percent >= 95",
        joined(["P&L -1,234.50", *(f"{name} -" for name in
                ("daily", "unrealized", "equity", "drawdown", "exposure", "fees"))], columns),
    ]  # fmt: skip
    assert all(columns is None or len(line) <= columns for line in lines)


def test_formats_are_for_people() -> None:
    assert [money(-1234.5), short(0.12345), short(1234.5), size(54_100_000), duration(7265)] == [
        "-1,234.50", "0.123", "1,234", "54.1 MB", "2 h 1 min",
    ]  # fmt: skip


def test_a_name_that_a_sender_has_chosen_controls_no_terminal() -> None:
    name, reason = "A\x1b[2J\nB", "bad\x9b2J\r"
    hostile = {**SNAPSHOT, "market_data": {name: {"bid": 1.0}}, "system": {"health_reasons": [reason]}}
    text = plain_snapshot(hostile, "LIVE", None)
    assert "A\\x1b[2J\\x0aB" in text and "bad\\x9b2J\\x0d" in text
    assert not set(text) & {"\x1b", "\x9b", "\r"}


def test_a_line_about_the_desk_says_who_is_furthest_behind() -> None:
    standby = [{"records_behind": 7, "seconds_behind": 65.0}, {"records_behind": None, "seconds_behind": None}]
    edges = [{"frames_behind": 0, "lag_ms": 1.25}, {"frames_behind": 12, "lag_ms": None}]
    leader = {"host": "nyc-1", "since": "2026-01-02T03:04:05.678Z"}
    desk = {"name": "main", "role": "edge", "host": "nyc-2", "leader": leader, "standby": standby, "edges": edges}
    assert desk_words(desk) == [
        "desk main",
        "this edge nyc-2",
        "nyc-1 leads since 2026-01-02 03:04:05 UTC",
        "2 standing by, 7 records and 1 min 5 s behind",
        "2 edges, lag up to 1.25 ms, 12 frames behind",
    ]


AGGREGATED: dict[str, Any] = {
    "sites": {
        "london": {"status": "live", "reason": None, "age_ms": 51.4},
        "tokyo": {"status": "stale", "reason": "its hub publishes no frames", "age_ms": 3000.0},
        "paris": {"status": "missing", "reason": "not connected yet", "age_ms": None},
    },
    "strategy": {
        "total_pnl": 5.0, "reporting_currency": None, "missing_sites": ["tokyo", "paris"],
        "currencies": {"GBP": {"cash": 1.0}}, "rates": [{"pair": "EUR/USD", "rate": 1.1, "site": "london"}],
        "sites": {"london": {"total_pnl": 5.0, "reporting_currency": "GBP", "open_positions": 2}},
    },
    "system": {"sites": {"london": {"health": "healthy"}}},
}  # fmt: skip


def test_each_site_has_a_row_with_what_is_known_of_it() -> None:
    found = {table.title: table for table in (make(AGGREGATED) for make in TABLES)}["Sites"]
    assert list(texts(found, "london").values()) == ["london", "live", "51.4", "5.00", "GBP", "2", "healthy", "-"]
    assert list(texts(found, "tokyo").values())[-1] == "its hub publishes no frames"
    assert texts(found, "paris")["age ms"] == "-"


def test_the_headline_of_an_account_names_the_sites_that_it_lacks() -> None:
    assert headlines(AGGREGATED)[1][:2] == ["WITHOUT tokyo, paris", "P&L 5.00"]
    assert headlines(SNAPSHOT)[1][0] == "P&L -1,234.50"
