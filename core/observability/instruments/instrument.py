"""One instrument: what it is, in which currencies it is traded and settled, and how its amounts are computed.

    linear, quanto    amount = quantity * price * multiplier       in settlement currency, by default the quote currency
    inverse           amount = -quantity * multiplier / price      in settlement currency, by default the base currency

So the P&L of an inverse contract is quantity * multiplier * (1 / entry - 1 / exit), and its average price is harmonic.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from observability import events
from observability.clocks.timestamps import iso_or_none
from observability.instruments.currencies import pair_of

Kind = Literal["equity", "spot", "future", "perpetual", "option", "fx", ""]
Contract = Literal["linear", "inverse", "quanto"]

ONE: Final = Decimal(1)

# The kinds of which the whole price is paid, and whose market is a rate between two currencies.
_PAID: Final = frozenset({"equity", "spot", "option", "fx", ""})
_PAIRS: Final = frozenset({"spot", "fx", ""})


class Terms(msgspec.Struct, frozen=True):
    """What the amounts of an instrument depend on. None of it changes while a position is held."""

    currency: str
    """Of P&L, notional and of fees that name no currency."""
    multiplier: Decimal = ONE
    is_inverse: bool = False
    base: str = ""
    """The currency that a position is an amount of; empty if it is none, as of a share or a contract."""
    is_paid: bool = True
    """Whether the whole amount is paid, not only what was lost."""


class Instrument(msgspec.Struct, frozen=True):
    """One instrument; `assumed` if no one has described it."""

    symbol: str
    venue: str = ""
    kind: Kind = ""
    base: str = ""
    quote: str = ""
    settlement: str = ""
    contract: Contract = "linear"
    multiplier: Decimal = ONE
    tick: Decimal | None = None
    lot: Decimal | None = None
    expiry_ns: int | None = None
    calendar: str = ""
    assumed: bool = False

    @property
    def terms(self) -> Terms:
        base = self.base if self.kind in _PAIRS and self.contract == "linear" and self.multiplier == ONE else ""
        multiplier = ONE if self.multiplier == ONE else self.multiplier
        is_paid = self.kind in _PAID and self.contract == "linear"
        return Terms(self.currency, multiplier, self.contract == "inverse", base, is_paid)

    @property
    def currency(self) -> str:
        """The currency of its amounts."""
        return self.settlement or (self.base if self.contract == "inverse" else self.quote)

    @property
    def pair(self) -> tuple[str, str] | None:
        """The currencies that its price is a rate between; None if it is none."""
        if self.kind not in _PAIRS or not self.base or not self.quote or self.base == self.quote:
            return None
        return (self.base, self.quote) if self.contract == "linear" and self.multiplier == ONE else None

    def terms_json(self) -> dict[str, Any]:
        """Returns what a reader of amounts and prices needs of it, as JSON."""
        return {
            "currency": self.currency,
            "contract": self.contract,
            "multiplier": float(self.multiplier),
            "tick_size": None if self.tick is None else float(self.tick),
            "assumed": self.assumed,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "venue": self.venue,
            "kind": self.kind or None,
            "contract": self.contract,
            "base_currency": self.base or None,
            "quote_currency": self.quote,
            "settlement_currency": self.currency,
            "multiplier": float(self.multiplier),
            "tick_size": None if self.tick is None else float(self.tick),
            "lot_size": None if self.lot is None else float(self.lot),
            "expiry": iso_or_none(self.expiry_ns),
            "calendar": self.calendar or None,
            "assumed": self.assumed,
        }


def described_instrument(event: events.Instrument, multiplier: Decimal = ONE) -> Instrument:
    """Returns what an event describes; `multiplier` stands if it names none."""
    return Instrument(
        event.symbol,
        event.venue,
        event.kind,
        event.base_currency or _base_of(event),
        event.quote_currency,
        event.settlement_currency,
        event.contract,
        multiplier if event.multiplier is None else event.multiplier,
        event.tick_size,
        event.lot_size,
        event.expiry if isinstance(event.expiry, int) else None,
        event.calendar,
    )


def renamed(instrument: Instrument) -> Instrument:
    """Returns an instrument that an earlier version has kept, with the codes of its currencies as they are kept now."""
    return msgspec.structs.replace(
        instrument,
        base=events.code_of(instrument.base),
        quote=events.code_of(instrument.quote),
        settlement=events.code_of(instrument.settlement),
    )


def _base_of(event: events.Instrument) -> str:
    """Returns the base currency that the name of a pair tells of."""
    pair = pair_of(event.symbol)
    return events.code_of(pair[0]) if pair is not None and events.code_of(pair[1]) == event.quote_currency else ""


def assumed_instrument(symbol: str, reporting: str, multiplier: Decimal = ONE) -> Instrument:
    """Returns what is assumed of a symbol that no one has described: linear, in the quote currency if its name is
    certainly a pair, else in the reporting one."""
    base, quote = map(events.code_of, pair_of(symbol) or ("", reporting))
    return Instrument(symbol, base=base, quote=quote, multiplier=multiplier, assumed=True)
