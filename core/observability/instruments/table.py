"""The instruments by symbol: those that were described, by an event or in the instrument file, and those assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from observability import events
from observability.instruments.hours import Calendars, MarketHours
from observability.instruments.instrument import ONE, Instrument, Terms, assumed_instrument, described_instrument

OnTerms = Callable[[str], None]
"""Called with a symbol whose instrument was described anew."""
IsHeld = Callable[[str], bool]
"""Returns whether a position is held in a symbol."""


class InstrumentTable:
    """What is known of each symbol. The terms of a symbol are the same at every venue, because a position is kept over
    all venues; kind, tick, lot and calendar may differ by venue."""

    def __init__(self, reporting: str = "USD", multipliers: Mapping[str, Decimal] | None = None) -> None:
        """`multipliers` are those of contracts that nothing else describes, by symbol."""
        self.reporting = events.code_of(reporting)
        self.is_held: IsHeld | None = None
        """Asked before terms change."""
        self.calendars = Calendars()
        self._multipliers = {} if multipliers is None else multipliers
        self._described: dict[str, dict[str, Instrument]] = {}
        self._assumed: dict[str, Instrument] = {}
        self._terms: dict[str, Terms] = {}
        self._special: dict[str, Terms | None] = {}
        self._listeners: list[OnTerms] = []

    def add_terms_listener(self, listener: OnTerms) -> None:
        self._listeners.append(listener)

    def terms(self, symbol: str) -> Terms:
        """Returns the terms of a symbol; the same object until they change."""
        # hot: once per position that opens and once per fill
        found = self._terms.get(symbol)
        return self._resolve(symbol) if found is None else found

    def special(self, symbol: str) -> Terms | None:
        """Returns the terms of a symbol if its amounts are not just quantity * price * CONTRACT_MULTIPLIERS in the
        reporting currency; else None."""
        # hot: once per order and once per fill
        try:
            return self._special[symbol]
        except KeyError:
            terms = self.terms(symbol)
            is_plain = terms.currency == self.reporting and not terms.is_inverse
            is_plain = is_plain and terms.multiplier == self._multipliers.get(symbol, ONE)
            found = self._special[symbol] = None if is_plain else terms
            return found

    def find(self, symbol: str, venue: str = "") -> Instrument:
        """Returns the instrument of a symbol, at a venue if it was described for that one."""
        described = self._described.get(symbol)
        if described is None:
            return self._assume(symbol)
        return described.get(venue) or described.get("") or next(iter(described.values()))

    def hours(self, symbol: str) -> MarketHours | None:
        """Returns the hours of the market of a symbol; None if no calendar is named, or it cannot be read."""
        return self.calendars.hours(self.find(symbol).calendar) if symbol in self._described else None

    @property
    def described(self) -> list[Instrument]:
        return [each for by_venue in self._described.values() for each in by_venue.values()]

    def described_by(self, event: events.Instrument) -> Instrument:
        """Returns the instrument that an event describes."""
        return described_instrument(event, self._multipliers.get(event.symbol, ONE))

    def fault(self, instrument: Instrument) -> str | None:
        """Returns why the table cannot take an instrument; None if it can."""
        symbol, terms = instrument.symbol, instrument.terms
        for venue, other in self._described.get(symbol, {}).items():
            if venue != instrument.venue and other.terms != terms:
                return f"other terms than at venue {venue!r}: positions are kept per symbol, over all venues"
        if self.is_held is not None and terms != self.terms(symbol) and self.is_held(symbol):
            return f"a position in {symbol} is held under other terms: {describe(self.terms(symbol))}"
        return None

    def put(self, instrument: Instrument) -> None:
        """Describes an instrument, for which `fault` has returned None."""
        symbol = instrument.symbol
        self._described.setdefault(symbol, {})[instrument.venue] = instrument
        before = self._terms.pop(symbol, None)
        self._special.pop(symbol, None)
        if before is not None and before == self.find(symbol).terms:
            self._terms[symbol] = before
        for listener in self._listeners:
            listener(symbol)

    def knows(self, instrument: Instrument) -> bool:
        """Returns whether it was described just like this."""
        return self._described.get(instrument.symbol, {}).get(instrument.venue) == instrument

    def to_json(self) -> list[dict[str, Any]]:
        """Returns every instrument, those assumed of symbols in use included."""
        assumed = [each for symbol, each in self._assumed.items() if symbol not in self._described]
        return [
            each.to_json() | {"calendar_fault": self.calendars.fault(each.calendar)}
            for each in (*self.described, *assumed)
        ]

    def _assume(self, symbol: str) -> Instrument:
        found = self._assumed.get(symbol)
        if found is None:
            multiplier = self._multipliers.get(symbol, ONE)
            found = self._assumed[symbol] = assumed_instrument(symbol, self.reporting, multiplier)
        return found

    def _resolve(self, symbol: str) -> Terms:
        terms = self._terms[symbol] = self.find(symbol).terms
        return terms


def describe(terms: Terms) -> str:
    contract = "inverse" if terms.is_inverse else "linear"
    return f"{contract}, multiplier {terms.multiplier:f}, in {terms.currency}"
