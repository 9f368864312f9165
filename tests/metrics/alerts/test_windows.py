"""What rules make of values over time, against models that look at every earlier value."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE
from observability.clocks.timestamps import NS_PER_S as S
from observability.metrics.alerts.windows import (
    MIN_DAYS,
    MIN_SAMPLES,
    SHORT_PART,
    WINDOW_SLOTS,
    Absence,
    BurnOver,
    Change,
    Deviation,
    Increase,
)

# A multiple of a day, so that slots begin at whole multiples of their length.
START_NS = 20_000 * NS_PER_DAY


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), min_size=1, max_size=60),
    st.integers(60, 240),
)
def test_an_increase_is_that_of_the_window_to_within_a_slot(steps: list[tuple[int, int]], window_s: int) -> None:
    increase = Increase(window_s * S)
    seconds, total = 0, 0
    history: list[tuple[int, int]] = []
    for pause, amount in steps:
        seconds += pause
        total += amount if history else 0
        history.append((seconds, total))
        seen = increase.observe(1000 + total, None, seconds * S)
        slot_s = window_s // WINDOW_SLOTS + 1
        # At least the increase since the last value before the window, at most the one since a slot before that.
        last_s = max((when for when, _ in history if when <= seconds - window_s), default=0)
        assert total - at(history, last_s) <= seen <= total - at(history, last_s - slot_s)


def at(history: list[tuple[int, int]], seconds: int) -> int:
    """Returns the total at a moment, or the first total for a moment before it."""
    return max((total for when, total in history if when <= seconds), default=history[0][1])


def test_a_counter_that_falls_was_reset_to_zero() -> None:
    increase = Increase(60 * S)
    assert [increase.observe(value, None, n * S) for n, value in enumerate((10, 12, 3, 4))] == [0, 2, 5, 6]


def test_a_constant_counter_has_no_increase_after_the_window() -> None:
    increase = Increase(60 * S)
    assert [increase.observe(7 if n else 0, None, n * S) for n in (0, 1, 60, 61)] == [0, 7, 7, 0]


def test_the_points_kept_of_a_counter_are_bounded() -> None:
    increase = Increase(3600 * S)
    for n in range(20_000):
        increase.observe(n, None, n * S)
    assert len(increase._points) <= WINDOW_SLOTS + 2


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=200), st.integers(1, 60))
def test_a_change_is_that_of_the_window_to_within_a_slot(values: Sequence[int], window_s: int) -> None:
    change = Change(window_s * S, is_percent=False)
    for now, value in enumerate(values):
        seen = change.observe(value, None, START_NS + now * S)
        if now < window_s:
            assert seen is None
            assert change.waiting
        else:
            assert seen == value - values[now - window_s]


def test_a_change_in_per_cent_keeps_its_sign_and_has_no_value_from_zero() -> None:
    change = Change(2 * S, is_percent=True)
    seen = [change.observe(value, None, START_NS + n * S) for n, value in enumerate((-50, 0, -75, 10))]
    assert seen == [None, None, -50, None]
    assert change.waiting == "the value of 2s ago is 0"


def test_a_change_begins_anew_after_a_time_without_a_value() -> None:
    change = Change(2 * S, is_percent=False)
    seen = [change.observe(value, None, START_NS + n * S) for n, value in enumerate((1, None, 5, 6, 8))]
    assert seen == [None, None, None, None, 3]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2 * MIN_SAMPLES, max_size=100))
def test_a_deviation_is_that_from_all_samples_of_the_window(values: Sequence[float]) -> None:
    deviation = Deviation(6 * NS_PER_HOUR, None)
    for n, value in enumerate(values):
        seen = deviation.observe(value, None, START_NS + n * NS_PER_MINUTE)
        before = values[:n]
        if n < MIN_SAMPLES:
            assert seen is None
        elif stdev(before) > 1e-6:
            assert seen == pytest.approx((value - mean(before)) / stdev(before), rel=1e-6, abs=1e-6)


def test_what_is_older_than_the_window_counts_no_more() -> None:
    deviation = Deviation(NS_PER_HOUR, None)
    for minute in range(180):
        value = 1e6 if minute < 60 else minute % 2
        seen = deviation.observe(value, None, START_NS + minute * NS_PER_MINUTE)
    assert seen is not None and abs(seen) < 1.1


def test_samples_are_one_a_minute_however_often_a_value_is_seen() -> None:
    often, seldom = Deviation(6 * NS_PER_HOUR, None), Deviation(6 * NS_PER_HOUR, None)
    for second in range(3_600):
        value = (second // 60) ** 2
        seen = often.observe(value, None, START_NS + second * S)
        if second % 60 == 0:
            assert seldom.observe(value, None, START_NS + second * S) == seen


def test_the_same_time_of_earlier_days_is_the_history() -> None:
    deviation = Deviation(7 * NS_PER_DAY, NS_PER_HOUR)
    # Every noon is busy, which is usual for noon and would not be for midnight.
    for minute in range(5 * 24 * 60):
        hour = minute // 60 % 24
        seen = deviation.observe((1000 if hour == 12 else 0) + minute % 2, None, START_NS + minute * NS_PER_MINUTE)
        if minute >= (MIN_DAYS * 24 + 13) * 60 and minute % 60:
            assert seen is not None and abs(seen) < 1.1
    now_ns = START_NS + 5 * NS_PER_DAY
    deviation.observe(0, None, now_ns)
    assert (deviation.observe(1000, None, now_ns + S) or 0) > 1000


def test_too_few_days_are_too_little_history_of_a_time_of_day() -> None:
    deviation = Deviation(7 * NS_PER_DAY, NS_PER_HOUR)
    for minute in range(MIN_DAYS * 24 * 60):
        assert deviation.observe(minute % 2, None, START_NS + minute * NS_PER_MINUTE) is None
    assert deviation.waiting == f"this time of {MIN_DAYS - 1} earlier days is known, of {MIN_DAYS} needed"


def test_a_constant_history_has_no_deviation() -> None:
    deviation = Deviation(NS_PER_HOUR, None)
    assert {deviation.observe(0.1, None, START_NS + n * NS_PER_MINUTE) for n in range(100)} == {None}
    assert "constant" in deviation.waiting


def test_a_clock_that_goes_back_ends_nothing() -> None:
    deviation = Deviation(NS_PER_HOUR, None)
    for n in range(100):
        deviation.observe(n % 2, None, START_NS + n * NS_PER_MINUTE)
    for n in range(100):
        seen = deviation.observe(n % 2, None, n * NS_PER_MINUTE)
    assert seen is not None


@given(st.lists(st.booleans(), min_size=1, max_size=400), st.sampled_from([60, 120]), st.integers(50, 99))
def test_a_burn_rate_is_that_of_both_windows(bad: Sequence[bool], window_s: int, percent: int) -> None:
    burn = BurnOver(window_s * S, objective_percent=percent, comparison="above", threshold=5).open("")
    short_s, slot_s = window_s // SHORT_PART, window_s // WINDOW_SLOTS
    for now, is_bad in enumerate(bad):
        seen = burn.observe(9 if is_bad else 1, None, START_NS + now * S)
        if now < short_s:
            assert seen is None
            continue
        assert seen is not None
        # A window begins up to a slot later than asked for.
        shorts = [share(bad, now, short_s - late) for late in range(slot_s + 1)]
        longs = [share(bad, now, window_s - late) for late in range(slot_s + 1)]
        unseen = min(1.0, now / window_s)
        low, high = (min(pick(shorts), pick(longs) * unseen) * 100 / (100 - percent) for pick in (min, max))
        assert low - 1e-9 <= seen <= high + 1e-9


def share(bad: Sequence[bool], now: int, seconds: int) -> float:
    """Returns the part of the last seconds that was bad."""
    found = bad[max(0, now - seconds + 1) : now + 1]
    return sum(found) / len(found)


def test_an_outage_at_the_start_is_found_when_it_has_spent_the_budget() -> None:
    burn = BurnOver(NS_PER_HOUR, objective_percent=99, comparison="above", threshold=50).open("")
    seen = [burn.observe(60, None, START_NS + n * S) or 0 for n in range(1_200)]
    # As long as it takes after years of health: 14.4 % of the hour.
    assert next(n for n, rate in enumerate(seen) if rate > 14.4) == pytest.approx(0.144 * 3_600, abs=2)


def test_slots_and_points_are_bounded() -> None:
    burn = BurnOver(NS_PER_MINUTE, objective_percent=99, comparison="above", threshold=50).open("")
    change = Change(NS_PER_MINUTE, is_percent=False)
    for n in range(10_000):
        burn.observe(60, None, START_NS + n * S // 5)
        change.observe(60, None, START_NS + n * S // 5)
    assert len(burn._slots) <= WINDOW_SLOTS + 1
    assert len(change._points) <= WINDOW_SLOTS + 2


def test_an_alert_of_an_earlier_process_is_not_over_before_there_is_news() -> None:
    absent, unchanged = Absence(is_change_wanted=False), Absence(is_change_wanted=True)
    for each in (absent, unchanged):
        assert each.observe(None, None, START_NS) == 0
        assert not each.is_whole
    absent.observe(1, None, START_NS)
    unchanged.observe(1, None, START_NS)
    assert (absent.is_whole, unchanged.is_whole) == (True, False)
    unchanged.observe(2, None, START_NS)
    assert unchanged.is_whole


def test_an_event_counts_from_its_own_time() -> None:
    absence = Absence(is_change_wanted=False)
    assert absence.observe(1, START_NS - 90 * S, START_NS) == 90
