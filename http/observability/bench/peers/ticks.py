"""What the peers in Python share: the command line, the schedule, and the snapshot of each tick."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

HEALTH: Final = {"status": "healthy", "service": "observability"}


class Ticks:
    """A snapshot that changes ten times a second: its number, and the time of its tick."""

    def __init__(self, snapshot: Path, interval_seconds: float) -> None:
        self.snapshot: dict[str, Any] = json.loads(snapshot.read_bytes())
        self._interval = interval_seconds
        self.move()

    def move(self) -> None:
        """Makes the next snapshot of this one."""
        snapshot = self.snapshot
        snapshot["seq"] += 1
        snapshot["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        snapshot["mono_ns"] = time.monotonic_ns()

    async def run(self, send: Callable[[], Awaitable[None]]) -> None:
        """Calls `send` after each tick, on a fixed schedule; ticks that it cannot keep are left out."""
        due = time.monotonic() + self._interval
        while True:
            await asyncio.sleep(due - time.monotonic())
            self.move()
            await send()
            due += self._interval * max(1, -(-(time.monotonic() - due) // self._interval))


def from_command_line() -> tuple[int, Ticks]:
    """Returns the port, and the snapshot's ticks: PORT SNAPSHOT INTERVAL."""
    port, snapshot, interval = sys.argv[1:]
    return int(port), Ticks(Path(snapshot), float(interval))
