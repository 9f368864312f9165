"""Decodes batches of events in our own JSON format into typed events; one bad event never costs another.

    bytes --> split --> elements, not decoded --> decode_element, one by one --> event, or its fault with the path

A batch is a single event, an array of events, or a line per event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from observability.clocks.timestamps import parse_iso_ns
from observability.errors import MAX_FAULT_CHARACTERS, EventError
from observability.events import MIN_MAGNITUDE, AnyEvent, Order, Print

# What msgspec raises for bytes that a sender chose; the last two are not subclasses of its own errors.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_PATH_ROOT: Final = "`$"
_SPACE: Final = b" \t\r\n"

Element = bytes | msgspec.Raw
"""One event of a batch, not decoded."""


class EventDecoder:
    """Splits batches and decodes their events. Not thread-safe."""

    def __init__(self) -> None:
        self._event = msgspec.json.Decoder(AnyEvent)
        self._raw = msgspec.json.Decoder(msgspec.Raw)
        self._raw_array = msgspec.json.Decoder(list[msgspec.Raw])

    def split(self, data: bytes, *, is_lines: bool | None) -> Sequence[Element]:
        """Returns the elements of an array, the single event that `data` is, or its non-blank lines.

        `is_lines` None detects which. Raises EventError if `data` is none of these; the content of a line is not
        checked.
        """
        if is_lines:
            return _lines(data)
        try:
            if data.lstrip(_SPACE)[:1] == b"[":
                return self._raw_array.decode(data)
            return (self._raw.decode(data),)
        except UNDECODABLE as error:
            # A single event may span several lines, so only now do the lines count as events.
            if is_lines is None and b"\n" in data.strip(_SPACE):
                return _lines(data)
            raise EventError(f"expected an event, or an array of events: {_shortened(str(error))}") from None

    def decode_element(self, data: Element, index: int, ts_init: int) -> AnyEvent | EventError:
        """Returns the event at `index` of its batch, or an error that names the fault and its path.

        `ts_init` is the arrival time; it also replaces an absent `ts`.
        """
        # hot: once per event (benchmarks/bench_intake.py)
        try:
            event: AnyEvent = self._event.decode(data)
            _stamp(event, ts_init)
        except (*UNDECODABLE, EventError) as error:
            return EventError(_at(index, str(error)))
        return event


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
    """Makes every time of an event an integer number of nanoseconds. Raises EventError for one that is not a time, and
    for a print that is too small to be summed."""
    event.ts_init = ts_init
    ts = event.ts
    if ts.__class__ is not int:
        event.ts = ts_init if ts is None else parse_iso_ns(str(ts))
    if event.__class__ is Print:
        if -MIN_MAGNITUDE < event.price < MIN_MAGNITUDE or event.size < MIN_MAGNITUDE:
            _check_magnitudes(event)
    elif event.__class__ is Order and isinstance(event.decision_ts, str):
        event.decision_ts = parse_iso_ns(event.decision_ts)


def _check_magnitudes(event: Print) -> None:
    for name, value in (("price", event.price), ("size", event.size)):
        if 0 < abs(value) < MIN_MAGNITUDE:
            raise EventError(f"Expected 0 or at least {MIN_MAGNITUDE:g}, got {value!r} - at `$.{name}`")
