"""A real server in a process of its own, for the tests to talk to."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).parents[2]
# How long a test waits for what never comes. On a busy machine a server takes half a minute to start.
TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.01
# The variable of a server without alert rules.
NO_RULES = {"ALERT_RULES": str(ROOT / "tests" / "support" / "no_rules.toml")}


def free_port() -> int:
    """Returns a port that nobody listens on now, and that no connection gets by chance while a server is away."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def long_session() -> dict[str, str]:
    """Returns the variable of a server whose session neither began in the last hours nor ends in the next ones."""
    return {"SESSION_START": f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}"}


def run_command(*arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `observability` with arguments, and with `given` as its input, until it ends, which must be soon."""
    path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "observability", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        input=given,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


class Served:
    """What a server on a port of this host answers."""

    port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/metrics"

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url(path), timeout=TIMEOUT_SECONDS) as response:
            body: bytes = response.read()
            return body

    def get(self, path: str) -> Any:
        return json.loads(self.get_bytes(path))

    def next_snapshot(self) -> dict[str, Any]:
        """Returns a snapshot of a tick that begins after the call."""
        first = self.get("/api/metrics/current")["seq"]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            # Asked without a pause, the server would do little else.
            time.sleep(POLL_SECONDS)
            snapshot: dict[str, Any] = self.get("/api/metrics/current")
            if snapshot["seq"] > first + 1:
                return snapshot
        raise AssertionError("the server does not tick")


class Server(Served):
    """`observability serve` with arguments; what it prints is collected line by line."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http"), environment.pop("PYTHONPATH", "")))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "observability", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
        self.log: list[str] = []
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        assert self.process.stdout is not None
        self.start_line = self.process.stdout.readline()
        match = re.search(r"https?://[^/]*:(\d+)/", self.start_line)
        if match is None:
            raise AssertionError(f"no start line: {self.start_line!r}\n" + "\n".join(self.stop()))
        self.port = int(match[1])

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)

    def wait_for_log(self, pattern: str) -> str:
        """Returns the first line of the log, from the last one waited for, in which `pattern` is found."""
        while True:
            try:
                line = self._lines.get(timeout=TIMEOUT_SECONDS)
            except Empty:
                line = None
            if line is None:
                raise AssertionError(f"{pattern!r} did not appear in:\n" + "\n".join(self.log))
            if re.search(pattern, line):
                return line

    def stop(self, number: int = signal.SIGTERM) -> list[str]:
        """Ends the server; returns its log."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return self.log


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Server]:
    """Yields a server, and stops it."""
    server = Server(*arguments, **environment)
    try:
        yield server
    finally:
        server.stop()
