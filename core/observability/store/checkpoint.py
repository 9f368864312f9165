"""A checkpoint: the state that events have produced in every collector and in the history, packed as of one record.

    records 1 .. n        --> checkpoint as of record n     a restart loads it and replays the records after n,
    records n+1, n+2, ... --> replayed                      so that it ends with the state the previous process had

A whole (a collector, the history) implements `Stateful`. A part of one has `to_state() -> XState` and
`load_state(state)`, or the classmethod `from_state(state)` if it is created from its state.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec

from observability.errors import CheckpointError

UNWRITTEN_NUMBERS: Final = 1_000_000
"""How many sequence numbers a killed process may have shown without writing them: more than its queue can hold."""

S = TypeVar("S", bound=msgspec.Struct)


class Checkpoint(msgspec.Struct):
    """The state of every `Stateful` at one moment, as of the durable record `seq`."""

    seq: int
    is_clean: bool
    """Whether the process wrote it as it stopped; then no client has seen a number above `seq`."""
    parts: dict[str, bytes]
    """The result of each `save`, by name."""


class Stateful(Protocol):
    """Something whose state is kept in a checkpoint."""

    name: str

    def save(self) -> bytes:
        """Returns everything that events have made of this object, encoded by `pack`. Takes a few milliseconds at
        most."""

    def load(self, data: bytes) -> None:
        """Restores the state that `save` returned in an earlier process. Call it before the first event.

        Raises CheckpointError for data that it cannot read, and then has changed nothing.
        """


def pack(state: msgspec.Struct) -> bytes:
    """Encodes a Struct as MessagePack. Nothing is rounded: a Decimal is its digits, a double its bits."""
    return msgspec.msgpack.encode(state)


def unpack(data: bytes, kind: type[S]) -> S:
    """Decodes what `pack` returned; a missing field takes its default. Raises CheckpointError."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the state of {kind.__name__} cannot be read: {error}") from None


class EventSequence:
    """The one sequence that numbers every durable record: fills, reports, alerts. Gaps have no meaning.

    A restart continues after every number that the previous process may have shown.
    """

    __slots__ = ("newest",)

    def __init__(self, newest: int = 0) -> None:
        self.newest = newest
        """The last number drawn; 0 before the first one."""

    def draw(self) -> int:
        """Returns the next number."""
        self.newest += 1
        return self.newest

    def skip_to(self, newest: int) -> None:
        """Continues after `newest`, unless the sequence is already past it."""
        self.newest = max(self.newest, newest)
