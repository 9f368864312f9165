"""The exact turnover: sums and averages of doubles are those of the decimals that were sent."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observability.errors import EventError
from observability.events import Side
from observability.metrics.arithmetic.turnover import ExactTurnover, TurnoverState
from observability.store.checkpoint import pack, unpack

decimals_of = st.integers(min_value=0, max_value=12)


@st.composite
def written_numbers(draw: st.DrawFn, low: int = -(10**15) + 1) -> float:
    """Doubles written with up to 15 digits, of which up to 12 are decimals."""
    digits = draw(st.integers(min_value=low, max_value=10**15 - 1))
    return float(Decimal(digits).scaleb(-draw(decimals_of)))


def exact(value: float) -> Decimal:
    return Decimal(repr(value))


def notional(total: ExactTurnover) -> float:
    sums = total.sums()
    return sums.notional_units / (sums.price_scale * sums.size_scale)


def turnover(prints: list[tuple[float, float]]) -> ExactTurnover:
    total = ExactTurnover()
    for price, size in prints:
        total.add(price, size)
    return total


@given(st.lists(st.tuples(written_numbers(), written_numbers(low=0)), min_size=1, max_size=30))
@example([(0.1, 0.1)] * 10)
@example([(4503599627370497.5, 1.0), (0.25, 3.0)])
def test_sums_and_vwap_are_those_of_the_decimals(prints: list[tuple[float, float]]) -> None:
    total = turnover(prints)
    volume = Fraction(0)
    value = Fraction(0)
    for price, size in prints:
        volume += Fraction(exact(size))
        value += Fraction(exact(price)) * Fraction(exact(size))

    assert total.volume == float(volume)
    assert notional(total) == float(value)
    assert total.vwap == (float(value / volume) if volume else None)


# Any double of a size that is taken: from 1e-18 to 1e18, and zero.
magnitudes = st.one_of(st.just(0.0), st.floats(min_value=1e-18, max_value=9.9e17))
prices = st.one_of(magnitudes, magnitudes.map(lambda value: -value))


@given(st.lists(st.tuples(prices, magnitudes, st.sampled_from(["buy", "sell", None])), min_size=1, max_size=12))
@example([(0.1 + 0.2, 1.0, None), (61000.12, 1e-8, "buy"), (1.2345e-12, 1e9, "sell")])
@example([(100.0, 1.5e-13, "buy"), (100.0, 0.5, "buy")])
def test_sums_of_any_doubles_are_exact(prints: list[tuple[float, float, Side | None]]) -> None:
    total = ExactTurnover()
    for price, size, side in prints:
        total.add(price, size, side)
    sizes = [(Fraction(exact(size)), side) for _, size, side in prints]
    volume = sum(size for size, _ in sizes)
    value = sum(Fraction(exact(price)) * Fraction(exact(size)) for price, size, _ in prints)
    assert (total.volume, notional(total)) == (float(volume), float(value))
    assert total.vwap == (float(value / volume) if volume else None)
    by_side = [float(sum(size for size, side in sizes if side == wanted)) for wanted in ("buy", "sell", None)]
    assert [total.buy_volume, total.sell_volume, total.unknown_volume] == by_side


@given(magnitudes, st.floats(min_value=1e-18, max_value=9.9e17))
def test_the_vwap_of_one_print_is_its_price(price: float, size: float) -> None:
    assert turnover([(price, size)]).vwap == price


def test_a_print_of_many_decimals_leaves_the_scales_of_the_others() -> None:
    total = turnover([(150.25, 2.0), (0.1 + 0.2, 1.0)])
    total.clear()
    total.add(150.25, 2.0)
    sums = total.sums()
    assert (sums.price_scale, sums.size_scale) == (100, 1)


@given(st.permutations([(150.25, 37.0), (150.255, 0.5), (0.001, 1e15), (61000.123456, 1e-8), (7.0, 12345678901.5)]))
def test_the_order_of_prints_does_not_matter(prints: list[tuple[float, float]]) -> None:
    first = turnover(sorted(prints))
    then = turnover(prints)
    assert (first.volume, notional(first), first.vwap) == (then.volume, notional(then), then.vwap)


def test_a_million_prints_of_a_tenth_sum_to_a_hundred_thousand() -> None:
    total = ExactTurnover()
    for _ in range(1_000_000):
        total.add(1.1, 0.1)
    assert total.volume == 100_000.0
    assert total.vwap == 1.1


def test_a_double_that_several_decimals_read_back_as_is_the_shortest() -> None:
    # With 12 decimals, 123456789012.1 and its neighbours all read back as this double.
    total = turnover([(1e-12, 1.0), (123456789012.1, 1.0), (-123456789012.1, 1.0)])
    assert notional(total) == 1e-12


def test_vwap_is_undefined_without_volume() -> None:
    assert turnover([(150.25, 0.0)]).vwap is None
    assert ExactTurnover().vwap is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e18, -1e300, 9e-19, -5e-324])
def test_a_print_without_a_usable_number_adds_nothing(bad: float) -> None:
    total = turnover([(150.25, 2.0)])
    for price, size in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(EventError, match="print of"):
            total.add(price, size)
    assert (total.trades, total.volume, notional(total)) == (1, 2.0, 300.5)


@given(
    st.lists(st.tuples(written_numbers() | prices, written_numbers(low=0) | magnitudes), max_size=10),
    st.lists(st.tuples(written_numbers() | prices, written_numbers(low=0) | magnitudes), max_size=10),
)
def test_the_difference_of_two_sums_is_that_of_the_prints_between(
    before: list[tuple[float, float]], since: list[tuple[float, float]]
) -> None:
    total = turnover(before)
    earlier = total.sums()
    for price, size in since:
        total.add(price, size)
    between, alone = total.sums().minus(earlier), turnover(since)
    assert (between.trades, between.volume, between.vwap) == (len(since), alone.volume, alone.vwap)
    both = earlier.plus(between)
    assert (both.trades, both.volume, both.vwap) == (total.trades, total.volume, total.vwap)


@given(
    st.lists(
        st.tuples(written_numbers() | prices, written_numbers(low=0) | magnitudes, st.sampled_from(["buy", None])),
        max_size=20,
    )
)
def test_a_turnover_loaded_from_a_checkpoint_continues_unchanged(
    prints: list[tuple[float, float, Side | None]],
) -> None:
    kept, loaded = ExactTurnover(), ExactTurnover()
    for price, size, side in prints:
        kept.add(price, size, side)
    loaded.load_state(unpack(pack(kept.to_state()), TurnoverState))
    for total in (kept, loaded):
        total.add(0.123456789, 1e-9, "buy")
    assert loaded.to_state() == kept.to_state()


def test_a_cleared_turnover_adds_up_from_zero() -> None:
    total = turnover([(150.25, 2.0)])
    total.clear()
    total.add(0.5, 1.0)
    assert (total.volume, notional(total), total.vwap) == (1.0, 0.5, 0.5)


def test_the_figures_of_a_new_session_are_those_of_its_own_prints() -> None:
    turnover = ExactTurnover()
    turnover.add(10.0, 1.0, "buy")
    assert turnover.figures == (1.0, 1.0, 0.0, 0.0, 10.0)
    turnover.clear()
    turnover.add(20.0, 3.0, "sell")
    assert turnover.figures == (3.0, 0.0, 3.0, 0.0, 20.0)
