"""Mid and spread: of the decimals that were sent, whatever doubles make of them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.market.touch import Touch

# As many decimals as there are, from none to more than any venue has.
prices = st.builds(lambda units, decimals: units / 10**decimals, st.integers(1, 10**15), st.integers(0, 15))
finite = st.floats(allow_nan=False, allow_infinity=False)


def touch_of(bid: float | None, ask: float | None) -> Touch:
    touch = Touch()
    touch.update(bid, ask)
    return touch


@given(st.lists(st.tuples(prices, prices), min_size=1, max_size=5))
def test_figures_are_the_nearest_doubles_of_the_exact_ones(quotes: list[tuple[float, float]]) -> None:
    touch = Touch()
    for bid, ask in quotes:
        touch.update(bid, ask)
        low, high = Fraction(repr(bid)), Fraction(repr(ask))
        mid = (low + high) / 2
        assert (touch.mid, touch.spread) == (float(mid), float(high - low))
        assert touch.spread_bps == float((high - low) * 10_000 / mid)


def test_no_noise_of_doubles_is_shown() -> None:
    touch = touch_of(149.79, 149.8)
    assert (touch.mid, touch.spread) == (149.795, 0.01)
    assert touch_of(24.78, 24.82).spread_bps == 16.129032258064516


@given(finite, finite)
def test_no_pair_of_finite_sides_raises(bid: float, ask: float) -> None:
    touch = touch_of(bid, ask)
    assert touch.mid is not None
    assert (touch.spread_bps is None) == (Fraction(bid) + Fraction(ask) <= 0)


@pytest.mark.parametrize("sides", [(None, 1.0), (1.0, None), (None, None)])
def test_a_side_that_is_gone_leaves_no_figures(sides: tuple[float | None, float | None]) -> None:
    touch = touch_of(1.0, 2.0)
    touch.update(*sides)
    assert (touch.mid, touch.spread, touch.spread_bps) == (None, None, None)


def test_a_side_that_moves_moves_the_figures() -> None:
    touch = touch_of(1.0, 2.0)
    touch.update(1.0, 3.0)
    assert (touch.mid, touch.spread) == (2.0, 2.0)
    touch.update(2.0, 3.0)
    assert (touch.mid, touch.spread) == (2.5, 1.0)
