"""How many connections one address holds after they were handed over, to WebSocket say.

Nobody has to tell it that one has ended: it looks, when that could make a difference.
"""

from __future__ import annotations

import asyncio
from typing import Final

# Below this many addresses nobody is looked for among those that have gone.
MIN_SWEPT_ADDRESSES: Final = 1024


class AddressQuota:
    """At most `per_address` open transports for each address; what is remembered is at most twice what is open."""

    __slots__ = ("_held", "_sweep_at", "per_address")

    def __init__(self, per_address: int) -> None:
        assert per_address > 0, f"per_address {per_address}: expected at least 1; no limit is no AddressQuota"
        self.per_address = per_address
        self._held: dict[str, list[asyncio.Transport]] = {}
        self._sweep_at = MIN_SWEPT_ADDRESSES

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._held)

    def has_room(self, address: str) -> bool:
        """Whether `address` may have one more."""
        held = self._held.get(address)
        if held is None or len(held) < self.per_address:
            return True
        held[:] = _open(held)
        return len(held) < self.per_address

    def take(self, address: str, transport: asyncio.Transport) -> None:
        """Counts `transport` until it closes."""
        if address not in self._held and len(self._held) >= self._sweep_at:
            self._sweep()
        self._held.setdefault(address, []).append(transport)

    def _sweep(self) -> None:
        self._held = {address: still for address, held in self._held.items() if (still := _open(held))}
        # Twice as many before the next one: each costs a constant time per address that came since.
        self._sweep_at = max(MIN_SWEPT_ADDRESSES, 2 * len(self._held))


def _open(transports: list[asyncio.Transport]) -> list[asyncio.Transport]:
    return [transport for transport in transports if not transport.is_closing()]
