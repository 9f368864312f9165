"""Recordings of our own events: one JSON object per line, as `/api/ingest` accepts them. Duplicates are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from observability.errors import EventError
from observability.events import AnyEvent, Event
from observability.ingest.decoder import UNDECODABLE, parse_times
from observability.ingest.dialects import check_ns, read_event
from observability.sources.recordings.arrivals import with_arrivals
from observability.sources.recordings.lines import RecordingCounts

_decode_as_it_stands = msgspec.json.Decoder(AnyEvent, strict=False).decode


def looks_like_event_lines(line: bytes) -> bool:
    """Returns whether a line has the form of this recording."""
    return line.lstrip().startswith(b"{")


def read_event_lines(lines: Iterable[bytes], *, opened_ns: int, counts: RecordingCounts) -> Iterator[Event]:
    """Yields the event of each line, with both its times as integers; counts and skips bad lines.

    `arrivals.py` says when an event without `ts_init` arrived. One without `ts` happened when it arrived.
    """
    delivered = counts.events
    for event in with_arrivals(_read(lines, counts), opened_ns):
        if event.ts is None:
            event.ts = event.ts_init
        delivered[event.__class__] += 1
        yield event


def _read(lines: Iterable[bytes], counts: RecordingCounts) -> Iterator[AnyEvent]:
    for number, line in enumerate(lines, 1):
        if not line or line.isspace():
            continue
        try:
            event = _decode(line)
            if event.ts_init:
                check_ns("ts_init", event.ts_init)
        except (*UNDECODABLE, EventError) as error:
            counts.bad_line(number, error)
            continue
        yield event


def _decode(line: bytes) -> AnyEvent:
    """Returns the event of a line as `/api/ingest` reads it, and ignores fields that are not those of its type."""
    try:
        event: AnyEvent = _decode_as_it_stands(line)
        parse_times(event)
    except (*UNDECODABLE, EventError):
        return read_event(line).event
    return event
