"""The limits and usage of this process's control group: what a container may really use.

Version 2 has one hierarchy, version 1 one per controller. In both, every ancestor may have a limit, and the tightest
one counts. Inside a container the mount often starts at the process's own group, so the group's path does not exist
below it; directories that do not exist are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_MOUNT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


class _MemoryFiles(NamedTuple):
    limit: str
    usage: str
    reclaimable: str
    """The line of `memory.stat`."""


_MEMORY_2 = _MemoryFiles("memory.max", "memory.current", "inactive_file")
_MEMORY_1 = _MemoryFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")

# No file of a group is larger.
_FILE_BYTES = 1 << 16

# For "no limit", version 1 reports the largest page-aligned integer; no machine has that much memory.
_NO_LIMIT_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory in use, without the file pages that the kernel would reclaim first, as container runtimes count it."""

    used_bytes: int
    limit_bytes: int


class Cgroup:
    """Reads what the group uses on each call, and its limits, which hardly ever change, on `read_limits`. Which files
    there are is looked up only once."""

    def __init__(self, mount: Path = _MOUNT, membership: Path = _MEMBERSHIP) -> None:
        groups = _memberships(membership)
        unified = tuple(_chain(mount, groups["0"])) if "0" in groups else ()
        memory = tuple(_chain(mount / "memory", groups["memory"])) if "memory" in groups else ()
        cpu = tuple(_chain(mount / "cpu", groups["cpu"])) if "cpu" in groups else ()
        cpuacct = tuple(_chain(mount / "cpuacct", groups["cpuacct"])) if "cpuacct" in groups else ()
        # Directory, and what its files are called.
        self._memory = [(each, _MEMORY_2) for each in unified if (each / _MEMORY_2.limit).exists()]
        self._memory += [(each, _MEMORY_1) for each in memory if (each / _MEMORY_1.limit).exists()]
        self._limits_2 = [each / "cpu.max" for each in unified if (each / "cpu.max").exists()]
        self._limits_1 = [each for each in cpu if (each / "cpu.cfs_quota_us").exists()]
        self._usage_2 = [each / "cpu.stat" for each in unified if (each / "cpu.stat").exists()]
        self._usage_1 = [each / "cpuacct.usage" for each in cpuacct if (each / "cpuacct.usage").exists()]
        self._limited: list[tuple[Path, _MemoryFiles, int]] = []
        self.cpu_limit_cores: float | None = None
        """The tightest CPU quota in cores; None without a quota."""
        self.read_limits()

    def read_limits(self) -> None:
        """Reads the limits of memory and CPU anew."""
        self._limited = []
        for directory, names in self._memory:
            limit_bytes = _read_int(directory / names.limit)
            if limit_bytes is not None and 0 < limit_bytes < _NO_LIMIT_BYTES:
                self._limited.append((directory, names, limit_bytes))
        cores = []
        for path in self._limits_2:
            words = read_file(path).split()
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
                cores.append(int(words[0]) / int(words[1]))
        for directory in self._limits_1:
            quota = _read_int(directory / "cpu.cfs_quota_us")
            if quota is not None and quota > 0 and (period := _read_int(directory / "cpu.cfs_period_us")):
                cores.append(quota / period)
        self.cpu_limit_cores = min(cores, default=None)

    def memory(self) -> MemoryUse | None:
        """Returns the use of the group with the tightest memory limit; None without a limit."""
        uses = []
        for directory, names, limit_bytes in self._limited:
            used_bytes = _read_int(directory / names.usage)
            if used_bytes is not None:
                inactive_bytes = _read_stat(directory / "memory.stat", names.reclaimable) or 0
                uses.append(MemoryUse(max(0, used_bytes - inactive_bytes), limit_bytes))
        return min(uses, key=lambda use: use.limit_bytes, default=None)

    def cpu_seconds(self) -> float | None:
        """Returns the CPU time that the group has used; None if it is not accounted."""
        for path in self._usage_2:
            usage = _read_stat(path, "usage_usec")
            if usage is not None:
                return usage / 1e6
        for path in self._usage_1:
            usage = _read_int(path)
            if usage is not None:
                return usage / 1e9
        return None


def _memberships(path: Path) -> dict[str, str]:
    """Returns the path of the group for each version 1 controller, and that for version 2 under "0"."""
    groups: dict[str, str] = {}
    for line in read_file(path).splitlines():
        hierarchy, controllers, group = line.split(":", 2)
        if hierarchy == "0":
            groups["0"] = group
        for controller in controllers.split(","):
            groups[controller] = group
    return groups


def _chain(mount: Path, group: str) -> Iterator[Path]:
    """Yields the existing directories from the group's own up to the mount."""
    parts = [part for part in group.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        directory = mount.joinpath(*parts[:depth])
        if directory.is_dir():
            yield directory


def read_file(path: Path | str) -> str:
    """Returns the text of a small file; empty if it cannot be read."""
    # A third of what `read_text` costs, which is called for a dozen files each second.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, _FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _read_int(path: Path) -> int | None:
    try:
        return int(read_file(path))
    except ValueError:
        # The content is "max", or there is no such file.
        return None


def _read_stat(path: Path, key: str) -> int | None:
    for line in read_file(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return None
