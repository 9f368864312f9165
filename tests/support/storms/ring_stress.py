"""Question: does a reader in another process ever return a word, a record, an entry or a row that was never written?

One process writes without a pause; others read, and check every byte of what they read. The written data is
self-describing, so that the readers detect anything torn (half old, half new) or stale (older than an earlier read). To
prove that they would, the writer can store its words with `struct.pack_into`, which clears them and then stores them
byte by byte, and the readers can be made to skip their checks of sequence and CRC.

    PYTHONPATH=tests/support python -m storms.ring_stress --help
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import struct
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from observability.history import layout as history_layout
from observability.history.aggregates import Block
from observability.history.layout import Tier
from observability.history.ring import Ring
from observability.history.slots import Row, RowSlots
from observability.history.table import RowTable
from observability.memory import layout
from observability.memory.entry_log import EntryLog
from observability.memory.record_ring import CopiedRecord, RecordRing

RECORD_SLOTS = 4
SLOT_BYTES = 32 * 1024
ENTRIES = 64
DATA_BYTES = 16 * 1024
ROW_FIELDS = 200
TIER = Tier(interval_ns=0, rows=3)
# Both halves of a word are the same number, so that a torn word is detected.
HALF = 0x1_0000_0001
WORDS_PER_RECORD = 100


@dataclass
class Seen:
    """What one reader has read; `wrong` counts what must never happen."""

    words: int = 0
    records: int = 0
    entries: int = 0
    rows: int = 0
    blocks: int = 0
    minutes: int = 0
    lost: int = 0
    wrong: dict[str, int] = field(default_factory=dict)

    def blame(self, what: str) -> None:
        self.wrong[what] = self.wrong.get(what, 0) + 1


class Memory:
    """The shared regions."""

    def __init__(self) -> None:
        self.word = memoryview(mmap.mmap(-1, layout.PAGE_BYTES)).cast("q")
        self._records = memoryview(mmap.mmap(-1, layout.record_ring_bytes(RECORD_SLOTS, SLOT_BYTES)))
        self._lane = memoryview(mmap.mmap(-1, layout.entry_log_bytes(ENTRIES, DATA_BYTES)))
        self._table = memoryview(mmap.mmap(-1, history_layout.table_words(ROW_FIELDS) * layout.WORD_BYTES))
        self._rows = memoryview(mmap.mmap(-1, TIER.ring_words(ROW_FIELDS) * layout.WORD_BYTES))

    def records(self, kind: type[RecordRing] = RecordRing) -> RecordRing:
        return kind(self._records, RECORD_SLOTS, SLOT_BYTES)

    def lane(self) -> EntryLog:
        return EntryLog(self._lane, ENTRIES, DATA_BYTES)

    def rows(self) -> Ring:
        return Ring(self._rows.cast("q"), self._rows.cast("d"), TIER, ROW_FIELDS)

    def table(self) -> RowTable:
        return RowTable(self._table.cast("q"), self._table.cast("d"), ROW_FIELDS)


class PackedWords:
    """A view of words that stores them with `struct.pack_into`, which exposes them half written."""

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words

    def __getitem__(self, key: Any) -> Any:
        return self._words[key]

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("<q", self._words, index * layout.WORD_BYTES, value)


class UncheckedRing(RecordRing):
    """Returns the content of a slot unchecked."""

    def copy(self, sequence: int) -> CopiedRecord | None:
        slot = self._slot(sequence)
        lengths = self._words[slot + layout.RECORD_LENGTHS : slot + layout.RECORD_HEADER_WORDS].tolist()
        start = (slot + layout.RECORD_HEADER_WORDS) * layout.WORD_BYTES
        meta = self._words[slot + layout.RECORD_META : slot + layout.RECORD_LENGTHS].tolist()
        return CopiedRecord(sequence, tuple(meta), (bytes(self._bytes[start : start + lengths[0]]),))


class UncheckedSlots(RowSlots):
    """Returns the content of the slots unchecked."""

    __slots__ = ()

    def copy(self, slot: int, sequence: int) -> Row | None:
        begin, end = slot * self._step, (slot + 1) * self._step - 1
        payload = array("d", self._doubles[begin + history_layout.SLOT_PAYLOAD : end - 1])
        return Row(sequence, self.ts_ns(slot), payload)

    def copy_block(self, first_slot: int, sequences: range, offsets: Sequence[int]) -> Block:
        rows = [self.copy(slot, sequence) for slot, sequence in enumerate(sequences, first_slot)]
        times = array("q", [row.ts_ns for row in rows if row is not None])
        return Block(times, [array("d", [row.payload[n] for row in rows if row is not None]) for n in offsets])


def content(n: int) -> bytes:
    """Returns the bytes of record n, which differ from those of other records, also in length."""
    return n.to_bytes(8, "little") * (1 + n * 7919 % 2000)


def write(memory: Memory, *, is_packed: bool) -> None:
    """Writes until it is killed."""
    word: Any = memory.word
    records, lane, rows, table = memory.records(), memory.lane(), memory.rows(), memory.table()
    if is_packed:
        word = PackedWords(memory.word)
        for ring in (records, lane, rows, rows._slots, table, table._slots):
            ring._words = PackedWords(ring._words)  # type: ignore[assignment]
    for n in count(1):
        for k in range(WORDS_PER_RECORD):
            word[0] = (n * WORDS_PER_RECORD + k) * HALF
        records.write(n, (n, -n, n, -n), (content(n),))
        lane.append(n, str(n % 7) if n % 3 else None, content(n)[:4000])
        rows.write_row(n, array("d", (float(n),)) * ROW_FIELDS)
        # Mostly the row of one minute, and now and then that of another.
        minute_ns = n % 50 // 49 * history_layout.TABLE_INTERVAL_NS
        table.put(minute_ns, array("d", (float(n),)) * ROW_FIELDS)


def read(memory: Memory, seconds: float, *, is_unchecked: bool) -> Seen:
    """Reads and checks for `seconds`."""
    seen = Seen()
    word = memory.word
    records = memory.records(UncheckedRing if is_unchecked else RecordRing)
    lane, rows, table = memory.lane(), memory.rows(), memory.table()
    if is_unchecked:
        for ring in (rows, table):
            ring._slots.__class__ = UncheckedSlots
    last = newest = 0
    last_minute = 0.0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(WORDS_PER_RECORD):
            value = word[0]
            seen.words += 1
            if value % HALF:
                seen.blame("torn word")
            elif value < last:
                seen.blame("stale word")
            else:
                last = value
        cursor = records.cursor
        if cursor < newest:
            seen.blame("stale cursor")
        newest = max(newest, cursor)
        # The newest record, and the one whose slot the writer will reuse next.
        for wanted in (cursor, cursor + 1 - RECORD_SLOTS):
            record = records.copy(wanted) if wanted > 0 else None
            if record is not None:
                seen.records += 1
                if record.meta != (wanted, -wanted, wanted, -wanted) or record.parts[0] != content(wanted):
                    seen.blame("record")
        position = lane.end - 1
        entry = lane.copy(position) if position >= 0 else None
        if entry is not None:
            seen.entries += 1
            n = position + 1
            if entry != (n, str(n % 7) if n % 3 else None, content(n)[:4000]):
                seen.blame("entry")
        sequence = rows.cursor
        row = rows.copy_row(sequence) if sequence else None
        if row is not None:
            seen.rows += 1
            if row.ts_ns != sequence or set(row.payload) != {float(sequence)}:
                seen.blame("row")
        span = rows.span()
        block = rows.copy_block(span.sequences, [0, ROW_FIELDS - 1])
        seen.blocks += len(block.times)
        if not block.times.tolist() == block.columns[0].tolist() == block.columns[1].tolist():
            seen.blame("block")
        minute = table.copy_row(0)
        if minute is not None:
            seen.minutes += 1
            if minute.ts_ns or len(set(minute.payload)) > 1:
                seen.blame("minute")
            elif minute.payload[0] < last_minute:
                seen.blame("stale minute")
            last_minute = minute.payload[0]
    seen.lost = table.rows_lost + records.records_lost + lane.entries_lost + rows.rows_lost
    return seen


def run(seconds: float, readers: int, *, is_packed: bool = False, is_unchecked: bool = False) -> list[Seen]:
    """Forks one writer and the readers; returns the result of each reader."""
    memory = Memory()
    writer = os.fork()
    if writer == 0:
        write(memory, is_packed=is_packed)
    pipes = []
    for _ in range(readers):
        out, into = os.pipe()
        if os.fork() == 0:
            os.write(into, json.dumps(asdict(read(memory, seconds, is_unchecked=is_unchecked))).encode())
            os._exit(0)
        os.close(into)
        pipes.append(out)
    results = []
    for out in pipes:
        with os.fdopen(out, "rb") as pipe:
            results.append(Seen(**json.loads(pipe.read())))
        os.wait()
    os.kill(writer, 9)
    os.waitpid(writer, 0)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--words", choices=["typed", "pack_into"], default="typed")
    parser.add_argument("--unchecked", action="store_true")
    args = parser.parse_args()
    results = run(args.seconds, args.readers, is_packed=args.words == "pack_into", is_unchecked=args.unchecked)
    print(json.dumps([asdict(seen) for seen in results]))
    sys.exit(any(seen.wrong for seen in results))


if __name__ == "__main__":
    main()
