"""The lossless lanes: trades and alerts, every one of them and in order, beside the conflated metrics.

No sockets here (see `stream.py`) and no durability: a lane keeps its last entries in memory.

    Lane "trade"   entries 1 2 3 4 5 ...
    ├── LaneView (all symbols)    1 2 3 4 5      each message names the one before it in the same view, so that a
    └── LaneView (AAPL)           1     4        client can tell a gap from a filter: {"seq":4,"prev":1,...}

A client of a view holds a cursor into it; nothing is queued per client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from observability.core.snapshot import encode_json

ENTRIES_KEPT: Final = 10_000

SymbolFilter = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a lane. `symbol` None belongs to every filter; `members` is its JSON without the braces."""

    seq: int
    symbol: str | None
    members: bytes


class LaneView:
    """The messages of one lane that pass one filter, encoded once for all clients of the view."""

    def __init__(self, lane: str, symbols: SymbolFilter, entries: Iterator[Entry], capacity: int) -> None:
        self.symbols = symbols
        self.clients = 0
        self.head = 0
        """Cursor of the message that comes next."""
        self._type = encode_json(lane)
        self._messages: list[tuple[int, bytes] | None] = [None] * capacity
        self._last_seq = 0
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> bool:
        """Takes an entry if it passes the filter; returns whether it did."""
        if self.symbols is not None and entry.symbol is not None and entry.symbol not in self.symbols:
            return False
        data = b'{"type":%b,"seq":%d,"prev":%d,%b}' % (self._type, entry.seq, self._last_seq, entry.members)
        self._messages[self.head % len(self._messages)] = (entry.seq, data)
        self._last_seq = entry.seq
        self.head += 1
        return True

    @property
    def oldest(self) -> int:
        """Cursor of the oldest message still kept."""
        return max(0, self.head - len(self._messages))

    def message(self, cursor: int) -> bytes:
        """Returns the message at a cursor from `oldest` up to, not including, `head`."""
        message = self._messages[cursor % len(self._messages)]
        assert message is not None
        return message[1]

    def cursor_after(self, seq: int) -> int:
        """Returns the cursor of the first message behind `seq` that is still kept."""
        cursor = self.head
        while cursor > self.oldest:
            message = self._messages[(cursor - 1) % len(self._messages)]
            assert message is not None
            if message[0] <= seq:
                break
            cursor -= 1
        return cursor


class Lane:
    """One kind of event: its last entries, and its views while they have clients."""

    def __init__(self, name: str, channel: str, capacity: int = ENTRIES_KEPT) -> None:
        self.name = name
        self.channel = channel
        self.seq = 0
        """Of the newest entry."""
        self._entries: deque[Entry] = deque(maxlen=capacity)
        self._capacity = capacity
        self._views: dict[SymbolFilter, LaneView] = {}

    @property
    def oldest_seq(self) -> int:
        """Of the oldest entry kept; `seq + 1` if there is none."""
        return self._entries[0].seq if self._entries else self.seq + 1

    def append(self, seq: int, symbol: str | None, document: dict[str, Any]) -> None:
        """Adds one event to the lane and its views; `seq` is above that of the one before."""
        assert seq > self.seq, f"lane {self.name}: {seq} after {self.seq}"
        self.seq = seq
        entry = Entry(self.seq, symbol, encode_json(document)[1:-1])
        self._entries.append(entry)
        for view in self._views.values():
            view.append(entry)

    def enter(self, symbols: SymbolFilter) -> LaneView:
        """Returns the view of a filter with one client more."""
        view = self._views.get(symbols)
        if view is None:
            view = self._views[symbols] = LaneView(self.name, symbols, iter(self._entries), self._capacity)
        view.clients += 1
        return view

    def leave(self, view: LaneView) -> None:
        """Takes one client out; a view without clients is forgotten."""
        view.clients -= 1
        if not view.clients:
            del self._views[view.symbols]


@dataclass(slots=True)
class LaneReader:
    """Where one client stands in one lane. `live_from` is the first message that came while it was subscribed: what is
    behind that is replayed at the client's own pace, what is from there on may pile up only so far."""

    lane: Lane
    view: LaneView
    cursor: int
    live_from: int

    @classmethod
    def open(cls, lane: Lane, symbols: SymbolFilter, since_seq: int | None) -> LaneReader:
        """Enters the lane behind `since_seq`, or at its end."""
        view = lane.enter(symbols)
        cursor = view.head if since_seq is None else view.cursor_after(since_seq)
        return cls(lane, view, cursor, view.head)

    @property
    def backlog(self) -> int:
        """Live messages not yet sent."""
        return self.view.head - max(self.cursor, self.live_from)

    @property
    def has_lost(self) -> bool:
        """Whether the lane has dropped messages that were not sent yet."""
        return self.cursor < self.view.oldest

    def next_message(self) -> bytes | None:
        """Returns the next message and moves on; None at the end."""
        if self.cursor >= self.view.head:
            return None
        message = self.view.message(self.cursor)
        self.cursor += 1
        return message

    def close(self) -> None:
        self.lane.leave(self.view)
