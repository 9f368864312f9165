"""A recording on disk: its kind, recognised by its first line, and its events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from observability.clocks.clock import Clock, HostClock
from observability.errors import SourceError
from observability.events import Event
from observability.sources.feeds.binance import BinanceDialect
from observability.sources.feeds.dialect import Dialect
from observability.sources.recordings import lobster
from observability.sources.recordings.captures import dialect_of_capture, looks_like_capture, read_capture
from observability.sources.recordings.event_lines import looks_like_event_lines, read_event_lines
from observability.sources.recordings.lines import LineReader, RecordingCounts
from observability.sources.recordings.order_latency import looks_like_order_latency, read_order_latency

RecordingKind = Literal["lobster", "capture", "order_latency", "events"]


class Recording:
    """One recording. Each call of `events` reads it from the beginning, in chunks; only order latencies, which must be
    sorted, are read as a whole.

    Raises SourceError if the file is not a recording of a known kind. The files are closed when the iterator of
    `events` ends or is closed.
    """

    def __init__(self, path: str | Path, clock: Clock | None = None) -> None:
        self.path = Path(path)
        self.counts = RecordingCounts(self.path)
        self._clock = HostClock() if clock is None else clock
        self._lines = LineReader(self.path)
        self._orderbook_lines: LineReader | None = None
        self.kind: RecordingKind
        self._read: Callable[[RecordingCounts], Iterator[Event]]
        self._start_ns: int | None = None
        self._recognise(_first_line(self._lines))

    @property
    def bytes_total(self) -> int:
        """Bytes on disk, of both files of a LOBSTER recording."""
        return self._lines.bytes_total + (self._orderbook_lines.bytes_total if self._orderbook_lines else 0)

    @property
    def bytes_read(self) -> int:
        """Bytes on disk that the latest `events` has read."""
        return self._lines.bytes_read + (self._orderbook_lines.bytes_read if self._orderbook_lines else 0)

    def events(self) -> Iterator[Event]:
        """Yields the events in the order of the file. Raises SourceError where the file is damaged."""
        return self._read(self.counts)

    @property
    def start_ns(self) -> int:
        """When the first event arrived; 0 if there is none, or if the file is damaged before it."""
        if self._start_ns is None:
            self._start_ns = 0
            events = self._read(RecordingCounts(self.path, is_logged=False))
            try:
                self._start_ns = next((event.ts_init for event in events), 0)
            except SourceError:
                pass  # `events` raises it again, in its place
            finally:
                events.close()  # type: ignore[attr-defined]
                for lines in (self._lines, self._orderbook_lines):
                    if lines is not None:
                        lines.bytes_read = 0
        return self._start_ns

    def _recognise(self, line: bytes) -> None:
        if lobster.looks_like_message(line) or lobster.looks_like_orderbook(line):
            self.kind = "lobster"
            name = lobster.read_name(self.path)
            self._orderbook_lines = LineReader(name.orderbook_path)
            self._read = lambda counts: self._lobster_events(name, counts)
        elif looks_like_capture(line):
            self.kind = "capture"
            dialect = _dialect(self._lines)
            self._read = lambda counts: read_capture(self._lines, dialect(), counts=counts)
        elif looks_like_order_latency(line):
            self.kind = "order_latency"
            self._read = lambda counts: read_order_latency(self._lines, counts=counts)
        elif looks_like_event_lines(line):
            self.kind = "events"
            self._read = lambda counts: read_event_lines(self._lines, opened_ns=self._clock.time_ns(), counts=counts)
        else:
            raise SourceError(
                f"{self.path}:1: not a recording of a known kind: expected a LOBSTER message file, a capture of "
                f"a venue's feed (<ns> <JSON>), order latencies (Timestamp,Order_ID,Status) or JSON lines of events, "
                f"got {line[:60]!r}"
            )

    def _lobster_events(self, name: lobster.LobsterName, counts: RecordingCounts) -> Iterator[Event]:
        assert self._orderbook_lines is not None
        return lobster.read_lobster(self._lines, self._orderbook_lines, symbol=name.symbol, day=name.day, counts=counts)


def _dialect(lines: LineReader) -> type[Dialect]:
    reader = iter(lines)
    try:
        return dialect_of_capture(reader)
    except SourceError:
        # The file is damaged before a message by which the venue can be told; reading it says where.
        return BinanceDialect
    finally:
        reader.close()  # type: ignore[attr-defined]
        lines.bytes_read = 0


def _first_line(lines: LineReader) -> bytes:
    reader = iter(lines)
    try:
        for line in reader:
            if line and not line.isspace():
                return line
    finally:
        reader.close()  # type: ignore[attr-defined]
    raise SourceError(f"{lines.path}: the file has only blank lines")
