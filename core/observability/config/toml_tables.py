"""TOML tables that users write: each key is read by a function, and all faults of a file are reported at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.config.setting import shown
from observability.errors import ConfigError

MAX_DURATION_DAYS: Final = 7

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_EXPECTED: Final = "a name of up to 64 letters, digits, _ and -"

_DURATION = re.compile(r"([0-9]{1,6})(ms|s|m|h)")
_UNITS_NS: Final = {"ms": NS_PER_MS, "s": NS_PER_S, "m": NS_PER_MINUTE, "h": NS_PER_HOUR}
_MAX_NS: Final = MAX_DURATION_DAYS * NS_PER_DAY


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table; `read` returns its value, or raises ValueError."""

    read: Callable[[Any], Any]
    expected: str


class TableReader:
    """Reads one table and appends its faults to `faults`; `where` names the table in them."""

    def __init__(self, where: str, keys: Mapping[str, Key], faults: list[str]) -> None:
        self._where = where
        self._keys = keys
        self._faults = faults
        self._before = len(faults)

    def has_faults(self) -> bool:
        return len(self._faults) > self._before

    def values(self, table: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
        """Returns the values that can be read."""
        values = {}
        for key, given in table.items():
            known = self._keys.get(key)
            if known is None:
                near = get_close_matches(key, self._keys, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.fault(
                    key if NAME.fullmatch(key) else shown(key), "unknown", f"one of {', '.join(self._keys)}{hint}"
                )
                continue
            try:
                values[key] = known.read(given)
            except ValueError as error:
                self.fault(key, str(error) or shown(given), known.expected)
        for key in required:
            if key not in table:
                self.fault(key, "missing", self._keys[key].expected)
        return values

    def fault(self, key: str | None, given: str, expected: str) -> None:
        where = self._where if key is None else f"{self._where} {key}"
        self._faults.append(f"{where}: {given}, expected {expected}")


def read_tables(path: Path) -> dict[str, Any]:
    """Returns the tables of a file. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{shown(path)}: {error}, expected a TOML file"]) from None
    return parse_tables(text, str(path))


def parse_tables(text: str, source: str) -> dict[str, Any]:
    """Returns the tables of a text; `source` names it in the fault. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{source}: {error}, expected TOML"]) from None


def format_duration(duration_ns: int) -> str:
    """Returns a duration in the form that `read_duration` reads."""
    unit = next(unit for unit in ("h", "m", "s", "ms") if duration_ns % _UNITS_NS[unit] == 0)
    return f"{duration_ns // _UNITS_NS[unit]}{unit}" if duration_ns else "0s"


def read_duration(given: Any) -> int:
    match = _DURATION.fullmatch(given) if isinstance(given, str) else None
    duration_ns = -1 if match is None else int(match[1]) * _UNITS_NS[match[2]]
    if not 0 <= duration_ns <= _MAX_NS:
        raise ValueError
    return duration_ns


def one_of(words: Sequence[str]) -> Key:
    """Returns a key whose value is one of `words`."""

    def read(given: Any) -> str:
        if given not in words:
            raise ValueError
        assert isinstance(given, str)
        return given

    return Key(read, f"one of {', '.join(words)}")


DURATION: Final = Key(read_duration, f"a duration such as 500ms, 30s, 5m or 1h, up to {MAX_DURATION_DAYS} days")
