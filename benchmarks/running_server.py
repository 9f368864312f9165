"""The server under measurement: the real one, in processes of its own, with its simulator."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def running_server(*arguments: str, is_demo: bool = True, **environment: str) -> Iterator[tuple[int, int]]:
    """Runs `observability serve`, with its simulator unless `is_demo` is False; yields its process id and its port."""
    demo = ["--demo"] if is_demo else []
    command = [sys.executable, "-m", "observability", "serve", *demo, "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"http://[^:/]+:(\d+)", line)
    if match is None:
        raise SystemExit(f"the server did not start: {line!r}")
    try:
        yield process.pid, int(match[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def cpu_seconds_of_all(pid: int) -> float:
    """Returns the CPU time of a process and of its children, such as workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
