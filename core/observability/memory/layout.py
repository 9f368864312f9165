"""Every offset of the mapping that hub and workers share, except those within the history (`history/layout.py`).

All words are 8 bytes, aligned, signed (`q`), and have one writer at a time; `B` is bytes, up to the next whole word.
The supervisor writes a word of a slot only while no process lives in that slot.

Mapping: anonymous, created before the first fork, read and written by supervisor, hub and workers
    +--------+-------+----------+--------+-----------+-------+------+------------+--------+---------+
    | header | slots | counters | frames | documents | lanes | logs | supervisor | engine | history |
    |        | 0..n  | 0..n     |        |           |       | 0..n | log        | log    |         |
    +--------+-------+----------+--------+-----------+-------+------+------------+--------+---------+
    Slot 0 is the hub's, each worker has another, and one is spare, for a worker that replaces one that still drains.
    Every region begins on a page of its own; the lanes are those of trades, alerts, bookings and orders.

Header: 2 words
    +--------------+------------------+
    | GENERATION q | EVENT_CLOCK_NS q |
    +--------------+------------------+
      0              1
    GENERATION              supervisor            number of hubs so far; read by hub and workers
    EVENT_CLOCK_NS          hub, on each tick     event time of the newest tick in a replay, else 0; read by workers

Slot of a process: 10 words in a place of 16
    +-------+---------+--------------+--------------+---------------+
    | PID q | STATE q | STARTED_NS q | WEBSOCKETS q | CONNECTIONS q |
    +-------+---------+--------------+--------------+---------------+
      0       1         2              3              4
    +----------+-----------+------------+-----------+-------------+
    | BEHIND q | BACKLOG q | SENT_SEQ q | SENT_NS q | TAKEN_SEQ q |
    +----------+-----------+------------+-----------+-------------+
      5          6           7            8           9
    PID, STARTED_NS          supervisor                     read by all
    STATE                    supervisor, then the process   FREE, STARTING, SERVING, DRAINING; read by all
    WEBSOCKETS, CONNECTIONS  the process                    clients of either kind; read by all, to keep the limits
    BEHIND, BACKLOG          the process, each second       clients and lane messages that wait; read by the hub
    SENT_SEQ, SENT_NS        the process, per frame         the last frame sent, and how long it took; read by the hub
    TAKEN_SEQ                the process, per frame         the last frame taken, with or without clients; read by the
                                                            supervisor

Ring of records (frames, documents): the cursor, then slots; the record with sequence s is in slot s % slots
    +----------+--------+--------+-----+
    | CURSOR q | slot 0 | slot 1 | ... |         CURSOR: sequence of the newest complete record; 0 if none
    +----------+--------+--------+-----+
Slot: 11 words, then the bytes of its parts, one after the other
    +---------+-------+-------+----------+-------------+---------+
    | BEGIN q | END q | CRC q | META 4 q | LENGTHS 4 q | parts B |
    +---------+-------+-------+----------+-------------+---------+
      0         1       2       3          7             11
    The hub writes BEGIN, META, LENGTHS, parts, CRC, END, then CURSOR. A worker loads END, copies, loads BEGIN, and
    accepts the copy only if both are the wanted sequence and the CRC of sequence, META, LENGTHS and parts is right.

Log of entries: its header, the index of its last entries, and their bytes; the entry at position p is in p % entries
    +-------+------------+-----------+-----------+-----+--------+
    | END q | DATA_END q | entry 0   | entry 1   | ... | data B |
    +-------+------------+-----------+-----------+-----+--------+
      0       1            2
Entry: 7 words; its data (the key, then the content) begins at OFFSET % the data's size and never wraps
    +---------+-------+-------+----------+----------+--------------+----------+
    | BEGIN q | END q | CRC q | NUMBER q | OFFSET q | KEY_LENGTH q | LENGTH q |    KEY_LENGTH: -1 means no key
    +---------+-------+-------+----------+----------+--------------+----------+
      0         1       2       3          4          5              6
    The writer writes BEGIN (position + 1), NUMBER ... LENGTH, the data, CRC and END (position + 1), then DATA_END and
    END of the log. A replacement writer continues after the last complete entry.
    lane             written by the hub; read by workers, and by the next hub        seq; symbol; members
    log of a slot    written by the process in it; read by workers                   time in ns; level; members
    supervisor log   written by the supervisor; read by workers                      the same
    engine log       written by the hub; read by workers                             the same

Directory: the contents of a region, in order of creation; the counters and the history have one each
    +-------+---------+---------+-----+        Entry: two words, then MessagePack up to a whole word
    | END q | entry 0 | entry 1 | ... |            +----------+-------+--------+
    +-------+---------+---------+-----+            | LENGTH q | CRC q | data B |
      0       1                                    +----------+-------+--------+
    END: bytes that the entries take. An entry is valid once END is past it, and never changes.

Counters of a process: the directory of its families, and the words they name
    +--------------+-------------+---------+
    | WORDS_USED q | directory B | words q |
    +--------------+-------------+---------+
      0              1
    An entry of the directory is (name, kind, help, labels, first word)
    Written by the process (the supervisor sets the gauges to 0 once it has ended), read by all. The next process in the
    slot continues to count, so that a counter never goes back.

The order of stores. Sequence words alone would require that stores become visible in program order, as on x86-64, and
there only for copies that are not so large that the C library streams them past the caches. The CRC requires neither,
and costs 3 us per frame, so it is always computed. Single words (cursors, counters, slots) are never torn on a machine
with aligned 8-byte stores; a reader that misses a new value sees it on its next read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WORD_BYTES: Final = 8
PAGE_BYTES: Final = 4096

HEADER_GENERATION: Final = 0
HEADER_EVENT_CLOCK_NS: Final = 1
HEADER_WORDS: Final = 2

SLOT_PID: Final = 0
SLOT_STATE: Final = 1
SLOT_STARTED_NS: Final = 2
SLOT_WEBSOCKETS: Final = 3
SLOT_CONNECTIONS: Final = 4
SLOT_BEHIND: Final = 5
SLOT_BACKLOG: Final = 6
SLOT_SENT_SEQ: Final = 7
SLOT_SENT_NS: Final = 8
SLOT_TAKEN_SEQ: Final = 9
SLOT_USED_WORDS: Final = 10
# Two cache lines each, so that no two processes write to the same line.
SLOT_WORDS: Final = 16

RECORD_CURSOR: Final = 0
RECORD_RING_HEADER_WORDS: Final = 1
RECORD_BEGIN: Final = 0
RECORD_END: Final = 1
RECORD_CRC: Final = 2
RECORD_META: Final = 3
RECORD_META_WORDS: Final = 4
RECORD_LENGTHS: Final = 7
RECORD_PARTS: Final = 4
RECORD_HEADER_WORDS: Final = 11

ENTRY_LOG_END: Final = 0
ENTRY_LOG_DATA_END: Final = 1
ENTRY_LOG_HEADER_WORDS: Final = 2
ENTRY_BEGIN: Final = 0
ENTRY_END: Final = 1
ENTRY_CRC: Final = 2
ENTRY_NUMBER: Final = 3
ENTRY_OFFSET: Final = 4
ENTRY_KEY_LENGTH: Final = 5
ENTRY_LENGTH: Final = 6
ENTRY_WORDS: Final = 7

DIRECTORY_END: Final = 0
DIRECTORY_HEADER_WORDS: Final = 1
DIRECTORY_LENGTH: Final = 0
DIRECTORY_CRC: Final = 1
DIRECTORY_ENTRY_WORDS: Final = 2

COUNTERS_WORDS_USED: Final = 0
COUNTERS_HEADER_WORDS: Final = 1
# 128 bytes for the name, labels and help of each word.
COUNTERS_DIRECTORY_BYTES: Final = 1024 * 1024
COUNTERS_WORDS: Final = 8192

FRAME_SLOTS: Final = 50
DOCUMENT_SLOTS: Final = 4
TRADES_LANE: Final = "trades"
ALERTS_LANE: Final = "alerts"
BOOKINGS_LANE: Final = "bookings"
ORDERS_LANE: Final = "orders"
LANES: Final = (TRADES_LANE, ALERTS_LANE, BOOKINGS_LANE, ORDERS_LANE)
LANE_ENTRIES: Final = 10_000
# A trade, a booking or an order report takes about 400 bytes and an alert somewhat more, so all entries of any lane
# fit.
LANE_DATA_BYTES: Final = 8 * 1024 * 1024
SUPERVISOR: Final = "supervisor"
ENGINE: Final = "engine"
# They follow the logs of the slots.
FURTHER_LOGS: Final = (SUPERVISOR, ENGINE)
LOG_ENTRIES: Final = 1000
# A line takes 100 to 300 bytes, the longest 50,000, of which the last 20 fit.
LOG_DATA_BYTES: Final = 1024 * 1024

# Room in a frame for what does not depend on the symbols, custom collectors included, and for each symbol and position
# with its place in the index; in the documents for what does not depend on the symbols, of which the alerts are the
# largest. Pages that are never written take no memory.
FRAME_BASE_BYTES: Final = 1024 * 1024
FRAME_SYMBOL_BYTES: Final = 3 * 1024
FRAME_POSITION_BYTES: Final = 1024
DOCUMENT_BASE_BYTES: Final = 2 * 1024 * 1024
DOCUMENT_SYMBOL_BYTES: Final = 1024

# How often a reader tries a copy that is overwritten while it is made. After that it counts the entry as lost.
MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Region:
    """The place of a part of the mapping, in bytes."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class SharedLayout:
    """The place of every region, for a number of process slots, symbols and positions."""

    slots: int
    max_symbols: int
    history_bytes: int
    max_positions: int = 0

    @property
    def frame_bytes(self) -> int:
        """Room for one frame, its index and its header."""
        items = FRAME_SYMBOL_BYTES * self.max_symbols + FRAME_POSITION_BYTES * self.max_positions
        return words_up(FRAME_BASE_BYTES + items)

    @property
    def document_bytes(self) -> int:
        return words_up(DOCUMENT_BASE_BYTES + DOCUMENT_SYMBOL_BYTES * self.max_symbols)

    @property
    def slots_region(self) -> Region:
        return _after(PAGE_BYTES, self.slots * SLOT_WORDS * WORD_BYTES)

    def counters_region(self, slot: int) -> Region:
        size = _pages_up(counters_bytes())
        return Region(_pages_up(self.slots_region.end) + slot * size, size)

    @property
    def frames_region(self) -> Region:
        return _after(self.counters_region(self.slots - 1).end, record_ring_bytes(FRAME_SLOTS, self.frame_bytes))

    @property
    def documents_region(self) -> Region:
        return _after(self.frames_region.end, record_ring_bytes(DOCUMENT_SLOTS, self.document_bytes))

    def lane_region(self, lane: int) -> Region:
        size = _pages_up(entry_log_bytes(LANE_ENTRIES, LANE_DATA_BYTES))
        return Region(_pages_up(self.documents_region.end) + lane * size, size)

    def log_region(self, log: int) -> Region:
        """Returns the place of a log: that of a slot by its number; those of `FURTHER_LOGS` follow."""
        size = _pages_up(entry_log_bytes(LOG_ENTRIES, LOG_DATA_BYTES))
        return Region(_pages_up(self.lane_region(len(LANES) - 1).end) + log * size, size)

    @property
    def history_region(self) -> Region:
        return _after(self.log_region(self.slots + len(FURTHER_LOGS) - 1).end, self.history_bytes)

    @property
    def size(self) -> int:
        return self.history_region.end


def record_ring_bytes(slots: int, slot_bytes: int) -> int:
    return RECORD_RING_HEADER_WORDS * WORD_BYTES + slots * slot_bytes


def entry_log_bytes(entries: int, data_bytes: int) -> int:
    return (ENTRY_LOG_HEADER_WORDS + entries * ENTRY_WORDS) * WORD_BYTES + data_bytes


def counters_bytes() -> int:
    return (COUNTERS_HEADER_WORDS + COUNTERS_WORDS) * WORD_BYTES + COUNTERS_DIRECTORY_BYTES


def _pages_up(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def _after(end: int, size: int) -> Region:
    return Region(_pages_up(end), _pages_up(size))


def words_up(size: int) -> int:
    """Returns `size` rounded up to whole words."""
    return -(-size // WORD_BYTES) * WORD_BYTES
