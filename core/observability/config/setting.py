"""What a setting is, and the kinds of values one can have: how their text is read and what is accepted.

No setting is declared here (see `config.py`) and nothing is read from the environment.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar, Final, TypeGuard

MAX_SHOWN_CHARS: Final = 120
MAX_PORT: Final = 65535
ANY_ORIGIN: Final = "*"
MAX_SPEED: Final = "max"

_SWITCHES: Final = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}

# int() and float() also take "1_0", "+5", " 5", "\u0665" and "nan"; and some readers take "010" for eight.
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")

# RFC 1123 section 2.1: letters, digits and inner hyphens, at most 63 characters a label.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# Four numbers are an address or nothing: "256.1.1.1" is no name (RFC 3696 section 2: the last label is not all digits).
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?[0-9]+")

# RFC 6454 section 6.2: scheme "://" host [ ":" port ], and nothing behind it.
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as `config.py` declares it: a field of `Config` and how people reach it."""

    name: str
    kind: Kind
    default: object
    meaning: str
    env: str | None
    flag: str | None

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty when there is none."""
        return self.kind.format(self.default)


class Kind(ABC):
    """A kind of value. Faults read "NAME: given, expected `expected`"; `metavar` stands for a value in the help."""

    metavar: ClassVar[str] = ""
    empty_is_a_value: ClassVar[bool] = False
    """Whether an empty variable means something; for other kinds it counts as unset."""
    is_secret: ClassVar[bool] = False
    """Whether a value may not be shown, not even one that is wrong."""

    @property
    @abstractmethod
    def expected(self) -> str: ...

    @abstractmethod
    def parse(self, text: str) -> object:
        """Returns the value `text` stands for; raises ValueError with the offending part of it."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Whether `value` may be the setting's value."""

    def format(self, value: object) -> str:
        """Returns the text that `parse` reads as `value`; empty when there is nothing to read."""
        return "" if value is None else str(value)

    def shown(self, value: object) -> str:
        """Returns `value` as a message may carry it."""
        return "a secret (not shown)" if self.is_secret else shown(value)


@dataclass(frozen=True, slots=True)
class Integer(Kind):
    """A whole number in a range, both ends included."""

    low: int
    high: int
    metavar: ClassVar[str] = "N"

    @property
    def expected(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def parse(self, text: str) -> object:
        return _accepted(self, text, int(text) if _INTEGER.fullmatch(text) else None)

    def accepts(self, value: object) -> bool:
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Seconds(Kind):
    """A duration in a range, both ends included."""

    low: float
    high: float
    metavar: ClassVar[str] = "SECONDS"

    @property
    def expected(self) -> str:
        return f"seconds from {self.low:g} to {self.high:g}"

    def parse(self, text: str) -> object:
        return _accepted(self, text, float(text) if _NUMBER.fullmatch(text) else None)

    def accepts(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def format(self, value: object) -> str:
        assert isinstance(value, int | float)
        return f"{value:g}"


@dataclass(frozen=True, slots=True)
class Speed(Kind):
    """A factor of the recorded pace, or `max` for no waiting at all."""

    high: float
    metavar: ClassVar[str] = "N|max"

    @property
    def expected(self) -> str:
        return f"a number above 0 and up to {self.high:.0f}, or {MAX_SPEED}"

    def parse(self, text: str) -> object:
        number = float(text) if _NUMBER.fullmatch(text) else None
        return _accepted(self, text, text if text == MAX_SPEED else number)

    def accepts(self, value: object) -> bool:
        return value == MAX_SPEED or (_is_number(value) and 0 < value <= self.high)

    def format(self, value: object) -> str:
        return f"{value:g}" if isinstance(value, int | float) else str(value)


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of a few words; case does not matter."""

    words: tuple[str, ...]
    metavar: ClassVar[str] = "WORD"

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.words)}"

    def parse(self, text: str) -> object:
        return _accepted(self, text, text.upper())

    def accepts(self, value: object) -> bool:
        return value in self.words


@dataclass(frozen=True, slots=True)
class Switch(Kind):
    """On or off; off unless asked for."""

    @property
    def expected(self) -> str:
        return "true or false"

    def parse(self, text: str) -> object:
        return _accepted(self, text, _SWITCHES.get(text.lower()))

    def accepts(self, value: object) -> bool:
        return type(value) is bool

    def format(self, value: object) -> str:
        return "on" if value else "off"


@dataclass(frozen=True, slots=True)
class Host(Kind):
    """A name or address to listen on."""

    metavar: ClassVar[str] = "HOST"

    @property
    def expected(self) -> str:
        return "a host name or an IP address"

    def parse(self, text: str) -> object:
        return _accepted(self, text, text)

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and (_is_address(value) or _is_host_name(value))


@dataclass(frozen=True, slots=True)
class Origins(Kind):
    """Web origins, separated by commas, or `*` alone; kept as browsers send them: lower case, no default port."""

    metavar: ClassVar[str] = "ORIGINS"
    # An operator who empties the list wants no foreign origin, not the default ones.
    empty_is_a_value: ClassVar[bool] = True

    @property
    def expected(self) -> str:
        return f"scheme://host[:port] without a path, separated by commas, or {ANY_ORIGIN} alone"

    def parse(self, text: str) -> object:
        if not text:
            return ()
        items = [item.strip(" ") for item in text.split(",")]
        if items == [ANY_ORIGIN]:
            return (ANY_ORIGIN,)
        origins = [_normal_origin(item) for item in items]
        wrong = [item for item, origin in zip(items, origins, strict=True) if origin is None]
        if wrong:
            raise ValueError(", ".join(map(shown, wrong)))
        return tuple(dict.fromkeys(origins))

    def accepts(self, value: object) -> bool:
        if not isinstance(value, tuple):
            return False
        return value == (ANY_ORIGIN,) or all(isinstance(o, str) and _normal_origin(o) == o for o in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class Directory(Kind):
    """A directory that is made when it is first needed; None means the feature is off."""

    metavar: ClassVar[str] = "DIR"

    @property
    def expected(self) -> str:
        return "a path to a directory"

    def parse(self, text: str) -> object:
        if "\0" in text or (os.path.exists(text) and not os.path.isdir(text)):
            raise ValueError(shown(text))
        return Path(text)

    def accepts(self, value: object) -> bool:
        return value is None or isinstance(value, Path)


@dataclass(frozen=True, slots=True)
class ExistingPaths(Kind):
    """Files or directories to read."""

    metavar: ClassVar[str] = "PATH"

    @property
    def expected(self) -> str:
        return "existing files or directories"

    def parse(self, text: str) -> object:
        return self.parse_all([text])

    def parse_all(self, texts: Sequence[str]) -> tuple[Path, ...]:
        """Returns the paths; raises ValueError with every one that is not there."""
        missing = [text for text in texts if not os.path.exists(text)]
        if missing:
            raise ValueError(", ".join(map(shown, missing)))
        return tuple(map(Path, texts))

    def accepts(self, value: object) -> bool:
        return isinstance(value, tuple) and all(isinstance(path, Path) for path in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return " ".join(map(str, value))


def shown(value: object) -> str:
    """Returns `value` as a message may carry it: quoted, control characters escaped, cut when long."""
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."


def _accepted(kind: Kind, text: str, value: object) -> object:
    if value is None or not kind.accepts(value):
        raise ValueError(shown(text))
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_host_name(text: str) -> bool:
    return len(text) <= 253 and bool(_HOST_NAME.fullmatch(text)) and not _ENDS_IN_NUMBER.fullmatch(text)


def _normal_origin(text: str) -> str | None:
    """Returns the origin as RFC 6454 serialises it, None if it is none."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    if not (_is_address(host.strip("[]")) or _is_host_name(host)):
        return None
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 1 <= int(port) <= MAX_PORT else None
