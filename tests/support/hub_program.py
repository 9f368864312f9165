"""A hub of a desk in a process of its own, which may have to wait until it leads."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import threading
from pathlib import Path

from hosts import wait_until
from server_process import ROOT, TIMEOUT_SECONDS, Served

LEASE_SECONDS = "2"


class HubProgram(Served):
    """`observability serve` with a lease of two seconds; it has a port once it leads."""

    def __init__(self, engine: str, data: Path, **environment: str) -> None:
        path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
        self.log_file = data.with_suffix(".log")
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "observability", "serve", "--port", "0",
                 "--engine", engine, "--data-dir", str(data)],
                env={**os.environ, "PYTHONPATH": path, "CLUSTER_LEASE": LEASE_SECONDS, **environment},
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.port = 0

    def wait_until_it_leads(self) -> None:
        assert self.process.stdout is not None
        # A hub that never leads says nothing, so it is ended when its time is over.
        end = threading.Timer(TIMEOUT_SECONDS, self.process.kill)
        end.start()
        try:
            line = self.process.stdout.readline()
        finally:
            end.cancel()
        assert self._learn_port(line), self.log

    @property
    def is_leading(self) -> bool:
        """Whether it has said that it leads, and has not ended since."""
        stdout = self.process.stdout
        assert stdout is not None
        if self.process.poll() is not None:
            return False
        if not self.port and select.select([stdout], [], [], 0)[0]:
            self._learn_port(stdout.readline())
        return self.port != 0

    def _learn_port(self, line: str) -> bool:
        match = re.search(r"https?://[^/]*:(\d+)/", line)
        if match is not None:
            self.port = int(match[1])
        return match is not None

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log or self.process.poll() is not None)
        assert text in self.log, self.log

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
