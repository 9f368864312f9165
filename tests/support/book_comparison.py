"""Compares what the product shows of a book with the independent implementation, to the last digit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from independent_book import Book, Sums, number
from pages import read_pages
from server_process import Server

# A quotient is kept to 60 digits after the point, and what it leaves is realised.
ROUNDING = Fraction(1, 10**50)


def compare_section(section: dict[str, Any], book: Book) -> None:
    """Compares the strategy section of a snapshot with the book: positions, and money per strategy and currency."""
    shown = {(each["strategy"], each["symbol"], each["position_side"]): each for each in section["positions"]}
    expected = {place: held for place, held in book.state.held.items() if held.quantity}
    assert shown.keys() == expected.keys()
    for place, held in expected.items():
        each = shown[place]
        assert each["quantity"] == float(held.quantity), place
        assert each["avg_price"] == float(held.average or 0), place
        assert each["mark"] == float(book.mark(place)), place
        assert near(each["unrealized_pnl"], book.unrealized(place)), place
        assert near(each["realized_pnl"], held.gross - held.fees), place
    capital, equity = section["starting_capital"], book.total("equity")
    if capital is not None:
        assert near_or_none(section["equity"], None if equity is None else number(capital) + equity)
    for strategy in (None, *book.strategies()):
        part = section if strategy is None else section["strategies"][strategy]
        for name, wanted in {
            "total_pnl": "total", "realized_pnl": "realized", "realized_gross_pnl": "gross", "fees": "fees",
            "income": "income", "unrealized_pnl": "unrealized", "gross_exposure": "exposure",
            "external_flows": "flows",
        }.items():  # fmt: skip
            total = book.total(wanted, strategy)
            assert near_or_none(part[name], total), (strategy, name, part[name], total)
        if "currencies" in part:
            for currency, sums in book.money(strategy).items():
                compare_currency(part["currencies"].get(currency), sums)


def compare_trades(server: Server, book: Book) -> None:
    """Compares every trade of a server with those of the book."""
    found = read_pages(server.get, "/api/trades?limit=1000", "trades")[::-1]
    wanted = list(book.trades())
    assert [each["trade_id"] for each in found] == [each.event["trade_id"] for each in wanted]
    for each, trade in zip(found, wanted, strict=True):
        assert (each["strategy"], each["symbol"], each["position_side"]) == trade.place
        assert each["order_id"] == trade.event.get("order_id", "")
        if not trade.is_busted:
            assert each["price"] == float(Fraction(trade.event["price"]))
            assert near_or_none(each["gross_pnl"], trade.gross) and near_or_none(each["pnl"], trade.pnl), each


def compare_currency(shown: dict[str, float] | None, sums: Sums) -> None:
    if shown is None:
        assert sums == Sums()
        return
    for name, wanted in {"realized_gross": sums.gross, "fees": sums.fees, "income": sums.income,
                         "realized": sums.realized, "unrealized": sums.unrealized, "equity": sums.equity,
                         "cash": sums.equity - sums.value}.items():  # fmt: skip
        assert near(shown[name], wanted), (name, shown[name], float(wanted))


def near(shown: float, wanted: Fraction) -> bool:
    """Returns whether a shown number is the nearest double of what is wanted, but for what a quotient leaves."""
    return shown == float(wanted) or abs(Fraction(shown) - wanted) < ROUNDING


def near_or_none(shown: float | None, wanted: Fraction | None) -> bool:
    return shown is wanted is None or (shown is not None and wanted is not None and near(shown, wanted))
