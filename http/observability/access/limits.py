"""Limits on connections and clients, and the counts that they are compared with.

A limit holds per address (`AddressQuota`), per process or for all workers of the host (`ClientCount`). Rates are in
`rates.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from observability.http11.heads import MAX_HEAD_BYTES
from observability.memory import layout
from observability.memory.mapping import ProcessSlot

# What any connection may hold anyway: an incomplete head.
FREE_BYTES: Final = MAX_HEAD_BYTES
# With fewer addresses than this, an `AddressQuota` does not look for those whose transports are all closed.
MIN_SWEPT_ADDRESSES: Final = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them together, may use."""

    max_content_memory: int = 64_000_000
    """Bytes of content of all connections of a process, being received or being answered. Each has its first
    `FREE_BYTES` for nothing."""
    max_connections: int = 10_000
    max_connections_per_address: int | None = None
    """None means no limit."""
    head_seconds: int = 10
    """Counted from the start of a connection, or from the first byte of a later request, to the end of the head."""
    body_seconds: int = 30
    idle_seconds: float = 120
    """How long a connection may wait for its next request. Proxies keep theirs for 60 s (nginx, AWS), 75 s or 90 s (Go,
    Traefik, cloudflared): the side that closes first must be theirs, or a request meets a connection just closed."""
    stall_seconds: int = 30
    """How long a peer may leave an answer unread."""
    linger_seconds: int = 2
    """RFC 9112 section 9.6: closing while the peer still sends resets the connection and destroys the answer that the
    peer has not read. So the server closes its sending side first, and gives the peer this long to close its own."""
    retry_after_seconds: int = 5


class ContentMemory:
    """Counts the bytes of content that all connections of a process hold together."""

    __slots__ = ("_max_bytes", "held_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def has_room(self, size: int, *, for_writing: bool) -> bool:
        """Returns whether `size` more bytes may be held. Reads, which may be open to anybody, get half of the memory,
        so that they never keep senders out."""
        bound = self._max_bytes if for_writing else self._max_bytes // 2
        return self.held_bytes + size <= bound


@runtime_checkable
class Holder(Protocol):
    """Holds a place of an `AddressQuota`: a transport, or a protocol that gives its place up before its transport."""

    def is_closing(self) -> bool: ...


class AddressQuota:
    """Allows each address at most `per_address` open transports.

    Nothing reports that a transport has closed: closed ones are dropped when that can change an answer. Beyond
    `MIN_SWEPT_ADDRESSES`, at most twice as many addresses are remembered as have open transports.
    """

    __slots__ = ("_held", "_sweep_at", "per_address")

    def __init__(self, per_address: int) -> None:
        assert per_address > 0, f"per_address {per_address}: expected at least 1; for no limit, make no AddressQuota"
        self.per_address = per_address
        self._held: dict[str, list[Holder]] = {}
        self._sweep_at = MIN_SWEPT_ADDRESSES

    def __len__(self) -> int:
        """Returns the number of addresses remembered."""
        return len(self._held)

    def has_room(self, address: str) -> bool:
        """Returns whether `address` may have one more transport."""
        held = self._held.get(address)
        if held is None or len(held) < self.per_address:
            return True
        held[:] = _open(held)
        return len(held) < self.per_address

    def take(self, address: str, transport: Holder) -> None:
        """Counts `transport` until it closes."""
        if address not in self._held and len(self._held) >= self._sweep_at:
            self._sweep()
        self._held.setdefault(address, []).append(transport)

    def _sweep(self) -> None:
        self._held = {address: still for address, held in self._held.items() if (still := _open(held))}
        # The next sweep waits until the number has doubled, so that each new address costs constant time.
        self._sweep_at = max(MIN_SWEPT_ADDRESSES, 2 * len(self._held))


def _open(transports: list[Holder]) -> list[Holder]:
    return [transport for transport in transports if not transport.is_closing()]


class ClientCount(Protocol):
    """Counts one kind of client."""

    def set(self, own: int) -> int:
        """Sets the number of clients of this process; returns the number that the limit applies to."""


class ProcessClientCount:
    """Counts the clients of this process alone."""

    def set(self, own: int) -> int:
        return own


class HostClientCount:
    """Counts the clients of all workers on this host, by one word in each worker's slot.

    A worker adds its own client first and reads the sum afterwards. Two workers that compete for the last place see
    each other: both may refuse, but they never both accept.
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
    """The counts that one process keeps: WebSocket clients and HTTP connections."""

    def __init__(self) -> None:
        self.websockets: ClientCount = ProcessClientCount()
        self.connections: ClientCount = ProcessClientCount()

    @classmethod
    def of_host(cls, slots: Sequence[ProcessSlot], own: ProcessSlot) -> ClientCounts:
        """Returns the counts of the worker in slot `own`, which include the clients of the workers in `slots`."""
        counts = cls()
        counts.websockets = HostClientCount(slots, own, layout.SLOT_WEBSOCKETS)
        counts.connections = HostClientCount(slots, own, layout.SLOT_CONNECTIONS)
        return counts
