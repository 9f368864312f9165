"""Recordings of our own events: one JSON object per line, as `/api/ingest` accepts them. Duplicates are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from observability.clocks.timestamps import MAX_NS, parse_iso_ns
from observability.errors import EventError
from observability.events import AnyEvent, Event, Order
from observability.ingest.decoder import UNDECODABLE
from observability.sources.recordings.lines import RecordingCounts

_decode = msgspec.json.Decoder(AnyEvent).decode


def looks_like_event_lines(line: bytes) -> bool:
    """Returns whether a line has the form of this recording."""
    return line.lstrip().startswith(b"{")


def read_event_lines(lines: Iterable[bytes], *, opened_ns: int, counts: RecordingCounts) -> Iterator[Event]:
    """Yields the event of each line, with both its times as integers; counts and skips bad lines.

    An event without `ts_init` arrived at its `ts`; one with neither arrived together with the event before it, or at
    `opened_ns` if it is the first.
    """
    delivered = counts.events
    before_ns = opened_ns
    for number, line in enumerate(lines, 1):
        if not line or line.isspace():
            continue
        try:
            event = _decode(line)
            if isinstance(event.ts, str):
                event.ts = parse_iso_ns(event.ts)
            if isinstance(event, Order) and isinstance(event.decision_ts, str):
                event.decision_ts = parse_iso_ns(event.decision_ts)
            if not 0 <= event.ts_init <= MAX_NS:
                raise EventError(f"ts_init {event.ts_init}: expected nanoseconds since the epoch, from 0 to 2^63 - 1")
        except (*UNDECODABLE, EventError) as error:
            counts.bad_line(number, error)
            continue
        if event.ts_init == 0:
            event.ts_init = before_ns if event.ts is None else event.ts
        if event.ts is None:
            event.ts = event.ts_init
        before_ns = event.ts_init
        delivered[event.__class__] += 1
        yield event
