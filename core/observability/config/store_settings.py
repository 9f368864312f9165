"""The kind of setting that says how much: a number of bytes as people write it.

No setting is declared here (see `config.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from observability.config.setting import Kind, shown

# Decimal units, as disks are sold and as SI has them.
_UNITS: Final = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "": 1}
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,14})([KMGT]B)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Size(Kind):
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
