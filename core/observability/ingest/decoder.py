"""Decoding of our own events: JSON in, typed events with their times out; one bad event never costs another.

No delivery here (see `bus.py`) and no transport.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from observability.clocks.timestamps import parse_iso_ns
from observability.errors import MAX_FAULT_CHARACTERS, EventError
from observability.events import AnyEvent, Order

# What decoding raises for bytes that a sender chose; the last two are not of msgspec's tree.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_PATH_ROOT: Final = "`$"
_SPACE: Final = b" \t\r\n"

Element = bytes | msgspec.Raw
"""One event of a batch, not decoded."""


@dataclass(slots=True)
class Batch:
    """What a batch came to: the usable events in order; for each other one its index and the fault with its path."""

    events: list[AnyEvent] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)


class EventDecoder:
    """Decodes events. Not safe for several threads."""

    def __init__(self) -> None:
        self._one = msgspec.json.Decoder(AnyEvent)
        self._many = msgspec.json.Decoder(list[AnyEvent])
        self._raw = msgspec.json.Decoder(list[msgspec.Raw])
        self._raw_one = msgspec.json.Decoder(msgspec.Raw)

    def decode_array(self, data: bytes, ts_init: int) -> Batch:
        """Decodes a JSON array. `ts_init` is the arrival time; it also stands for `ts` where that is absent.

        Raises EventError if `data` is not a JSON array at all.
        """
        # hot: once per event (benchmarks/bench_intake.py)
        try:
            events = self._many.decode(data)
            _stamp(events, ts_init)
        except (*UNDECODABLE, EventError):
            return self._decode_each(data, ts_init)
        return Batch(events)

    def decode_event(self, data: bytes | msgspec.Raw, ts_init: int) -> AnyEvent:
        """Decodes one event. Raises EventError with the path of the fault."""
        try:
            event: AnyEvent = self._one.decode(data)
        except UNDECODABLE as error:
            raise EventError(str(error)) from None
        _stamp((event,), ts_init)
        return event

    def split(self, data: bytes, *, is_lines: bool | None) -> Sequence[Element]:
        """Returns the elements of an array, the one event that `data` is, or its lines (blank ones left out).

        `is_lines` None finds out which. Raises EventError if `data` is none of these; a line is not looked into.
        """
        if is_lines:
            return _lines(data)
        try:
            if data.lstrip(_SPACE)[:1] == b"[":
                return self._raw.decode(data)
            return (self._raw_one.decode(data),)
        except UNDECODABLE as error:
            # One event may be written on several lines, so this is known only now.
            if is_lines is None and b"\n" in data.strip(_SPACE):
                return _lines(data)
            raise EventError(f"expected an event, or an array of events: {_shortened(str(error))}") from None

    def decode_element(self, data: Element, index: int, ts_init: int) -> AnyEvent | EventError:
        """Returns the event that stands at `index` of its batch, or what is wrong with it, and where."""
        # hot: once per event (benchmarks/bench_ingest.py)
        try:
            return self.decode_event(data, ts_init)
        except EventError as error:
            return EventError(_at(index, str(error)))

    def _decode_each(self, data: bytes, ts_init: int) -> Batch:
        try:
            elements = self._raw.decode(data)
        except UNDECODABLE as error:
            raise EventError(f"expected a JSON array of events: {error}") from None
        batch = Batch()
        for index, element in enumerate(elements):
            event = self.decode_element(element, index, ts_init)
            if isinstance(event, EventError):
                batch.rejected.append((index, str(event)))
            else:
                batch.events.append(event)
        return batch


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip(_SPACE)]


def _at(index: int, fault: str) -> str:
    """Returns a fault with its path from the batch's root, as msgspec would have said it of the whole."""
    what, root, path = fault.rpartition(_PATH_ROOT)
    if not root:
        return f"{_shortened(fault)} - at `$[{index}]`"
    return f"{_shortened(what)}`$[{index}]{path}"


def _shortened(fault: str) -> str:
    return fault if len(fault) <= MAX_FAULT_CHARACTERS else fault[: MAX_FAULT_CHARACTERS - 3] + "..."


def _stamp(events: Sequence[AnyEvent], ts_init: int) -> None:
    """Makes every time an integer number of nanoseconds. Raises EventError for one that is not a time."""
    for event in events:
        event.ts_init = ts_init
        ts = event.ts
        if ts.__class__ is not int:
            event.ts = ts_init if ts is None else parse_iso_ns(str(ts))
        if event.__class__ is Order and isinstance(event.decision_ts, str):
            event.decision_ts = parse_iso_ns(event.decision_ts)
