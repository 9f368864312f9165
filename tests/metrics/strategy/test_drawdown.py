"""Drawdown: the distance to the peak in currency and in percent of the peak equity, and its times."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.strategy.capital import NO_CAPITAL
from observability.metrics.strategy.drawdown import NO_PEAK_EQUITY, Drawdown

D = Decimal
S = 1_000_000_000


def observed(*totals: int, capital: Decimal | None = None) -> Drawdown:
    """Returns the drawdown after one total a second, the first at second 1."""
    drawdown = Drawdown()
    for second, total in enumerate(totals, 1):
        drawdown.set_capital(capital)
        drawdown.observe(D(total), second * S)
    return drawdown


def at(second: int) -> str:
    return f"1970-01-01T00:00:{second:02d}.000Z"


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.sampled_from([1, 10, 100]))
def test_figures_equal_those_found_by_looking_back_over_all_totals(totals: list[int], capital: int) -> None:
    drawdown = observed(*totals, capital=D(capital))
    peaks = [max([0, *totals[: number + 1]]) for number in range(len(totals))]
    falls = [peak - total for peak, total in zip(peaks, totals, strict=True)]
    relative = [Fraction(fall, capital + peak) for fall, peak in zip(falls, peaks, strict=True)]
    assert (drawdown.current, drawdown.maximum) == (falls[-1], max(falls))
    assert float(drawdown.current_pct() or 0) == float(relative[-1] * 100)
    assert float(drawdown.maximum_pct() or 0) == float(max(relative) * 100)
    if max(falls):
        first_deepest = falls.index(max(falls))
        assert drawdown.deepest.trough_ns == (first_deepest + 1) * S
        recovered = [n for n in range(first_deepest, len(totals)) if totals[n] >= peaks[first_deepest]]
        assert drawdown.deepest.recovered_ns == ((recovered[0] + 1) * S if recovered else None)


def test_a_fall_has_the_times_of_its_peak_trough_and_recovery() -> None:
    deepest = observed(3, 10, 10, 4, 6, 10, 9).to_json()["maximum"]
    assert (deepest["value"], deepest["peak_pnl"]) == (6.0, 10.0)
    assert (deepest["peak_time"], deepest["trough_time"], deepest["recovered_time"]) == (at(2), at(4), at(6))


def test_the_current_fall_begins_when_its_peak_was_last_reached() -> None:
    current = observed(10, 4, 10, 8, 9).to_json()["current"]
    assert (current["value"], current["peak_time"], current["trough_time"]) == (1.0, at(3), at(4))


def test_at_the_peak_the_current_fall_is_zero() -> None:
    current = observed(10, 4, 12).to_json()["current"]
    assert (current["value"], current["peak_time"], current["trough_time"]) == (0.0, at(3), None)


def test_a_loss_from_the_start_falls_from_the_first_moment() -> None:
    deepest = observed(-5, -7).to_json()["maximum"]
    assert (deepest["value"], deepest["peak_time"], deepest["trough_time"]) == (7.0, at(1), at(2))


def test_the_deepest_fall_in_percent_may_be_another_one() -> None:
    document = observed(10, 0, 1000, 900, capital=D(10)).to_json()
    assert (document["maximum"]["value"], document["maximum"]["trough_time"]) == (100.0, at(4))
    percent = document["maximum_percent"]
    assert (percent["percent"], percent["trough_time"], percent["recovered_time"]) == (50.0, at(2), at(3))


def test_without_a_capital_a_fall_has_no_percentage_but_a_reason() -> None:
    deepest = observed(10, 0).to_json()["maximum"]
    assert (deepest["value"], deepest["percent"], deepest["reason"]) == (10.0, None, NO_CAPITAL)


def test_a_peak_equity_of_zero_has_no_percentage() -> None:
    deepest = observed(-5, capital=D(0)).to_json()["maximum"]
    assert (deepest["percent"], deepest["reason"]) == (None, NO_PEAK_EQUITY)


def test_a_capital_known_only_later_counts_for_earlier_falls() -> None:
    drawdown = observed(10, 4, 10, 8)
    drawdown.set_capital(D(90))
    drawdown.observe(D(8), 5 * S)
    assert (drawdown.current_pct(), drawdown.maximum_pct()) == (2, 6)
