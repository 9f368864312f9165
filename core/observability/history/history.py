"""The history's memory: every series and table of bars in one region, which the hub fills and any process reads.

No row is written here (see `recorded_series.py`), no queries over intervals (see `history.py`), no offsets (see
`layout.py`), nothing on disk (see `archive.py`).
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from observability.errors import CapacityError
from observability.history import layout
from observability.history.layout import Budget
from observability.history.open_interval import HistoryState, SeriesState
from observability.history.series import Series
from observability.history.series_writer import OnMinute, RecordedSeries
from observability.history.table import RowTable
from observability.memory.counters import Counters
from observability.memory.directory import Directory
from observability.store.checkpoint import pack, unpack


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    """What lies at a word of the region, as its directory says."""

    kind: Literal["series", "table"]
    section: str
    key: str
    fields: tuple[str, ...]
    base: int

    @property
    def words(self) -> int:
        return (layout.series_words if self.kind == "series" else layout.table_words)(len(self.fields))


_decode_entry = msgspec.msgpack.Decoder(_Entry).decode


class _Region:
    """The memory and its directory."""

    def __init__(self, memory: memoryview[int], directory_bytes: int) -> None:
        """`memory` is bytes."""
        self.directory = Directory(memory[:directory_bytes])
        self.words: memoryview[int] = memory[directory_bytes:].cast("q")
        self.doubles: memoryview[float] = memory[directory_bytes:].cast("d")

    def parts(self, entry: _Entry) -> tuple[memoryview[int], memoryview[float]]:
        """Returns the memory of an entry, as words and as doubles."""
        place = slice(entry.base, entry.base + entry.words)
        return self.words[place], self.doubles[place]


class History:
    """The hub's side: all series and tables in memory whose size is fixed when it is made.

    What an earlier hub has left in the same memory goes on. Memory never written is never touched.
    """

    name = "history"

    def __init__(self, budget: Budget, memory: memoryview[int] | None = None) -> None:
        """`memory` is bytes, `budget.size_bytes` of them; without it the history is this process's own."""
        self.size_bytes = budget.size_bytes
        self.memory = memoryview(mmap.mmap(-1, budget.size_bytes)) if memory is None else memory
        self._budget = budget
        self._region = _Region(self.memory, budget.directory_bytes)
        self._found = {
            (entry.kind, entry.section, entry.key): entry
            for entry in map(_decode_entry, self._region.directory.read_new())
        }
        self._free = max((entry.base + entry.words for entry in self._found.values()), default=0)
        self._series: dict[tuple[str, str], RecordedSeries] = {}
        self._tables: dict[tuple[str, str], RowTable] = {}
        # Of series that are not open yet.
        self._saved: dict[tuple[str, str], SeriesState] = {}
        self.on_minute: OnMinute | None = None
        """Is told of each minute that is over."""
        self.load_minutes: Callable[[RecordedSeries], Iterable[tuple[int, array[float]]]] | None = None
        """Says what an earlier process knew of a series, oldest first: start and aggregates of its last minutes."""
        self.on_continued: Callable[[RecordedSeries], None] | None = None
        """Is told of each series that goes on where an earlier hub's has ended."""

    def open(self, section: str, key: str, fields: tuple[str, ...]) -> RecordedSeries:
        """Returns the series, made on first use. Raises CapacityError when its memory is not left."""
        series = self._series.get((section, key))
        if series is None:
            entry, is_continued = self._place("series", section, key, fields)
            words, doubles = self._region.parts(entry)
            series = self._series[section, key] = RecordedSeries(
                section, key, fields, words, doubles, self._minute_is_over, is_continued=is_continued
            )
            # What the memory of a dead hub holds reaches further.
            saved = self._saved.pop((section, key), None)
            if is_continued:
                if self.on_continued is not None:
                    self.on_continued(series)
                return series
            if self.load_minutes is not None:
                series.resume_minutes(self.load_minutes(series))
            if saved is not None:
                series.load_state(saved)
            self._region.directory.add(msgspec.msgpack.encode(entry))
        return series

    def open_table(self, section: str, key: str, fields: tuple[str, ...]) -> RowTable:
        """Returns the table, made on first use. Raises CapacityError when its memory is not left."""
        table = self._tables.get((section, key))
        if table is None:
            entry, is_continued = self._place("table", section, key, fields)
            table = self._tables[section, key] = RowTable(*self._region.parts(entry), len(fields))
            if not is_continued:
                table.clear()
                self._region.directory.add(msgspec.msgpack.encode(entry))
        return table

    def series(self) -> tuple[RecordedSeries, ...]:
        """Every open series, in the order in which they were opened."""
        return tuple(self._series.values())

    def reader(self, counters: Counters) -> HistoryReader:
        """Returns what reads the same memory."""
        return HistoryReader(self._budget, self.memory, counters)

    def save(self) -> bytes:
        """Returns the intervals that are not over yet."""
        return pack(HistoryState([*(series.dump_state() for series in self._series.values()), *self._saved.values()]))

    def load(self, data: bytes) -> None:
        """Takes over the open intervals of an earlier process; before the first row. Raises CheckpointError."""
        state = unpack(data, HistoryState)
        state.check(len(layout.TIERS) - 1)
        for saved in state.series:
            series = self._series.get((saved.section, saved.key))
            if series is None:
                self._saved[saved.section, saved.key] = saved
            else:
                series.load_state(saved)

    def _minute_is_over(self, series: RecordedSeries, start_ns: int, aggregates: array[float]) -> None:
        if self.on_minute is not None:
            self.on_minute(series, start_ns, aggregates)

    def _place(
        self, kind: Literal["series", "table"], section: str, key: str, fields: tuple[str, ...]
    ) -> tuple[_Entry, bool]:
        """Returns where something is or is to be, and whether it is there."""
        entry = self._found.get((kind, section, key))
        if entry is not None:
            assert entry.fields == fields, f"{section} {key} has the fields {entry.fields}"
            return entry, True
        entry = _Entry(kind, section, key, fields, self._free)
        end = self._free + entry.words
        if end > len(self._region.words):
            raise CapacityError(f"the history is full: no room for another {kind} in {self.size_bytes} bytes")
        self._free = end
        return entry, False


class HistoryReader:
    """Any process's side: what there is, in the order in which it was made. Rows it was too late for are counted."""

    def __init__(self, budget: Budget, memory: memoryview[int], counters: Counters) -> None:
        """`memory` is bytes, made by a History of the same budget, now or later."""
        self._region = _Region(memory, budget.directory_bytes)
        self._series: list[Series] = []
        self._tables: dict[tuple[str, str], RowTable] = {}
        self._lost = counters.counter("history_rows_lost_total", "Rows overwritten before they could be read")
        self._lost_before = 0

    def series(self) -> tuple[Series, ...]:
        """Every series."""
        self._read_directory()
        return tuple(self._series)

    def table_keys(self, section: str) -> set[str]:
        """Returns the keys of a section's tables."""
        self._read_directory()
        return {key for table_section, key in self._tables if table_section == section}

    def table(self, section: str, key: str) -> RowTable | None:
        self._read_directory()
        return self._tables.get((section, key))

    def count_lost(self) -> None:
        """Brings the counter of lost rows up to date."""
        lost = sum(series.rows_lost for series in self._series)
        lost += sum(table.rows_lost for table in self._tables.values())
        self._lost.add(lost - self._lost_before)
        self._lost_before = lost

    def _read_directory(self) -> None:
        for entry in map(_decode_entry, self._region.directory.read_new()):
            words, doubles = self._region.parts(entry)
            if entry.kind == "series":
                self._series.append(Series(entry.section, entry.key, entry.fields, words, doubles))
            else:
                self._tables[entry.section, entry.key] = RowTable(words, doubles, len(entry.fields))
