"""What a setting is, and the kinds of values one can have: how their text is read and what is accepted.

No setting is declared here (see `config.py`) and nothing is read from the environment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

MAX_SHOWN_CHARS: Final = 120


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


def shown(value: object) -> str:
    """Returns `value` as a message may carry it: quoted, control characters escaped, cut when long."""
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."


def accepted(kind: Kind, text: str, value: object) -> object:
    if value is None or not kind.accepts(value):
        raise ValueError(shown(text))
    return value
