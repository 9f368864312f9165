"""Decimal arithmetic that is exact or raises, and its conversion from and to floats."""

from __future__ import annotations

import math
from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.decimals import (
    EXACT,
    exact_decimal,
    exact_sum,
    finite_or_none,
    price_or_none,
    quotient_or_none,
    to_float,
)

D = Decimal
finite = st.floats(allow_nan=False, allow_infinity=False)


def test_a_sum_keeps_every_digit() -> None:
    values = [D("1e17"), D("1e-18"), D("-1e17"), D("2e-18")]
    assert exact_sum(values) == D("3e-18")


def test_an_inexact_result_raises() -> None:
    with pytest.raises(Inexact):
        EXACT.divide(D(1), D(3))


@given(finite)
def test_an_exact_decimal_reads_back_as_its_double(value: float) -> None:
    assert to_float(exact_decimal(value)) == value


def test_zero_is_never_negative() -> None:
    assert math.copysign(1, to_float(D("-0"))) == 1.0


@pytest.mark.parametrize(("value", "price"), [(0.1, D("0.1")), (-37.63, D("-37.63")), (1.5e-18, D("2e-18"))])
def test_a_price_is_the_decimal_that_was_sent_with_up_to_18_decimals(value: float, price: Decimal) -> None:
    assert price_or_none(value) == price


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1e18, -1e300])
def test_a_number_that_no_market_has_is_no_price(value: float | None) -> None:
    assert price_or_none(value) is None


def test_a_division_by_zero_is_undefined() -> None:
    assert (quotient_or_none(D(1), D(0)), quotient_or_none(D(1), D(4))) == (None, 0.25)


@pytest.mark.parametrize(("value", "shown"), [(1.5, 1.5), (math.nan, None), (math.inf, None), (None, None)])
def test_only_finite_numbers_are_shown(value: float | None, shown: float | None) -> None:
    assert finite_or_none(value) == shown
