"""Execution quality over several currencies and kinds of contracts: costs are converted, or not known."""

from __future__ import annotations

from fractions import Fraction

from observability.instruments.instrument import Instrument
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.rates import Rates
from trading_desk import D, TradingDesk, fill, order

XBTUSD = Instrument(
    "XBTUSD", kind="perpetual", base="BTC", quote="USD", contract="inverse", settlement="BTC", multiplier=D(1)
)
SONY = Instrument("SONY", kind="equity", quote="JPY")


def desk_in(reporting: str) -> tuple[TradingDesk, Rates]:
    instruments, rates = InstrumentTable(reporting), Rates(reporting)
    for instrument in (XBTUSD, SONY):
        instruments.put(instrument)
    return TradingDesk(instruments=instruments, rates=rates), rates


def buy(desk: TradingDesk, symbol: str, quantity: int, arrival: str, price: str, commission: str = "0") -> None:
    names = {"symbol": symbol, "order_id": symbol}
    desk.publish(
        order("new", **names, quantity=D(quantity), arrival_price=D(arrival)),
        fill(symbol, quantity, price, **names, commission=D(commission)),
    )


def test_costs_in_several_currencies_are_summed_at_the_newest_rates() -> None:
    desk, rates = desk_in("USD")
    buy(desk, "AAPL", 10, "100", "101", "1")
    buy(desk, "SONY", 10, "1000", "1020", "300")
    section = desk.tick()
    assert (section["avg_slippage_bps"], section["shortfall_bps"], section["commission"]) == (None, None, None)
    assert desk.quality()["unconverted_reason"] == "no rate into USD is known for JPY"
    assert desk.quality()["by_symbol"]["AAPL"]["arrival_slippage_bps"]["value"] == 100.0
    rates.put(("JPY", "USD"), D("0.01"), 0)
    section = desk.tick()
    # 10 of 1,000 dollars, and 200 yen, 2 dollars, of 10,000 yen, 100 dollars.
    assert section["avg_slippage_bps"] == float(Fraction(12, 1_100) * 10_000)
    assert section["commission"] == 4.0
    assert desk.quality()["implementation_shortfall"]["total"] == 16.0
    rates.put(("JPY", "USD"), D("0.02"), 0)
    assert desk.tick()["commission"] == 7.0


def test_the_cost_of_an_inverse_contract_is_what_its_pnl_falls_short_by() -> None:
    desk, _ = desk_in("BTC")
    buy(desk, "XBTUSD", 60_000, "50000", "60000", "0.001")
    shortfall = desk.quality()["implementation_shortfall"]
    # At the arrival price, 60,000 contracts would have been 1.2 BTC, and they were 1.
    assert (shortfall["trading"], shortfall["fees"], shortfall["notional"]) == (0.2, 0.001, 1.2)
    assert desk.quality()["arrival_slippage_bps"]["value"] == float(Fraction(2_000) * 10 / 12)


def test_a_fee_without_a_rate_leaves_the_shortfall_out() -> None:
    desk, _ = desk_in("USD")
    desk.publish(
        order("new", quantity=D(10), arrival_price=D(100)),
        fill("1", 10, "100", commission=D(1), commission_asset="BNB"),
    )
    assert desk.quality()["implementation_shortfall"]["left_out"] == {"fee_not_valued": 1}
    assert desk.tick()["commission"] is None


def test_a_checkpoint_keeps_the_terms_that_an_order_began_under() -> None:
    desk, rates = desk_in("BTC")
    buy(desk, "XBTUSD", 60_000, "50000", "60000")
    before = desk.tick()
    later = TradingDesk(instruments=InstrumentTable("BTC"), rates=rates)
    later.execution.load(desk.execution.save())
    assert later.tick() == before
    later.publish(fill("2", 60_000, "60000", order_id="XBTUSD", symbol="XBTUSD"))
    assert later.quality()["arrival_slippage_bps"]["notional"] == 2.4
