"""Every offset of the history's memory: rings of rows, tables of bars, under the directory that names them.

No reading or writing here (see `slots.py`, `ring.py`, `table.py`, `series.py`).

All words are 8 bytes and aligned: `q` is a signed integer, `d` a double, `B` bytes up to the next whole word. The hub
writes all of it; any process reads all of it, and while a hub is dead everything is as it was: the next one goes on.

Region: anonymous memory, of one process or in the mapping of all (`memory/layout.py` draws the directory)
    +-------------+----------+---------+-----+-------------------+
    | directory B | series 0 | table 0 | ... | free              |
    +-------------+----------+---------+-----+-------------------+

Series of n fields: a ring per tier, one after the other
    +-------------------+---------------------+-----------------+
    | fine ring (ticks) | 1 s ring            | 1 min ring      |
    +-------------------+---------------------+-----------------+

Ring: two words, what was left, then the slots; the row with sequence s (from 1) is in slot (s - 1) % slots
    +----------+-------------+-----------+--------+--------+-----+
    | CURSOR q | FORGOTTEN q | remnant   | slot 0 | slot 1 | ... |
    +----------+-------------+-----------+--------+--------+-----+
      0          1             2
    CURSOR      sequence of the newest whole row; 0 when there is none
    FORGOTTEN   sequence of the newest row that counts no more, as all before it: time went back
    A row leaves the ring `rows` rows after it was written, and its slot is used again SPARE_ROWS later: whoever has
    begun to copy it has the time.

Remnant of a coarse ring: what an earlier process had made of an interval that was not over
    +---------+------------+--------------------------------+
    | STATE q | START_NS q | n x first min max last sum cnt |     STATE: NONE, OPEN, or OVER when the ring has it
    +---------+------------+--------------------------------+
      0         1            2
    written before the first frame, when nobody reads; after that only STATE is.

Table of n fields: two words, then a slot per minute of a day; a row replaces itself, or that of a day before
    +-------------+-------------+--------+--------+-----+
    | REVISIONS q | NEWEST_NS q | slot 0 | slot 1 | ... |    REVISIONS counts the rows written, NEWEST_NS is the latest
    +-------------+-------------+--------+--------+-----+    time of one; 0 when there is none
      0             1             2

Slot of the fine ring, of a table: n + 4 words      Slot of a coarse ring: 6n + 4 words
    +---------+---------+-----+-------+-------+       +---------+---------+--------------------------------+-----+-----+
    | BEGIN q | TS_NS q | n d | CRC q | END q |       | BEGIN q | TS_NS q | n x first min max last sum cnt | CRC | END |
    +---------+---------+-----+-------+-------+       +---------+---------+--------------------------------+-----+-----+
      0         1         2
    BEGIN and END hold the row's sequence (in a table: its revision). The writer stores BEGIN, TS_NS, payload, CRC, END,
    then CURSOR; a reader loads END, copies, loads BEGIN, and believes the copy only if both are what it wanted.

The order of stores. That check rests on stores becoming visible in program order, and loads being made in it, as x86-64
promises. On any other machine CRC covers sequence, TS_NS and payload, and a reader believes only what agrees with it;
on x86-64 it is neither written nor read: a row would cost a fifth more, and columns of many rows could not be copied at
once.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.memory.layout import DIRECTORY_HEADER_WORDS, WORD_BYTES

STORES_ARE_ORDERED: Final = platform.machine() in ("x86_64", "AMD64")

# A symbol, the names of a dozen fields, and some more.
NAME_BYTES: Final = 512

RING_CURSOR: Final = 0
RING_FORGOTTEN: Final = 1
RING_HEADER_WORDS: Final = 2

REMNANT_STATE: Final = 0
REMNANT_START_NS: Final = 1
REMNANT_HEADER_WORDS: Final = 2

TABLE_REVISIONS: Final = 0
TABLE_NEWEST_NS: Final = 1
TABLE_HEADER_WORDS: Final = 2
TABLE_ROWS: Final = 24 * 60
TABLE_INTERVAL_NS: Final = 60 * NS_PER_S

SLOT_BEGIN: Final = 0
SLOT_TS_NS: Final = 1
SLOT_PAYLOAD: Final = 2
SLOT_OVERHEAD_WORDS: Final = 4

AGGREGATE_WORDS: Final = 6
# While a reader copies, this many rows may be written: 1.6 s of ticks at 10 Hz.
SPARE_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution of the history: `rows` rows of `interval_ns` each; interval 0 keeps every tick.

    `spare` slots are between the oldest row and the newest one.
    """

    interval_ns: int
    rows: int
    spare: int = 0

    @property
    def slots(self) -> int:
        return self.rows + self.spare

    def payload_words(self, fields: int) -> int:
        return fields * AGGREGATE_WORDS if self.interval_ns else fields

    def remnant_words(self, fields: int) -> int:
        return REMNANT_HEADER_WORDS + self.payload_words(fields) if self.interval_ns else 0

    def ring_words(self, fields: int) -> int:
        slot_words = SLOT_OVERHEAD_WORDS + self.payload_words(fields)
        return RING_HEADER_WORDS + self.remnant_words(fields) + self.slots * slot_words


# Ticks for 5 minutes at 10 Hz, seconds for an hour, minutes for a day.
TIERS: Final = (
    Tier(interval_ns=0, rows=3000, spare=SPARE_ROWS),
    Tier(interval_ns=NS_PER_S, rows=3600, spare=SPARE_ROWS),
    Tier(interval_ns=60 * NS_PER_S, rows=1440, spare=SPARE_ROWS),
)


def series_words(fields: int) -> int:
    """Words that one series of `fields` fields takes over all tiers."""
    return sum(tier.ring_words(fields) for tier in TIERS)


def table_words(fields: int) -> int:
    """Words that one table of `fields` fields takes."""
    return TABLE_HEADER_WORDS + TABLE_ROWS * (SLOT_OVERHEAD_WORDS + fields)


@dataclass(frozen=True, slots=True)
class Budget:
    """What the history has room for: how many series, and how many tables, by their number of fields."""

    series: Mapping[int, int]
    tables: Mapping[int, int]

    @property
    def directory_bytes(self) -> int:
        entries = sum(self.series.values()) + sum(self.tables.values())
        return DIRECTORY_HEADER_WORDS * WORD_BYTES + entries * NAME_BYTES

    @property
    def size_bytes(self) -> int:
        words = sum(count * series_words(fields) for fields, count in self.series.items())
        words += sum(count * table_words(fields) for fields, count in self.tables.items())
        return words * WORD_BYTES + self.directory_bytes
