"""Every offset of the mapping that hub and workers share, except those within the history (see `history/layout.py`).

No reading or writing here (see `mapping.py`, `record_ring.py`, `entry_log.py`, `counters.py`).

All words are 8 bytes, aligned, signed (`q`), and have one writer at a time; `B` is bytes, up to the next whole word.
"Supervisor" in a writer's place means: while no process lives in that slot.

Mapping: anonymous, made before the first fork, read and written by supervisor, hub and workers
    +--------+--------+----------+--------+---------+-------------+-------------+------+------------+--------+---------+
    | header | slots  | counters | frames | details | lane trades | lane alerts | logs | supervisor | engine | history |
    |        | 0..n   | 0..n     |        |         |             |             | 0..n | log        | log    |         |
    +--------+--------+----------+--------+---------+-------------+-------------+------+------------+--------+---------+
    slot 0 is the hub's; the workers have one each of the others, and one is left over for a worker that takes
    another's place while that one still drains. Every region begins on a page of its own.

Header: 2 words
    +--------------+------------------+
    | GENERATION q | EVENT_CLOCK_NS q |
    +--------------+------------------+
      0              1
    GENERATION              supervisor            counts the hubs; read by hub and workers
    EVENT_CLOCK_NS          hub, on each tick     the newest tick's event time in a replay, else 0; read by workers

Slot of a process: 9 words in a place of 16
    +-------+---------+--------------+--------------+---------------+----------+-----------+------------+-----------+
    | PID q | STATE q | STARTED_NS q | WEBSOCKETS q | CONNECTIONS q | BEHIND q | BACKLOG q | SENT_SEQ q | SENT_NS q |
    +-------+---------+--------------+--------------+---------------+----------+-----------+------------+-----------+
      0       1         2              3              4               5          6           7            8
    PID, STARTED_NS          supervisor                     read by all
    STATE                    supervisor, then the process   FREE, STARTING, SERVING, DRAINING; read by all
    WEBSOCKETS, CONNECTIONS  the process                    clients of either kind; read by all, whom limits bind
    BEHIND, BACKLOG          the process, each second       clients and lane messages that wait; read by the hub
    SENT_SEQ, SENT_NS        the process, per frame         which frame went out last, and how long it took; by the hub

Ring of records (frames, details): the cursor, then slots; the record with sequence s is in slot s % slots
    +----------+--------+--------+-----+
    | CURSOR q | slot 0 | slot 1 | ... |         CURSOR: sequence of the newest whole record; 0 when there is none
    +----------+--------+--------+-----+
Slot: 10 words, then the bytes of its parts, one behind the other
    +---------+-------+-------+----------+-------------+---------+
    | BEGIN q | END q | CRC q | META 4 q | LENGTHS 3 q | parts B |
    +---------+-------+-------+----------+-------------+---------+
      0         1       2       3          7             10
    hub writes BEGIN, META, LENGTHS, parts, CRC, END, then CURSOR; a worker loads END, copies, loads BEGIN, and believes
    the copy only if both are the sequence it wanted and the CRC of sequence, META, LENGTHS and parts is right.

Log of entries: its header, the index of its last entries, and their bytes; the entry at position p is in p % entries
    +-------+------------+-----------+-----------+-----+--------+
    | END q | DATA_END q | entry 0   | entry 1   | ... | data B |
    +-------+------------+-----------+-----------+-----+--------+
      0       1            2
Entry: 7 words; its data (the key, then the content) begins at OFFSET % the data's size and never wraps
    +---------+-------+-------+----------+----------+--------------+----------+
    | BEGIN q | END q | CRC q | NUMBER q | OFFSET q | KEY_LENGTH q | LENGTH q |    KEY_LENGTH: -1 is no key
    +---------+-------+-------+----------+----------+--------------+----------+
      0         1       2       3          4          5              6
    The writer writes data, then BEGIN ... END (position + 1), then DATA_END and END of the log; who takes the writer's
    place goes on behind the last whole entry.
    lane             written by the hub; read by workers, and by the next hub        seq; symbol; members
    log of a slot    written by the process in it; read by workers                   time in ns; level; members
    supervisor log   written by the supervisor; read by workers                      the same
    engine log       written by the hub; read by workers                             the same

Directory: what a region holds, in the order in which it was made; the counters and the history have one each
    +-------+---------+---------+-----+        Entry: two words, then MessagePack up to a whole word
    | END q | entry 0 | entry 1 | ... |            +----------+-------+--------+
    +-------+---------+---------+-----+            | LENGTH q | CRC q | data B |
      0       1                                    +----------+-------+--------+
    END: bytes that the entries take. An entry counts once END is behind it, and never changes.

Counters of a process: the directory of its families, and the words they name
    +--------------+-------------+---------+
    | WORDS_USED q | directory B | words q |
    +--------------+-------------+---------+
      0              1
    An entry of the directory is (name, kind, help, labels, first word)
    written by the process (gauges set to 0 by the supervisor once it is dead), read by all; who comes next in the slot
    goes on counting, so that a counter never goes back.

The order of stores. Sequence words alone would rest on stores becoming visible in program order, as on x86-64, and
there only for copies that are not so large that the C library streams them past the caches. The CRC rests on neither,
and at 3 us per frame it is always there. Single words (cursors, counters, slots) are never torn on any machine with
aligned 8-byte stores; a reader that sees one late sees it on its next look.
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
SLOT_USED_WORDS: Final = 9
# Two cache lines each: no process writes into a line that another one writes into.
SLOT_WORDS: Final = 16

RECORD_CURSOR: Final = 0
RECORD_RING_HEADER_WORDS: Final = 1
RECORD_BEGIN: Final = 0
RECORD_END: Final = 1
RECORD_CRC: Final = 2
RECORD_META: Final = 3
RECORD_META_WORDS: Final = 4
RECORD_LENGTHS: Final = 7
RECORD_PARTS: Final = 3
RECORD_HEADER_WORDS: Final = 10

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
# 128 bytes for the name, the labels and the help of each word.
COUNTERS_DIRECTORY_BYTES: Final = 1024 * 1024
COUNTERS_WORDS: Final = 8192

FRAME_SLOTS: Final = 50
DETAIL_SLOTS: Final = 4
TRADES_LANE: Final = "trades"
ALERTS_LANE: Final = "alerts"
LANES: Final = (TRADES_LANE, ALERTS_LANE)
LANE_ENTRIES: Final = 10_000
# Trades take about 400 bytes, an alert some more: room for all entries of either.
LANE_DATA_BYTES: Final = 8 * 1024 * 1024
SUPERVISOR: Final = "supervisor"
ENGINE: Final = "engine"
# Behind those of the slots.
FURTHER_LOGS: Final = (SUPERVISOR, ENGINE)
LOG_ENTRIES: Final = 1000
# A line takes 100 to 300 bytes, the longest 50,000: there is room for the last 20 of even those.
LOG_DATA_BYTES: Final = 1024 * 1024

# Room in a frame for what is there whatever is traded (custom collectors too), and for each symbol with its positions;
# in the details for the REST documents, of which the alerts are the largest. Memory never written is never touched.
FRAME_BASE_BYTES: Final = 256 * 1024
FRAME_SYMBOL_BYTES: Final = 2 * 1024
DETAIL_BASE_BYTES: Final = 2 * 1024 * 1024
DETAIL_SYMBOL_BYTES: Final = 1024

# A reader copies again what was overwritten under its hands; overtaken this often, it gives up and counts a loss.
MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Region:
    """Where a part of the mapping is, in bytes."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class SharedLayout:
    """Where everything is, for a number of process slots and of symbols."""

    slots: int
    max_symbols: int
    history_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Room for one frame, its header included."""
        return words_up(FRAME_BASE_BYTES + FRAME_SYMBOL_BYTES * self.max_symbols)

    @property
    def detail_bytes(self) -> int:
        return words_up(DETAIL_BASE_BYTES + DETAIL_SYMBOL_BYTES * self.max_symbols)

    @property
    def slots_region(self) -> Region:
        return _behind(PAGE_BYTES, self.slots * SLOT_WORDS * WORD_BYTES)

    def counters_region(self, slot: int) -> Region:
        size = _pages_up(counters_bytes())
        return Region(_pages_up(self.slots_region.end) + slot * size, size)

    @property
    def frames_region(self) -> Region:
        return _behind(self.counters_region(self.slots - 1).end, record_ring_bytes(FRAME_SLOTS, self.frame_bytes))

    @property
    def details_region(self) -> Region:
        return _behind(self.frames_region.end, record_ring_bytes(DETAIL_SLOTS, self.detail_bytes))

    def lane_region(self, lane: int) -> Region:
        size = _pages_up(entry_log_bytes(LANE_ENTRIES, LANE_DATA_BYTES))
        return Region(_pages_up(self.details_region.end) + lane * size, size)

    def log_region(self, log: int) -> Region:
        """Of a slot by its number; those of `FURTHER_LOGS` follow."""
        size = _pages_up(entry_log_bytes(LOG_ENTRIES, LOG_DATA_BYTES))
        return Region(_pages_up(self.lane_region(len(LANES) - 1).end) + log * size, size)

    @property
    def history_region(self) -> Region:
        return _behind(self.log_region(self.slots + len(FURTHER_LOGS) - 1).end, self.history_bytes)

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


def _behind(end: int, size: int) -> Region:
    return Region(_pages_up(end), _pages_up(size))


def words_up(size: int) -> int:
    """Returns `size` rounded up to whole words."""
    return -(-size // WORD_BYTES) * WORD_BYTES
