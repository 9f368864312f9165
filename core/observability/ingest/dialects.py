"""The other ways in which senders write an event, translated into that of `events.py`.

    JSON object --> known fields, each as its type reads it --> Struct, or the fault with its path
                --> the names of unknown fields, each with the nearest known name

This is the second reading: only an event that does not decode as it stands comes here.

- Words are read in any case, and the words of other systems for the same thing (`SYNONYMS`).
- Numbers may be strings, ids and names may be integers, and null stands for the default of an optional field.
- A decimal with more than 18 digits after the point is rounded to them, half to even: that is how doubles print.
- A time may be a string of digits; an integer that cannot be nanoseconds is refused with the unit it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import MAX_NS, parse_iso_ns
from observability.errors import EventError
from observability.events import (
    EVENT_TYPES,
    MAX_DECIMAL_EXPONENT,
    MAX_NAME_LENGTH,
    MIN_NS,
    QUANTUM,
    TYPE_NAMES,
    AnyEvent,
    Event,
)

# What one system calls another name. Left out are words with two meanings ("done", "inactive", "1"): a wrong guess
# would be a wrong number.
SYNONYMS: Final[Mapping[str, Mapping[str, str]]] = {
    "status": {
        "pending": "pending_new",
        "pending_submit": "pending_new",
        "pre_submitted": "pending_new",
        "presubmitted": "pending_new",
        "created": "pending_new",
        "received": "pending_new",
        "sent": "pending_new",
        "accepted": "new",
        "accepted_for_bidding": "new",
        "acknowledged": "new",
        "active": "new",
        "live": "new",
        "open": "new",
        "placed": "new",
        "stopped": "new",
        "submitted": "new",
        "suspended": "new",
        "untriggered": "new",
        "working": "new",
        "fill": "filled",
        "closed": "filled",
        "complete": "filled",
        "completed": "filled",
        "executed": "filled",
        "part_filled": "partially_filled",
        "partial": "partially_filled",
        "partial_fill": "partially_filled",
        "partial_filled": "partially_filled",
        "api_cancelled": "canceled",
        "cancelled": "canceled",
        "mmp_canceled": "canceled",
        "partially_filled_canceled": "canceled",
        "user_canceled": "canceled",
        "reject": "rejected",
        "calculated": "expired",
        "done_for_day": "expired",
        "expired_in_match": "expired",
        "amended": "replaced",
        "modified": "replaced",
        "replace": "replaced",
        "canceling": "pending_cancel",
        "cancelling": "pending_cancel",
        "pending_amend": "pending_replace",
        "pending_modify": "pending_replace",
    },
    "side": {
        "b": "buy",
        "bid": "buy",
        "bot": "buy",
        "bought": "buy",
        "buy_to_cover": "buy",
        "buy_to_open": "buy",
        "buy_to_close": "buy",
        "s": "sell",
        "ask": "sell",
        "sell_short": "sell",
        "sell_to_close": "sell",
        "sell_to_open": "sell",
        "sld": "sell",
        "sold": "sell",
    },
    "liquidity": {
        "m": "maker",
        "add": "maker",
        "added": "maker",
        "passive": "maker",
        "t": "taker",
        "aggressive": "taker",
        "remove": "taker",
        "removed": "taker",
        "unknown": "",
        "none": "",
    },
    "position_side": {"net": "both", "none": ""},
    "level": {"trace": "debug", "notice": "info", "warn": "warning", "err": "error", "fatal": "critical"},
    "severity": {
        "debug": "info", "notice": "info", "warn": "warning", "error": "critical", "err": "critical",
        "fatal": "critical", "emergency": "critical",
    },
    "heartbeat.status": {
        "alive": "ok", "healthy": "ok", "running": "ok", "up": "ok", "warning": "degraded", "unhealthy": "down",
        "dead": "down", "failed": "down", "stopped": "down",
    },
    "state": {
        "active": "raised", "alerting": "raised", "firing": "raised", "open": "raised", "clear": "resolved",
        "cleared": "resolved", "closed": "resolved", "ok": "resolved",
    },
}  # fmt: skip
"""By field, or by type and field where a name means two things: the word of another system, and ours."""

TYPE_SYNONYMS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "deposit": ("cash", {"reason": "deposit"}),
    "withdrawal": ("cash", {"reason": "withdrawal"}),
    "transfer": ("cash", {"reason": "transfer"}),
    "interest": ("cash", {"reason": "interest"}),
    "rebate": ("cash", {"reason": "rebate"}),
    "fee": ("cash", {"reason": "fee"}),
    "trade_cancel": ("bust", {}),
    "correction": ("correct", {}),
}
"""What other systems call a type of event: ours, and the fields that the word stands for."""
FIELD_SYNONYMS: Final[Mapping[str, Mapping[str, str]]] = {
    "split": {"ratio": "numerator"},
    "dividend": {"amount_per_unit": "amount_per_share"},
}
"""By type, what other systems call a field, unless the event has ours, too."""

# Similarity (difflib's ratio) from which a name counts as a misspelling of another.
NEAR_NAME_RATIO: Final = 0.7
MAX_UNKNOWN_FIELDS: Final = 16
"""Unknown fields of one event that are named; further ones are ignored."""

_TIMES: Final = ("ts", "decision_ts")
_NO_WORD: Final = "\0"
_SHOWN_CHARACTERS: Final = 40
_WORD_BREAKS = re.compile(r"[\s-]+|(?<=[a-z0-9])(?=[A-Z])")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_ROUNDED: Final = Context(prec=2 * MAX_DECIMAL_EXPONENT + 1, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
# The smallest double is 4.9e-324: no program has computed a smaller number.
_SMALLEST_EXPONENT: Final = -324
# By the number of digits that the time of today has, and those of some years around it.
_UNITS: Final = ((9, 11, "seconds"), (12, 14, "milliseconds"), (15, 17, "microseconds"))

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(slots=True)
class Reading:
    """An event as it was read, and what was odd about it."""

    event: AnyEvent
    unknown: tuple[str, ...]
    """Fields that the type does not have."""
    rounded: int
    """Numbers that had more digits after the point than are kept."""


def read_event(data: bytes | msgspec.Raw) -> Reading:
    """Returns the event that a JSON object describes in any dialect.

    Raises ValueError with the path of the fault from `$`, or another error of `decoder.UNDECODABLE`.
    """
    values = _decode(data)
    if not isinstance(values, dict):
        raise ValueError(f"Expected `object`, got `{type(values).__name__}`")
    return read_values(values)


def read_values(values: Mapping[str, Any]) -> Reading:
    """Returns the event of an object that is decoded already, in any dialect; its numbers are strings, integers or
    decimals. Raises ValueError with the path of the fault from `$`."""
    if "type" not in values:
        raise ValueError("Object missing required field `type`")
    tag = str(values["type"]).strip().lower()
    if tag in TYPE_SYNONYMS:
        tag, meant = TYPE_SYNONYMS[tag]
        values = {**meant, **values}
    for name, ours in FIELD_SYNONYMS.get(tag, {}).items():
        if name in values and ours not in values:
            values = {ours: values[name], **{key: value for key, value in values.items() if key != name}}
    dialect = _DIALECTS.get(tag)
    if dialect is None:
        raise _fault("type", f"Invalid value {_shown(values['type'])}, expected one of {', '.join(_DIALECTS)}")
    return dialect.read({**values, "type": tag})


def read_word(name: str, text: str, words: Collection[str]) -> str | None:
    """Returns which of `words` a text means in a field or parameter of that name; None if it means none of them."""
    synonyms = SYNONYMS.get(name, {})
    for word in (text.strip().lower(), _word(text)):
        for meant in (word, synonyms.get(word)):
            if meant in words:
                return meant
    return None


@lru_cache(maxsize=1024)
def nearest_name(kind: type[Event], name: str) -> str | None:
    """Returns the field of a type of event that a misspelled name most likely means."""
    known = _DIALECTS[TYPE_NAMES[kind]].fields
    return next(iter(get_close_matches(_word(name[:MAX_NAME_LENGTH]), known, n=1, cutoff=NEAR_NAME_RATIO)), None)


def describe_unknown(kind: type[Event], name: str) -> str:
    """Returns what to tell the sender of a field that the type does not have."""
    near = nearest_name(kind, name)
    hint = f"did you mean {near}?" if near else f"{TYPE_NAMES[kind]} has no such field"
    return f"{name[:MAX_NAME_LENGTH]}: {hint}"


def check_ns(name: str, value: int | Decimal) -> int:
    """Returns the value of a field as `read_ns` does. Raises ValueError with the path of the field."""
    try:
        return read_ns(value)
    except ValueError as error:
        raise _fault(name, str(error)) from None


def read_ns(value: int | Decimal) -> int:
    """Returns a number of nanoseconds since the epoch. Raises ValueError, with the unit it looks like, for any other
    number."""
    if MIN_NS <= value <= MAX_NS and value == int(value):
        return int(value)
    digits = value.adjusted() + 1 if isinstance(value, Decimal) else len(str(abs(value)))
    unit = next((unit for low, high, unit in _UNITS if value > 0 and low <= digits <= high), None)
    hint = f": {digits} digits look like {unit}" if unit else ""
    raise ValueError(f"Expected nanoseconds since the epoch, from 1973 to 2262, got {_shown(value)}{hint}")


class _Notes:
    """What the readers of the fields have noted about one event."""

    __slots__ = ("rounded",)

    def __init__(self) -> None:
        self.rounded = 0


_Read = Callable[[str, Any, _Notes], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """How one field is read."""

    read: _Read
    has_default: bool
    takes_null: bool


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one type of event is read."""

    kind: type[Event]
    fields: dict[str, _Field]

    def read(self, values: dict[str, Any]) -> Reading:
        notes = _Notes()
        known: dict[str, Any] = {}
        unknown: list[str] = []
        for name, value in values.items():
            field = self.fields.get(name)
            if field is None:
                if name != "type" and len(unknown) < MAX_UNKNOWN_FIELDS:
                    unknown.append(name)
            elif value is not None:
                known[name] = field.read(name, value, notes)
            elif field.takes_null or not field.has_default:
                known[name] = None
        try:
            event: Any = msgspec.convert(known, type=self.kind, strict=False)
        except msgspec.ValidationError as error:
            raise self._located(str(error), unknown) from None
        return Reading(event, tuple(unknown), notes.rounded)

    def _located(self, fault: str, unknown: Sequence[str]) -> ValueError:
        """Adds the path to a fault that begins with the name of a field, and the misspelled name to one about the field
        that is missing for it."""
        name, _, what = fault.partition(": ")
        if name in self.fields:
            return _fault(name, f"{what[:1].upper()}{what[1:]}")
        for name in unknown:
            near = nearest_name(self.kind, name)
            if near is not None and f"missing required field `{near}`" in fault:
                return ValueError(f"{fault}: is it `{name[:_SHOWN_CHARACTERS]}`?")
        return ValueError(fault)


# -- the readers of fields


def _read_as_is(name: str, value: Any, notes: _Notes) -> Any:
    return value


def _read_object(name: str, value: Any, notes: _Notes) -> Any:
    """Returns the value with floats where a JSON decoder leaves floats."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: _read_object(name, each, notes) for key, each in value.items()}
    return [_read_object(name, each, notes) for each in value] if isinstance(value, list) else value


def _read_text(name: str, value: Any, notes: _Notes) -> Any:
    return str(value) if value.__class__ is int else value


def _read_float(name: str, value: Any, notes: _Notes) -> Any:
    if not isinstance(value, str | Decimal):
        return value
    number = _number(name, value)
    read = float(number)
    if number and not read:
        raise _fault(name, f"Expected 0 or a number that a double can hold, got {_shown(value)}")
    return read


def _read_decimal(name: str, value: Any, notes: _Notes) -> Any:
    if value.__class__ is int:
        value = Decimal(value)
    if not isinstance(value, str | Decimal):
        return value
    number = _number(name, value)
    if number and number.adjusted() > MAX_DECIMAL_EXPONENT:
        raise _fault(name, f"Expected at most {MAX_DECIMAL_EXPONENT} digits before the point, got {_shown(value)}")
    if not number or number.adjusted() < _SMALLEST_EXPONENT:
        if number:
            raise _fault(name, f"Expected at most {MAX_DECIMAL_EXPONENT} digits after the point, got {_shown(value)}")
        return Decimal(0)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "a number of this form is finite"
    if exponent >= -MAX_DECIMAL_EXPONENT:
        return number
    rounded = _ROUNDED.quantize(number, QUANTUM)
    if rounded != number:
        notes.rounded += 1
    if not rounded and name.endswith("price"):
        raise _fault(name, f"Expected at most {MAX_DECIMAL_EXPONENT} digits after the point, got {_shown(value)}")
    return rounded


def _read_time(name: str, value: Any, notes: _Notes) -> Any:
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text) is None:
            try:
                return parse_iso_ns(text)
            except EventError as error:
                raise _fault(name, str(error)) from None
        value = Decimal(text)
    if value.__class__ is not int and not isinstance(value, Decimal):
        return value
    return check_ns(name, value)


def _word_reader(words: Sequence[str], synonyms: Mapping[str, str]) -> _Read:
    def read(name: str, value: Any, notes: _Notes) -> Any:
        word = _word(value) if isinstance(value, str) else _NO_WORD
        if word in words:
            return word
        if word in synonyms:
            return synonyms[word]
        allowed = ", ".join(word for word in words if word)
        raise _fault(name, f"Invalid enum value {_shown(value)}, expected one of {allowed}")

    return read


def _number(name: str, value: str | Decimal) -> Decimal:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _fault(name, f"Expected a number, got {value}")
        return value
    text = value.strip()
    if _NUMBER.fullmatch(text) is None:
        raise _fault(name, f"Expected a number, got {_shown(value)}")
    return Decimal(text)


def _word(text: str) -> str:
    return _WORD_BREAKS.sub("_", text.strip()).lower()


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _fault(name: str, what: str) -> ValueError:
    return ValueError(f"{what} - at `$.{name}`")


# -- which reader a field has, from its type


def _field(tag: str, field: msgspec.inspect.Field) -> _Field:
    alternatives = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
    takes_null = any(isinstance(each, msgspec.inspect.NoneType) for each in alternatives)
    return _Field(_reader(tag, field.name, alternatives), not field.required, takes_null)


def _reader(tag: str, name: str, alternatives: Sequence[msgspec.inspect.Type]) -> _Read:
    if name in _TIMES:
        return _read_time
    for each in alternatives:
        if isinstance(each, msgspec.inspect.LiteralType):
            words = tuple(map(str, each.values))
            return _word_reader(
                words, SYNONYMS.get(f"{tag}.{name}") or SYNONYMS.get(name.removeprefix("aggressor_"), {})
            )
        if isinstance(each, msgspec.inspect.DecimalType):
            return _read_decimal
        if isinstance(each, msgspec.inspect.FloatType):
            return _read_float
        if isinstance(each, msgspec.inspect.IntType):
            return _read_as_is
    return _read_text if any(isinstance(each, msgspec.inspect.StrType) for each in alternatives) else _read_object


def _dialect(kind: type[Event]) -> _Dialect:
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    return _Dialect(kind, {field.name: _field(TYPE_NAMES[kind], field) for field in described.fields})


_DIALECTS: Final = {TYPE_NAMES[kind]: _dialect(kind) for kind in EVENT_TYPES}
