"""The lossless lanes: every trade, alert, booking and order report, in order, beside the conflated metrics.

    entries        1:AAPL  2:AMZN  3:AMZN  4:AAPL  5:AMZN      a ring; nothing is queued per client
    reader, all    {1,prev 0} {2,prev 1} {3,prev 2} ...        a cursor into the ring, and a filter
    reader, AAPL   {1,prev 0}            {4,prev 1}            `prev` is the previous entry that passes the filter, so
                                                               that a client can tell a gap from a filter

Readers at the same entry with the same `prev` share the bytes of the message.

    archive        |1 2 3 4 5 6 7 8 9|         entries that have left the ring are read from the archive, page by page,
    ring                       |7 8 9 10 11|   until the ring holds the next entry
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from observability.encoding import encode_json
from observability.listeners import Listeners
from observability.metrics.durability.journal import Document

ENTRIES_KEPT: Final = 10_000
# Encoded messages kept for other readers: within one tick all readers need the same few.
MESSAGES_CACHED: Final = 1_000
PAGE_ENTRIES: Final = 500

SymbolFilter = frozenset[str] | None


class Entry:
    """One event of a lane. An entry without a symbol passes every filter."""

    __slots__ = ("_content", "seq", "symbol")

    def __init__(self, seq: int, symbol: str | None, members: bytes | Document) -> None:
        """`members` is its JSON without the braces, or the object, which is encoded when it is first sent."""
        self.seq = seq
        self.symbol = symbol
        self._content = members

    @property
    def members(self) -> bytes:
        """Its JSON without the braces."""
        content = self._content
        if not isinstance(content, bytes):
            content = self._content = encode_json(content if isinstance(content, dict) else content())[1:-1]
        return content

    def passes(self, symbols: SymbolFilter) -> bool:
        return symbols is None or self.symbol is None or self.symbol in symbols


@dataclass(frozen=True, slots=True)
class Page:
    """Entries that follow a sequence number and pass a filter, oldest first."""

    prev: int
    """The sequence number of the entry before them that passes the filter; 0 if there is none."""
    entries: Sequence[Entry]


class LaneArchive(Protocol):
    """Holds the entries of a lane for as long as the store keeps them."""

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        """Returns the first `limit` entries after `after_seq`. Raises StoreError; HubUnavailable if it is at a hub that
        does not answer now."""


class Lane:
    """The newest entries of one kind of event, by position. Positions count from 0 without gaps; sequence numbers may
    have gaps."""

    def __init__(self, name: str, capacity: int = ENTRIES_KEPT, archive: LaneArchive | None = None) -> None:
        self.name = name
        self.archive = archive
        self.may_be_behind = False
        """Whether clients may have newer entries than are here, from another host."""
        self.seq = 0
        """The sequence number of the newest entry."""
        self.end = 0
        """The position after the newest entry."""
        self._listeners: Listeners[Entry] = Listeners(f"an entry of the lane {name}")
        self._ring: list[Entry | None] = [None] * capacity
        self._first = 0
        self._type = encode_json(name)
        self._messages: dict[tuple[int, int], bytes] = {}

    @property
    def start(self) -> int:
        """The position of the oldest entry in the ring."""
        return max(self._first, self.end - len(self._ring))

    @property
    def oldest_seq(self) -> int:
        """The sequence number of the oldest entry in the ring; `seq + 1` if the ring is empty."""
        return self.entry(self.start).seq if self.start < self.end else self.seq + 1

    def add_entry_listener(self, listener: Callable[[Entry], None]) -> None:
        """Calls `listener` with each entry that is appended."""
        self._listeners.add(listener)

    def append(self, entry: Entry) -> None:
        """Appends an entry, whose sequence number is above all earlier ones."""
        assert entry.seq > self.seq, f"lane {self.name}: {entry.seq} after {self.seq}"
        self._ring[self.end % len(self._ring)] = entry
        self.seq = entry.seq
        self.end += 1
        self._listeners.call(entry)

    def lose_older(self) -> None:
        """Records that entries are missing at the end; readers that have not read everything before have lost some."""
        self.end += 1
        self._first = self.end

    def entry(self, position: int) -> Entry:
        """Returns the entry at a position from `start` up to but not including `end`."""
        entry = self._ring[position % len(self._ring)]
        assert entry is not None, f"lane {self.name}: nothing at position {position}"
        return entry

    def message(self, entry: Entry, prev: int) -> bytes:
        """Returns the message of an entry for readers whose previous entry was `prev`."""
        message = self._messages.get((entry.seq, prev))
        if message is None:
            if len(self._messages) >= MESSAGES_CACHED:
                self._messages.clear()
            message = b'{"type":%b,"seq":%d,"prev":%d,%b}' % (self._type, entry.seq, prev, entry.members)
            self._messages[entry.seq, prev] = message
        return message


class LaneReader:
    """The position of one client in one lane. Entries from before it subscribed are replayed at its own pace; later
    entries form its backlog, which is limited."""

    __slots__ = (
        "_archived",
        "_archived_seq",
        "_live_from",
        "_position",
        "_prev",
        "_symbols",
        "is_fetching",
        "lane",
        "last_seq",
    )

    def __init__(self, lane: Lane, symbols: SymbolFilter, since_seq: int | None) -> None:
        """Starts after `since_seq`, or at the lane's end."""
        self.lane = lane
        self.is_fetching = False
        """Whether a page of the archive is being read."""
        self.last_seq = lane.seq if since_seq is None else since_seq
        """The entry after which a client that comes back continues."""
        self._symbols = symbols
        self._archived: deque[Entry] = deque()
        self._archived_seq: int | None = None
        """The last sequence number read from the archive; None while reading from the ring."""
        self._live_from = self._position = lane.end
        if since_seq is not None:
            self._seek(since_seq)
        self._prev = self._seq_before(self._position)
        # What is not in the ring may be in the archive; and that alone knows what precedes an entry to come.
        is_elsewhere = since_seq is not None and not lane.oldest_seq <= since_seq <= lane.seq
        if (is_elsewhere or (since_seq is not None and not self._prev)) and lane.archive is not None:
            self._archived_seq = since_seq

    @property
    def newest_seq(self) -> int:
        """The number of the newest entry, as far as is known here."""
        return max(self.lane.seq, self.last_seq) if self.lane.may_be_behind else self.lane.seq

    @property
    def backlog(self) -> int:
        """Entries appended since the client subscribed that have not been sent to it; 0 while it reads the archive."""
        if self._archived_seq is not None:
            return 0
        return self.lane.end - max(self._position, self._live_from)

    @property
    def has_lost(self) -> bool:
        """Whether entries have left the ring before they were sent."""
        return self._archived_seq is None and self._position < self.lane.start

    @property
    def wants_page(self) -> bool:
        """Whether the next page of the archive is needed before anything can be sent."""
        return self._archived_seq is not None and not self._archived

    def fetch(self) -> Coroutine[Any, Any, None]:
        """Returns a coroutine that reads the next page of the archive. It raises StoreError and HubUnavailable."""
        # Set here, before the coroutine first runs, so that the same page is not requested twice.
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
        """Returns the next message that passes the filter, and advances; None at the end, or if a page is needed."""
        lane = self.lane
        if self._archived_seq is not None:
            if not self._archived:
                return None
            entry = self._archived.popleft()
            message = lane.message(entry, self._prev)
            self._prev = self.last_seq = entry.seq
            if not self._archived and lane.oldest_seq <= entry.seq:
                self._join_ring()
            return message
        while self._position < lane.end:
            entry = lane.entry(self._position)
            self._position += 1
            # The ring may receive an entry that has been read from the archive already.
            if entry.seq > self._prev and entry.passes(self._symbols):
                message = lane.message(entry, self._prev)
                self._prev = self.last_seq = entry.seq
                return message
        return None

    def _join_ring(self) -> None:
        """Continues in the ring, after the last entry read from the archive or, of none, the one before."""
        self._live_from = self._position = self.lane.end
        self._seek(self._prev)
        self._archived_seq = None

    def _seek(self, seq: int) -> None:
        """Moves back to the first entry after `seq` that the ring holds."""
        lane = self.lane
        while self._position > lane.start and lane.entry(self._position - 1).seq > seq:
            self._position -= 1

    def _seq_before(self, position: int) -> int:
        """Returns the sequence number of the newest entry before `position` that passes the filter; 0 if there is
        none."""
        lane = self.lane
        while position > lane.start:
            position -= 1
            entry = lane.entry(position)
            if entry.passes(self._symbols):
                return entry.seq
        return 0
