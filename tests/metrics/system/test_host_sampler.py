"""A sample of the host has real figures, relative to the container's limits if there are any."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from observability.metrics.system.cgroup import Cgroup
from observability.metrics.system.host_sampler import HostSampler

GIB = 1 << 30


def limited(tmp_path: Path, usage_usec: int, used_bytes: int, limit_bytes: int) -> Cgroup:
    mount = tmp_path / "cgroup"
    mount.mkdir(exist_ok=True)
    (mount / "cpu.max").write_text("200000 100000\n")
    (mount / "cpu.stat").write_text(f"usage_usec {usage_usec}\n")
    (mount / "memory.max").write_text(f"{limit_bytes}\n")
    (mount / "memory.current").write_text(f"{used_bytes}\n")
    listing = tmp_path / "membership"
    listing.write_text("0::/\n")
    return Cgroup(mount, listing)


def unlimited(tmp_path: Path) -> Cgroup:
    return Cgroup(tmp_path / "none", tmp_path / "none")


def test_a_sample_describes_this_process_and_this_host(tmp_path: Path) -> None:
    sample = HostSampler(tmp_path, unlimited(tmp_path)).sample()
    assert sample.process_rss_bytes == pytest.approx(psutil.Process(os.getpid()).memory_info().rss, rel=0.2)
    assert sample.memory_limit_bytes == psutil.virtual_memory().total
    assert 0 < sample.memory_percent <= 100
    assert sample.disk_percent == pytest.approx(psutil.disk_usage(str(tmp_path)).percent, abs=1)
    assert sample.num_fds >= 3 and sample.threads >= 1


def test_a_sample_counts_the_files_that_are_open(tmp_path: Path) -> None:
    sampler = HostSampler(tmp_path, unlimited(tmp_path))
    before = sampler.sample().num_fds
    opened = [os.open(tmp_path, os.O_RDONLY) for _ in range(20)]
    try:
        assert sampler.sample().num_fds == before + 20
    finally:
        for fd in opened:
            os.close(fd)


def test_a_host_that_cannot_be_read_now_is_named_and_sampled_again_later(tmp_path: Path) -> None:
    cgroup = unlimited(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="/proc/stat cannot be read"):
            HostSampler(tmp_path, cgroup)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert HostSampler(tmp_path, cgroup).sample().num_fds >= 3


def test_a_host_is_sampled_while_the_process_has_no_descriptor_left(tmp_path: Path) -> None:
    sampler = HostSampler(tmp_path, unlimited(tmp_path))
    before = sampler.sample()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert sampler.sample().num_fds == before.num_fds
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_busy_process_shows_in_the_cpu_figures(tmp_path: Path) -> None:
    sampler = HostSampler(tmp_path, unlimited(tmp_path))
    until = os.times().user + 0.1
    while os.times().user < until:
        pass
    sample = sampler.sample()
    assert sample.process_cpu_percent > 0
    assert sample.cpu_percent is not None and 0 < sample.cpu_percent <= 100


def test_cpu_and_memory_are_shares_of_the_containers_limits(tmp_path: Path) -> None:
    now_ns = 0

    def mono_ns() -> int:
        return now_ns

    sampler = HostSampler(tmp_path, limited(tmp_path, 0, 0, GIB // 8), mono_ns)
    now_ns = 2_000_000_000
    # One second of CPU time within two seconds, with a quota of two cores, is a quarter.
    limited(tmp_path, 1_000_000, GIB // 32, GIB // 8)
    sample = sampler.sample()
    assert (sample.cpu_percent, sample.memory_percent, sample.memory_limit_bytes) == (25.0, 25.0, GIB // 8)


def test_a_limit_above_the_hosts_memory_is_ignored(tmp_path: Path) -> None:
    sample = HostSampler(tmp_path, limited(tmp_path, 0, 1, 1 << 59)).sample()
    assert sample.memory_limit_bytes == psutil.virtual_memory().total


def test_the_cpu_share_is_none_if_no_time_has_passed(tmp_path: Path) -> None:
    sampler = HostSampler(tmp_path, limited(tmp_path, 0, 0, GIB), lambda: 0)
    assert sampler.sample().cpu_percent is None
