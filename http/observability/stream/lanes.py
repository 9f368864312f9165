"""The lossless lanes: trades and alerts, every one of them and in order, beside the conflated metrics.

No sockets here (see `stream.py`) and no disk: a lane keeps its last entries in memory, an archive knows the others.

    entries        1:AAPL  2:AMZN  3:AMZN  4:AAPL  5:AMZN      a ring; nothing is queued per client
    reader, all    {1,prev 0} {2,prev 1} {3,prev 2} ...        a cursor into the ring, and a filter
    reader, AAPL   {1,prev 0}            {4,prev 1}            `prev` is the one before in the same filter, so that a
                                                               client can tell a gap from a filter

Readers that are at the same entry behind the same one share the bytes of the message.

    archive        |1 2 3 4 5 6 7 8 9|         what is older than the ring is read from the archive, page by page,
    ring                       |7 8 9 10 11|   until the ring has what comes next
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from observability.encoding import encode_json
from observability.memory.layout import ALERTS_LANE, TRADES_LANE

ENTRIES_KEPT: Final = 10_000
# Encoded messages that are kept for the next reader; all readers of one tick want the same few.
MESSAGES_CACHED: Final = 1_000
# Entries of one page of the archive.
PAGE_ENTRIES: Final = 500

SymbolFilter = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a lane. `symbol` None belongs to every filter; `members` is its JSON without the braces."""

    seq: int
    symbol: str | None
    members: bytes

    def passes(self, symbols: SymbolFilter) -> bool:
        return symbols is None or self.symbol is None or self.symbol in symbols


@dataclass(frozen=True, slots=True)
class Page:
    """Entries behind a sequence number that pass a filter, oldest first; `prev` is the passing one before them."""

    prev: int
    entries: Sequence[Entry]


class LaneArchive(Protocol):
    """Knows every entry that was ever appended, as long as it is kept."""

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        """Returns the first `limit` entries behind `after_seq`. Raises StoreError."""


class Lane:
    """One kind of event: its last entries, by position. Positions count from 0 and have no gaps; `seq` may have."""

    def __init__(self, name: str, capacity: int = ENTRIES_KEPT, archive: LaneArchive | None = None) -> None:
        self.name = name
        self.archive = archive
        self.seq = 0
        """Of the newest entry."""
        self.end = 0
        """Position behind the newest entry."""
        self.on_entry: Callable[[Entry], None] | None = None
        """Called with each entry that is added."""
        self._ring: list[Entry | None] = [None] * capacity
        self._first = 0
        self._type = encode_json(name)
        self._messages: dict[tuple[int, int], bytes] = {}

    @property
    def start(self) -> int:
        """Position of the oldest entry kept."""
        return max(self._first, self.end - len(self._ring))

    @property
    def oldest_seq(self) -> int:
        """Of the oldest entry kept; `seq + 1` if there is none."""
        return self.entry(self.start).seq if self.start < self.end else self.seq + 1

    def append(self, seq: int, symbol: str | None, document: dict[str, Any]) -> None:
        """Adds one event; `seq` is above that of the one before."""
        self.add(Entry(seq, symbol, encode_json(document)[1:-1]))

    def add(self, entry: Entry) -> None:
        """Adds one event that is encoded already."""
        assert entry.seq > self.seq, f"lane {self.name}: {entry.seq} after {self.seq}"
        self._ring[self.end % len(self._ring)] = entry
        self.seq = entry.seq
        self.end += 1
        if self.on_entry is not None:
            self.on_entry(entry)

    def lose_older(self) -> None:
        """Takes note that entries are missing here: readers that have not read everything before have lost some."""
        self.end += 1
        self._first = self.end

    def entry(self, position: int) -> Entry:
        """Returns the entry at a position from `start` up to, not including, `end`."""
        entry = self._ring[position % len(self._ring)]
        assert entry is not None, f"lane {self.name}: nothing at position {position}"
        return entry

    def message(self, entry: Entry, prev: int) -> bytes:
        """Returns the message of an entry for those whose last one was `prev`."""
        message = self._messages.get((entry.seq, prev))
        if message is None:
            if len(self._messages) >= MESSAGES_CACHED:
                self._messages.clear()
            message = b'{"type":%b,"seq":%d,"prev":%d,%b}' % (self._type, entry.seq, prev, entry.members)
            self._messages[entry.seq, prev] = message
        return message


def make_lanes(capacity: int = ENTRIES_KEPT) -> dict[str, Lane]:
    """Returns the lanes there are, by channel; empty."""
    return {TRADES_LANE: Lane("trade", capacity), ALERTS_LANE: Lane("alert", capacity)}


class LaneReader:
    """Where one client stands in one lane. What was there before it came is replayed at its own pace; what comes while
    it is there may pile up only so far."""

    __slots__ = ("_archived", "_archived_seq", "_live_from", "_position", "_prev", "_symbols", "is_fetching", "lane")

    def __init__(self, lane: Lane, symbols: SymbolFilter, since_seq: int | None) -> None:
        """Begins behind `since_seq`, or at the lane's end."""
        self.lane = lane
        self.is_fetching = False
        """Whether a page of the archive is on its way."""
        self._symbols = symbols
        self._archived: deque[Entry] = deque()
        self._archived_seq: int | None = None
        """How far the archive has been read; None where the ring goes on."""
        self._live_from = self._position = lane.end
        if since_seq is not None:
            self._seek(since_seq)
        self._prev = self._seq_before(self._position)
        is_older = since_seq is not None and (since_seq < lane.oldest_seq or not self._prev)
        if is_older and lane.archive is not None:
            self._archived_seq = since_seq

    @property
    def backlog(self) -> int:
        """Entries that came while the client was there, and that it has not been sent yet; those of the archive wait
        on disk."""
        if self._archived_seq is not None:
            return 0
        return self.lane.end - max(self._position, self._live_from)

    @property
    def has_lost(self) -> bool:
        """Whether the lane has dropped entries before they were sent."""
        return self._archived_seq is None and self._position < self.lane.start

    @property
    def wants_page(self) -> bool:
        """Whether nothing can be sent before the next page of the archive."""
        return self._archived_seq is not None and not self._archived

    def fetch(self) -> Coroutine[Any, Any, None]:
        """Returns what reads the next page of the archive; it raises StoreError."""
        # From now on, not from when it first runs: nobody may ask for the same page in between.
        self.is_fetching = True
        return self._fetch()

    async def _fetch(self) -> None:
        assert self.lane.archive is not None and self._archived_seq is not None
        try:
            page = await self.lane.archive.read_page(self._archived_seq, self._symbols, PAGE_ENTRIES)
        finally:
            self.is_fetching = False
        self._prev = page.prev
        self._archived.extend(page.entries)
        if page.entries:
            self._archived_seq = page.entries[-1].seq
        else:
            self._join_ring()

    def next_message(self) -> bytes | None:
        """Returns the next message that passes the filter, and moves on; None at the end, or before the next page."""
        lane = self.lane
        if self._archived_seq is not None:
            if not self._archived:
                return None
            entry = self._archived.popleft()
            message = lane.message(entry, self._prev)
            self._prev = entry.seq
            if not self._archived and lane.oldest_seq <= entry.seq:
                self._join_ring()
            return message
        while self._position < lane.end:
            entry = lane.entry(self._position)
            self._position += 1
            # What was read of the archive may come into the ring only now.
            if entry.seq > self._prev and entry.passes(self._symbols):
                message = lane.message(entry, self._prev)
                self._prev = entry.seq
                return message
        return None

    def _join_ring(self) -> None:
        """Goes on in the ring, behind what was read of the archive."""
        assert self._archived_seq is not None
        self._live_from = self._position = self.lane.end
        self._seek(self._archived_seq)
        self._archived_seq = None

    def _seek(self, seq: int) -> None:
        """Moves back to the first entry behind `seq` that the ring has."""
        lane = self.lane
        while self._position > lane.start and lane.entry(self._position - 1).seq > seq:
            self._position -= 1

    def _seq_before(self, position: int) -> int:
        """Returns the newest entry before `position` that passes the filter; 0 without one."""
        lane = self.lane
        while position > lane.start:
            position -= 1
            entry = lane.entry(position)
            if entry.passes(self._symbols):
                return entry.seq
        return 0
