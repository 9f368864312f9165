"""The kinds of settings that say something of single symbols.

Nothing is known here of which symbols exist (see `market_data_collector.py` of `metrics`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from observability.config.setting import Kind, Seconds, shown
from observability.events import MAX_SYMBOL_LENGTH

SymbolSeconds = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SecondsBySymbol(Kind):
    """Durations by symbol. The last colon of an entry separates the two, since a symbol may have one itself."""

    low: float
    high: float
    metavar: ClassVar[str] = "SYMBOL:SECONDS,..."

    @property
    def expected(self) -> str:
        return f"symbol:seconds pairs separated by commas, seconds from {self.low:g} to {self.high:g}, no symbol twice"

    def parse(self, text: str) -> object:
        return parse_by_symbol(text, self._seconds.parse)

    def accepts(self, value: object) -> bool:
        return accepts_by_symbol(value, self._seconds.accepts)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(f"{symbol}:{seconds:g}" for symbol, seconds in value)

    @property
    def _seconds(self) -> Seconds:
        return Seconds(self.low, self.high)


def parse_by_symbol(text: str, parse: Callable[[str], object]) -> object:
    """Returns the symbol:value pairs of a list separated by commas; raises ValueError with those that are wrong."""
    by_symbol: dict[str, object] = {}
    wrong = []
    for item in (item.strip(" ") for item in text.split(",")):
        symbol, _, value = item.rpartition(":")
        try:
            if not is_symbol(symbol) or symbol in by_symbol:
                raise ValueError
            by_symbol[symbol] = parse(value)
        except ValueError:
            wrong.append(item)
    if wrong:
        raise ValueError(", ".join(map(shown, wrong)))
    return tuple(by_symbol.items())


def accepts_by_symbol(value: object, accepts: Callable[[object], bool]) -> bool:
    """Whether `value` is what `parse_by_symbol` may return."""
    return (
        isinstance(value, tuple)
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
        and all(is_symbol(symbol) and accepts(of_symbol) for symbol, of_symbol in value)
        and len(dict(value)) == len(value)
    )


def is_symbol(value: object) -> bool:
    """Whether `value` may be the name of a symbol."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_SYMBOL_LENGTH
