"""The history's memory: every series and table of bars in one region, which the hub fills and any process reads."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, Protocol

import msgspec

from observability.errors import CapacityError
from observability.history import layout
from observability.history.layout import Budget
from observability.history.open_interval import HistoryState, SeriesState
from observability.history.series import Series
from observability.history.series_writer import SeriesWriter
from observability.history.standing import StandingRows, StandingSeries
from observability.history.table import RowTable
from observability.memory.counters import Counters
from observability.memory.directory import Directory
from observability.store.checkpoint import pack, unpack


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    """An entry of the directory: a series or table, and the word of the region at which it begins."""

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
    """The directory, and the memory of the series and tables after it."""

    def __init__(self, memory: memoryview[int], directory_bytes: int) -> None:
        """`memory` is bytes."""
        self.directory = Directory(memory[:directory_bytes])
        self.words: memoryview[int] = memory[directory_bytes:].cast("q")
        self.doubles: memoryview[float] = memory[directory_bytes:].cast("d")

    def memory_of(self, entry: _Entry) -> tuple[memoryview[int], memoryview[float]]:
        """Returns the memory of an entry, as words and as doubles."""
        bounds = slice(entry.base, entry.base + entry.words)
        return self.words[bounds], self.doubles[bounds]


class MinuteArchive(Protocol):
    """Keeps the minutes of every series beyond the life of the memory."""

    def record(self, series: SeriesWriter, start_ns: int, aggregates: array[float]) -> None:
        """Stores a finished minute; called as each one ends."""

    def load(self, series: SeriesWriter) -> Iterable[tuple[int, array[float]]]:
        """Returns start and aggregates of the last minutes stored, oldest first; called when a series is created."""

    def catch_up(self, series: SeriesWriter) -> None:
        """Stores the minutes that are in the rings only; called when a series continues that of an earlier hub."""


class History:
    """The hub's side: all series and tables, in memory whose size is fixed from the beginning.

    The series and tables that an earlier hub left in the same memory are continued. Memory that is never written is
    never touched.
    """

    name = "history"

    def __init__(self, budget: Budget, memory: memoryview[int] | None = None) -> None:
        """`memory` is bytes, `budget.size_bytes` of them; None allocates memory that no other process shares."""
        self.size_bytes = budget.size_bytes
        self.standing = StandingRows(is_shared=memory is not None)
        """The ticks of the series that repeat their rows."""
        self.memory = memoryview(mmap.mmap(-1, budget.size_bytes)) if memory is None else memory
        self._budget = budget
        self._region = _Region(self.memory, budget.directory_bytes)
        self._found = {
            (entry.kind, entry.section, entry.key): entry
            for entry in map(_decode_entry, self._region.directory.read_new())
        }
        self._free = max((entry.base + entry.words for entry in self._found.values()), default=0)
        self._series: dict[tuple[str, str], SeriesWriter] = {}
        self._standing: dict[tuple[str, str], StandingSeries] = {}
        self._tables: dict[tuple[str, str], RowTable] = {}
        # From a checkpoint, of series that are not open yet.
        self._loaded: dict[tuple[str, str], SeriesState] = {}
        self.archive: MinuteArchive | None = None

    def open(self, section: str, key: str, fields: tuple[str, ...]) -> SeriesWriter:
        """Returns a series, created on first use. Raises CapacityError if there is no memory left for it."""
        series = self._series.get((section, key))
        if series is None:
            entry, is_continued = self._locate("series", section, key, fields)
            words, doubles = self._region.memory_of(entry)
            series = self._series[section, key] = SeriesWriter(
                section, key, fields, words, doubles, self._on_minute, is_continued=is_continued
            )
            loaded = self._loaded.pop((section, key), None)
            if is_continued:
                # The memory of a dead hub reaches further than the store and the checkpoint.
                if self.archive is not None:
                    self.archive.catch_up(series)
                return series
            if self.archive is not None:
                series.restore_minutes(self.archive.load(series))
            if loaded is not None:
                series.load_state(loaded)
            self._region.directory.add(msgspec.msgpack.encode(entry))
        return series

    def find(self, section: str, key: str) -> SeriesWriter | None:
        """Returns a series that is open; None if there is none of that name."""
        return self._series.get((section, key))

    def open_standing(self, section: str, key: str, fields: tuple[str, ...]) -> StandingSeries:
        """Returns a series, created on first use, that repeats its newest row on each tick of `standing`. Raises
        CapacityError."""
        standing = self._standing.get((section, key))
        if standing is None:
            standing = self._standing[section, key] = self.standing.add(self.open(section, key, fields))
        return standing

    def open_table(self, section: str, key: str, fields: tuple[str, ...]) -> RowTable:
        """Returns a table, created on first use. Raises CapacityError if there is no memory left for it."""
        table = self._tables.get((section, key))
        if table is None:
            entry, is_continued = self._locate("table", section, key, fields)
            table = self._tables[section, key] = RowTable(*self._region.memory_of(entry), len(fields))
            if not is_continued:
                table.clear()
                self._region.directory.add(msgspec.msgpack.encode(entry))
        return table

    def series(self) -> tuple[SeriesWriter, ...]:
        """Returns every open series with the rows of all ticks, in the order in which they were opened."""
        self.standing.catch_up()
        return tuple(self._series.values())

    def reader(self, counters: Counters) -> HistoryReader:
        """Returns a reader of the same memory, which finds the rows of all ticks there."""
        return HistoryReader(self._budget, self.memory, counters, self._catch_up)

    def save(self) -> bytes:
        """Returns the open intervals of every series, for a checkpoint."""
        return pack(HistoryState([*(series.to_state() for series in self._series.values()), *self._loaded.values()]))

    def load(self, data: bytes) -> None:
        """Restores the open intervals that `save` returned in an earlier process. Call it before the first row. Raises
        CheckpointError."""
        state = unpack(data, HistoryState)
        state.check(len(layout.TIERS) - 1)
        for loaded in state.series:
            series = self._series.get((loaded.section, loaded.key))
            if series is None:
                self._loaded[loaded.section, loaded.key] = loaded
            else:
                series.load_state(loaded)

    def _catch_up(self, section: str, key: str) -> None:
        standing = self._standing.get((section, key))
        if standing is not None:
            standing.catch_up()

    def _on_minute(self, series: SeriesWriter, start_ns: int, aggregates: array[float]) -> None:
        if self.archive is not None:
            self.archive.record(series, start_ns, aggregates)

    def _locate(
        self, kind: Literal["series", "table"], section: str, key: str, fields: tuple[str, ...]
    ) -> tuple[_Entry, bool]:
        """Returns the entry of an earlier hub, or a new one in the free memory, and whether it is the former."""
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
    """Any process's side: every series and table, in the order of their creation."""

    def __init__(
        self,
        budget: Budget,
        memory: memoryview[int],
        counters: Counters,
        before_reading: Callable[[str, str], None] | None = None,
    ) -> None:
        """`memory` is bytes, the memory of a History of the same budget, which may be created later. `before_reading`
        is called with section and key of a series that is about to be read."""
        self._before_reading = before_reading
        self._region = _Region(memory, budget.directory_bytes)
        self._series: list[Series] = []
        self._tables: dict[tuple[str, str], RowTable] = {}
        self._lost = counters.counter("history_rows_lost_total", "Rows overwritten before they could be read")
        self._lost_before = 0

    def series(self) -> tuple[Series, ...]:
        """Returns every series."""
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
        """Updates the counter of rows that were overwritten before this process copied them."""
        lost = sum(series.rows_lost for series in self._series)
        lost += sum(table.rows_lost for table in self._tables.values())
        self._lost.add(lost - self._lost_before)
        self._lost_before = lost

    def _read_directory(self) -> None:
        for entry in map(_decode_entry, self._region.directory.read_new()):
            words, doubles = self._region.memory_of(entry)
            if entry.kind == "series":
                series = Series(entry.section, entry.key, entry.fields, words, doubles)
                if self._before_reading is not None:
                    series.before_reading = partial(self._before_reading, entry.section, entry.key)
                self._series.append(series)
            else:
                self._tables[entry.section, entry.key] = RowTable(words, doubles, len(entry.fields))
