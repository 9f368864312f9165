"""Decodes batches of events in our own JSON format into typed events; one bad event never costs another.

    bytes --> decode_all --> events, of a small batch in which every event decodes as it stands
          --> split --> elements, not decoded --> decode_slice --> events, of a slice in which every event does
                                              --> decode_element, one by one --> event, or its fault with the path
                                                        |       ^
                                                        v       |  what does not decode as it stands
                                                     dialects.read_event

A batch is a single event, an array of events, or a line per event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from observability.clocks.timestamps import parse_iso_ns
from observability.errors import MAX_FAULT_CHARACTERS, EventError
from observability.events import MAX_NAME_LENGTH, MIN_MAGNITUDE, AnyEvent, Event, Order, Print
from observability.ingest.dialects import Reading, describe_unknown, read_event
from observability.ingest.splitting import is_object, split_array

MAX_EVENT_BYTES: Final = 64 * 1024
# About half a millisecond of decoding, in which the event loop does nothing else.
MAX_SMALL_BYTES: Final = 32 * 1024

# What msgspec raises for bytes that a sender chose; the others are not subclasses of its own errors.
UNDECODABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)

# Stays as it is between an event and its fields.
_EXACT: Final = (Decimal,)

_PATH_ROOT: Final = "`$"
_SPACE: Final = b" \t\r\n"

Element = bytes | msgspec.Raw
"""One event of a batch, not decoded."""


class EventDecoder:
    """Splits batches and decodes their events. Not thread-safe."""

    def __init__(self, *, refuse_unknown_fields: bool = False) -> None:
        self._refuse_unknown_fields = refuse_unknown_fields
        # A number may be a string: that is read as fast as a bare one.
        self._event = msgspec.json.Decoder(AnyEvent, strict=False)
        self._events = msgspec.json.Decoder(list[AnyEvent], strict=False)
        self._raw = msgspec.json.Decoder(msgspec.Raw)
        self._raw_array = msgspec.json.Decoder(list[msgspec.Raw])

    def decode_all(self, data: bytes, ts_init: int) -> list[AnyEvent] | None:
        """Returns the events of a small array, or the single event that `data` is; None for any other batch, and if
        there is anything to be said about one of them. In a third of the time of doing it one by one."""
        # hot: once per batch (benchmarks/bench_intake.py)
        if len(data) > MAX_SMALL_BYTES:
            return None
        try:
            events = self._events.decode(data) if data.startswith(b"[") else [self._event.decode(data)]
            for event in events:
                _stamp(event, ts_init)
                if event.__class__ is Print and (
                    -MIN_MAGNITUDE < event.price < MIN_MAGNITUDE or event.size < MIN_MAGNITUDE
                ):
                    return None
        except (*UNDECODABLE, EventError):
            return None
        return events

    def decode_slice(self, elements: Sequence[Element | AnyEvent], ts_init: int) -> list[AnyEvent] | None:
        """Returns the events of some elements of one array; None if there is anything to be said about one of them, or
        they are not from an array that was JSON as a whole. In half of the time of doing it one by one."""
        # hot: once per slice of a batch (benchmarks/bench_intake.py)
        if any(element.__class__ is not msgspec.Raw for element in elements):
            return None
        return self.decode_all(b"[%b]" % b",".join(elements), ts_init)  # type: ignore[arg-type]

    def split(self, data: bytes, *, is_lines: bool | None) -> Iterable[Element]:
        """Returns the elements of an array, the single event that `data` is, or its non-blank lines.

        `is_lines` None detects which. The content of an element is not checked. Raises EventError if `data` is none of
        these, at once or during the iteration.
        """
        if is_lines:
            return _lines(data)
        is_array = data.lstrip(_SPACE)[:1] == b"["
        try:
            return self._raw_array.decode(data) if is_array else (self._raw.decode(data),)
        except UNDECODABLE as error:
            if is_array:
                return _split_anyway(data, str(error))
            # A single event may span several lines, so only now do the lines count as events.
            if is_lines is None and b"\n" in data.strip(_SPACE):
                return _lines(data)
            if is_object(data):
                return (data,)
            raise _not_an_event(str(error)) from None

    def decode_element(self, data: Element, index: int, ts_init: int) -> AnyEvent | Reading | EventError:
        """Returns the event at `index` of its batch, or an error that names the fault and its path. A Reading holds
        besides the event what its sender should know about it.

        `ts_init` is the arrival time; it also replaces an absent `ts`.
        """
        # hot: once per event (benchmarks/bench_intake.py)
        if len(data) > MAX_EVENT_BYTES:
            return EventError(_at(index, f"Expected at most {MAX_EVENT_BYTES} bytes, got {len(data)}"))
        try:
            event: AnyEvent = self._event.decode(data)
            _stamp(event, ts_init)
        except (*UNDECODABLE, EventError):
            return self._read(data, index, ts_init)
        if event.__class__ is Print and (-MIN_MAGNITUDE < event.price < MIN_MAGNITUDE or event.size < MIN_MAGNITUDE):
            # It may have become 0 only as a double.
            return self._read(data, index, ts_init)
        return event

    def check_decoded(self, event: Event, index: int, ts_init: int) -> AnyEvent | EventError:
        """Returns a copy of an event that a source has made, if a sender could have sent it; an error like that of
        `decode_element` if not."""
        # hot: once per event of a source (benchmarks/bench_sources.py)
        try:
            checked: AnyEvent = msgspec.convert(msgspec.to_builtins(event, builtin_types=_EXACT), type(event))  # type: ignore[assignment]
            _stamp(checked, ts_init)
            if checked.__class__ is Print:
                _check_magnitudes(checked)
        except (*UNDECODABLE, EventError, TypeError) as error:
            return EventError(_at(index, str(error)))
        return checked

    def _read(self, data: Element, index: int, ts_init: int) -> AnyEvent | Reading | EventError:
        """Reads an event that does not decode as it stands."""
        try:
            reading = read_event(data)
            _stamp(reading.event, ts_init)
            if isinstance(reading.event, Print):
                _check_magnitudes(reading.event)
        except (*UNDECODABLE, EventError) as error:
            return EventError(_at(index, str(error)))
        if reading.unknown and self._refuse_unknown_fields:
            name = reading.unknown[0]
            hint = describe_unknown(type(reading.event), name)
            return EventError(_at(index, f"Unknown field: {hint} - at `$.{name[:MAX_NAME_LENGTH]}`"))
        return reading if reading.unknown or reading.rounded else reading.event


def _split_anyway(data: bytes, fault: str) -> Iterator[bytes]:
    """Yields the elements of an array of which at least one is not JSON."""
    try:
        yield from split_array(data)
    except EventError:
        raise _not_an_event(fault) from None


def _not_an_event(fault: str) -> EventError:
    return EventError(f"expected an event, or an array of events: {_shortened(fault)}")


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip(_SPACE)]


def _at(index: int, fault: str) -> str:
    """Returns a fault with its path from the root of the batch, as msgspec words it for a whole array."""
    what, root, path = fault.rpartition(_PATH_ROOT)
    if not root:
        return f"{_shortened(fault)} - at `$[{index}]`"
    return f"{_shortened(what)}`$[{index}]{path}"


def _shortened(fault: str) -> str:
    return fault if len(fault) <= MAX_FAULT_CHARACTERS else fault[: MAX_FAULT_CHARACTERS - 3] + "..."


def _stamp(event: AnyEvent, ts_init: int) -> None:
    """Makes every time of an event an integer number of nanoseconds. Raises EventError for one that is not a time."""
    # hot: once per event (benchmarks/bench_intake.py)
    event.ts_init = ts_init
    ts = event.ts
    if ts is None:
        event.ts = ts_init
    elif ts.__class__ is not int:
        parse_times(event)
    if event.__class__ is Order and event.decision_ts is not None:
        parse_times(event)


def parse_times(event: AnyEvent) -> None:
    """Parses the times that are still ISO 8601. Raises EventError for one that is not a time."""
    if isinstance(event.ts, str):
        event.ts = parse_iso_ns(event.ts)
    if isinstance(event, Order) and isinstance(event.decision_ts, str):
        event.decision_ts = parse_iso_ns(event.decision_ts)


def _check_magnitudes(event: Print) -> None:
    """Raises EventError for a print that is too small to be summed."""
    for name, value in (("price", event.price), ("size", event.size)):
        if 0 < abs(value) < MIN_MAGNITUDE:
            raise EventError(f"Expected 0 or at least {MIN_MAGNITUDE:g}, got {value!r} - at `$.{name}`")
