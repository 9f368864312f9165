"""What a setting is: its declaration, and the base class of the kinds of values that a setting can have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

MAX_SHOWN_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as `config.py` declares it: a field of `Config`, with its variable and flag."""

    name: str
    kind: Kind
    default: object
    meaning: str
    env: str | None
    flag: str | None

    @property
    def default_text(self) -> str:
        """The default as an operator would write it; empty if there is none."""
        return self.kind.format(self.default)


class Kind(ABC):
    """A kind of value. A fault reads `NAME: given, expected {expected}`; `metavar` stands for a value in the help."""

    metavar: ClassVar[str] = ""
    empty_is_a_value: ClassVar[bool] = False
    """Whether an empty variable is a value; for other kinds it counts as unset."""
    is_secret: ClassVar[bool] = False
    """Whether values must not be shown, not even invalid ones."""

    @property
    @abstractmethod
    def expected(self) -> str: ...

    @abstractmethod
    def parse(self, text: str) -> object:
        """Returns the value of `text`; raises ValueError with the offending part of it."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Whether `value` may be the setting's value."""

    def format(self, value: object) -> str:
        """Returns the text that `parse` turns into `value`; empty if there is no such text."""
        return "" if value is None else str(value)

    def shown(self, value: object) -> str:
        """Returns `value` in the form that a message may carry."""
        return "a secret (not shown)" if self.is_secret else shown(value)


class RepeatableKind(Kind):
    """A kind of which a flag may be given several times, or with several words."""

    @abstractmethod
    def parse_all(self, texts: Sequence[str]) -> object:
        """Returns the value of several texts; raises ValueError with the offending ones."""


def shown(value: object) -> str:
    """Returns `value` in the form that a message may carry: quoted, control characters escaped, cut if long."""
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."


def accepted(kind: Kind, text: str, value: object) -> object:
    """Returns `value`, parsed from `text`; raises ValueError if `kind` does not accept it, or if it is None."""
    if value is None or not kind.accepts(value):
        raise ValueError(shown(text))
    return value
