"""The general kinds of values: numbers, durations, sizes, words, switches, paths."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeGuard

from observability.config.setting import Kind, RepeatableKind, accepted, shown

MAX_SPEED: Final = "max"

_SWITCHES: Final = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}

# int() and float() also accept "1_0", "+5", " 5", "\u0665" and "nan", and some people read "010" as eight.
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")

# Decimal units, as in the SI and on the labels of disks.
_UNITS: Final = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "": 1}
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,14})([KMGT]B)?", re.IGNORECASE)


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
    """A factor of the recorded pace, or `max` for no pauses at all."""

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
class ByteSize(Kind):
    """A number of bytes in a range, both ends included."""

    low: int
    high: int
    metavar: ClassVar[str] = "SIZE"

    @property
    def expected(self) -> str:
        return f"bytes, or a whole number of KB, MB, GB or TB, from {self.format(self.low)} to {self.format(self.high)}"

    def parse(self, text: str) -> object:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(shown(text))
        size = int(match[1]) * _UNITS[(match[2] or "").upper()]
        if not self.accepts(size):
            raise ValueError(shown(text))
        return size

    def accepts(self, value: object) -> bool:
        return type(value) is int and self.low <= value <= self.high

    def format(self, value: object) -> str:
        assert isinstance(value, int)
        return next(f"{value // unit}{name}" for name, unit in _UNITS.items() if value % unit == 0 and value >= unit)


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of a few words, in any case."""

    words: tuple[str, ...]
    metavar: ClassVar[str] = "WORD"

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.words)}"

    def parse(self, text: str) -> object:
        folded = text.casefold()
        return accepted(self, text, next((word for word in self.words if word.casefold() == folded), None))

    def accepts(self, value: object) -> bool:
        return value in self.words


@dataclass(frozen=True, slots=True)
class Choices(Kind):
    """Some of a few words, separated by commas, in any case."""

    words: tuple[str, ...]
    metavar: ClassVar[str] = "WORDS"
    # Whoever empties the list wants none of them.
    empty_is_a_value: ClassVar[bool] = True

    @property
    def expected(self) -> str:
        return f"some of {', '.join(self.words)}, separated by commas"

    def parse(self, text: str) -> object:
        items = [item.strip(" ").casefold() for item in text.split(",")] if text else []
        wrong = [item for item in items if item not in self.words]
        if wrong:
            raise ValueError(", ".join(map(shown, wrong)))
        return tuple(word for word in self.words if word in items)

    def accepts(self, value: object) -> bool:
        return isinstance(value, tuple) and all(item in self.words for item in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class Switch(Kind):
    """On or off; off by default."""

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
class DirectoryPath(Kind):
    """A directory, created when it is first needed; None turns the feature off."""

    metavar: ClassVar[str] = "DIR"

    @property
    def expected(self) -> str:
        return "a path to a directory"

    def parse(self, text: str) -> object:
        path = _path(text)
        if path is None or (os.path.exists(path) and not os.path.isdir(path)):
            raise ValueError(shown(text))
        return path

    def accepts(self, value: object) -> bool:
        return value is None or isinstance(value, Path)


@dataclass(frozen=True, slots=True)
class ReadableFile(Kind):
    """A readable file; None turns the feature off."""

    metavar: ClassVar[str] = "FILE"

    @property
    def expected(self) -> str:
        return "a file that can be read"

    def parse(self, text: str) -> object:
        path = _path(text)
        if path is None or not os.path.isfile(path) or not os.access(path, os.R_OK):
            raise ValueError(shown(text))
        return path

    def accepts(self, value: object) -> bool:
        return value is None or isinstance(value, Path)


@dataclass(frozen=True, slots=True)
class ExistingPaths(RepeatableKind):
    """Existing files or directories."""

    metavar: ClassVar[str] = "PATH"

    @property
    def expected(self) -> str:
        return "existing files or directories"

    def parse(self, text: str) -> object:
        return self.parse_all([text])

    def parse_all(self, texts: Sequence[str]) -> tuple[Path, ...]:
        """Returns the paths; raises ValueError with all that do not exist."""
        paths = [_path(text) for text in texts]
        found = [path for path in paths if path is not None and os.path.exists(path)]
        if len(found) < len(texts):
            missing = [text for text, path in zip(texts, paths, strict=True) if path not in found]
            raise ValueError(", ".join(map(shown, missing)))
        return tuple(found)

    def accepts(self, value: object) -> bool:
        return isinstance(value, tuple) and all(isinstance(path, Path) for path in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return " ".join(map(str, value))


def _path(text: str) -> Path | None:
    """Returns the path of a text, with a leading `~` or `~user` replaced by that home directory; None if it cannot be
    one. A shell does the same only for some of its words, and the files of service managers and containers never."""
    if "\0" in text:
        return None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        # No such user, or no known home.
        return None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
