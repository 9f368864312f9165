"""The touch: mid and spread are those of the decimals that were sent, not of their doubles."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Quote
from observability.metrics.market.touch import Touch, mark_of, sides_of

# Prices with no decimals up to more decimals than any venue has.
prices = st.builds(lambda units, decimals: units / 10**decimals, st.integers(1, 10**15), st.integers(0, 15))
finite = st.floats(allow_nan=False, allow_infinity=False)


def touch_of(bid: float | None, ask: float | None) -> Touch:
    touch = Touch()
    touch.update(bid, ask)
    return touch


@given(st.lists(st.tuples(prices, prices), min_size=1, max_size=5))
def test_figures_are_the_doubles_nearest_to_the_exact_ones(quotes: list[tuple[float, float]]) -> None:
    touch = Touch()
    for bid, ask in quotes:
        touch.update(bid, ask)
        low, high = Fraction(repr(bid)), Fraction(repr(ask))
        mid = (low + high) / 2
        assert (touch.mid, touch.spread) == (float(mid), float(high - low))
        assert touch.spread_bps == float((high - low) * 10_000 / mid)


def test_figures_show_no_noise_of_doubles() -> None:
    touch = touch_of(149.79, 149.8)
    assert (touch.mid, touch.spread) == (149.795, 0.01)
    assert touch_of(24.78, 24.82).spread_bps == 16.129032258064516


@given(finite, finite)
def test_any_pair_of_finite_sides_has_a_mid(bid: float, ask: float) -> None:
    touch = touch_of(bid, ask)
    assert touch.mid is not None
    assert (touch.spread_bps is None) == (Fraction(bid) + Fraction(ask) <= 0)


@pytest.mark.parametrize("sides", [(None, 1.0), (1.0, None), (None, None)])
def test_a_missing_side_leaves_all_figures_undefined(sides: tuple[float | None, float | None]) -> None:
    touch = touch_of(1.0, 2.0)
    touch.update(*sides)
    assert (touch.mid, touch.spread, touch.spread_bps) == (None, None, None)


def test_a_move_of_one_side_changes_the_figures() -> None:
    touch = touch_of(1.0, 2.0)
    touch.update(1.0, 3.0)
    assert (touch.mid, touch.spread) == (2.0, 2.0)
    touch.update(2.0, 3.0)
    assert (touch.mid, touch.spread) == (2.5, 1.0)


@pytest.mark.parametrize(
    ("quote", "sides"),
    [
        ((100.0, 101.0, 5.0, 6.0), (100.0, 101.0, 5.0, 6.0)),
        ((100.0, 101.0, None, None), (100.0, 101.0, None, None)),
        # No orders: null, a price of 0 whatever its size, a size of 0 whatever the price.
        ((100.0, None, 5.0, None), (100.0, None, 5.0, None)),
        ((100.0, 0.0, 5.0, 0.0), (100.0, None, 5.0, None)),
        ((100.0, 0.0, 5.0, 6.0), (100.0, None, 5.0, None)),
        ((0.0, 100.0, None, None), (None, 100.0, None, None)),
        ((100.0, 101.0, 0.0, 6.0), (None, 101.0, None, 6.0)),
        ((0.0, 0.0, 0.0, 0.0), (None, None, None, None)),
        ((-1.0, -1.0, 0.0, 0.0), (None, None, None, None)),
        ((-1.0, -1.0, None, None), (None, None, None, None)),
        ((100.0, -1.0, 5.0, 0.0), (100.0, None, 5.0, None)),
        # Negative prices are real, and so are locked and crossed ones.
        ((-1.0, -1.0, 5.0, 6.0), (-1.0, -1.0, 5.0, 6.0)),
        ((-1.0, 1.0, None, None), (-1.0, 1.0, None, None)),
        ((-37.63, -37.6, None, None), (-37.63, -37.6, None, None)),
        ((101.0, 100.0, 5.0, 6.0), (101.0, 100.0, 5.0, 6.0)),
    ],
)
def test_a_side_without_price_or_size_is_no_side(
    quote: tuple[float | None, ...], sides: tuple[float | None, ...]
) -> None:
    assert sides_of(Quote("X", *quote)) == sides


@pytest.mark.parametrize(
    ("inputs", "mark"),
    [
        ((99.0, 101.0, 90.0, True), ("100", "mid")),
        ((99.0, 101.0, 90.0, False), ("90", "last")),
        ((99.0, 101.0, None, False), ("100", "mid")),
        ((99.0, None, 90.0, True), ("90", "last")),
        ((None, None, None, True), None),
        ((99.0, None, None, True), None),
    ],
)
def test_the_mark_is_a_current_mid_else_the_last_price(
    inputs: tuple[float | None, float | None, float | None, bool], mark: tuple[str, str] | None
) -> None:
    assert mark_of(inputs) == (None if mark is None else (Decimal(mark[0]), mark[1]))
