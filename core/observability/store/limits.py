"""The bounds of the store: how much it keeps, how much may wait for the disk, how much goes into one commit.

Nothing is enforced here (see `store.py`, `store_writer.py` and `store_pruning.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from observability.clocks.timestamps import NS_PER_DAY

STOP_SECONDS: Final = 5.0
"""How long a thread of the store may take to finish what is queued once it is told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """What one store may take."""

    max_age_days: int = 90
    """Rows that have been in the store for longer are pruned."""
    max_bytes: int = 4_000_000_000
    """Beyond this the rows that came first are pruned; the write-ahead log comes on top."""
    queue_rows: int = 200_000
    """Rows that may wait for the disk: about 200 MB of fills."""
    group_rows: int = 10_000
    """Rows of one commit, so that the first of them does not wait for a whole backlog."""

    @property
    def max_age_ns(self) -> int:
        return self.max_age_days * NS_PER_DAY
