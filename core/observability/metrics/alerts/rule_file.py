"""The file of alert rules: TOML, one table per rule. Whether a metric exists is known only when rules are evaluated."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.config.setting import shown
from observability.errors import ConfigError
from observability.metrics.alerts.book import SEVERITIES
from observability.metrics.alerts.metric_paths import MetricPath
from observability.metrics.alerts.rule import COMPARISONS, TEMPLATE_FIELDS, Comparison, Rule, Value, template_faults

DEFAULT_FILE: Final = "alerts.toml"
"""The built-in rules, beside this module; also a template for a user's own file."""

MAX_RULES: Final = 1000
MAX_DURATION_DAYS: Final = 7

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DURATION = re.compile(r"([0-9]{1,6})(ms|s|m|h)")
_UNITS_NS: Final = {"ms": NS_PER_MS, "s": NS_PER_S, "m": NS_PER_MINUTE, "h": NS_PER_HOUR}
_MAX_NS: Final = MAX_DURATION_DAYS * NS_PER_DAY

# `clear` must be on the resolving side of the threshold: otherwise a value could raise and resolve at once.
_CLEAR_IS_BELOW: Final = frozenset({"above", "at_least"})


def load_rules(path: Path | None) -> tuple[Rule, ...]:
    """Returns the rules of a file, or the built-in ones. Raises ConfigError with every fault."""
    if path is None:
        return parse_rules(
            files("observability.metrics.alerts").joinpath(DEFAULT_FILE).read_text("utf-8"), DEFAULT_FILE
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{shown(path)}: {error}, expected a TOML file"]) from None
    return parse_rules(text, str(path))


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """Returns the rules of a text; `source` names it in faults. Raises ConfigError with every fault."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{source}: {error}, expected TOML"]) from None
    faults: list[str] = []
    rules = []
    for name, table in tables.items():
        reader = _TableReader(f"{source} [{name if _NAME.fullmatch(name) else shown(name)}]", faults)
        rule = reader.read(name, table)
        if rule is not None:
            rules.append(rule)
    if len(tables) > MAX_RULES:
        faults.append(f"{source}: {len(tables)} rules, expected at most {MAX_RULES}")
    if faults:
        raise ConfigError(faults)
    return tuple(rules)


def format_duration(duration_ns: int) -> str:
    """Returns a duration in the form that `parse_rules` reads."""
    unit = next(unit for unit in ("h", "m", "s", "ms") if duration_ns % _UNITS_NS[unit] == 0)
    return f"{duration_ns // _UNITS_NS[unit]}{unit}" if duration_ns else "0s"


@dataclass(frozen=True, slots=True)
class _Key:
    """One key of a table; `read` returns its value, or raises ValueError."""

    read: Callable[[Any], Any]
    expected: str


class _TableReader:
    """Reads one table and appends its faults to `faults`."""

    def __init__(self, where: str, faults: list[str]) -> None:
        self._where = where
        self._faults = faults

    def read(self, name: str, table: Any) -> Rule | None:
        before = len(self._faults)
        if _NAME.fullmatch(name) is None:
            self._fault(None, shown(name), "a name of up to 64 letters, digits, _ and -")
        if not isinstance(table, dict):
            self._fault(None, shown(table), "a table with the keys of a rule")
            return None
        values = self._values(table)
        comparison = self._comparison(table)
        if "metric" not in table:
            self._fault("metric", "missing", _KEYS["metric"].expected)
        if len(self._faults) > before or comparison is None:
            return None
        rule = Rule(
            name=name,
            comparison=comparison,
            threshold=values.pop(comparison),
            **{_FIELDS.get(key, key): value for key, value in values.items()},
        )
        self._check(rule, table)
        return rule if len(self._faults) == before else None

    def _values(self, table: Mapping[str, Any]) -> dict[str, Any]:
        values = {}
        for key, given in table.items():
            known = _KEYS.get(key)
            if known is None:
                near = get_close_matches(key, _KEYS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self._fault(key if _NAME.fullmatch(key) else shown(key), "unknown", f"one of {', '.join(_KEYS)}{hint}")
                continue
            try:
                values[key] = known.read(given)
            except ValueError as error:
                self._fault(key, str(error) or shown(given), known.expected)
        return values

    def _comparison(self, table: Mapping[str, Any]) -> Comparison | None:
        given = [comparison for comparison in COMPARISONS if comparison in table]
        if len(given) != 1:
            found = " and ".join(given) if given else "no comparison"
            self._fault(None, found, f"exactly one of {', '.join(COMPARISONS)}")
            return None
        return given[0]

    def _check(self, rule: Rule, table: Mapping[str, Any]) -> None:
        """Finds the faults that concern several keys."""
        if rule.clear is not None:
            if rule.comparison == "equals":
                self._fault("clear", shown(rule.clear), "none beside equals")
            else:
                assert not isinstance(rule.threshold, str)
                is_below = rule.comparison in _CLEAR_IS_BELOW
                if rule.clear > rule.threshold if is_below else rule.clear < rule.threshold:
                    side = "at most" if is_below else "at least"
                    self._fault("clear", shown(rule.clear), f"{side} {rule.comparison} ({rule.threshold:g})")
        if ("samples" in table) != ("min_samples" in table):
            given, missing = ("samples", "min_samples") if "samples" in table else ("min_samples", "samples")
            self._fault(given, f"given without {missing}", "both or neither")
        if rule.increase_over_ns is not None and rule.comparison == "equals":
            self._fault("increase_over", shown(table["increase_over"]), "none beside equals")

    def _fault(self, key: str | None, given: str, expected: str) -> None:
        where = self._where if key is None else f"{self._where} {key}"
        self._faults.append(f"{where}: {given}, expected {expected}")


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


def _read_duration(given: Any) -> int:
    match = _DURATION.fullmatch(given) if isinstance(given, str) else None
    duration_ns = -1 if match is None else int(match[1]) * _UNITS_NS[match[2]]
    if not 0 <= duration_ns <= _MAX_NS:
        raise ValueError
    return duration_ns


def _read_window(given: Any) -> int:
    duration_ns = _read_duration(given)
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
    if not isinstance(given, str) or _NAME.fullmatch(given) is None:
        raise ValueError
    return given


def _read_template(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError
    fault = template_faults(given)
    if fault is not None:
        raise ValueError(fault)
    return given


def _one_of(words: tuple[str, ...]) -> _Key:
    def read(given: Any) -> str:
        if given not in words:
            raise ValueError
        assert isinstance(given, str)
        return given

    return _Key(read, f"one of {', '.join(words)}")


_NUMBER = _Key(_read_number, "a finite number")
_TIME = _Key(_read_duration, f"a duration such as 500ms, 30s, 5m or 1h, up to {MAX_DURATION_DAYS} days")
_TEMPLATE = _Key(_read_template, f"text with {', '.join(f'{{{name}}}' for name in TEMPLATE_FIELDS)} in it, or none")

_KEYS: Final[dict[str, _Key]] = {
    "metric": _Key(
        _read_path, "a path such as strategy.drawdown_pct, market_data.*.stale, server.ticks_missed or metric.NAME"
    ),
    "above": _NUMBER,
    "at_least": _NUMBER,
    "below": _NUMBER,
    "at_most": _NUMBER,
    "equals": _Key(_read_value, "a number, a text, true or false"),
    "clear": _NUMBER,
    "for": _TIME,
    "clear_for": _TIME,
    "increase_over": _Key(_read_window, f"a duration such as 30s, 5m or 1h, from 1 s to {MAX_DURATION_DAYS} days"),
    "severity": _one_of(SEVERITIES),
    "title": _TEMPLATE,
    "detail": _TEMPLATE,
    "samples": _Key(_read_field, "the name of a field beside the metric"),
    "min_samples": _Key(_read_count, "an integer from 1 to 1000000000"),
    "absent": _one_of(("ignore", "raise")),
}

_FIELDS: Final = {"for": "for_ns", "clear_for": "clear_for_ns", "increase_over": "increase_over_ns"}
