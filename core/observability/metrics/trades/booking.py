"""A booking: an event that changes the book and is no fill, as it is kept, and the filter that selects some of many.

What identifies it is its kind and its key: the id that the sender gave it, with symbol and venue where it has them,
because exchanges number such things per symbol. Without an id it is its own time and content, if it has a time of its
own; without either it cannot be recognised when it is delivered again.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import MAX_NS, format_iso_ms, format_iso_ns
from observability.encoding import encode_json
from observability.errors import StoreError
from observability.events import (
    TYPE_NAMES,
    BookingEvent,
    Bust,
    Cash,
    Correct,
    Dividend,
    Event,
    Funding,
    Instrument,
    Position,
    Rate,
    Settlement,
    Split,
    event_time_ns,
)
from observability.metrics.arithmetic.decimals import to_float
from observability.metrics.trades.position_side import held_side
from observability.metrics.trades.rows import StoreRow
from observability.metrics.trades.trade import DEFAULT_STRATEGY

BookedEvent = BookingEvent | Position
"""What is booked: a `position` event only if it is adopted."""
ADOPTION: Final = "adopt"
"""The kind of a position that is adopted."""

BookingKey = tuple[str, str]
"""Kind and key."""

# The field that holds the sender's id.
_ID_FIELDS: Final[dict[type[Event], str]] = {
    Cash: "cash_id",
    Funding: "funding_id",
    Dividend: "dividend_id",
    Split: "split_id",
    Settlement: "settlement_id",
    Bust: "trade_id",
    Correct: "trade_id",
}
# What else belongs to the key, of the fields that a kind has. The id of a cash booking stands alone.
_SCOPE: Final = ("venue", "symbol", "side", "order_id")
_TIMES: Final = ("ts", "ts_init")

_decode_event: Final = msgspec.json.Decoder(BookedEvent).decode


class Booking(msgspec.Struct):
    """One booking. `seq` rises from booking to booking, in one sequence with the fills."""

    seq: int
    kind: str
    key: str
    event: BookedEvent
    symbol: str = ""
    strategy: str = ""
    """The strategy that it belongs to; empty for one that belongs to several or to none."""
    effect: dict[str, Any] = {}
    """What it changed, as the document shows it."""

    @classmethod
    def from_event(cls, seq: int, event: BookedEvent) -> Booking:
        """Returns the booking of an event, before any collector has added what it changed."""
        kind, key = key_of(event)
        return cls(seq, kind, key, event, getattr(event, "symbol", ""), getattr(event, "strategy", ""))

    @property
    def ts_ns(self) -> int:
        return event_time_ns(self.event)

    def to_json(self) -> dict[str, Any]:
        event = self.event
        fields = {name: _shown(getattr(event, name)) for name in event.__struct_fields__ if name not in _TIMES}
        if isinstance(event, Instrument):
            fields["instrument_kind"] = fields.pop("kind")
        return {
            "kind": self.kind,
            **fields,
            "strategy": self.strategy,
            "timestamp": format_iso_ms(self.ts_ns),
            "effect": self.effect,
        }


def key_of(event: BookedEvent) -> BookingKey:
    """Returns what identifies an event among all of its kind."""
    if isinstance(event, Position):
        return ADOPTION, encode_json(
            [event.strategy or DEFAULT_STRATEGY, event.symbol, held_side(event.position_side)]
        ).decode()
    kind = event.__class__
    field = _ID_FIELDS.get(kind)
    identity = "" if field is None else getattr(event, field)
    if identity:
        scope = [getattr(event, name) or "" for name in _SCOPE if name in event.__struct_fields__]
        if isinstance(event, Correct):
            # A fill may be corrected several times.
            terms = (event.quantity, event.price, event.commission, event.new_trade_id)
            scope += map(_text, (event.ts if event.ts != event.ts_init else None, *terms))
        return TYPE_NAMES[kind], encode_json([*scope, identity]).decode()
    return TYPE_NAMES[kind], encode_json([event_time_ns(event), *map(_text, content_of(event))]).decode()


def is_recognisable(event: BookedEvent) -> bool:
    """Returns whether a second delivery of an event can be told from another event, or changes nothing."""
    if isinstance(event, Position | Instrument | Rate):
        return True
    field = _ID_FIELDS.get(event.__class__)
    return (field is not None and bool(getattr(event, field))) or event.ts != event.ts_init


def content_of(event: BookedEvent) -> tuple[Any, ...]:
    """Returns what must be the same in two deliveries of one event: all but its times, which may be those of the
    delivery."""
    if isinstance(event, Position):
        # The rest is its key.
        return event.quantity, event.avg_price
    return tuple(getattr(event, name) for name in event.__struct_fields__ if name not in _TIMES)


def booking_row(booking: Booking, *, is_conflict: bool = False) -> StoreRow:
    """Returns the row of a booking; that of a conflicting one lies beside the one that counts."""
    return (
        booking.seq,
        booking.ts_ns,
        booking.event.ts_init,
        booking.kind,
        booking.key,
        booking.symbol,
        booking.strategy,
        msgspec.json.encode(booking.event).decode(),
        encode_json(booking.effect).decode(),
        booking.seq if is_conflict else 0,
    )


def booking_of(row: StoreRow) -> Booking:
    """Returns the booking. Raises StoreError if the row is damaged."""
    try:
        seq, _, _, kind, key, symbol, strategy, document, effect, _ = row
        return Booking(seq, kind, key, _decode_event(document), symbol, strategy, msgspec.json.decode(effect))
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        raise StoreError(f"row {row[0]!r} of the bookings is damaged: {error!r}") from None


@dataclass(frozen=True, slots=True)
class BookingFilter:
    """Selects bookings; a field that is None accepts every booking. start_ns <= time < end_ns."""

    kind: str | None = None
    symbol: str | None = None
    strategy: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    status: str | None = None
    """Of corrections: whether they are applied."""
    shown: tuple[int, int] | None = None
    """Only corrections of a fault that was in the figures shown in this time: from, and up to."""

    def matches(self, booking: Booking) -> bool:
        """Returns whether a booking is among those that are wanted."""
        return (
            (self.shown is None or self._was_shown(booking.effect))
            and self.kind in (None, booking.kind)
            and self.symbol in (None, booking.symbol)
            and self.strategy in (None, booking.strategy)
            and self.status in (None, booking.effect.get("status"))
            and (self.start_ns or 0) <= booking.ts_ns < (MAX_NS + 1 if self.end_ns is None else self.end_ns)
        )

    def _was_shown(self, effect: dict[str, Any]) -> bool:
        since, until = effect.get("shown_since"), effect.get("shown_until")
        if since is None or until is None:
            return False
        start, end = self.shown_texts
        return bool(since < end and until > start)

    @property
    def shown_texts(self) -> tuple[str, str]:
        """The time of `shown` as effects have it: texts that compare as the times do."""
        assert self.shown is not None, "asked for"
        start_ns, end_ns = self.shown
        return format_iso_ns(start_ns), format_iso_ns(end_ns)


def _shown(value: Any) -> Any:
    return to_float(value) if isinstance(value, Decimal) else value


def _text(value: Any) -> str:
    # Equal decimals have one text.
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
