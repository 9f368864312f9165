"""The path of the equity: everything that has moved it, in order, so that a corrected fill can move it anew.

    entries     a fill: quantity and cash of its position | a mark | a rate | what was paid in | ...
    chunk       the state before its first entry (quantities, cash, marks, rates, drawdowns), and CHUNK_ENTRIES or more
    path        the last MAX_CHUNKS chunks, of which the newest is open

The equity at any moment is the cash, plus each quantity at its mark, at the rates. An entry of a fill is therefore
independent of all others: without it, or with another one in its place, `path_walk.py` makes the equity, and the
drawdown, of a run that never had the fault. Where the path no longer reaches back, it cannot.

A chunk that is complete is packed. The store has it beside the checkpoint that it belongs to: both are committed
together, because a correction changes both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

import msgspec

from observability.instruments.instrument import Terms
from observability.metrics.arithmetic.rates import Conversion
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.strategy.drawdown import Drawdown
from observability.store.checkpoint import pack, unpack

CHUNK_ENTRIES: Final = 4_096
"""With these a chunk is complete: about 100 kB."""
MAX_CHUNKS: Final = 128
"""Half a million entries: seven hours at 20 a second."""

Cash = dict[str, Decimal]
"""Amounts by currency."""


class Booked(msgspec.Struct, array_like=True, tag="f", gc=False):
    """A fill, or anything else that changes a position or earns something."""

    ns: int
    seq: int
    account: str
    place: str
    """The position's key within its account; empty for what is of none."""
    symbol: str
    terms: Terms | None
    quantity: Decimal
    """That of the position afterwards."""
    price: Decimal | None
    """What the position is marked to while its symbol has no market; None: as before."""
    cash: Cash
    """By how much it changes the cash: what it has realised, less what it adds to the cost."""


class Divided(msgspec.Struct, array_like=True, tag="s", gc=False):
    """A split of a position, which stays worth what it is until the next mark."""

    ns: int
    seq: int
    account: str
    place: str
    quantity: Decimal


class Marked(msgspec.Struct, array_like=True, tag="m", gc=False):
    """The price of a symbol."""

    ns: int
    symbol: str
    price: Decimal
    is_joint: bool = False
    """Whether the equity is to be looked at with the next entry only."""


class Scaled(msgspec.Struct, array_like=True, tag="x", gc=False):
    """The price of a symbol after a split, at which only what is opened from now on is marked."""

    ns: int
    symbol: str
    price: Decimal


class Rated(msgspec.Struct, array_like=True, tag="r", gc=False):
    """The factor of a currency into the reporting one: a fraction. It moves the equity with the next entry."""

    ns: int
    currency: str
    numerator: Decimal | None
    denominator: Decimal


class Looked(msgspec.Struct, array_like=True, tag="o", gc=False):
    """The moment at which the equity is looked at, after joint entries."""

    ns: int


class Paid(msgspec.Struct, array_like=True, tag="p", gc=False):
    """What is paid in or out: no P&L."""

    ns: int
    seq: int
    account: str
    """Empty: all of them."""
    value: Decimal


class Capitals(msgspec.Struct, array_like=True, tag="c", gc=False):
    """The capital of each account, and of all under the empty name."""

    ns: int
    capitals: dict[str, Decimal]


class Noted(msgspec.Struct, array_like=True, tag="n", gc=False):
    """A booking, right before the entries that it makes."""

    ns: int
    seq: int


Entry = Booked | Divided | Marked | Scaled | Rated | Looked | Paid | Capitals | Noted


class HeldState(msgspec.Struct, array_like=True):
    """A position that is open."""

    place: str
    symbol: str
    terms: Terms
    quantity: Decimal
    price: Decimal
    """What it is marked to if its symbol has no market, or while it has a `scale`."""
    scale: tuple[Decimal, Decimal] | None = None
    """The ratio of a split since its last mark."""


class WalkedState(msgspec.Struct, array_like=True):
    """One account; that of all has no positions of its own."""

    name: str
    cash: Cash
    drawdown: Drawdown
    held: list[HeldState] = []


class PathState(msgspec.Struct):
    """Everything that the equity is made of, at one moment."""

    seq: int = 0
    """The newest fill or booking."""
    accounts: list[WalkedState] = []
    drawdown: Drawdown = msgspec.field(default_factory=Drawdown)
    """That of all accounts."""
    marks: dict[str, Decimal] = {}
    factors: dict[str, tuple[Decimal | None, Decimal]] = {}
    capitals: dict[str, Decimal] = {}


class Chunk(msgspec.Struct):
    """A part of the path."""

    number: int
    seq: int
    """The newest fill or booking before it."""
    base: bytes
    """A packed PathState."""
    entries: bytes
    is_saved: bool = False
    """Whether the store has it, once what is queued is written."""


class OpenChunk(msgspec.Struct):
    """The newest chunk in a checkpoint."""

    first: int = 0
    """The number of the oldest complete chunk."""
    number: int = 0
    seq: int = 0
    base: bytes = b""
    entries: bytes = b""


_DECODER: Final = msgspec.msgpack.Decoder(list[Entry])
_ENCODER: Final = msgspec.msgpack.Encoder()


def pack_entries(entries: list[Entry]) -> bytes:
    return _ENCODER.encode(entries)


def unpack_entries(data: bytes) -> list[Entry]:
    return _DECODER.decode(data) if data else []


class EquityPath:
    """Records the path. `state` is called for the state of now, between two events."""

    def __init__(self, state: Callable[[], PathState]) -> None:
        self.chunks: deque[Chunk] = deque()
        """Those that are complete, oldest first."""
        self.number = 0
        """That of the open chunk."""
        self.base = b""
        """The packed state before the first entry of the open chunk; empty until something is recorded."""
        self.base_seq = 0
        self.entries: list[Entry] = []
        """Those of the open chunk."""
        self.is_due = True
        """Whether a chunk is to begin."""
        self.seq = 0
        """The newest fill or booking."""
        self.marks: dict[str, Decimal] = {}
        """The newest price of each symbol that is or was held, if it has one."""
        self._state = state
        self._first = 0

    # -- what moves the equity

    def begin(self) -> None:
        """Begins a chunk, which is due. Call it before an event counts."""
        if self.base:
            self._complete()
        else:
            self._open()

    def add(self, entry: Entry) -> None:
        # hot: once per event that moves the equity (benchmarks/bench_intake.py)
        self.entries.append(entry)
        if len(self.entries) >= CHUNK_ENTRIES:
            self.is_due = True

    def mark(self, ns: int, symbol: str, price: Decimal, *, is_joint: bool = False) -> None:
        # hot: once per event that moves the mark of a symbol that is held (benchmarks/bench_intake.py)
        self.marks[symbol] = price
        entries = self.entries
        entries.append(Marked(ns, symbol, price, is_joint))
        if len(entries) >= CHUNK_ENTRIES:
            self.is_due = True

    def scale(self, ns: int, symbol: str, ratio: Ratio, mark: Decimal | None) -> None:
        """Records that a symbol is split, after its positions. `mark` is that of the market, which has scaled its own
        prices and rounded them; None without one."""
        before = self.marks.get(symbol)
        if before is not None:
            self.marks[symbol] = scaled = ratio.of_price(before) if mark is None else mark
            self.add(Scaled(ns, symbol, scaled))

    def rate(self, ns: int, conversion: Conversion) -> None:
        self.add(Rated(ns, conversion.currency, conversion.numerator, conversion.denominator))

    def note(self, ns: int, seq: int) -> None:
        """Records that a booking counts from now on."""
        self.seq = seq
        self.add(Noted(ns, seq))

    def clear(self) -> None:
        """Forgets all; the path begins with the next event."""
        self.chunks.clear()
        self.entries = []
        self.base = b""
        self.is_due = True
        self.number += 1

    # -- what a correction changes

    def chunk_of(self, seq: int) -> int | None:
        """Returns the number of the chunk that has a fill or booking; None if the path does not reach back to it."""
        found = None
        for chunk in self.chunks:
            if chunk.seq < seq:
                found = chunk.number
        if self.base and self.base_seq < seq:
            found = self.number
        return found

    def entries_since(self, number: int) -> int:
        """Returns about how many entries the path has since the begin of a chunk."""
        return len(self.entries) + CHUNK_ENTRIES * (self.number - number)

    def replace(self, chunks: Iterable[Chunk]) -> None:
        """Replaces complete chunks by what corrections have made of them."""
        changed = {chunk.number: chunk for chunk in chunks}
        for position, chunk in enumerate(self.chunks):
            if chunk.number in changed:
                self.chunks[position] = changed[chunk.number]

    # -- checkpoints

    def to_state(self) -> OpenChunk:
        first = self.chunks[0].number if self.chunks else self.number
        return OpenChunk(first, self.number, self.base_seq, self.base, pack_entries(self.entries))

    def load_state(self, packed: bytes, seq: int) -> None:
        """Restores the open chunk. Without one, of an earlier version, the path begins now. Raises CheckpointError."""
        self.chunks.clear()
        self.seq = seq
        state = unpack(packed, OpenChunk) if packed else OpenChunk()
        self.number, self.base, self.base_seq = state.number, state.base, state.seq
        self.entries = unpack_entries(state.entries)
        self.is_due = not self.base
        self._first = state.first
        self.marks = unpack(self.base, PathState).marks if self.base else {}
        for entry in self.entries:
            if isinstance(entry, Marked | Scaled):
                self.marks[entry.symbol] = entry.price

    def unsaved(self) -> list[tuple[str, bytes]]:
        """Returns the complete chunks that the store does not have, each with the name of its row, and takes them as
        saved."""
        rows = []
        for chunk in self.chunks:
            if not chunk.is_saved:
                chunk.is_saved = True
                rows.append((row_name(chunk.number), pack(chunk)))
        return rows

    def restore(self, rows: Iterable[bytes]) -> None:
        """Restores the complete chunks that belong to the open one, from all that the store has."""
        found = {chunk.number: chunk for chunk in (unpack(row, Chunk) for row in rows)}
        for number in range(self.number - 1, self._first - 1, -1):
            if number not in found:
                break
            self.chunks.appendleft(found[number])

    def _complete(self) -> None:
        self.chunks.append(Chunk(self.number, self.base_seq, self.base, pack_entries(self.entries)))
        if len(self.chunks) > MAX_CHUNKS:
            self.chunks.popleft()
        self.number += 1
        self._open()

    def _open(self) -> None:
        self.base, self.base_seq, self.entries = pack(self._state()), self.seq, []
        self.is_due = False


def row_name(number: int) -> str:
    """Returns the name of the row of a chunk. The names repeat, so that a chunk replaces one that was dropped."""
    return f"path {number % (MAX_CHUNKS + 1)}"
