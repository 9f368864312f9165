"""Money by currency: exact per currency, and no sum over currencies without every rate."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.ledger import Ledger
from observability.metrics.arithmetic.rates import Rates

D = Decimal
money = st.decimals(min_value=D(-1000), max_value=D(1000), places=6)


def test_a_sum_that_needs_a_missing_rate_is_unknown_and_the_others_stay() -> None:
    ledger = Ledger(Rates("USD"))
    ledger.own.book(D(5), D(0))
    ledger.own.unrealized = D(7)
    ledger.of("BNB").book(D(0), D("0.05"))
    assert (ledger.total, ledger.realized, ledger.fees) == (None, None, None)
    assert (ledger.realized_gross, ledger.unrealized) == (5, 7)
    assert ledger.unconverted() == {"BNB": D("-0.05")}


def test_an_amount_counts_at_the_newest_rate() -> None:
    rates = Rates("USD")
    ledger = Ledger(rates)
    ledger.of("EUR").book(D(101), D(1))
    rates.put(("EUR", "USD"), D("1.1"), 1)
    assert ledger.total == 110
    rates.put(("EUR", "USD"), D("1.2"), 2)
    assert (ledger.total, ledger.unconverted()) == (120, {})


@given(st.lists(st.tuples(st.sampled_from(["USD", "EUR", "JPY"]), money, money, money), max_size=12))
def test_the_sum_of_ledgers_has_the_sums_of_their_currencies(entries: list[tuple[str, D, D, D]]) -> None:
    rates = Rates("USD")
    rates.put(("EUR", "USD"), D("1.25"), 1)
    rates.put(("JPY", "USD"), D("0.0064"), 1)
    ledgers, total = [Ledger(rates), Ledger(rates)], Ledger(rates)
    expected = D(0)
    for number, (currency, gross, fee, unrealized) in enumerate(entries):
        amounts = ledgers[number % 2].of(currency)
        amounts.book(gross, fee)
        amounts.unrealized += unrealized
        expected += (gross - fee + unrealized) * {"USD": D(1), "EUR": D("1.25"), "JPY": D("0.0064")}[currency]
    total.set_sum(ledgers)
    total.set_sum(ledgers)
    assert total.total == expected == sum(ledger.total or 0 for ledger in ledgers)


def test_a_state_gives_back_every_currency() -> None:
    ledger, restored = Ledger(Rates("USD")), Ledger(Rates("EUR"))
    ledger.own.book(D(0), D(1))
    ledger.of("EUR").earn(D(2))
    ledger.of("EUR").flows = D(3)
    restored.load_state(ledger.to_state())
    assert (restored.own.currency, restored.own.income, restored.own.flows) == ("EUR", 2, 3)
    assert restored.of("USD").fees == 1
