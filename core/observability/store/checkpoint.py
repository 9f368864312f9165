"""What survives a restart beside the store's rows: the state that events have made of a collector, packed.

Nothing is written to disk here (see `store.py`) and nobody's state is known here; each keeper of state packs its own.

    rows with seq 1 .. n  --> state n, packed         a restart loads state n and takes the rows behind n again
    rows n+1, n+2, ...    --> taken again             so that it ends where the process before it was
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from observability.errors import CheckpointError

S = TypeVar("S", bound=msgspec.Struct)


class Checkpoint(msgspec.Struct):
    """The state of every keeper at one moment, as of the durable record `seq`."""

    seq: int
    is_clean: bool
    """Whether the process stopped behind it: then no number above `seq` was ever shown to anybody."""
    parts: dict[str, bytes]
    """What `dump_state` returned, by name."""


class Stateful(Protocol):
    """Keeps state that a checkpoint holds."""

    name: str

    def dump_state(self) -> bytes:
        """Returns everything that events have made of this part, as `pack` makes it; a few milliseconds at most."""

    def load_state(self, data: bytes) -> None:
        """Takes over what `dump_state` returned in an earlier process; before the first event. Raises CheckpointError
        for what it cannot read, and then has changed nothing."""


def pack(state: msgspec.Struct) -> bytes:
    """Encodes a Struct as MessagePack: a Decimal as its digits, a double as its bits; nothing is rounded."""
    return msgspec.msgpack.encode(state)


def unpack(data: bytes, kind: type[S]) -> S:
    """Returns the Struct that `pack` encoded; a field that it lacks takes its default. Raises CheckpointError."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the state of {kind.__name__} cannot be read: {error}") from None
