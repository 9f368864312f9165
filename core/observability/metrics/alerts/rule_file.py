"""The file of alert rules: TOML, one table per rule. Whether a metric exists is known only when rules are evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_S
from observability.config.setting import shown
from observability.config.toml_tables import (
    DURATION,
    MAX_DURATION_DAYS,
    NAME,
    NAME_EXPECTED,
    Key,
    TableReader,
    one_of,
    parse_tables,
    read_duration,
    read_tables,
)
from observability.errors import ConfigError
from observability.metrics.alerts.book import SEVERITIES
from observability.metrics.alerts.metric_paths import MetricPath
from observability.metrics.alerts.rule import COMPARISONS, TEMPLATE_FIELDS, Comparison, Rule, Value, template_faults

DEFAULT_FILE: Final = "alerts.toml"
"""The built-in rules, beside this module; also a template for a user's own file."""

MAX_RULES: Final = 1000

ROUTES: Final = "route"
"""The key of the routes of notifications (`notify/route_file.py`), which may be in the same file."""

# `clear` must be on the resolving side of the threshold: otherwise a value could raise and resolve at once.
_CLEAR_IS_BELOW: Final = frozenset({"above", "at_least"})


def load_rules(path: Path | None) -> tuple[Rule, ...]:
    """Returns the rules of a file, or the built-in ones; likewise for a file that only has routes. Raises ConfigError
    with every fault."""
    tables = {} if path is None else read_tables(path)
    if path is not None and tables.keys() != {ROUTES}:
        return _rules_of(tables, str(path))
    return parse_rules(files("observability.metrics.alerts").joinpath(DEFAULT_FILE).read_text("utf-8"), DEFAULT_FILE)


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """Returns the rules of a text; `source` names it in faults. Raises ConfigError with every fault."""
    return _rules_of(parse_tables(text, source), source)


def _rules_of(tables: dict[str, Any], source: str) -> tuple[Rule, ...]:
    faults: list[str] = []
    rules = []
    for name, table in tables.items():
        if name == ROUTES and isinstance(table, list):
            continue
        rule = _read_rule(name, table, source, faults)
        if rule is not None:
            rules.append(rule)
    if len(tables) > MAX_RULES:
        faults.append(f"{source}: {len(tables)} rules, expected at most {MAX_RULES}")
    if faults:
        raise ConfigError(faults)
    return tuple(rules)


def _read_rule(name: str, table: Any, source: str, faults: list[str]) -> Rule | None:
    reader = TableReader(f"{source} [{name if NAME.fullmatch(name) else shown(name)}]", _KEYS, faults)
    if NAME.fullmatch(name) is None:
        reader.fault(None, shown(name), NAME_EXPECTED)
    if not isinstance(table, dict):
        reader.fault(None, shown(table), "a table with the keys of a rule")
        return None
    values = reader.values(table)
    comparison = _read_comparison(table, reader)
    if "metric" not in table:
        reader.fault("metric", "missing", _KEYS["metric"].expected)
    if reader.has_faults() or comparison is None:
        return None
    rule = Rule(
        name=name,
        comparison=comparison,
        threshold=values.pop(comparison),
        **{_FIELDS.get(key, key): value for key, value in values.items()},
    )
    _check(rule, table, reader)
    return None if reader.has_faults() else rule


def _read_comparison(table: Mapping[str, Any], reader: TableReader) -> Comparison | None:
    given = [comparison for comparison in COMPARISONS if comparison in table]
    if len(given) != 1:
        found = " and ".join(given) if given else "no comparison"
        reader.fault(None, found, f"exactly one of {', '.join(COMPARISONS)}")
        return None
    return given[0]


def _check(rule: Rule, table: Mapping[str, Any], reader: TableReader) -> None:
    """Finds the faults that concern several keys."""
    if rule.clear is not None:
        if rule.comparison == "equals":
            reader.fault("clear", shown(rule.clear), "none beside equals")
        else:
            assert not isinstance(rule.threshold, str)
            is_below = rule.comparison in _CLEAR_IS_BELOW
            if rule.clear > rule.threshold if is_below else rule.clear < rule.threshold:
                side = "at most" if is_below else "at least"
                reader.fault("clear", shown(rule.clear), f"{side} {rule.comparison} ({rule.threshold:g})")
    if ("samples" in table) != ("min_samples" in table):
        given, missing = ("samples", "min_samples") if "samples" in table else ("min_samples", "samples")
        reader.fault(given, f"given without {missing}", "both or neither")
    if rule.increase_over_ns is not None and rule.comparison == "equals":
        reader.fault("increase_over", shown(table["increase_over"]), "none beside equals")


def _read_number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError
    return given


def _read_value(given: Any) -> Value:
    if isinstance(given, bool | str):
        return given
    return _read_number(given)


def _read_count(given: Any) -> int:
    if type(given) is not int or not 1 <= given <= 10**9:
        raise ValueError
    return given


def _read_window(given: Any) -> int:
    duration_ns = read_duration(given)
    if duration_ns < NS_PER_S:
        raise ValueError
    return duration_ns


def _read_path(given: Any) -> MetricPath:
    if not isinstance(given, str) or len(given) > 200:
        raise ValueError
    try:
        return MetricPath.parse(given)
    except ValueError:
        raise ValueError(shown(given)) from None


def _read_field(given: Any) -> str:
    if not isinstance(given, str) or NAME.fullmatch(given) is None:
        raise ValueError
    return given


def _read_template(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError
    fault = template_faults(given)
    if fault is not None:
        raise ValueError(fault)
    return given


_NUMBER = Key(_read_number, "a finite number")
_TEMPLATE = Key(_read_template, f"text with {', '.join(f'{{{name}}}' for name in TEMPLATE_FIELDS)} in it, or none")

_KEYS: Final[dict[str, Key]] = {
    "metric": Key(
        _read_path, "a path such as strategy.drawdown_pct, market_data.*.stale, server.ticks_missed or metric.NAME"
    ),
    "above": _NUMBER,
    "at_least": _NUMBER,
    "below": _NUMBER,
    "at_most": _NUMBER,
    "equals": Key(_read_value, "a number, a text, true or false"),
    "clear": _NUMBER,
    "for": DURATION,
    "clear_for": DURATION,
    "increase_over": Key(_read_window, f"a duration such as 30s, 5m or 1h, from 1 s to {MAX_DURATION_DAYS} days"),
    "severity": one_of(SEVERITIES),
    "title": _TEMPLATE,
    "detail": _TEMPLATE,
    "samples": Key(_read_field, "the name of a field beside the metric"),
    "min_samples": Key(_read_count, "an integer from 1 to 1000000000"),
    "absent": one_of(("ignore", "raise")),
}

_FIELDS: Final = {"for": "for_ns", "clear_for": "clear_for_ns", "increase_over": "increase_over_ns"}
