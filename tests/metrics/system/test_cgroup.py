"""Control groups: the limits and usage of a container, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.metrics.system.cgroup import Cgroup, MemoryUse


def group(tmp_path: Path, membership: str, files: dict[str, str]) -> Cgroup:
    mount = tmp_path / "cgroup"
    mount.mkdir()
    for name, content in files.items():
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    listing = tmp_path / "membership"
    listing.write_text(membership)
    return Cgroup(mount, listing)


def test_version_2_usage_excludes_reclaimable_pages(tmp_path: Path) -> None:
    cgroup = group(
        tmp_path,
        "0::/app\n",
        {
            "app/memory.max": "1000\n",
            "app/memory.current": "600\n",
            "app/memory.stat": "anon 1\ninactive_file 100\n",
            "app/cpu.max": "150000 100000\n",
            "app/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        },
    )
    assert cgroup.memory() == MemoryUse(500, 1000)
    assert (cgroup.cpu_limit_cores, cgroup.cpu_seconds()) == (1.5, 2.5)


def test_version_1_has_a_hierarchy_per_controller(tmp_path: Path) -> None:
    cgroup = group(
        tmp_path,
        "4:memory:/app\n2:cpu,cpuacct:/app\n1:name=systemd:/\n0::/\n",
        {
            "memory/app/memory.limit_in_bytes": "1000\n",
            "memory/app/memory.usage_in_bytes": "600\n",
            "memory/app/memory.stat": "total_inactive_file 50\n",
            "cpu/app/cpu.cfs_quota_us": "50000\n",
            "cpu/app/cpu.cfs_period_us": "100000\n",
            "cpuacct/app/cpuacct.usage": "3000000000\n",
        },
    )
    assert cgroup.memory() == MemoryUse(550, 1000)
    assert (cgroup.cpu_limit_cores, cgroup.cpu_seconds()) == (0.5, 3.0)


def test_a_group_tighter_than_its_ancestor_counts(tmp_path: Path) -> None:
    files = {"pod/memory.max": "500", "pod/memory.current": "400", "pod/app/memory.max": "300"}
    cgroup = group(tmp_path, "0::/pod/app\n", files | {"pod/app/memory.current": "10"})
    assert cgroup.memory() == MemoryUse(10, 300)


def test_the_tightest_ancestor_counts(tmp_path: Path) -> None:
    cgroup = group(
        tmp_path,
        "0::/pod/app\n",
        {
            "pod/memory.max": "500\n",
            "pod/memory.current": "400\n",
            "pod/cpu.max": "100000 100000\n",
            "pod/app/memory.max": "max\n",
            "pod/app/memory.current": "10\n",
            "pod/app/cpu.max": "400000 100000\n",
        },
    )
    assert cgroup.memory() == MemoryUse(400, 500)
    assert cgroup.cpu_limit_cores == 1.0


def test_the_mount_is_the_group_itself_inside_a_container(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": "1000\n", "memory/memory.usage_in_bytes": "1\n"}
    assert group(tmp_path, "4:memory:/docker/abc\n", files).memory() == MemoryUse(1, 1000)


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("", {}),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "1\n", "cpu.max": "max 100000\n"}),
        (
            "4:memory:/\n2:cpu:/\n",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/memory.usage_in_bytes": "1\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
        ),
        ("0::/\n", {"memory.max": "rubbish\n", "cpu.max": "\n", "cpu.stat": "usage_usec x\n"}),
    ],
)
def test_a_group_without_limits_has_none(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    cgroup = group(tmp_path, membership, files)
    assert (cgroup.memory(), cgroup.cpu_limit_cores, cgroup.cpu_seconds()) == (None, None, None)


def test_the_group_of_this_process_can_be_read() -> None:
    use = Cgroup().memory()
    assert use is None or use.used_bytes >= 0
