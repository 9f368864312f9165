"""The file of alert rules: TOML, one table per rule. Whether a metric exists is known only when rules are evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
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
from observability.metrics.alerts import labels
from observability.metrics.alerts.book import SEVERITIES
from observability.metrics.alerts.comparison import COMPARISONS, Comparison, Value
from observability.metrics.alerts.metric_paths import MetricPath
from observability.metrics.alerts.rule import TEMPLATE_FIELDS, Rule, template_faults
from observability.metrics.alerts.windows import (
    MIN_DAYS,
    AbsentFor,
    BurnOver,
    ChangeOver,
    DeviationOver,
    IncreaseOver,
    UnchangedFor,
    Window,
)

DEFAULT_FILE: Final = "alerts.toml"
"""The built-in rules, beside this module; also a template for a user's own file."""

MAX_RULES: Final = 1000

ROUTES: Final = "route"
"""The key of the routes of notifications (`notify/route_file.py`), which may be in the same file."""

ONE_BRACKET: Final = "one pair of brackets", f"[[{ROUTES}]] for each route; a rule has another name"

# Of the SRE Workbook: 2 % of the budget of 30 days within an hour.
DEFAULT_BURN_RATE: Final = 14.4
DEFAULT_BURN_OVER_NS: Final = NS_PER_HOUR

# `clear` must be on the resolving side of the threshold: otherwise a value could raise and resolve at once.
_CLEAR_IS_BELOW: Final = frozenset({"above", "at_least"})


def load_rules(path: Path | None) -> tuple[Rule, ...]:
    """Returns the rules of a file, or the built-in ones; likewise for a file that only has routes. Raises ConfigError
    with every fault."""
    tables = {} if path is None else read_tables(path)
    if path is not None and not (tables.keys() == {ROUTES} and isinstance(tables[ROUTES], list)):
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
            # `notify/route_file.py` reads them.
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
    misplaced = _misplaced(name, table)
    if misplaced:
        reader.fault(None, *misplaced)
        return None
    values = reader.values(table)
    kind = _read_kind(table, reader)
    comparison = _read_comparison(table, kind, reader)
    if "metric" not in table:
        reader.fault("metric", "missing", _KEYS["metric"].expected)
    _check_combinations(table, kind, reader)
    if reader.has_faults():
        return None
    window = None if kind is None else _window(kind, values, comparison)
    if kind in _ABSENCES:
        assert window is not None
        comparison, threshold = "at_least", window.window_ns / NS_PER_S
    elif kind == "objective":
        assert isinstance(window, BurnOver)
        comparison, threshold = "above", values.get("burn_rate", DEFAULT_BURN_RATE)
        if threshold >= window.max_rate:
            most = f"below {window.max_rate:g}, the rate if all is bad"
            reader.fault("burn_rate", f"{threshold:g} with an objective of {window.objective_percent:g}", most)
    else:
        assert comparison is not None
        threshold = values[comparison]
    fields = {_FIELDS.get(key, key): value for key, value in values.items() if key in _RULE_KEYS}
    if kind is not None:
        fields.setdefault("title", _TITLES[kind])
    rule = Rule(name=name, comparison=comparison, threshold=threshold, window=window, **fields)
    _check_clear(rule, reader)
    for label, template in rule.labels:
        _check_template(f"labels.{label}", template, rule, lambda _: True, "text", reader)
    for link, template in rule.links:
        _check_template(f"links.{link}", template, rule, labels.is_link, "http:// or https:// and a host", reader)
    return None if reader.has_faults() else rule


def _misplaced(name: str, table: Any) -> tuple[str, str] | None:
    """Returns what is wrong with something that is not the table of a rule, and what was expected; None if it may be
    one. Routes have secrets, so nothing of them is shown."""
    if name == ROUTES:
        return ONE_BRACKET
    if isinstance(table, list) and table and all(isinstance(item, dict) for item in table):
        return "two pairs of brackets", f"[{name}] for a rule, or [[{ROUTES}]] for a route"
    if not isinstance(table, dict):
        return shown(table), "a table with the keys of a rule"
    if "to" in table and "metric" not in table:
        return "the keys of a route", f"[[{ROUTES}]] above them"
    inner = [key for key, value in table.items() if isinstance(value, dict) and key not in _KEYS]
    if inner:
        return f"has a table {shown(inner[0])} in it", "a table per rule, such as [drawdown], in no other table"
    return None


def _read_kind(table: Mapping[str, Any], reader: TableReader) -> str | None:
    """Returns the key that says what is made of the metric's values over time; None without one."""
    given = [key for key in _KINDS if key in table]
    if len(given) > 1:
        reader.fault(None, " and ".join(given), f"at most one of {', '.join(_KINDS)}")
    return given[0] if given else None


def _read_comparison(table: Mapping[str, Any], kind: str | None, reader: TableReader) -> Comparison | None:
    given = [comparison for comparison in COMPARISONS if comparison in table]
    found = " and ".join(given) if given else "no comparison"
    if kind in _ABSENCES:
        if given:
            reader.fault(given[0], shown(table[given[0]]), f"none beside {kind}")
        return None
    if kind == "objective" and "total" in table:
        if given:
            reader.fault(given[0], shown(table[given[0]]), "none beside total: the metric counts what is bad")
        return None
    if len(given) != 1:
        also = " for what is bad, or total" if kind == "objective" else ""
        reader.fault(None, found, f"exactly one of {', '.join(COMPARISONS)}{also}")
        return None
    return given[0]


def _check_combinations(table: Mapping[str, Any], kind: str | None, reader: TableReader) -> None:
    """Finds the faults that concern several keys, but for thresholds."""
    if ("samples" in table) != ("min_samples" in table):
        given, missing = ("samples", "min_samples") if "samples" in table else ("min_samples", "samples")
        reader.fault(given, f"given without {missing}", "both or neither")
    for key, needed in _BELONGS_TO.items():
        if key in table and kind != needed:
            reader.fault(key, f"given without {needed}", "both or neither")
    if "equals" in table and kind != "objective" and kind not in _ABSENCES:
        for key in ["clear"] if kind is None else ["clear", kind]:
            if key in table:
                reader.fault(key, shown(table[key]), "none beside equals")
    if kind in _ABSENCES:
        for key in ("clear", "for", "absent", "samples"):
            if key in table:
                reader.fault(key, shown(table[key]), f"none beside {kind}")
    elif kind is not None and "absent" in table:
        reader.fault("absent", shown(table["absent"]), f"none beside {kind}; absent_for makes a rule of its own")
    if "time_of_day" in table and kind == "deviation_over":
        _check_days(table, reader)


def _check_days(table: Mapping[str, Any], reader: TableReader) -> None:
    try:
        window_ns, slot_ns = read_duration(table["deviation_over"]), read_duration(table["time_of_day"])
    except ValueError:
        return
    if window_ns < MIN_DAYS * NS_PER_DAY:
        reader.fault("deviation_over", shown(table["deviation_over"]), f"{MIN_DAYS * 24}h or more beside time_of_day")
    if slot_ns < NS_PER_MINUTE or NS_PER_DAY % slot_ns:
        reader.fault("time_of_day", shown(table["time_of_day"]), "a part of a day such as 15m, 30m or 1h")


def _check_clear(rule: Rule, reader: TableReader) -> None:
    if rule.clear is None:
        return
    assert not isinstance(rule.threshold, str)
    is_below = rule.comparison in _CLEAR_IS_BELOW
    if rule.clear > rule.threshold if is_below else rule.clear < rule.threshold:
        side = "at most" if is_below else "at least"
        key = "burn_rate" if isinstance(rule.window, BurnOver) else rule.comparison
        reader.fault("clear", shown(rule.clear), f"{side} {key} ({rule.threshold:g})")


def _check_template(
    key: str, template: str, rule: Rule, check: Callable[[str], bool], kind: str, reader: TableReader
) -> None:
    fault = labels.find_fault(template, rule.metric, check)
    if fault is not None:
        given = fault if fault != template else shown(template)
        reader.fault(key, given, f"{kind} with {', '.join(f'{{{name}}}' for name in labels.FIELDS)} in it, or none")


def _window(kind: str, values: Mapping[str, Any], comparison: Comparison | None) -> Window:
    if kind == "objective":
        return BurnOver(
            values.get("burn_over", DEFAULT_BURN_OVER_NS),
            objective_percent=values["objective"],
            comparison=comparison,
            threshold=0 if comparison is None else values[comparison],
            total=values.get("total"),
        )
    window_ns = values[kind]
    if kind == "increase_over":
        return IncreaseOver(window_ns, needs_all=comparison not in _CLEAR_IS_BELOW)
    if kind == "change_over":
        return ChangeOver(window_ns, is_percent=values.get("change_in") == "percent")
    if kind == "deviation_over":
        return DeviationOver(window_ns, values.get("time_of_day"))
    return AbsentFor(window_ns) if kind == "absent_for" else UnchangedFor(window_ns)


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


def _window_key(least_ns: int, least: str, examples: str) -> Key:
    """Returns a key whose value is a duration of at least `least_ns`."""

    def read(given: Any) -> int:
        duration_ns = read_duration(given)
        if duration_ns < least_ns:
            raise ValueError
        return duration_ns

    return Key(read, f"a duration such as {examples}, from {least} to {MAX_DURATION_DAYS} days")


def _read_percent(given: Any) -> float:
    percent = _read_number(given)
    if not 0 < percent < 100:
        raise ValueError
    return percent


def _read_rate(given: Any) -> float:
    rate = _read_number(given)
    if not rate > 0:
        raise ValueError
    return rate


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


def _read_templates(most: int, reserved: Collection[str] = ()) -> Callable[[Any], labels.Templates]:
    def read(given: Any) -> labels.Templates:
        if not isinstance(given, dict) or not 0 < len(given) <= most:
            raise ValueError
        for name, template in given.items():
            if labels.LABEL_NAME.fullmatch(name) is None or name in reserved or not isinstance(template, str):
                raise ValueError(f"{shown(name)} = {shown(template)}")
        return tuple(given.items())

    return read


def _read_template(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError
    fault = template_faults(given)
    if fault is not None:
        raise ValueError(fault)
    return given


_NUMBER = Key(_read_number, "a finite number")
_TEMPLATE = Key(_read_template, f"text with {', '.join(f'{{{name}}}' for name in TEMPLATE_FIELDS)} in it, or none")

_FIELD = Key(_read_field, "the name of a field beside the metric")
_WINDOW = _window_key(NS_PER_S, "1 s", "30s, 5m or 1h")
_LONG_WINDOW = _window_key(NS_PER_MINUTE, "1 minute", "5m, 1h or 72h")

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
    "increase_over": _WINDOW,
    "change_over": _WINDOW,
    "change_in": one_of(("value", "percent")),
    "deviation_over": _LONG_WINDOW,
    "time_of_day": DURATION,
    "objective": Key(_read_percent, "per cent, above 0 and below 100, such as 99.9"),
    "burn_over": _LONG_WINDOW,
    "burn_rate": Key(_read_rate, "a number above 0, such as 14.4"),
    "total": _FIELD,
    "absent_for": _WINDOW,
    "unchanged_for": _WINDOW,
    "severity": one_of(SEVERITIES),
    "title": _TEMPLATE,
    "detail": _TEMPLATE,
    "samples": _FIELD,
    "min_samples": Key(_read_count, "an integer from 1 to 1000000000"),
    "absent": one_of(("ignore", "raise")),
    "labels": Key(
        _read_templates(labels.MAX_LABELS, labels.RESERVED),
        f"a table of up to {labels.MAX_LABELS} texts, whose names are letters, digits and _, and not one of "
        f"{', '.join(sorted(labels.RESERVED))}",
    ),
    "links": Key(
        _read_templates(labels.MAX_LINKS),
        f"a table of up to {labels.MAX_LINKS} URLs, whose names are letters, digits and _",
    ),
}

_FIELDS: Final = {"for": "for_ns", "clear_for": "clear_for_ns"}
_KINDS: Final = ("increase_over", "change_over", "deviation_over", "objective", "absent_for", "unchanged_for")
_ABSENCES: Final = ("absent_for", "unchanged_for")
# Keys that mean something beside one kind only.
_BELONGS_TO: Final = {
    "change_in": "change_over", "time_of_day": "deviation_over", "burn_over": "objective", "burn_rate": "objective",
    "total": "objective",
}  # fmt: skip
# The others say what is compared.
_RULE_KEYS: Final = _KEYS.keys() - {*COMPARISONS, *_KINDS, *_BELONGS_TO}
_TITLES: Final = {
    "increase_over": "{rule}: {metric} has grown by {value:g}",
    "change_over": "{rule}: {metric} has changed by {value:g}",
    "deviation_over": "{rule}: {metric} is {current:g}, {value:.1f} standard deviations from its history",
    "objective": "{rule}: {metric} misses its objective, at {value:.1f} times the rate that it allows",
    "absent_for": "{rule}: nothing from {metric} for {value:.0f} s",
    "unchanged_for": "{rule}: {metric} has not changed for {value:.0f} s",
}
