"""The limits of the store: how much it keeps, how much may wait for the disk, how much one commit holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from observability.clocks.timestamps import NS_PER_DAY

STOP_SECONDS: Final = 5.0
"""How long a thread of the store may continue with what is queued after it is told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """The limits of one store."""

    max_age_days: int = 90
    """Rows that have been in the store for longer are pruned."""
    max_bytes: int = 4_000_000_000
    """Beyond this size the rows that arrived first are pruned; the write-ahead log is not included."""
    keeps_upgrade_copy: bool = True
    """Whether the store is copied before its tables are migrated."""
    queue_rows: int = 200_000
    """Rows that may wait for the disk: about 200 MB of fills."""
    group_rows: int = 10_000
    """Rows of one commit at most, so that the first of them does not wait for a whole backlog."""

    @property
    def max_age_ns(self) -> int:
        return self.max_age_days * NS_PER_DAY
