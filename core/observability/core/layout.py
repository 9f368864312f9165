"""Every offset of the preallocated memory: history rings.

No reading or writing here (see `rings.py`).

All words are 8 bytes and aligned: `q` is a signed integer, `d` a double. Each ring has one writer.

Region: one anonymous mapping
    +--------+---------+--------------+-----------------------------------------------------+
    | MAGIC q| VERSION q| USED_WORDS q | series 0 | series 1 | ...                    | free |
    +--------+---------+--------------+-----------------------------------------------------+
      0        1         2              3
    written by History when it is made, USED_WORDS when a series is opened; read by whoever attaches.

Series of n fields: one ring per tier, one after the other
    +-------------------+---------------------+-----------------+
    | fine ring (ticks) | 1 s ring            | 1 min ring      |
    +-------------------+---------------------+-----------------+

Ring: the cursor, then `rows` slots; the row with sequence s (from 1) is in slot (s - 1) % rows
    +----------+--------+--------+-----+
    | CURSOR q | slot 0 | slot 1 | ... |      CURSOR: sequence of the newest whole row; 0 when there is none
    +----------+--------+--------+-----+

Slot of the fine ring: n + 3 words          Slot of a coarse ring: 6n + 3 words
    +---------+---------+-----+---------+       +---------+---------+--------------------------------+---------+
    | BEGIN q | TS_NS q | n d | END q   |       | BEGIN q | TS_NS q | n x first min max last sum cnt d | END q |
    +---------+---------+-----+---------+       +---------+---------+--------------------------------+---------+
    BEGIN and END hold the row's sequence: the writer stores BEGIN, payload, END, CURSOR; a reader loads END, copies,
    loads BEGIN, and believes the copy only if both are the sequence it wanted. This relies on stores becoming visible
    in program order, as on x86-64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from observability.core.timestamps import NS_PER_S

WORD_BYTES: Final = 8

MAGIC: Final = 0x4F42_5345_5256_0001
VERSION: Final = 1
REGION_MAGIC: Final = 0
REGION_VERSION: Final = 1
REGION_USED_WORDS: Final = 2
REGION_HEADER_WORDS: Final = 3

RING_CURSOR: Final = 0
RING_HEADER_WORDS: Final = 1

SLOT_BEGIN: Final = 0
SLOT_TS_NS: Final = 1
SLOT_PAYLOAD: Final = 2
SLOT_OVERHEAD_WORDS: Final = 3

AGGREGATE_WORDS: Final = 6


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution of the history: `rows` slots of `interval_ns` each; interval 0 keeps every tick."""

    interval_ns: int
    rows: int

    def slot_words(self, fields: int) -> int:
        return SLOT_OVERHEAD_WORDS + (fields * AGGREGATE_WORDS if self.interval_ns else fields)

    def ring_words(self, fields: int) -> int:
        return RING_HEADER_WORDS + self.rows * self.slot_words(fields)


# Ticks for 5 minutes at 10 Hz, seconds for an hour, minutes for a day.
TIERS: Final = (
    Tier(interval_ns=0, rows=3000),
    Tier(interval_ns=NS_PER_S, rows=3600),
    Tier(interval_ns=60 * NS_PER_S, rows=1440),
)


def series_words(fields: int) -> int:
    """Words that one series of `fields` fields takes over all tiers."""
    return sum(tier.ring_words(fields) for tier in TIERS)
