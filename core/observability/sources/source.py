"""What a source of live events is: a connection to a broker, an exchange or an engine, and the batches that it brings.

    connect(cursor) --> read() --> Batch --> published, stored with its cursor --> acknowledge()
                          ^                                                            |
                          '------------------------------------------------------------'

A source knows its transport and its dialect. Everything else is the runner's (`runner.py`): when to connect again, what
becomes of the events, what is on disk, how the source is doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar

import msgspec

from observability.errors import MissingPackage, SourceError
from observability.events import Event

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of a source has brought."""

    events: Sequence[Event | bytes] = ()
    """In order: events that the source has decoded from a dialect of its own, and bytes in our own JSON (an object, an
    array, or a line each), which are read as those of any sender are."""
    cursor: str | None = None
    """The position of the source after this batch, which only the source understands. It is stored in the same commit
    as the events; None means that the source has no positions."""
    messages: int = 0
    """How many messages of the transport the batch has."""
    gaps: int = 0
    """How many messages are known to be lost, before this batch or in it."""
    rejected: Sequence[str] = ()
    """Why, for each message that is no event."""


class Source(Protocol):
    """One connection. The runner calls one method at a time, but for `acknowledge`, which may come while `read` waits.

    Each method raises OSError, EOFError or SourceError if the connection cannot be made or is lost; then `close` is
    called, and `connect` after a pause.
    """

    @property
    def name(self) -> str:
        """The name that people and metrics know it by, such as `redis:orders@localhost`; without a secret, and the same
        after a restart: its cursor is stored under it."""

    async def connect(self, cursor: str | None) -> None:
        """Connects, to continue after `cursor`; None means that there is none. Returns once messages can come."""

    async def read(self) -> Batch:
        """Waits for the next messages, and returns all that have come, within reason. May be cancelled; a message that
        it had taken by then comes again from the next `read`, or after `connect`."""

    async def acknowledge(self) -> None:
        """Every batch that `read` has returned is taken, and on disk if it has to be."""

    async def close(self) -> None:
        """Ends the connection, if there is one."""


def decode_cursor(cursor: str, kind: type[T]) -> T:
    """Returns the position that a source has stored as JSON. Raises SourceError."""
    try:
        return msgspec.json.decode(cursor, type=kind)
    except msgspec.DecodeError as error:
        raise SourceError(f"the stored position cannot be read: {error}") from None


def import_package(module: str, extra: str) -> Any:
    """Returns a module of an optional package. Raises MissingPackage with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingPackage(
            f"the package {package} is needed, and cannot be imported ({error}); "
            f"pip install 'observability[{extra}]' installs it"
        ) from None
