"""Rates between currencies, and the conversion of amounts into the reporting currency.

    rate of BTC/USDT     one BTC is so many USDT
    conversion of BTC    direct BTC/USD, else inverse USD/BTC, else one cross: BTC/EUR and EUR/USD

A conversion is a fraction, numerator / denominator, whose parts are products of rates as they came, so that a triangle
of rates that closes also closes here. An amount times a numerator is exact; only a quotient is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from observability.clocks.timestamps import iso_or_none
from observability.events import code_of
from observability.instruments.currencies import USD_STABLECOINS
from observability.metrics.arithmetic.decimals import EXACT, ONE, ZERO, quotient, to_float

RateSource = Literal["event", "market", "assumed"]

# The currencies that most others are quoted in: the cross through the first of these is taken.
_CROSSES: Final = ("USD", "USDT", "USDC", "EUR", "BTC", "ETH")

MAX_CURRENCIES: Final = 256
"""In how many currencies amounts are kept: with each there is a sum in every account."""
MAX_RATES: Final = 4_096
"""Of how many pairs the newest rate is kept."""
MAX_WANTED: Final = 1_024
"""Between how many pairs of currencies rates are looked for."""

Pair = tuple[str, str]
"""Base and quote."""


class Rate(msgspec.Struct):
    """The newest rate of a pair; checkpoints store it."""

    base: str
    quote: str
    rate: Decimal
    updated_ns: int = 0
    source: RateSource = "event"
    symbol: str = ""
    """Whose market it is from."""


class Conversion:
    """The newest factor from one currency into the reporting one; without a rate there is none."""

    __slots__ = ("currency", "denominator", "legs", "numerator")

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.numerator: Decimal | None = None
        self.denominator = ONE
        self.legs: tuple[tuple[Rate, bool], ...] = ()
        """The rates it is made of, each with whether its inverse is."""

    def convert(self, amount: Decimal) -> Decimal | None:
        """Returns the amount in the reporting currency; None without a rate, except that nothing is always nothing."""
        # hot: once per fill and per mark in another currency (benchmarks/bench_intake.py)
        numerator = self.numerator
        if numerator is ONE and self.denominator is ONE:
            return amount
        if not amount:
            return ZERO
        if numerator is None:
            return None
        product = EXACT.multiply(amount, numerator)
        return product if self.denominator is ONE else quotient(product, self.denominator)

    def refresh(self) -> bool:
        """Makes the factor from the rates; returns whether it has changed."""
        before = self.numerator, self.denominator
        numerator = denominator = ONE
        for rate, is_inverse in self.legs:
            if is_inverse:
                denominator = rate.rate if denominator is ONE else EXACT.multiply(denominator, rate.rate)
            else:
                numerator = rate.rate if numerator is ONE else EXACT.multiply(numerator, rate.rate)
        self.numerator, self.denominator = numerator, denominator
        return (numerator, denominator) != before

    @property
    def fraction(self) -> tuple[Decimal | None, Decimal]:
        """Numerator and denominator."""
        return self.numerator, self.denominator

    def put(self, numerator: Decimal | None, denominator: Decimal) -> None:
        """Takes a fraction that was kept."""
        self.numerator = ONE if numerator == ONE else numerator
        self.denominator = ONE if denominator == ONE else denominator

    def clear(self) -> bool:
        """Leaves it without a rate; returns whether it had one."""
        had, self.numerator, self.denominator, self.legs = self.numerator, None, ONE, ()
        return had is not None


class Rates:
    """The newest rate of each pair, and the conversion of each currency that something is kept in.

    A stablecoin of the US dollar counts as the dollar where that is the reporting currency, until a rate between the
    two is known; the rate shown is then `assumed`.
    """

    def __init__(self, reporting: str = "USD") -> None:
        self.reporting = reporting = code_of(reporting)
        self.known: dict[Pair, Rate] = {}
        self.conversions: dict[str, Conversion] = {}
        """By currency, without the reporting one."""
        self._own = Conversion(reporting)
        self._own.numerator = ONE
        self.quoted: set[Pair] = set()
        """Pairs that a market quotes, whose rate is known once it is followed."""
        self.on_wanted: Callable[[], None] | None = None
        """Called when a rate between further currencies is wanted."""
        self.on_conversion: Callable[[Conversion], None] | None = None
        """Called with the conversion of each further currency."""
        self._wanted: dict[Pair, None] = {}
        self.generation = 0
        """How often a conversion has changed."""

    def conversion(self, currency: str) -> Conversion:
        """Returns the conversion of a currency, which follows the rates from now on."""
        if currency == self.reporting:
            return self._own
        found = self.conversions.get(currency)
        if found is None:
            found = self.conversions[currency] = Conversion(currency)
            self._resolve(found)
            if self.on_conversion is not None:
                self.on_conversion(found)
            self._want(currency, self.reporting)
        return found

    def has_room(self, currency: str) -> bool:
        """Returns whether amounts in a currency can be kept."""
        return len(self.conversions) < MAX_CURRENCIES or currency == self.reporting or currency in self.conversions

    def put(
        self, pair: Pair, rate: Decimal, updated_ns: int, source: RateSource = "event", symbol: str = ""
    ) -> list[Conversion]:
        """Sets the rate of a pair; returns the conversions that it has changed."""
        # hot: once per event that moves the market of a pair that amounts are converted at
        pair = self.pair_of(pair)
        known = self.known.get(pair)
        if known is None:
            self.known[pair] = Rate(*pair, rate, updated_ns, source, symbol)
            changed = [each for each in self.conversions.values() if self._resolve(each)]
            self.generation += bool(changed)
            return changed
        known.rate, known.updated_ns, known.source, known.symbol = rate, updated_ns, source, symbol
        changed = [
            each for each in self.conversions.values() if any(leg is known for leg, _ in each.legs) and each.refresh()
        ]
        self.generation += bool(changed)
        return changed

    def load(self, rates: Iterable[Rate]) -> None:
        """Restores the rates of a checkpoint."""
        self.known.update(((rate.base, rate.quote), rate) for rate in rates)
        for each in self.conversions.values():
            self._resolve(each)

    def value(self, amount: Decimal, currency: str, into: str) -> Decimal | None:
        """Returns an amount in another currency at the newest rates; None without one."""
        if currency == into or not amount:
            return amount
        self._want(currency, into)
        between = Conversion(currency)
        if not self._find(between, currency, into):
            return None
        return between.convert(amount)

    def missing(self, currencies: Iterable[str]) -> list[str]:
        """Returns those of the currencies that cannot be converted."""
        return sorted(each for each in currencies if self.conversion(each).numerator is None)

    def to_json(self, is_stale: Callable[[Rate], bool]) -> list[dict[str, Any]]:
        """Returns each rate that something is converted at."""
        used: dict[Pair, Rate] = {}
        for conversion in self.conversions.values():
            for rate, _ in conversion.legs:
                used[rate.base, rate.quote] = rate
        return [
            {
                "pair": f"{rate.base}/{rate.quote}",
                "rate": to_float(rate.rate),
                "updated": iso_or_none(rate.updated_ns),
                "stale": is_stale(rate),
                "source": rate.source,
                "symbol": rate.symbol or None,
            }
            for _, rate in sorted(used.items())
        ]

    @staticmethod
    def pair_of(pair: Pair) -> Pair:
        """Returns a pair by the codes that rates are kept under."""
        base, quote = pair
        return code_of(base), code_of(quote)

    def pairs_wanted(self) -> set[Pair]:
        """Returns the quoted pairs of the rates that are wanted: those of one direct rate or one cross each."""
        wanted: set[Pair] = set()
        for base, quote in self._wanted:
            start, end = self.pair_of((base, quote))
            found = self._quoted_between(start, end)
            for via in [] if found else self._crosses(start, end, self.quoted | self.known.keys()):
                first, second = self._quoted_between(start, via), self._quoted_between(via, end)
                if (first or self._leg(start, via)) and (second or self._leg(via, end)):
                    found = first | second
                    break
            wanted |= found
        return wanted

    def _quoted_between(self, start: str, end: str) -> set[Pair]:
        for one in self._equals(start):
            for other in self._equals(end):
                for pair in ((one, other), (other, one)):
                    if pair in self.quoted:
                        return {pair}
        return set()

    def _want(self, base: str, quote: str) -> None:
        if (base, quote) not in self._wanted and len(self._wanted) < MAX_WANTED:
            self._wanted[base, quote] = None
            if self.on_wanted is not None:
                self.on_wanted()

    def _resolve(self, conversion: Conversion) -> bool:
        """Finds the rates of a conversion anew; returns whether that changes it."""
        return self._find(conversion, conversion.currency, self.reporting)

    def _find(self, conversion: Conversion, base: str, quote: str) -> bool:
        start, end = self.pair_of((base, quote))
        if start == end:
            conversion.legs = ()
            return conversion.refresh()
        legs = self._leg(start, end)
        if legs is None:
            for via in self._crosses(start, end, self.known.keys()):
                first, second = self._leg(start, via), self._leg(via, end)
                if first is not None and second is not None:
                    legs = first + second
                    break
        if legs is None:
            return conversion.clear()
        conversion.legs = legs
        return conversion.refresh()

    def _leg(self, base: str, quote: str) -> tuple[tuple[Rate, bool], ...] | None:
        """Returns the rates between two currencies without a cross; those of assumed parity are no cross."""
        for start in self._equals(base):
            for end in self._equals(quote):
                if start == end:
                    return self._parity(base, start) + self._parity(end, quote)
                direct, inverse = self.known.get((start, end)), self.known.get((end, start))
                if direct is not None and (inverse is None or direct.updated_ns >= inverse.updated_ns):
                    return (*self._parity(base, start), (direct, False), *self._parity(end, quote))
                if inverse is not None:
                    return (*self._parity(base, start), (inverse, True), *self._parity(end, quote))
        return None

    def _parity(self, one: str, other: str) -> tuple[tuple[Rate, bool], ...]:
        if one == other:
            return ()
        coin = one if one in USD_STABLECOINS else other
        return ((Rate(coin, self.reporting, ONE, 0, "assumed"), False),)

    def _equals(self, currency: str) -> tuple[str, ...]:
        """Returns the currency, and what counts as it."""
        if self.reporting != "USD":
            return (currency,)
        if currency == "USD":
            return ("USD", *(coin for coin in sorted(USD_STABLECOINS, reverse=True) if not self._is_priced(coin)))
        if currency in USD_STABLECOINS and not self._is_priced(currency):
            return currency, "USD"
        return (currency,)

    def _is_priced(self, coin: str) -> bool:
        return (coin, "USD") in self.known or ("USD", coin) in self.known

    def _crosses(self, start: str, end: str, pairs: Iterable[Pair]) -> list[str]:
        names = {name for pair in pairs for name in pair} - {start, end}
        return [name for name in _CROSSES if name in names] + sorted(names - set(_CROSSES))
