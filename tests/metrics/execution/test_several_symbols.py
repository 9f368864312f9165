"""Figures over several symbols, and over contracts: costs are money, and averages weigh by notional."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.execution.quality import SEVERAL_SYMBOLS
from observability.metrics.trades.trade_log import TradeLog
from trading_desk import D, TradingDesk, fill, market_print, order, quote

CONTRACTS = {"ES": D(50), "NQ": D("0.5")}


def bought(symbol: str, quantity: object, arrival: str, price: str, commission: str = "0") -> list[Any]:
    """Returns the reports and the fill of an order of its own."""
    names = {"order_id": symbol, "symbol": symbol, "arrival_price": D(arrival), "quantity": D(str(quantity))}
    traded = fill(symbol, D(str(quantity)), price, order_id=symbol, symbol=symbol, commission=D(commission))
    return [order("new", **names), traded]


def contracts() -> TradingDesk:
    return TradingDesk(trades=TradeLog(multipliers=CONTRACTS))


def test_the_shortfall_of_a_contract_is_money() -> None:
    desk = contracts()
    desk.publish(*bought("ES", 10, "5000", "5001", commission="20"))
    shortfall = desk.quality()["implementation_shortfall"]
    expected = {
        "trading": 500.0, "fees": 20.0, "total": 520.0, "delay": 0.0, "opportunity": 0.0, "notional": 2_500_000.0,
        "total_bps": 2.08, "fees_bps": 0.08, "trading_bps": 2.0,
    }  # fmt: skip
    assert {name: shortfall[name] for name in expected} == expected
    assert desk.tick()["shortfall_bps"] == 2.08
    assert desk.quality()["arrival_slippage_bps"]["notional"] == 2_500_000.0


def test_an_average_over_several_symbols_weighs_by_notional() -> None:
    desk = TradingDesk()
    desk.publish(*bought("BTC", 1, "60000", "60060"), *bought("DOGE", 10_000, "0.1", "0.1"))
    metrics = desk.tick()
    assert metrics["avg_slippage_bps"] == pytest.approx(60 / 61_000 * 10_000)
    assert (metrics["fill_rate"], metrics["fill_rate_reason"]) == (None, SEVERAL_SYMBOLS)
    assert (metrics["fill_rate_orders"], metrics["fill_rate_terminal"]) == (1.0, 1.0)
    by_symbol = desk.quality()["by_symbol"]
    assert [by_symbol[name]["fill_rate"]["value"] for name in ("BTC", "DOGE")] == [1.0, 1.0]


def test_an_average_over_several_contracts_weighs_by_their_money() -> None:
    desk = contracts()
    # Costs of 1 % of 50 x 100 and of 0 % of 0.5 x 100.
    desk.publish(*bought("ES", 1, "100", "101"), *bought("NQ", 1, "100", "100"))
    assert desk.tick()["avg_slippage_bps"] == pytest.approx(50 / 5050 * 10_000)


def test_spreads_and_markouts_of_several_symbols_have_no_price() -> None:
    desk = contracts()
    for symbol, price in (("ES", 100), ("NQ", 10)):
        desk.publish(quote(price - 1, price + 1, symbol=symbol), *bought(symbol, 2, str(price), str(price + 1)))
    desk.publish(*(quote(10, 20, 60, symbol) for symbol in ("ES", "NQ")))
    desk.tick(100)
    quality = desk.quality()
    for figure in (quality["effective_spread"], quality["markouts"]["50ms"]):
        assert (figure["price"], figure["quantity"], figure["reason"]) == (None, None, SEVERAL_SYMBOLS)
    # Money: 2 x 1 x 50 and 2 x 1 x 0.5 of 2 x 100 x 50 and 2 x 10 x 0.5.
    assert quality["effective_spread"]["bps"] == pytest.approx(2 * 101 / 10_010 * 10_000)
    assert quality["by_symbol"]["ES"]["effective_spread"]["price"] == 2.0


def test_the_vwap_deviation_weighs_by_notional() -> None:
    desk = contracts()
    for symbol, price in (("ES", 100.0), ("NQ", 10.0)):
        names = {"order_id": symbol, "symbol": symbol, "quantity": D(1)}
        desk.publish(order("new", **names), market_print(price, 1, 1, symbol))
        desk.publish(fill(symbol, 1, str(price + 1), 2, order_id=symbol, symbol=symbol))
    assert desk.quality()["vwap_deviation_bps"]["value"] == pytest.approx(50.5 / 5005 * 10_000)


def test_a_new_session_may_be_of_one_symbol_again() -> None:
    desk = TradingDesk()
    desk.publish(*bought("BTC", 1, "60000", "60060"), *bought("DOGE", 10_000, "0.1", "0.1"))
    desk.tick()
    day_ms = 86_400_000
    desk.publish(order("new", day_ms, "n"), fill("n", 5, "100", day_ms, order_id="n"))
    assert desk.tick(day_ms)["fill_rate"] == 0.5


@given(st.integers(1, 10_000), st.integers(1, 100), st.integers(-50, 50), st.sampled_from([1, 50]))
def test_a_multiplier_changes_amounts_and_no_relation(quantity: int, arrival: int, cost: int, multiplier: int) -> None:
    plain, contract = (TradingDesk(trades=TradeLog(multipliers={"X": Decimal(m)})) for m in (1, multiplier))
    for desk in (plain, contract):
        desk.publish(*bought("X", quantity, str(arrival), str(arrival + cost)))
    one, many = (desk.quality()["implementation_shortfall"] for desk in (plain, contract))
    assert many["total"] == one["total"] * multiplier
    assert many["total_bps"] == one["total_bps"]
    assert plain.tick()["avg_slippage_bps"] == contract.tick()["avg_slippage_bps"]


def test_what_was_traded_and_its_commissions_are_known_by_venue() -> None:
    desk = TradingDesk()
    desk.publish(
        fill("1", 2, "100", venue="A", order_id="a", commission=D("0.5")),
        fill("2", 3, "10", venue="B", order_id="", commission=D("-0.25"), symbol="OTHER"),
    )
    quality = desk.quality()
    assert (quality["notional"], quality["commission"]) == (230.0, 0.25)
    shown = {venue: (each["notional"], each["commission"]) for venue, each in quality["by_venue"].items()}
    assert shown == {"A": (200.0, 0.5), "B": (30.0, -0.25)}
