"""A server process that fuzz targets share, started on first use and stopped at exit."""

from __future__ import annotations

import atexit
from functools import cache

from server_process import Server


@cache
def server() -> Server:
    """Returns the server, which echoes WebSocket messages at /ws/echo and does not limit their rate."""
    started = Server(OBSERVABILITY_ECHO="1", WS_RATE_LIMIT="0")
    atexit.register(started.stop)
    return started


def check_alive() -> None:
    """Raises AssertionError if the server has ended or reported a fault of its own."""
    assert server().process.poll() is None, "the server has ended"
    assert faults(server().log) == []


def faults(log: list[str]) -> list[str]:
    """Returns the lines of a server's log that report a fault of its own."""
    return [line for line in log if " ERROR " in line or "Traceback" in line]
