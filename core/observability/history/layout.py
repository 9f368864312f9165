"""Every offset of the history's memory: rings of rows and tables of bars, after the directory that names them.

All words are 8 bytes and aligned: `q` is a signed integer, `d` a double, `B` bytes up to the next whole word. The hub
writes all of it and any process reads all of it. While a hub is dead nothing changes, and the next hub continues in it.

Region: anonymous memory, of one process or in the mapping of all (`memory/layout.py` draws the directory)
    +-------------+----------+---------+-----+-------------------+
    | directory B | series 0 | table 0 | ... | free              |
    +-------------+----------+---------+-----+-------------------+

Series of n fields: a ring per tier, one after the other
    +-------------------+---------------------+-----------------+
    | fine ring (ticks) | 1 s ring            | 1 min ring      |
    +-------------------+---------------------+-----------------+

Ring: two words, the saved interval (coarse rings), the slots; the row with sequence s (from 1) is in (s - 1) % slots
    +----------+-------------+----------------+--------+--------+-----+
    | CURSOR q | FORGOTTEN q | saved interval | slot 0 | slot 1 | ... |
    +----------+-------------+----------------+--------+--------+-----+
      0          1             2
    CURSOR      sequence of the newest complete row; 0 if there is none
    FORGOTTEN   sequence of the newest row that no longer counts, like all before it, since time has gone back
    A row leaves the ring `rows` rows after it was written, and its slot is reused SPARE_ROWS later: a reader that has
    begun to copy the row has that long to finish.

Saved interval of a coarse ring: the aggregates of an interval that was still open when the previous process ended
    +---------+------------+--------------------------------+
    | STATE q | START_NS q | n x first min max last sum cnt |     STATE: NONE, OPEN, or OVER once the ring has the
    +---------+------------+--------------------------------+     whole interval
      0         1            2
    Written before the first frame, while there are no readers; after that only STATE changes.

Table of n fields: two words, then a slot per minute of a day; a new row replaces that of the same minute of the day
    +-------------+-------------+--------+--------+-----+
    | REVISIONS q | NEWEST_NS q | slot 0 | slot 1 | ... |    REVISIONS counts the rows written, NEWEST_NS is the latest
    +-------------+-------------+--------+--------+-----+    time of one; both 0 without a row
      0             1             2

Slot of the fine ring, of a table: n + 4 words      Slot of a coarse ring: 6n + 4 words
    +---------+---------+-----+-------+-------+       +---------+---------+--------------------------------+-----+-----+
    | BEGIN q | TS_NS q | n d | CRC q | END q |       | BEGIN q | TS_NS q | n x first min max last sum cnt | CRC | END |
    +---------+---------+-----+-------+-------+       +---------+---------+--------------------------------+-----+-----+
      0         1         2
    BEGIN and END hold the row's sequence (in a table: its revision). The writer stores BEGIN, TS_NS, payload, CRC, END,
    then CURSOR. A reader loads END, copies, loads BEGIN; the copy is torn unless both are the sequence it wanted.

This check relies on stores becoming visible in program order and on loads being made in it, as x86-64 guarantees. On
any other machine CRC covers sequence, TS_NS and payload, and a copy that disagrees with it is torn. On x86-64 the CRC
is neither written nor read: a row would cost a fifth more, and columns of many rows could not be copied at once.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.memory.layout import DIRECTORY_HEADER_WORDS, WORD_BYTES

STORES_ARE_ORDERED: Final = platform.machine() in ("x86_64", "AMD64")

# Of a directory entry: a symbol of 128 characters of 4 bytes, the names of a dozen fields, and a reserve.
NAME_BYTES: Final = 1024

RING_CURSOR: Final = 0
RING_FORGOTTEN: Final = 1
RING_HEADER_WORDS: Final = 2

SAVED_STATE: Final = 0
SAVED_START_NS: Final = 1
SAVED_HEADER_WORDS: Final = 2

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
# How many rows may be written while a reader copies: 1.6 s of ticks at 10 Hz.
SPARE_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution of the history: `rows` rows, one per `interval_ns`, or one per tick if that is 0.

    `spare` slots lie between the newest row and the oldest.
    """

    interval_ns: int
    rows: int
    spare: int = 0

    @property
    def slots(self) -> int:
        return self.rows + self.spare

    def payload_words(self, fields: int) -> int:
        return fields * AGGREGATE_WORDS if self.interval_ns else fields

    def saved_words(self, fields: int) -> int:
        return SAVED_HEADER_WORDS + self.payload_words(fields) if self.interval_ns else 0

    def ring_words(self, fields: int) -> int:
        slot_words = SLOT_OVERHEAD_WORDS + self.payload_words(fields)
        return RING_HEADER_WORDS + self.saved_words(fields) + self.slots * slot_words


# Ticks for 5 minutes at 10 Hz, seconds for an hour, minutes for a day.
TIERS: Final = (
    Tier(interval_ns=0, rows=3000, spare=SPARE_ROWS),
    Tier(interval_ns=NS_PER_S, rows=3600, spare=SPARE_ROWS),
    Tier(interval_ns=60 * NS_PER_S, rows=1440, spare=SPARE_ROWS),
)


def series_words(fields: int) -> int:
    """Returns the size of one series of `fields` fields, over all tiers."""
    return sum(tier.ring_words(fields) for tier in TIERS)


def table_words(fields: int) -> int:
    """Returns the size of one table of `fields` fields."""
    return TABLE_HEADER_WORDS + TABLE_ROWS * (SLOT_OVERHEAD_WORDS + fields)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many series and how many tables the history has room for, by their number of fields."""

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
