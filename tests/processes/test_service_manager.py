"""When the service manager's watchdog is fed; what it is told in all is in `tests/system/test_deployment.py`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from observability.clocks.timestamps import NS_PER_S
from observability.processes.service_manager import ServiceManager


def test_a_watchdog_is_fed_four_times_within_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(NS_PER_S + tick * NS_PER_S // 10 for tick in range(20))
    clock = SimpleNamespace(monotonic_ns=lambda: next(times))
    monkeypatch.setattr("observability.processes.service_manager.time", clock)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        told = ServiceManager.take_from(
            {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
        )
        told.say_ready("serving")
        assert manager.recv(100).startswith(b"READY=1")
        fed_after = []
        for tick in range(20):
            told.feed()
            try:
                assert manager.recv(100) == b"WATCHDOG=1"
            except BlockingIOError:
                continue
            fed_after.append(tick)
        assert told._socket is not None
        told._socket.close()
    assert fed_after == [0, 5, 10, 15]
