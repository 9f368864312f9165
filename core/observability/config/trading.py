"""The kinds of values that concern trading: time zones and times of day, amounts, values by symbol, days in a year."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, time, tzinfo
from decimal import Decimal
from typing import ClassVar, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from observability.config.kinds import Seconds
from observability.config.setting import Kind, accepted, shown
from observability.events import MAX_NAME_LENGTH, MAX_SYMBOL_LENGTH

UTC_NAMES: Final = frozenset({
    "UTC", "UCT", "Universal", "Zulu", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu",
})  # fmt: skip
"""Names of the IANA database that need none of its data."""
EVERY_VENUE: Final = "*"
YEAR_DAYS: Final = (252, 365)
"""The trading days of a stock exchange in a year, and the calendar days."""

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
# As many digits as a Decimal of an event may have (`events.py`).
_CURRENCY: Final = re.compile(r"[A-Z0-9]{2,16}")
_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")
_RATE = re.compile(r"-?[0-9](?:\.[0-9]{1,18})?")

SymbolSeconds = tuple[tuple[str, float], ...]
Multipliers = tuple[tuple[str, Decimal], ...]


def zone_of(name: str) -> tzinfo:
    """Returns the time zone of an IANA name. Raises ValueError if this host does not know it; every host knows UTC."""
    if name in UTC_NAMES:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # OSError and ValueError: the name of a directory of the database, or of a path outside it.
        if available_timezones():
            raise ValueError(shown(name)) from None
        raise ValueError(f"{shown(name)} (this host has no time zones: install tzdata)") from None


@dataclass(frozen=True, slots=True)
class Zone(Kind):
    """A time zone by its IANA name."""

    metavar: ClassVar[str] = "ZONE"

    @property
    def expected(self) -> str:
        return "UTC or a time zone of the IANA database, such as America/New_York"

    def parse(self, text: str) -> object:
        zone_of(text)
        return text

    def accepts(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        try:
            zone_of(value)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class TimeOfDay(Kind):
    """A local time to the minute."""

    metavar: ClassVar[str] = "HH:MM"

    @property
    def expected(self) -> str:
        return "a time from 00:00 to 23:59"

    def parse(self, text: str) -> object:
        match = _TIME_OF_DAY.fullmatch(text)
        if match is None:
            raise ValueError(shown(text))
        return time(int(match[1]), int(match[2]))

    def accepts(self, value: object) -> bool:
        return isinstance(value, time) and value.tzinfo is None and value.second == value.microsecond == 0

    def format(self, value: object) -> str:
        assert isinstance(value, time)
        return f"{value:%H:%M}"


@dataclass(frozen=True, slots=True)
class PositiveAmount(Kind):
    """An exact amount above zero; None if not given."""

    metavar: ClassVar[str] = "AMOUNT"

    @property
    def expected(self) -> str:
        return "a decimal number above 0, up to 18 digits on either side of the point"

    def parse(self, text: str) -> object:
        return _amount(text)

    def accepts(self, value: object) -> bool:
        return value is None or _is_amount(value)

    def format(self, value: object) -> str:
        return "" if value is None else f"{value:f}"


@dataclass(frozen=True, slots=True)
class AnnualRate(Kind):
    """A rate of interest per year, as an exact fraction."""

    metavar: ClassVar[str] = "RATE"

    @property
    def expected(self) -> str:
        return "a fraction from -0.5 to 1, such as 0.045 for 4.5 %"

    def parse(self, text: str) -> object:
        rate = Decimal(text) if _RATE.fullmatch(text) else None
        if not self.accepts(rate):
            raise ValueError(shown(text))
        return rate

    def accepts(self, value: object) -> bool:
        return isinstance(value, Decimal) and value.is_finite() and Decimal("-0.5") <= value <= 1

    def format(self, value: object) -> str:
        return f"{value:f}"


@dataclass(frozen=True, slots=True)
class SecondsBySymbol(Kind):
    """Durations by symbol. The last colon of an entry separates the two, since a symbol may contain one."""

    low: float
    high: float
    metavar: ClassVar[str] = "SYMBOL:SECONDS,..."

    @property
    def expected(self) -> str:
        return f"symbol:seconds pairs separated by commas, seconds from {self.low:g} to {self.high:g}, no symbol twice"

    def parse(self, text: str) -> object:
        return _parse_by_symbol(text, self._seconds.parse)

    def accepts(self, value: object) -> bool:
        return _accepts_by_symbol(value, self._seconds.accepts)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(f"{symbol}:{seconds:g}" for symbol, seconds in value)

    @property
    def _seconds(self) -> Seconds:
        return Seconds(self.low, self.high)


@dataclass(frozen=True, slots=True)
class ContractMultipliers(Kind):
    """Multipliers by symbol. The last colon of an entry separates the two, since a symbol may contain one."""

    metavar: ClassVar[str] = "SYMBOL:N,..."

    @property
    def expected(self) -> str:
        return "symbol:multiplier pairs separated by commas, multipliers above 0, no symbol twice"

    def parse(self, text: str) -> object:
        return _parse_by_symbol(text, _amount)

    def accepts(self, value: object) -> bool:
        return _accepts_by_symbol(value, _is_amount)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(f"{symbol}:{multiplier:f}" for symbol, multiplier in value)


@dataclass(frozen=True, slots=True)
class Venues(Kind):
    """Names of venues, separated by commas, or `*` alone."""

    metavar: ClassVar[str] = "VENUE,..."

    @property
    def expected(self) -> str:
        return f"names of venues separated by commas, none twice, or {EVERY_VENUE} alone for all"

    def parse(self, text: str) -> object:
        venues = tuple(item.strip(" ") for item in text.split(","))
        if not self.accepts(venues):
            raise ValueError(shown(text))
        return venues

    def accepts(self, value: object) -> bool:
        if not isinstance(value, tuple) or len(set(value)) != len(value) or (EVERY_VENUE in value and len(value) > 1):
            return False
        return all(isinstance(venue, str) and 1 <= len(venue) <= MAX_NAME_LENGTH for venue in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class CurrencyCode(Kind):
    """The code of a currency or of a coin."""

    metavar: ClassVar[str] = "CODE"

    @property
    def expected(self) -> str:
        return "a code of a currency of 2 to 16 capital letters and digits, such as USD, EUR or USDT"

    def parse(self, text: str) -> object:
        return accepted(self, text, text)

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and _CURRENCY.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class YearDays(Kind):
    """The number of daily returns in a year."""

    metavar: ClassVar[str] = "DAYS"

    @property
    def expected(self) -> str:
        return " or ".join(map(str, YEAR_DAYS))

    def parse(self, text: str) -> object:
        for days in YEAR_DAYS:
            if text == str(days):
                return days
        raise ValueError(shown(text))

    def accepts(self, value: object) -> bool:
        return type(value) is int and value in YEAR_DAYS


def _amount(text: str) -> Decimal:
    amount = Decimal(text) if _AMOUNT.fullmatch(text) else None
    if amount is None or not amount:
        raise ValueError(shown(text))
    return amount


def _is_amount(value: object) -> bool:
    return isinstance(value, Decimal) and _AMOUNT.fullmatch(f"{value:f}") is not None and bool(value)


def _parse_by_symbol(text: str, parse: Callable[[str], object]) -> object:
    """Returns the pairs of a comma-separated list of symbol:value; raises ValueError with the wrong entries."""
    by_symbol: dict[str, object] = {}
    wrong = []
    for item in (item.strip(" ") for item in text.split(",")):
        symbol, _, value = item.rpartition(":")
        try:
            if not _is_symbol(symbol) or symbol in by_symbol:
                raise ValueError
            by_symbol[symbol] = parse(value)
        except ValueError:
            wrong.append(item)
    if wrong:
        raise ValueError(", ".join(map(shown, wrong)))
    return tuple(by_symbol.items())


def _accepts_by_symbol(value: object, accepts: Callable[[object], bool]) -> bool:
    """Whether `value` could be a result of `_parse_by_symbol`."""
    return (
        isinstance(value, tuple)
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
        and all(_is_symbol(symbol) and accepts(of_symbol) for symbol, of_symbol in value)
        and len(dict(value)) == len(value)
    )


def _is_symbol(value: object) -> bool:
    """Whether `value` can be the name of a symbol."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_SYMBOL_LENGTH
