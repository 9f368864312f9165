"""The last lines of all logs in one list: the log of each of our processes, and the trading engine's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from observability.clocks.slices import Slice
from observability.encoding import encode_json
from observability.logs.log_ring import OURS, LogLine, LogRing
from observability.memory.counters import Counter
from observability.memory.layout import ENGINE
from observability.memory.mapping import SharedMapping


class LogBook:
    """Reads every log afresh on each call, so that all processes with the same logs return the same lines."""

    def __init__(
        self,
        logs: Mapping[str, LogRing],
        engine_log: LogRing,
        lost: Counter | None = None,
        slices: asyncio.Lock | None = None,
    ) -> None:
        """`logs` are by process, "" for a single one. `lost` counts lines that were overwritten during a read. `slices`
        is shared by everything that works in slices."""
        self.logs = [(_members(name), ring) for name, ring in logs.items()]
        """Each log, and the members that say whose lines it has."""
        self.logs.append((encode_json({"source": ENGINE})[1:-1], engine_log))
        self._lost = lost
        self._slices = asyncio.Lock() if slices is None else slices

    @classmethod
    def of_host(
        cls, mapping: SharedMapping, lost: Counter | None = None, slices: asyncio.Lock | None = None
    ) -> LogBook:
        """Returns the book of a host with several processes."""
        logs = {name: LogRing(entries) for name, entries in mapping.logs().items()}
        engine_log = logs.pop(ENGINE)
        return cls(logs, engine_log, lost, slices)

    async def recent(self, level: str, limit: int) -> list[orjson.Fragment]:
        """Returns up to `limit` lines of `level` or worse, newest first. Lines with the same time are in the order of
        the logs: the supervisor's, those of the slots, the engine's. Raises ValueError for an unknown level."""
        lines: list[tuple[LogLine, bytes]] = []
        # Seven full logs take 20 ms.
        async with Slice(self._slices) as turn:
            lost_before = self._lines_lost
            for members, ring in self.logs:
                for line in ring.newest(level, limit):
                    lines.append((line, members))
                    await turn.offer()
            if self._lost is not None:
                self._lost.add(self._lines_lost - lost_before)
        lines.sort(key=lambda found: -found[0].moment_ns)
        return [orjson.Fragment(b"{%b,%b}" % (line.members, members)) for line, members in lines[:limit]]

    @property
    def _lines_lost(self) -> int:
        return sum(ring.lines_lost for _, ring in self.logs)


def _members(process: str) -> bytes:
    """Returns the members that say where a line comes from, as JSON without the braces."""
    further: dict[str, Any] = {"process": process} if process else {}
    return encode_json({"source": OURS, **further})[1:-1]
