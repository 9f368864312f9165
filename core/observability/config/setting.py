"""What a setting is, and the kinds of values one can have: how their text is read and what is accepted.

No setting is declared here (see `config.py`) and nothing is read from the environment.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeGuard

MAX_SHOWN_CHARS: Final = 120
MAX_SPEED: Final = "max"

_SWITCHES: Final = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}

# int() and float() also take "1_0", "+5", " 5", "\u0665" and "nan"; and some readers take "010" for eight.
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")


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
        return accepted(self, text, int(text) if _INTEGER.fullmatch(text) else None)

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
        return accepted(self, text, float(text) if _NUMBER.fullmatch(text) else None)

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
        return accepted(self, text, text if text == MAX_SPEED else number)

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
        return accepted(self, text, text.upper())

    def accepts(self, value: object) -> bool:
        return value in self.words


@dataclass(frozen=True, slots=True)
class Switch(Kind):
    """On or off; off unless asked for."""

    @property
    def expected(self) -> str:
        return "true or false"

    def parse(self, text: str) -> object:
        return accepted(self, text, _SWITCHES.get(text.lower()))

    def accepts(self, value: object) -> bool:
        return type(value) is bool

    def format(self, value: object) -> str:
        return "on" if value else "off"


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


def accepted(kind: Kind, text: str, value: object) -> object:
    if value is None or not kind.accepts(value):
        raise ValueError(shown(text))
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
