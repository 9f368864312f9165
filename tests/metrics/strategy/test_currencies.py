"""Instruments and currencies in the strategy section: amounts by the instrument's terms, sums at the newest rates."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Cash, Dividend, Funding, Instrument, Position, Print, Rate
from observability.metrics.arithmetic.ledger import AmountsState
from observability.metrics.arithmetic.rates import MAX_CURRENCIES
from observability.metrics.strategy.state import StrategyState
from observability.metrics.trades.trade import TradeFilter
from observability.metrics.trades.trade_log import TradeLog
from observability.store.checkpoint import pack, unpack
from strategy_desk import DAY, NOON, D, Desk, S

SPOT = Instrument("BTCUSDT", "spot", "USDT", base_currency="BTC", ts=NOON, ts_init=NOON)


def rate(desk: Desk, pair: str, value: str, ts: int = NOON) -> None:
    base, quote = pair.split("/")
    desk.bus.publish(Rate(base, quote, D(value), ts=ts, ts_init=ts))


def inverse(desk: Desk, symbol: str, multiplier: str, base: str = "BTC") -> None:
    desk.bus.publish(
        Instrument(
            symbol, "perpetual", "USD", base_currency=base, contract="inverse", multiplier=D(multiplier), ts=NOON,
            ts_init=NOON,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "multiplier", "contracts", "entry", "end", "published"),
    [
        # https://www.bitmex.com/app/inverseFuturesGuide, "XBTUSD Futures Contract Example".
        ("XBTU20", "1", 100_000, 10_000, 10_500, 0.476),
        # https://www.deribit.com/docs/example-futures/
        ("BTC-PERPETUAL", "10", 100, 600, 700, 0.238095),
        # Binance, "Coin-margined futures": 10,000 USD at 50,000, closed at 55,000, are 0.2 - 0.1818 BTC.
        ("BTCUSD_PERP", "100", 100, 50_000, 55_000, 0.0182),
    ],
)
def test_inverse_contracts_earn_what_their_venues_publish(
    symbol: str, multiplier: str, contracts: int, entry: int, end: int, published: float
) -> None:
    desk = Desk(reporting_currency="BTC")
    inverse(desk, symbol, multiplier)
    desk.fill(contracts, entry, symbol=symbol)
    desk.quote(end, end, symbol=symbol)
    open_pnl = desk.tick()["unrealized_pnl"]
    desk.fill(-contracts, end, symbol=symbol)
    realized = desk.tick()["realized_pnl"]
    exact = Fraction(contracts) * Fraction(multiplier) * (Fraction(1, entry) - Fraction(1, end))
    assert realized == open_pnl == float(exact)
    assert realized == pytest.approx(published, abs=10 ** -len(str(published).partition(".")[2]))


def test_the_average_price_of_an_inverse_contract_is_harmonic() -> None:
    desk = Desk(reporting_currency="BTC")
    inverse(desk, "XBTUSD", "1")
    desk.fill(30_000, 10_000, symbol="XBTUSD")
    desk.fill(30_000, 15_000, symbol="XBTUSD")
    section = desk.tick()
    (position,) = desk.positions()
    assert (position["avg_price"], position["currency"]) == (12_000.0, "BTC")
    # Long although its amount is below zero: at 15,000 it is 4 BTC.
    assert (section["net_exposure"], section["gross_exposure"]) == (4.0, 4.0)


def test_a_quanto_contract_is_linear_in_its_settlement_currency() -> None:
    desk = Desk(reporting_currency="BTC")
    desk.bus.publish(
        Instrument(
            "ETHUSD", "perpetual", "USD", settlement_currency="BTC", contract="quanto", multiplier=D("0.000001"),
            ts=NOON, ts_init=NOON,
        )
    )  # fmt: skip
    desk.fill(1_000, 3_000, symbol="ETHUSD")
    desk.fill(-1_000, 3_100, symbol="ETHUSD")
    assert desk.tick()["realized_pnl"] == 0.1


fills = st.lists(
    st.tuples(
        st.sampled_from([("AAPL", "USD"), ("SAP", "EUR"), ("SONY", "JPY")]),
        st.integers(-9, 9).filter(bool),
        st.integers(1, 500),
        st.sampled_from(["", "EUR", "JPY", "USD"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=12,
)


@given(fills, st.integers(1, 400), st.integers(1, 400))
def test_sums_over_currencies_are_exact(
    sequence: list[tuple[tuple[str, str], int, int, str, int]], cents: int, yen: int
) -> None:
    desk = Desk()
    for symbol, currency in (("SAP", "EUR"), ("SONY", "JPY")):
        desk.bus.publish(Instrument(symbol, "equity", currency, ts=NOON, ts_init=NOON))
    rate(desk, "EUR/USD", f"{cents / 100}")
    rate(desk, "USD/JPY", str(yen))
    factors = {"USD": Fraction(1), "EUR": Fraction(cents, 100), "JPY": Fraction(1, yen)}
    cash, held, marks, fees = Fraction(0), {}, {}, Fraction(0)
    for (symbol, currency), quantity, price, asset, fee in sequence:
        desk.fill(quantity, price, symbol=symbol, commission=D(fee), commission_asset=asset)
        cash -= quantity * price * factors[currency]
        fees += fee * factors[asset or currency]
        held[symbol, currency] = held.get((symbol, currency), 0) + quantity
        marks[symbol] = price
    value = sum(quantity * marks[symbol] * factors[currency] for (symbol, currency), quantity in held.items())
    section = desk.tick()
    assert section["total_pnl"] == pytest.approx(float(cash + value - fees), rel=1e-15, abs=1e-15)
    assert section["fees"] == pytest.approx(float(fees), rel=1e-15)
    # In every currency, cash and the value of the positions are the equity.
    for currency, amounts in section["currencies"].items():
        worth = sum(held.get(key, 0) * marks.get(key[0], 0) for key in held if key[1] == currency)
        assert amounts["cash"] + worth == pytest.approx(amounts["equity"])
    symbols = [part.to_json() for part in desk.strategy.groups[2].parts.values()]
    assert sum(part["total_pnl"] for part in symbols) == pytest.approx(section["total_pnl"], abs=1e-9)


def test_a_fee_in_the_base_asset_reduces_the_position() -> None:
    desk = Desk()
    desk.bus.publish(SPOT)
    desk.fill(1, 100, symbol="BTCUSDT", commission=D("0.001"), commission_asset="btc")
    assert (desk.tick()["fees"], desk.positions()[0]["quantity"]) == (0.1, 0.999)
    desk.fill("-0.999", 110, symbol="BTCUSDT")
    section = desk.tick()
    assert (section["total_pnl"], section["open_positions"]) == (pytest.approx(0.999 * 10 - 0.1), 0)


def test_a_missing_rate_makes_unknown_what_needs_it_and_nothing_else() -> None:
    desk = Desk()
    desk.fill(10, 100, commission=D("0.01"), commission_asset="BNB")
    desk.quote(110.0, 110.0)
    section = desk.tick()
    assert (section["total_pnl"], section["fees"], section["drawdown"]) == (None, None, None)
    assert (section["unrealized_pnl"], section["gross_exposure"]) == (100.0, 1100.0)
    assert section["unconverted"] == {"BNB": -0.01}
    assert section["unconverted_reason"] == "no rate into USD is known for BNB"
    rate(desk, "BNB/USD", "600")
    section = desk.tick()
    assert (section["total_pnl"], section["fees"], section["unconverted"]) == (94.0, 6.0, {})


def test_exposure_without_a_rate_has_a_reason_while_nothing_is_earned() -> None:
    desk = Desk()
    desk.fill(10, 100, symbol="EUR/JPY")
    section = desk.tick()
    assert (section["gross_exposure"], section["total_pnl"], section["unconverted"]) == (None, 0.0, {"JPY": 0.0})
    assert section["unconverted_reason"] == "no rate into USD is known for JPY"


def test_cash_without_a_rate_has_a_reason_while_nothing_is_earned() -> None:
    desk = Desk()
    desk.book(Position("EUR/JPY", D(10), D(100), "mean", adopt=True))
    desk.fill(-10, 100, symbol="EUR/JPY")
    section = desk.tick()
    assert (section["external_flows"], section["unconverted_reason"]) == (
        None,
        "no rate into USD is known for JPY",
    )


def test_a_deposit_shows_at_once_while_the_profit_is_not_known() -> None:
    desk = Desk()
    desk.book(Cash(D(100), "interest", "EUR", cash_id="1", strategy="mean"))
    assert desk.tick()["total_pnl"] is None
    desk.book(Cash(D(5), "deposit", "USD", cash_id="2", strategy="mean"))
    desk.tick()
    assert desk.part(0, "mean")["external_flows"] == 5.0


def test_a_late_rate_replaces_no_newer_one() -> None:
    desk = Desk()
    desk.book(Cash(D(100), "interest", "EUR", cash_id="1"))
    rate(desk, "EUR/USD", "1.1", NOON + 10 * S)
    desk.bus.publish(Rate("EUR", "USD", D("1.2"), ts=NOON, ts_init=NOON + 20 * S))
    assert desk.tick(NOON + 20 * S)["total_pnl"] == 110.0
    rate(desk, "EUR/USD", "1.3", NOON + 30 * S)
    assert desk.tick(NOON + 30 * S)["total_pnl"] == 130.0


def test_the_age_of_a_rate_is_counted_from_its_own_time() -> None:
    desk = Desk()
    desk.book(Cash(D(100), "interest", "EUR", cash_id="1"))
    desk.bus.publish(Rate("EUR", "USD", D("1.2"), ts=NOON - 2 * DAY, ts_init=NOON))
    (shown,) = desk.tick()["rates"]
    assert (shown["updated"], shown["stale"]) == ("2012-06-19T12:00:00.000Z", True)
    # A date ahead of its arrival holds off no later rate.
    desk.bus.publish(Rate("EUR", "USD", D("1.3"), ts=NOON + 9 * DAY, ts_init=NOON + S))
    rate(desk, "EUR/USD", "1.4", NOON + 2 * S)
    assert desk.tick(NOON + 2 * S)["total_pnl"] == 140.0


def test_a_round_trip_whose_fee_has_no_rate_has_no_outcome() -> None:
    desk = Desk()
    desk.fill(1, 100, commission=D("0.01"), commission_asset="BNB")
    rate(desk, "BNB/USD", "600")
    desk.fill(-1, 101)
    desk.fill(1, 100, commission=D("0.01"), commission_asset="BNB")
    desk.fill(-1, 101)
    account = desk.strategy.performance()["account"]
    assert (account["n_unvalued"], account["n_losses"], account["worst"]["value"]) == (1, 1, -5.0)


def test_drawdown_observes_a_move_of_a_rate_at_once() -> None:
    desk = Desk()
    desk.bus.publish(Instrument("SAP", "equity", "EUR", ts=NOON, ts_init=NOON))
    rate(desk, "EUR/USD", "1.2")
    desk.fill(1, 100, symbol="SAP")
    desk.fill(-1, 200, symbol="SAP")
    rate(desk, "EUR/USD", "1.0", NOON + S)
    rate(desk, "EUR/USD", "1.2", NOON + 2 * S)
    section = desk.tick(NOON + 3 * S)
    assert (section["total_pnl"], section["max_drawdown"]) == (120.0, 20.0)
    (shown,) = section["rates"]
    assert (shown["pair"], shown["rate"], shown["source"], shown["stale"]) == ("EUR/USD", 1.2, "event", False)


def test_symbols_follow_a_rate_while_held_and_while_flat() -> None:
    desk = Desk()
    for symbol in ("SAP", "BMW"):
        desk.bus.publish(Instrument(symbol, "equity", "EUR", ts=NOON, ts_init=NOON))
        desk.fill(1, 100, symbol=symbol)
        desk.quote(110.0, 110.0, symbol=symbol)
    desk.fill(-1, 110, symbol="BMW")
    for value, expected in (("1.2", 12.0), ("1.5", 15.0)):
        rate(desk, "EUR/USD", value)
        desk.tick()
        assert [desk.part(2, symbol)["total_pnl"] for symbol in ("SAP", "BMW")] == [expected, expected]


def test_the_market_of_a_pair_is_a_rate_once_it_is_needed() -> None:
    desk = Desk()
    desk.quote(599.0, 601.0, symbol="BNBUSDT")
    desk.quote(1.0, 2.0, symbol="DOGEUSDT")
    desk.fill(1, 100, commission=D("0.01"), commission_asset="BNB")
    section = desk.tick()
    assert section["fees"] == 6.0
    assert [(each["pair"], each["symbol"], each["source"]) for each in section["rates"]] == [
        ("BNB/USDT", "BNBUSDT", "market"), ("USDT/USD", None, "assumed")
    ]  # fmt: skip
    desk.quote(699.0, 701.0, NOON + S, "BNBUSDT")
    assert desk.tick(NOON + S)["fees"] == 7.0
    assert desk.tick(NOON + 60 * S)["rates"][0]["stale"]


def test_a_price_of_before_a_rate_never_takes_its_place() -> None:
    desk = Desk()
    desk.book(Cash(D(100), "interest", "EUR", cash_id="1"))
    desk.quote(1.0, 1.2, symbol="EURUSD")
    desk.bus.publish(Print("EURUSD", 1.05, 1.0, ts=NOON + S, ts_init=NOON + S))
    rate(desk, "EUR/USD", "1.3", NOON + 3 * S)
    saved = desk.strategy.save()
    # The print takes the place of the quote five seconds after it.
    assert desk.tick(NOON + 6 * S)["total_pnl"] == 130.0
    asyncio.run(desk.strategy.stop())
    desk.strategy = desk.make_section(None)
    desk.strategy.load(saved)
    assert desk.tick(NOON + 6 * S)["total_pnl"] == 130.0
    desk.quote(1.1, 1.3, NOON + 7 * S, "EURUSD")
    assert desk.tick(NOON + 7 * S)["total_pnl"] == 120.0


def restarted(desk: Desk) -> Desk:
    restored = Desk()
    restored.market.load(desk.market.save())
    restored.strategy.load(desk.strategy.save())
    return restored


@pytest.mark.parametrize("price_at", [2, 1, -1])
def test_of_a_rate_and_a_price_that_was_not_followed_the_newer_one_counts_over_a_restart(price_at: int) -> None:
    desk = Desk()
    desk.fill(1, "1.1", symbol="EURUSD", ts=NOON - 60 * S, ts_init=NOON - 60 * S)
    desk.quote(1.1, 1.1, NOON - 60 * S, "EURUSD")
    desk.bus.publish(Print("EURUSD", 1.3, 1.0, ts=NOON + price_at * S, ts_init=NOON + price_at * S))
    # It arrives after the price in any case.
    desk.bus.publish(Rate("EUR", "USD", D("1.2"), ts=NOON + S, ts_init=NOON + 3 * S))
    desk.book(Cash(D(100), "interest", "EUR", cash_id="1", ts=NOON + 4 * S, ts_init=NOON + 4 * S))
    for each in (desk, restarted(desk)):
        each.market.refresh(NOON + 9 * S)
        (shown,) = each.tick(NOON + 9 * S)["rates"]
        assert shown["rate"] == (1.3 if price_at == 2 else 1.2)


def test_a_position_in_the_pair_that_is_the_rate_moves_with_it_in_one_step() -> None:
    desk = Desk()
    desk.quote(100.0, 100.0, symbol="BTCUSDT")
    desk.fill(2, 100, symbol="BTCUSDT")
    desk.fill(-10, "0.1", symbol="ETHBTC")
    desk.fill(10, "0.2", symbol="ETHBTC")
    # One BTC was lost and two are held, so a fall of the price costs their difference.
    desk.quote(90.0, 90.0, NOON + S, "BTCUSDT")
    section = desk.tick(NOON + S)
    assert (section["total_pnl"], section["max_drawdown"]) == (-110.0, 110.0)


def test_terms_do_not_change_while_a_position_is_held() -> None:
    desk = Desk()
    desk.fill(1, 100, symbol="ESZ5")
    future: dict[str, Any] = {"symbol": "ESZ5", "kind": "future", "quote_currency": "USD", "multiplier": D(50)}
    desk.bus.publish(Instrument(**future, ts=NOON, ts_init=NOON))
    assert "a position in ESZ5 is held under other terms: linear, multiplier 1, in USD" in desk.refusal()
    desk.fill(-1, 100, symbol="ESZ5")
    desk.bus.publish(Instrument(**future, ts=NOON + S, ts_init=NOON + S))
    desk.fill(1, 100, symbol="ESZ5")
    desk.quote(101.0, 101.0, symbol="ESZ5")
    assert desk.tick()["unrealized_pnl"] == 50.0
    shown = desk.part(2, "ESZ5")["instrument"]
    assert (shown["multiplier"], shown["assumed"]) == (50.0, False)


def test_the_terms_of_a_symbol_are_the_same_at_every_venue() -> None:
    desk = Desk()
    desk.bus.publish(SPOT)
    desk.bus.publish(Instrument("BTCUSDT", "spot", "USD", venue="X", base_currency="BTC", ts=NOON, ts_init=NOON))
    assert "other terms than at venue" in desk.refusal()


def test_a_name_that_is_a_pair_counts_in_its_quote_currency_and_says_so() -> None:
    desk = Desk()
    desk.fill(1_000, 150, symbol="USDJPY")
    desk.fill(-1_000, 151, symbol="USDJPY")
    desk.quote(151.0, 151.0, symbol="USDJPY")
    assert desk.tick()["total_pnl"] == float(Fraction(1000, 151))
    assert desk.part(2, "USDJPY")["instrument"]["assumed"]
    assert desk.part(2, "USDJPY")["instrument"]["currency"] == "JPY"


def test_another_reporting_currency_keeps_what_was_booked_before() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.fill(-1, 90)
    desk.fill(1, 100)
    desk.tick()
    saved = desk.strategy.save()
    later = Desk(reporting_currency="EUR")
    later.strategy.load(saved)
    section = later.tick(NOON + S)
    assert (section["total_pnl"], section["unconverted"]) == (None, {"USD": -10.0})
    rate(later, "EUR/USD", "1.25", NOON + S)
    section = later.tick(NOON + S)
    assert (section["total_pnl"], section["gross_exposure"]) == (-8.0, 80.0)
    assert section["max_drawdown"] == 8.0


def test_a_restart_keeps_instruments_rates_and_amounts() -> None:
    desk = Desk(reporting_currency="USDT")
    inverse(desk, "XBTUSD", "1", "XBT")
    desk.quote(60_000.0, 60_000.0, symbol="BTCUSDT")
    desk.fill(60_000, 50_000, symbol="XBTUSD", commission=D("0.001"), commission_asset="BTC")
    desk.fill(-30_000, 66_000, symbol="XBTUSD", commission=D("0.05"), commission_asset="BNB")
    rate(desk, "BNB/USDT", "600")
    before = desk.tick()
    saved = desk.strategy.save()
    asyncio.run(desk.strategy.stop())
    desk.strategy = desk.make_section(desk.strategy.trades)
    desk.strategy.load(saved)
    assert desk.tick() == before
    assert desk.strategy.instruments.find("XBTUSD").contract == "inverse"


def test_statistics_of_trades_are_sums_at_the_newest_rates() -> None:
    trades = TradeLog()
    desk = Desk(trades=trades)
    inverse(desk, "XBTUSD", "1", "XBT")
    desk.fill(1, 100, commission=D(2))
    desk.fill(-1, 110, commission=D("0.01"), commission_asset="BNB")
    desk.fill(60_000, 60_000, symbol="XBTUSD")
    desk.fill(-60_000, 50_000, symbol="XBTUSD")
    stats = trades.stats(TradeFilter()).to_json(desk.strategy.rates)
    assert (stats["notional"], stats["realized_pnl"], stats["n_losses"]) == (None, None, 1)
    assert stats["unconverted_reason"] == "no rate into USD is known for BNB, BTC"
    assert stats["currencies"]["BTC"] == {"notional": 2.2, "commission": 0.0, "realized_pnl": -0.2}
    rate(desk, "BTC/USD", "50000")
    rate(desk, "BNB/USD", "600")
    stats = trades.stats(TradeFilter()).to_json(desk.strategy.rates)
    assert (stats["notional"], stats["commission"]) == (110_210.0, 8.0)
    assert stats["realized_pnl"] == desk.tick()["realized_pnl"] == -9_998.0
    assert (stats["worst"], stats["n_unvalued"]) == (-10_000.0, 1)


def test_bitcoin_is_one_currency_under_both_of_its_codes() -> None:
    desk = Desk()
    inverse(desk, "XBTUSD", "1", "XBT")
    rate(desk, "XBT/USD", "50000")
    desk.fill(60_000, 60_000, symbol="XBTUSD", commission=D("0.25"), commission_asset="BTC")
    desk.book(Cash(D(2), "deposit", "XBT", "1", ts=NOON, ts_init=NOON))
    desk.book(Cash(D(1), "interest", "BTC", "2", ts=NOON, ts_init=NOON))
    section = desk.tick()
    assert section["currencies"].keys() == {"USD", "BTC"}
    assert section["currencies"]["BTC"]["equity"] == 2.75
    assert (section["realized_pnl"], desk.positions()[0]["currency"]) == (37_500.0, "BTC")


def test_what_an_earlier_version_kept_under_two_codes_becomes_one() -> None:
    desk = Desk()
    inverse(desk, "XBTUSD", "1", "BTC")
    desk.fill(60_000, 60_000, symbol="XBTUSD", commission=D("0.25"), commission_asset="BTC")
    desk.tick()
    state = unpack(desk.strategy.save(), StrategyState)
    (account,) = state.accounts
    account.amounts = [each for each in account.amounts if each.currency != "BTC"] + [
        AmountsState("XBT", fees=D("0.125")),
        AmountsState("BTC", fees=D("0.125")),
    ]
    account.positions[0].currency = "XBT"
    state.instruments = [msgspec.structs.replace(each, settlement="XBT") for each in state.instruments]
    later = Desk()
    later.strategy.load(pack(state))
    inverse(later, "XBTUSD", "1", "XBT")
    section = later.tick()
    assert section["currencies"].keys() == {"USD", "BTC"}
    assert section["currencies"]["BTC"]["fees"] == 0.25
    assert later.positions()[0]["currency"] == "BTC"
    assert later.bus.remark is None


@pytest.mark.parametrize(
    "event",
    [
        Cash(D(1), "interest", "ZZZ", "1"),
        Funding("AAPL", D(1), "1", "ZZZ"),
        Dividend("AAPL", D(1), currency="ZZZ"),
        Instrument("NEW", "equity", "ZZZ"),
    ],
)
def test_no_event_opens_a_currency_beyond_the_bound(event: Any) -> None:
    desk = Desk()
    for number in range(MAX_CURRENCIES):
        desk.strategy.rates.conversion(f"C{number}")
    desk.book(event)
    assert "amounts in 256 currencies are kept" in desk.refusal()
    assert "ZZZ" not in desk.strategy.rates.conversions


def test_senders_cannot_open_currencies_without_bound() -> None:
    desk = Desk()
    for number in range(300):
        desk.fill(1, 100, commission=Decimal(1), commission_asset=f"C{number}")
    assert len(desk.tick()["currencies"]) == 257
    assert desk.bus.remark is not None
    assert desk.bus.remark.field == "commission_asset"
