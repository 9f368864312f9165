"""Samples of the host and of this process: CPU, memory, disk, descriptors, threads.

A sample reads files and may block, so it is taken off the event loop.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # it ships no types

from observability.clocks.timestamps import NS_PER_S
from observability.metrics.system.cgroup import Cgroup

_HAS_PROCFS: Final = sys.platform == "linux"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MEMORY: Final = re.compile(rb"MemTotal: +([0-9]+) kB.*?MemAvailable: +([0-9]+) kB", re.DOTALL)
# What is read of a file at most; in /proc/stat all that matters is in the first line.
_FILE_BYTES: Final = 4096

# How often the limits of a container are read.
LIMITS_NS: Final = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class HostSample:
    """One sample; its CPU figures are over the time since the previous sample."""

    cpu_percent: float | None
    """Share of the container's quota if there is one, else of all cores of the host."""
    memory_percent: float
    """Share of the container's limit if there is one, else of the host's memory."""
    memory_limit_bytes: int
    disk_percent: float
    process_rss_bytes: int
    process_cpu_percent: float
    """Share of one core, as `top` shows it."""
    num_fds: int
    threads: int


class HostSampler:
    """Takes samples; to be used by one thread at a time."""

    def __init__(
        self,
        data_dir: Path,
        cgroup: Cgroup | None = None,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._data_dir = str(data_dir)
        self._cgroup = Cgroup() if cgroup is None else cgroup
        self._mono_ns = mono_ns
        self._process_cpu_ns = time.process_time_ns()
        self._cpu_file = _KeptFile("/proc/stat")
        self._memory_file = _KeptFile("/proc/meminfo")
        self._own_file = _KeptFile("/proc/self/stat")
        self._host_cpu = self._read_host_cpu()
        self._process = psutil.Process()
        self._group_cpu = self._cgroup.cpu_seconds()
        self._sampled_ns = mono_ns()
        self._limits_due_ns = self._sampled_ns + LIMITS_NS

    def sample(self) -> HostSample:
        """Measures everything once. Raises OSError or psutil.Error if the host does not answer."""
        cpu_percent, process_cpu_percent = self._cpu_percents()
        use = self._cgroup.memory()
        total_bytes, available_bytes = self._host_memory()
        if use is not None and use.limit_bytes < total_bytes:
            memory_percent = use.used_bytes / use.limit_bytes * 100
            memory_limit_bytes = use.limit_bytes
        else:
            memory_percent = (total_bytes - available_bytes) / total_bytes * 100
            memory_limit_bytes = total_bytes
        rss_bytes, threads = self._own_figures()
        return HostSample(
            cpu_percent=cpu_percent,
            memory_percent=round(memory_percent, 1),
            memory_limit_bytes=memory_limit_bytes,
            disk_percent=_disk_percent(self._data_dir),
            process_rss_bytes=rss_bytes,
            process_cpu_percent=process_cpu_percent,
            num_fds=_open_files(self._process),
            threads=threads,
        )

    def _host_memory(self) -> tuple[int, int]:
        """Returns the memory of the host, and what of it is available, in bytes."""
        found = _MEMORY.search(self._memory_file.read()) if _HAS_PROCFS else None
        if found is None:
            memory = psutil.virtual_memory()
            return memory.total, memory.available
        return int(found[1]) * 1024, int(found[2]) * 1024

    def _read_host_cpu(self) -> tuple[float, float]:
        """Returns busy and total CPU time of all cores, in one unit. psutil.cpu_percent would share its state with
        other callers."""
        if _HAS_PROCFS:
            # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guest times behind them are part of
            # user.
            times = self._cpu_file.read().split(None, 9)
            user, nice, system, idle, waiting, *others = map(int, times[1:9])
            busy = user + nice + system + sum(others)
            return busy, busy + idle + waiting
        times = psutil.cpu_times()
        # User time already includes guest time.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total - times.idle - getattr(times, "iowait", 0.0), total

    def _own_figures(self) -> tuple[int, int]:
        """Returns the resident memory and the threads of this process."""
        if not _HAS_PROCFS:
            return self._process.memory_info().rss, self._process.num_threads()
        # proc_pid_stat(5): behind the name, in which anything may stand, the fields from the third on.
        fields = self._own_file.read().rpartition(b")")[2].split()
        return int(fields[21]) * _PAGE_BYTES, int(fields[17])

    def _cpu_percents(self) -> tuple[float | None, float]:
        """Returns the shares of the host or container, and of this process, since the last call."""
        now_ns, process_cpu_ns = self._mono_ns(), time.process_time_ns()
        elapsed_ns = now_ns - self._sampled_ns
        # Before anything is noted: if it raises, the next sample is of both intervals.
        host_percent = self._host_cpu_percent(now_ns, elapsed_ns / NS_PER_S)
        process = (process_cpu_ns - self._process_cpu_ns) / elapsed_ns * 100 if elapsed_ns > 0 else 0.0
        self._process_cpu_ns = process_cpu_ns
        return host_percent, round(process, 1)

    def _host_cpu_percent(self, now_ns: int, elapsed_seconds: float) -> float | None:
        if now_ns >= self._limits_due_ns:
            self._limits_due_ns = now_ns + LIMITS_NS
            self._cgroup.read_limits()
        cores = self._cgroup.cpu_limit_cores
        host_cpu, group_cpu = self._read_host_cpu(), self._cgroup.cpu_seconds() if cores else None
        last_host_cpu, last_group_cpu = self._host_cpu, self._group_cpu
        self._sampled_ns, self._host_cpu, self._group_cpu = now_ns, host_cpu, group_cpu
        if cores and group_cpu is not None and last_group_cpu is not None:
            return _percent(group_cpu - last_group_cpu, cores * elapsed_seconds)
        return _percent(host_cpu[0] - last_host_cpu[0], host_cpu[1] - last_host_cpu[1])


# A fifth of the cost of what psutil reads of the same files, each second.


class _KeptFile:
    """A file of the kernel that stays open: opening one costs as much as reading it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def read(self) -> bytes:
        """Returns its content as of now. Raises OSError, also where the process has no descriptor left."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise OSError(error.errno, f"{self._path} cannot be read") from error
        return os.pread(self._descriptor, _FILE_BYTES, 0)


def _open_files(process: psutil.Process) -> int:
    """Returns how many files this process has open. Linux 6.2 and newer counts them; elsewhere they are listed, which
    takes milliseconds for thousands of sockets."""
    try:
        return os.stat("/proc/self/fd").st_size or int(process.num_fds())
    except FileNotFoundError:
        return int(process.num_fds())


def _disk_percent(directory: str) -> float:
    """Returns how full the disk of a directory is for users other than root, in percent."""
    if not _HAS_PROCFS:
        return float(psutil.disk_usage(directory).percent)
    disk = os.statvfs(directory)
    used = disk.f_blocks - disk.f_bfree
    return _percent(used, used + disk.f_bavail) or 0.0


def _percent(part: float, whole: float) -> float | None:
    """Returns 0 to 100; None if no time has passed. Clamped, because the kernel's counters advance in coarse steps."""
    return round(min(100.0, max(0.0, part / whole * 100)), 1) if whole > 0 else None
