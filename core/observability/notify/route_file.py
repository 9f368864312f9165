"""The routes of a file of alert rules: its tables `[[route]]`.

A secret is not written into the file: `to` and `secret` may name a variable (`env:NAME`) or a file (`file:/PATH`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from observability.config.setting import shown
from observability.config.toml_tables import DURATION, NAME, NAME_EXPECTED, Key, TableReader, one_of, read_tables
from observability.errors import ConfigError
from observability.metrics.alerts.book import SEVERITIES
from observability.metrics.alerts.rule import Rule
from observability.metrics.alerts.rule_file import ONE_BRACKET, ROUTES, load_rules
from observability.notify.channels import check_channel, is_webhook
from observability.notify.route import QuietHours, Route

MAX_ROUTES: Final = 50
MAX_PATTERNS: Final = 100
ACTIONS: Final = ("raised", "acknowledged", "resolved")

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlertFile:
    """What a file of alerts asks for: what raises an alert, and who is told of it."""

    rules: tuple[Rule, ...]
    routes: tuple[Route, ...]


def load_alert_file(path: Path | None) -> AlertFile:
    """Returns the rules and routes of a file, or the built-in rules. Raises ConfigError with every fault."""
    faults: list[str] = []
    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    try:
        rules = load_rules(path)
    except ConfigError as error:
        faults += error.faults
    try:
        routes = load_routes(path)
    except ConfigError as error:
        # A file that is no TOML has one fault.
        faults += [fault for fault in error.faults if fault not in faults]
    if faults:
        raise ConfigError(faults)
    return AlertFile(rules, routes)


def unmatched_patterns(found: AlertFile) -> list[str]:
    """Returns a remark on each pattern of a route that matches no rule of the file; it may match keys of the engine."""
    names = [rule.name for rule in found.rules]
    return [
        f"route {route.name}: no rule is called {shown(pattern)}"
        + (f"; did you mean {near[0]}?" if (near := get_close_matches(pattern, names, n=1)) else "")
        for route in found.routes
        for pattern in route.rules
        if not any(fnmatchcase(name, pattern) for name in names)
    ]


def load_routes(path: Path | None, environ: Environment | None = None) -> tuple[Route, ...]:
    """Returns the routes of a file of alert rules; none without a file. Raises ConfigError with every fault."""
    if path is None:
        return ()
    tables = read_tables(path).get(ROUTES, [])
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    if not isinstance(tables, list):
        given, expected = ONE_BRACKET
        raise ConfigError([f"{path} [{ROUTES}]: {given}, expected {expected}"])
    routes = [_read_route(number, table, str(path), environ, faults) for number, table in enumerate(tables, 1)]
    names = [route.name for route in routes if route is not None]
    faults += [f"{path} [[route]]: two are named {name}, expected different names" for name in _repeated(names)]
    if len(tables) > MAX_ROUTES:
        faults.append(f"{path}: {len(tables)} routes, expected at most {MAX_ROUTES}")
    if faults:
        raise ConfigError(faults)
    return tuple(route for route in routes if route is not None)


def _read_route(number: int, table: Any, source: str, environ: Environment, faults: list[str]) -> Route | None:
    name = table.get("name") if isinstance(table, dict) else None
    where = f"{source} [[route]] {name if isinstance(name, str) and NAME.fullmatch(name) else number}"
    reader = TableReader(where, _KEYS, faults)
    if not isinstance(table, dict):
        reader.fault(None, shown(table), "a table with the keys of a route")
        return None
    values = reader.values(table, required=("name", "to"))
    for key in ("to", "secret"):
        if key in values:
            values[key] = _resolve(key, values[key], environ, reader)
    zone = values.pop("timezone", ZoneInfo("UTC"))
    if "quiet" in values:
        start, end = values["quiet"]
        values["quiet"] = QuietHours(start, end, zone)
    elif "timezone" in table:
        reader.fault("timezone", "given without quiet", "both or neither")
    if reader.has_faults():
        return None
    fault = check_channel(values["to"])
    if fault is not None:
        reader.fault("to", *fault)
        return None
    if "secret" in table and not is_webhook(values["to"]):
        reader.fault("secret", "given for a channel that signs nothing", "none unless `to` is https:// or http://")
        return None
    return Route(**{_FIELDS.get(key, key): value for key, value in values.items()})


def _resolve(key: str, given: str, environ: Environment, reader: TableReader) -> str:
    """Returns the value that `env:NAME` or `file:PATH` stands for; other text stands for itself."""
    kind, _, place = given.partition(":")
    if kind == "env":
        if not environ.get(place):
            reader.fault(key, f"the variable {shown(place)} is not set", _KEYS[key].expected)
        return environ.get(place, "")
    if kind == "file":
        try:
            return Path(place).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reader.fault(key, f"{shown(place)}: {error}", _KEYS[key].expected)
            return ""
    return given


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _read_name(given: Any) -> str:
    if not isinstance(given, str) or NAME.fullmatch(given) is None:
        raise ValueError
    return given


def _read_secret(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError("not shown")
    return given


def _read_list(accepts: Callable[[str], bool]) -> Callable[[Any], tuple[str, ...]]:
    def read(given: Any) -> tuple[str, ...]:
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not 0 < len(texts) <= MAX_PATTERNS:
            raise ValueError
        if not all(isinstance(text, str) and accepts(text) for text in texts):
            raise ValueError
        return tuple(texts)

    return read


def _read_hours(given: Any) -> tuple[time, time]:
    if not isinstance(given, str):
        raise ValueError
    start, _, end = given.partition("-")
    hours = time.fromisoformat(start), time.fromisoformat(end)
    if hours[0] == hours[1] or any(hour.tzinfo is not None for hour in hours):
        raise ValueError
    return hours


def _read_quiet(given: Any) -> tuple[time, time]:
    try:
        return _read_hours(given)
    except ValueError:
        raise ValueError(shown(given)) from None


def _read_zone(given: Any) -> ZoneInfo:
    try:
        return ZoneInfo(given)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError):
        raise ValueError(shown(given)) from None


_PATTERNS: Final = Key(
    _read_list(lambda text: 0 < len(text) <= 200), f"a pattern such as stale_*, or a list of up to {MAX_PATTERNS}"
)

_KEYS: Final[dict[str, Key]] = {
    "name": Key(_read_name, NAME_EXPECTED),
    "to": Key(
        _read_secret,
        "a URL such as https://HOST/PATH, alertmanager://HOST:PORT or an Apprise URL, or env:NAME, or file:PATH",
    ),
    "severity": one_of(SEVERITIES),
    "rules": _PATTERNS,
    "members": _PATTERNS,
    "on": Key(_read_list(ACTIONS.__contains__), f"a list of {', '.join(ACTIONS)}"),
    "group": DURATION,
    "repeat": DURATION,
    "escalate_after": DURATION,
    "quiet": Key(_read_quiet, "hours such as 22:00-07:00"),
    "timezone": Key(_read_zone, "a time zone such as Europe/London"),
    "secret": Key(_read_secret, "the key of the webhook's signature as env:NAME or file:PATH"),
}

_FIELDS: Final = {"group": "group_ns", "repeat": "repeat_ns", "escalate_after": "escalate_after_ns"}
