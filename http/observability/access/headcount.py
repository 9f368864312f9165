"""How many there are: of this process alone, or of all processes of this host, whom limits bind together.

Nobody is refused here (see `listener.py`, `stream.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from observability.memory import layout
from observability.memory.mapping import ProcessSlot


class ClientCount(Protocol):
    """Counts one kind of client."""

    def set(self, own: int) -> int:
        """Notes how many this process has; returns how many there are in all."""


class OwnHeadcount:
    """Of a process that has the port to itself."""

    def set(self, own: int) -> int:
        return own


class HostHeadcount:
    """Of all workers, by a word of each one's slot.

    A worker first adds itself and then looks at the sum, so that two who take the last place at the same moment see
    each other: both may refuse, but never do both take it.
    """

    def __init__(self, slots: Sequence[ProcessSlot], own: ProcessSlot, word: int) -> None:
        self._words = own.words
        self._word = word
        self._others: list[Callable[[int], int]] = [slot.words.__getitem__ for slot in slots if slot is not own]

    def set(self, own: int) -> int:
        # hot: once per connection
        self._words[self._word] = own
        for other in self._others:
            own += other(self._word)
        return own


class ClientCounts:
    """Both kinds, of one process."""

    def __init__(self) -> None:
        self.websockets: ClientCount = OwnHeadcount()
        self.connections: ClientCount = OwnHeadcount()

    @classmethod
    def of_host(cls, slots: Sequence[ProcessSlot], own: ProcessSlot) -> ClientCounts:
        """Returns those of the worker in slot `own`, beside the others."""
        counts = cls()
        counts.websockets = HostHeadcount(slots, own, layout.SLOT_WEBSOCKETS)
        counts.connections = HostHeadcount(slots, own, layout.SLOT_CONNECTIONS)
        return counts
