"""When a rule raises and resolves, against a model that looks at all earlier values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_S as S
from observability.metrics.alerts.metric_paths import MetricPath
from observability.metrics.alerts.rule import Rule, Template, Trigger, template_faults

PATH = MetricPath("strategy", "", "drawdown_pct")


def make_rule(**changes: Any) -> Rule:
    fields: dict[str, Any] = {"name": "rule", "metric": PATH, "comparison": "above", "threshold": 5}
    return Rule(**(fields | changes))


def transitions(rule: Rule, values: list[tuple[int, float | None]]) -> list[bool]:
    """Returns whether the rule is raised after each (time in seconds, value)."""
    trigger = Trigger()
    raised = []
    for seconds, value in values:
        trigger.observe(rule.raises(value), rule.clears(value), rule, seconds * S)
        raised.append(trigger.is_raised)
    return raised


def naive(
    values: list[tuple[int, float | None]], threshold: float, clear: float, for_s: int, clear_for_s: int
) -> list[bool]:
    """Looks back from each moment to the last transition: were all values on the other side, and for long enough?"""
    raised: list[bool] = []
    since = 0
    for now in range(len(values)):
        is_raised = bool(raised) and raised[-1]
        start = now + 1
        while start > since:
            value = values[start - 1][1]
            if value is None or not (value <= clear if is_raised else value > threshold):
                break
            start -= 1
        wanted = clear_for_s if is_raised else for_s
        if start <= now and values[now][0] - values[start][0] >= wanted:
            is_raised = not is_raised
            since = now + 1
        raised.append(is_raised)
    return raised


@given(
    st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(0, 10)), max_size=60),
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_hysteresis_and_durations_agree_with_the_model(
    steps: list[tuple[int, int | None]], threshold: int, gap: int, for_s: int, clear_for_s: int
) -> None:
    clear = threshold - gap
    seconds, values = 0, []
    for pause, value in steps:
        seconds += pause
        values.append((seconds, value))
    rule = make_rule(threshold=threshold, clear=clear, for_ns=for_s * S, clear_for_ns=clear_for_s * S)
    assert transitions(rule, values) == naive(values, threshold, clear, for_s, clear_for_s)  # type: ignore[arg-type]


def test_a_value_that_flutters_around_the_threshold_is_one_alert() -> None:
    values: list[tuple[int, float | None]] = [(n, 6 if n % 2 else 4.5) for n in range(1, 20)]
    assert set(transitions(make_rule(clear=4), values)) == {True}


def test_without_clear_the_threshold_raises_and_resolves() -> None:
    assert transitions(make_rule(), [(0, 6), (1, 5), (2, 5.1)]) == [True, False, True]


def test_null_interrupts_a_duration_and_changes_nothing_else() -> None:
    rule = make_rule(for_ns=2 * S, clear_for_ns=2 * S)
    values = [(0, 6), (1, 6), (2, None), (3, 6), (5, 6), (6, None), (7, 1), (8, None), (9, 1), (11, 1)]
    assert transitions(rule, values) == [False, False, False, False, True, True, True, True, True, False]  # type: ignore[arg-type]


def test_time_before_raising_does_not_count_for_resolving() -> None:
    rule = make_rule(for_ns=5 * S, clear_for_ns=3 * S)
    assert transitions(rule, [(0, 6), (5, 6), (6, 1), (8, 1), (9, 1)]) == [False, True, True, True, False]


def test_null_raises_if_the_rule_says_so() -> None:
    rule = make_rule(absent="raise", for_ns=S)
    assert transitions(rule, [(0, None), (1, None), (2, None), (3, 1)]) == [False, True, True, False]


def test_a_duration_starts_again_when_the_clock_goes_back() -> None:
    rule = make_rule(for_ns=5 * S)
    assert transitions(rule, [(100, 6), (10, 6), (14, 6), (15, 6)]) == [False, False, False, True]


@pytest.mark.parametrize(
    ("comparison", "raising", "quiet"),
    [("above", 5.1, 5), ("at_least", 5, 4.9), ("below", 4.9, 5), ("at_most", 5, 5.1), ("equals", 5.0, 4)],
)
def test_each_comparison_raises_on_its_side_of_the_threshold(comparison: Any, raising: float, quiet: float) -> None:
    rule = make_rule(comparison=comparison)
    assert (rule.raises(raising), rule.clears(raising)) == (True, False)
    assert (rule.raises(quiet), rule.clears(quiet)) == (False, True)


def test_only_equals_compares_texts() -> None:
    assert make_rule(comparison="equals", threshold="unhealthy").takes("unhealthy")
    assert not make_rule().takes("unhealthy")
    assert not make_rule(comparison="equals").takes(None)


# -- templates


def test_a_template_is_filled_in_and_none_reads_undefined() -> None:
    fields = {"value": None, "threshold": 5.0, "member": "AAPL", "clear": "x"}
    filled = Template().fill("{member}: {value:.2f}, {threshold:g}, {clear:.1f} {{}}", fields)
    assert filled == "AAPL: undefined, 5, x {}"


@pytest.mark.parametrize(
    "template",
    ["{valeu}", "{", "{value!r}", "{value:{threshold}}", "{value:Q}", "{}", "{0}", "{value.real}", "{value[0]}"],
)
def test_an_invalid_template_has_a_fault(template: str) -> None:
    assert template_faults(template)


@pytest.mark.parametrize("template", ["", "plain", "{value:.1%} of {member:>8} {{literally}}"])
def test_a_valid_template_has_no_fault(template: str) -> None:
    assert template_faults(template) is None
