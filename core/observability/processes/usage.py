"""The resources that a process uses (CPU, memory, descriptors), as counters of its slot.

A process measures itself; the supervisor, which has no event loop, is measured by the hub.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.memory.counters import Counters

MEASURE_SECONDS: Final = 1.0
"""How often a process measures itself and publishes the figures."""

_PAGE_BYTES: Final = resource.getpagesize()
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
# proc(5), /proc/pid/stat: utime and stime, counted from the field after the name in parentheses.
_UTIME: Final = 14 - 3


class ProcessUsage:
    """The `process_*` families of one process. CPU time adds to that of earlier processes in the same slot."""

    def __init__(
        self, counters: Counters, role: str, slot: int | None, started_ns: int | None = None, pid: int | None = None
    ) -> None:
        """`started_ns` is since the epoch; `pid` None is this process."""
        labels = {"role": role, "slot": "" if slot is None else str(slot)}
        self._pid = pid
        self._cpu = counters.float_counter("process_cpu_seconds_total", "CPU time, user and system", **labels)
        self._resident = counters.gauge("process_resident_memory_bytes", "Resident memory", **labels)
        self._virtual = counters.gauge("process_virtual_memory_bytes", "Virtual memory", **labels)
        self._fds = counters.gauge("process_open_fds", "Open file descriptors", **labels)
        if pid is None:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            counters.gauge("process_max_fds", "Maximum number of open file descriptors", **labels).set(limit)
        if started_ns is not None:
            start = counters.float_gauge("process_start_time_seconds", "Start, in seconds since the epoch", **labels)
            start.set(started_ns / NS_PER_S)
        self._cpu_counted = 0.0

    def update(self) -> None:
        """Measures once, in about 20 us."""
        cpu_seconds = self._cpu_seconds()
        self._cpu.add(cpu_seconds - self._cpu_counted)
        self._cpu_counted = cpu_seconds
        if sys.platform == "linux":
            proc = f"/proc/{'self' if self._pid is None else self._pid}"
            virtual, resident = Path(proc, "statm").read_text().split()[:2]
            self._virtual.set(int(virtual) * _PAGE_BYTES)
            self._resident.set(int(resident) * _PAGE_BYTES)
            # Since Linux 6.2 the size of the directory is the number of descriptors; before that it is 0.
            self._fds.set(os.stat(f"{proc}/fd").st_size or len(os.listdir(f"{proc}/fd")))

    def _cpu_seconds(self) -> float:
        if self._pid is None:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            return usage.ru_utime + usage.ru_stime
        if sys.platform != "linux":
            return 0.0
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_SECOND
