"""The file of alert rules: how it is read, and that all faults are reported at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from observability.clocks.timestamps import NS_PER_S as S
from observability.config.toml_tables import format_duration
from observability.errors import ConfigError
from observability.metrics.alerts.metric_paths import MetricPath
from observability.metrics.alerts.rule import Rule
from observability.metrics.alerts.rule_file import _KEYS, MAX_RULES, load_rules, parse_rules
from observability.metrics.alerts.windows import (
    AbsentFor,
    BurnOver,
    ChangeOver,
    DeviationOver,
    IncreaseOver,
    UnchangedFor,
    Window,
)

DEFAULTS = Path(__file__).parents[3] / "core/observability/metrics/alerts/alerts.toml"

RULE = """
[spread]
metric = "market_data.*.spread_bps"
above = 10
"""


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        parse_rules(text, "my.toml")
    return raised.value.faults


def test_a_rule_is_read_with_every_key() -> None:
    text = (
        RULE
        + """
clear = 8.5
for = "500ms"
clear_for = "2m"
increase_over = "1h"
severity = "info"
title = "{member}"
detail = "{value}"
samples = "trades"
min_samples = 3
labels = { team = "desk" }
links = { runbook = "https://wiki/{symbol}" }
"""
    )
    assert parse_rules(text, "") == (
        Rule(
            name="spread",
            metric=MetricPath("market_data", "*", "spread_bps"),
            comparison="above",
            threshold=10,
            clear=8.5,
            for_ns=S // 2,
            clear_for_ns=120 * S,
            severity="info",
            title="{member}",
            detail="{value}",
            samples="trades",
            min_samples=3,
            window=IncreaseOver(3600 * S),
            labels=(("team", "desk"),),
            links=(("runbook", "https://wiki/{symbol}"),),
        ),
    )
    assert [rule.absent for rule in parse_rules(RULE + 'absent = "raise"\n', "")] == ["raise"]


def test_all_faults_are_reported_at_once_with_table_and_key() -> None:
    found = faults(
        """
[a]
metric = "spread"
abvoe = 1
[b]
metric = "x.y"
above = nan
for = 5
severity = "fatal"
title = "{x}"
"""
    )
    assert [re.sub(", expected.*", "", fault) for fault in found] == [
        "my.toml [a] metric: 'spread'",
        "my.toml [a] abvoe: unknown",
        "my.toml [a]: no comparison",
        "my.toml [b] above: nan",
        "my.toml [b] for: 5",
        "my.toml [b] severity: 'fatal'",
        "my.toml [b] title: {x}",
    ]
    assert all(", expected " in fault for fault in found)
    assert "did you mean above?" in found[1]


@pytest.mark.parametrize(
    ("lines", "blamed"),
    [
        ('below = 1\nmetric = "x.y"\nabove = 2', "[r]"),
        ("above = 2", "[r] metric"),
        ('metric = "x.y"\nabove = 5\nclear = 6', "[r] clear"),
        ('metric = "x.y"\nbelow = 5\nclear = 4', "[r] clear"),
        ('metric = "x.y"\nequals = true\nclear = 4', "[r] clear"),
        ('metric = "x.y"\nequals = 1\nincrease_over = "1m"', "[r] increase_over"),
        ('metric = "x.y"\nabove = 1\nincrease_over = "500ms"', "[r] increase_over"),
        ('metric = "x.y"\nabove = 1\nsamples = "n"', "[r] samples"),
        ('metric = "x.y"\nabove = 1\nmin_samples = 2', "[r] min_samples"),
        ('metric = "x.y"\nabove = 1\nmin_samples = true\nsamples = "n"', "[r] min_samples"),
        ('metric = "x.y"\nabove = "1"', "[r] above"),
        ('metric = "x.y"\nabove = true', "[r] above"),
        ('metric = "x.y"\nequals = []', "[r] equals"),
        ('metric = "x.y"\nabove = 1\nfor = "8h8"', "[r] for"),
        ('metric = "x.y"\nabove = 1\nfor = "169h"', "[r] for"),
        ('metric = "x.y"\nabove = 1\nabsent = "resolve"', "[r] absent"),
        ('metric = "x.*.y.z"\nabove = 1', "[r] metric"),
        ('metric = "x.y"\nabove = 1\nchange_over = "5m"\nincrease_over = "5m"', "[r]"),
        ('metric = "x.y"\nabove = 1\nchange_in = "percent"', "[r] change_in"),
        ('metric = "x.y"\nequals = 1\nchange_over = "5m"', "[r] change_over"),
        ('metric = "x.y"\nabove = 1\nchange_over = "5m"\nabsent = "raise"', "[r] absent"),
        ('metric = "x.y"\nabove = 1\ndeviation_over = "30s"', "[r] deviation_over"),
        ('metric = "x.y"\nabove = 1\ntime_of_day = "30m"', "[r] time_of_day"),
        ('metric = "x.y"\nabove = 1\ndeviation_over = "24h"\ntime_of_day = "30m"', "[r] deviation_over"),
        ('metric = "x.y"\nabove = 1\ndeviation_over = "96h"\ntime_of_day = "35m"', "[r] time_of_day"),
        ('metric = "x.y"\nabove = 1\nobjective = 100', "[r] objective"),
        ('metric = "x.y"\nabove = 1\nobjective = 90', "[r] burn_rate"),
        ('metric = "x.y"\nobjective = 99', "[r]"),
        ('metric = "x.y"\nobjective = 99\nabove = 1\ntotal = "n"', "[r] above"),
        ('metric = "x.y"\nobjective = 99\nabove = 1\nburn_rate = 2\nclear = 3', "[r] clear"),
        ('metric = "x.y"\nabove = 1\nburn_rate = 2', "[r] burn_rate"),
        ('metric = "x.y"\nabsent_for = "5m"\nabove = 1', "[r] above"),
        ('metric = "x.y"\nunchanged_for = "5m"\nfor = "5s"', "[r] for"),
        ('metric = "x.y"\nabsent_for = "0s"', "[r] absent_for"),
        ('metric = "x.y"\nabove = 1\nlabels = {severity = "x"}', "[r] labels"),
        ('metric = "x.y"\nabove = 1\nlabels = {"a-b" = "x"}', "[r] labels"),
        ('metric = "x.y"\nabove = 1\nlabels = {a = 1}', "[r] labels"),
        ('metric = "x.y"\nabove = 1\nlabels = {team = "{value}"}', "[r] labels.team"),
        ('metric = "x.y"\nabove = 1\nlinks = {runbook = "javascript:alert(1)"}', "[r] links.runbook"),
        ('metric = "x.y"\nabove = 1\nlinks = {runbook = "https://"}', "[r] links.runbook"),
        ('metric = "x.y"\nabove = 1\nlinks = {runbook = "https://wiki/a b"}', "[r] links.runbook"),
        ('metric = "x.y"\nabove = 1\nlinks = {runbook = "https://{member}/"}', "[r] links.runbook"),
        ('metric = "x.y"\nabove = 1\nlinks = {runbook = "https://wiki/{symbol}"}', "[r] links.runbook"),
        ('metric = "market_data.*.y"\nabove = 1\nlinks = {runbook = "https://wiki/{strategy}"}', "[r] links.runbook"),
    ],
)
def test_a_contradictory_or_malformed_rule_is_refused(lines: str, blamed: str) -> None:
    (fault,) = faults(f"[r]\n{lines}\n")
    assert fault.startswith(f"my.toml {blamed}: ")


@pytest.mark.parametrize(
    ("lines", "threshold", "comparison", "window"),
    [
        ('above = 3\nchange_over = "5m"\nchange_in = "percent"', 3, "above", ChangeOver(300 * S, is_percent=True)),
        ('below = -4\ndeviation_over = "1h"', -4, "below", DeviationOver(3600 * S)),
        ('above = 4\ndeviation_over = "72h"\ntime_of_day = "30m"', 4, "above", DeviationOver(72 * 3600 * S, 1800 * S)),
        ('absent_for = "5m"', 300, "at_least", AbsentFor(300 * S)),
        ('unchanged_for = "5m"', 300, "at_least", UnchangedFor(300 * S)),
        ('increase_over = "1m"\nat_most = 0', 0, "at_most", IncreaseOver(60 * S, needs_all=True)),
        (
            "objective = 99.9\nequals = true", 14.4, "above",
            BurnOver(3600 * S, objective_percent=99.9, comparison="equals", threshold=True),
        ),
        (
            'objective = 99\ntotal = "n"\nburn_rate = 6\nburn_over = "6h"', 6, "above",
            BurnOver(6 * 3600 * S, objective_percent=99, total="n"),
        ),
    ],
)  # fmt: skip
def test_a_rule_that_looks_back_compares_what_its_window_makes(
    lines: str, threshold: float, comparison: str, window: Window
) -> None:
    (rule,) = parse_rules(f'[r]\nmetric = "x.y"\n{lines}\n', "")
    assert (rule.threshold, rule.comparison, rule.window) == (threshold, comparison, window)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[route]\nname = "desk"\nto = "https://x/SECRET"',
            "my.toml [route]: one pair of brackets, expected [[route]] for each route; a rule has another name",
        ),
        (
            '[[routes]]\nname = "desk"\nto = "https://x/SECRET"',
            "my.toml [routes]: two pairs of brackets, expected [routes] for a rule, or [[route]] for a route",
        ),
        (
            '[desk]\nname = "desk"\nto = "https://x/SECRET"',
            "my.toml [desk]: the keys of a route, expected [[route]] above them",
        ),
        (
            '[rules.drawdown]\nmetric = "x.y"\nabove = 1',
            "my.toml [rules]: has a table 'drawdown' in it, expected a table per rule, such as [drawdown], in no other "
            "table",
        ),
    ],
)
def test_a_misspelt_table_is_a_fault_that_says_how_to_write_it(text: str, fault: str) -> None:
    assert faults(text) == (fault,)


def test_a_rule_name_is_escaped_in_a_fault() -> None:
    (fault,) = faults('["a\\u001b[2J"]\nmetric = "x.y"\nabove = 1\n')
    assert "\x1b" not in fault and "\\x1b" in fault


def test_a_value_outside_a_table_is_refused() -> None:
    assert faults("above = 1") == ("my.toml [above]: 1, expected a table with the keys of a rule",)


def test_a_syntax_error_is_reported_with_its_line() -> None:
    (fault,) = faults("[a]\nabove = \n")
    assert re.match(r"my\.toml: .*line 2.*, expected TOML", fault)


def test_the_number_of_rules_is_bounded() -> None:
    text = "".join(f'[r{n}]\nmetric = "x.y"\nabove = 1\n' for n in range(MAX_RULES + 1))
    assert faults(text) == (f"my.toml: {MAX_RULES + 1} rules, expected at most {MAX_RULES}",)


def test_an_empty_file_has_no_rules() -> None:
    assert parse_rules("", "") == ()


def test_a_file_that_is_not_text_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="expected a TOML file"):
        load_rules(path)


def test_the_built_in_rules_are_those_documented() -> None:
    rules = {rule.name: rule for rule in load_rules(None)}
    assert rules.keys() == {
        "drawdown", "drawdown_absolute", "stale_feed", "reject_rate", "slippage", "latency", "position_breaks",
        "disconnects", "missed_ticks", "dated_ahead", "clock_set_back", "disk", "cpu", "memory", "store_fault",
        "source_disconnected", "source_silent", "source_gaps", "pending_corrections", "slow_ticks",
    }  # fmt: skip
    assert load_rules(DEFAULTS) == tuple(rules.values())


def test_every_built_in_rule_has_hysteresis() -> None:
    for rule in load_rules(None):
        assert rule.clear not in (None, rule.threshold) or rule.clear_for_ns > 0, rule.name


def test_the_built_in_file_explains_every_key() -> None:
    comments = "\n".join(line for line in DEFAULTS.read_text().splitlines() if line.startswith("#"))
    assert [key for key in _KEYS if not re.search(rf"\b{key}\b", comments)] == []


@pytest.mark.parametrize("text", ["0s", "500ms", "90s", "5m", "3h"])
def test_a_duration_is_formatted_as_it_was_written(text: str) -> None:
    (rule,) = parse_rules(f'{RULE}for = "{text}"', "")
    assert format_duration(rule.for_ns) == text
