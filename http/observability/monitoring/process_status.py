"""One process of the host, as `GET /api/system/components` shows it."""

from __future__ import annotations

from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.memory.mapping import ProcessSlot, ProcessState

_STATUSES: Final = {ProcessState.SERVING: "ok", ProcessState.STARTING: "starting"}


class ProcessStatus:
    """Reads the slot and the counters of a process."""

    def __init__(self, slot: ProcessSlot, clock: Clock) -> None:
        self.slot = slot
        self._clock = clock
        self._counters = slot.counters()
        self._labels = (("role", slot.role), ("slot", str(slot.number)))
        self._measured: tuple[int, int, float] | None = None
        """Process id, monotonic time and CPU seconds at the last call of `measure`."""
        self._cpu_percent: float | None = None
        self._rss_bytes: int | None = None

    def measure(self) -> None:
        """Compares the CPU time with that of the last call. A process that has started since has no percentage yet."""
        now_ns, pid = self._clock.mono_ns(), self.slot.pid
        cpu_seconds = self._counters.float_total("process_cpu_seconds_total", self._labels)
        before, self._measured = self._measured, (pid, now_ns, cpu_seconds)
        self._cpu_percent = None
        if before is not None and before[0] == pid and now_ns > before[1]:
            self._cpu_percent = round((cpu_seconds - before[2]) / ((now_ns - before[1]) / NS_PER_S) * 100, 1)
        self._rss_bytes = self._counters.total("process_resident_memory_bytes", self._labels) or None

    def to_json(self) -> dict[str, Any]:
        slot = self.slot
        return {
            "status": _STATUSES.get(ProcessState(slot.state), "draining"),
            "role": slot.role,
            "pid": slot.pid,
            "process_cpu_percent": self._cpu_percent,
            "process_rss_bytes": self._rss_bytes,
            "cpu_percent": self._cpu_percent,
            "rss_bytes": self._rss_bytes,
            "uptime_seconds": (self._clock.mono_ns() - slot.started_ns) // NS_PER_S,
            "websocket_clients": slot.websockets,
            "http_connections": slot.connections,
        }
