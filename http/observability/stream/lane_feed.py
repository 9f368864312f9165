"""What goes into the lanes: our trades and the changes of alerts, each once it is on disk.

No clients here (see `lanes.py`) and nothing waits for the disk here (see `observability.metrics.durability.journal`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from observability.memory.layout import ALERTS_LANE, TRADES_LANE
from observability.metrics.durability.journal import Record
from observability.store.store import Store
from observability.stream.lane_archive import AlertArchive, TradeArchive
from observability.stream.lanes import Lane


class LaneFeed:
    """Fills both lanes. With a store they reach back as far as it does."""

    def __init__(self, store: Store | None) -> None:
        reader = None if store is None else store.reader
        self.lanes = {
            TRADES_LANE: Lane("trade", archive=None if reader is None else TradeArchive(reader)),
            ALERTS_LANE: Lane("alert", archive=None if reader is None else AlertArchive(reader)),
        }

    def resume(self, records: Iterable[Record]) -> None:
        """Fills the lanes with what an earlier process has told, per channel oldest first."""
        for record in records:
            self.announce(*record)

    def announce(self, channel: str, seq: int, symbol: str | None, document: dict[str, Any]) -> None:
        """Appends one entry; a listener of the journal."""
        self.lanes[channel].append(seq, symbol, document)
