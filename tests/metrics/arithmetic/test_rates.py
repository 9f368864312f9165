"""Rates between currencies: direct, inverse, one cross, exact, and unknown rather than wrong."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.rates import Rates

D = Decimal
rate_values = st.decimals(min_value=D("0.0001"), max_value=D(100_000), places=8)
amount_values = st.decimals(min_value=D(-(10**9)), max_value=D(10**9), places=8)


def converted(rates: Rates, currency: str, amount: Decimal) -> Decimal | None:
    return rates.conversion(currency).convert(amount)


@given(rate_values, amount_values)
def test_a_direct_rate_multiplies_and_an_inverse_one_divides(rate: Decimal, amount: Decimal) -> None:
    rates = Rates("USD")
    rates.put(("EUR", "USD"), rate, 1)
    rates.put(("USD", "JPY"), rate, 1)
    euros, yen = converted(rates, "EUR", amount), converted(rates, "JPY", amount)
    assert euros is not None
    assert yen is not None
    assert Fraction(euros) == Fraction(amount) * Fraction(rate)
    assert abs(Fraction(yen) - Fraction(amount) / Fraction(rate)) <= Fraction(1, 2 * 10**60)


@given(rate_values, rate_values, amount_values)
def test_a_triangle_of_rates_that_closes_closes_exactly(one: Decimal, other: Decimal, amount: Decimal) -> None:
    crossed, direct = Rates("JPY"), Rates("JPY")
    crossed.put(("EUR", "USD"), one, 1)
    crossed.put(("USD", "JPY"), other, 1)
    direct.put(("EUR", "JPY"), one * other, 1)
    assert converted(crossed, "EUR", amount) == converted(direct, "EUR", amount)


def test_without_a_rate_an_amount_is_unknown_but_nothing_is_nothing() -> None:
    rates = Rates("USD")
    assert converted(rates, "JPY", D(5)) is None
    assert converted(rates, "JPY", D(0)) == 0
    assert rates.missing(["JPY", "USD"]) == ["JPY"]


def test_two_crosses_are_no_rate() -> None:
    rates = Rates("USD")
    for pair in (("AAA", "BBB"), ("BBB", "CCC"), ("CCC", "USD")):
        rates.put(pair, D(2), 1)
    assert converted(rates, "AAA", D(1)) is None
    assert converted(rates, "BBB", D(1)) == 4


def test_a_new_rate_changes_the_conversions_that_it_is_in() -> None:
    rates = Rates("USD")
    euro, yen = rates.conversion("EUR"), rates.conversion("JPY")
    assert rates.put(("EUR", "USD"), D("1.1"), 1) == [euro]
    assert rates.put(("EUR", "USD"), D("1.1"), 2) == []
    assert rates.put(("EUR", "JPY"), D(160), 3) == [yen]
    assert rates.put(("EUR", "USD"), D("1.2"), 4) == [euro, yen]


def test_a_stablecoin_is_a_dollar_until_its_rate_is_known() -> None:
    rates = Rates("USD")
    rates.put(("BNB", "USDT"), D(600), 1)
    assert converted(rates, "USDT", D(7)) == 7
    assert converted(rates, "BNB", D(2)) == 1200
    assert [(each["pair"], each["source"]) for each in rates.to_json(lambda _: False)] == [
        ("BNB/USDT", "event"), ("USDT/USD", "assumed")
    ]  # fmt: skip
    rates.put(("USDT", "USD"), D("0.98"), 2)
    assert converted(rates, "USDT", D(100)) == 98
    assert converted(rates, "BNB", D(1)) == 588


def test_a_stablecoin_is_no_euro_and_no_other_stablecoin() -> None:
    assert converted(Rates("EUR"), "USDT", D(1)) is None
    assert converted(Rates("USDT"), "USDC", D(1)) is None


def test_two_codes_of_one_money_need_no_rate() -> None:
    assert converted(Rates("XBT"), "BTC", D(3)) == 3


def test_a_fee_is_valued_between_any_two_currencies() -> None:
    rates = Rates("EUR")
    rates.put(("BNB", "USDT"), D(600), 1)
    rates.put(("BTC", "USDT"), D(60_000), 1)
    assert rates.value(D("0.05"), "BNB", "USDT") == 30
    assert rates.value(D(1), "BNB", "BTC") == D("0.01")
    assert rates.value(D(1), "BNB", "EUR") is None
