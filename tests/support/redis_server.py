"""A real Redis server of Debian's package, in a process of its own, which may be killed and started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from server_process import TIMEOUT_SECONDS, free_port

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed (Debian: redis-server)"
)


class RedisServer:
    """`redis-server` on the loopback; what it has answered to is on disk."""

    def __init__(self, directory: Path, *, certificate: Path | None = None) -> None:
        """With a `certificate`, beside its key, the server speaks TLS."""
        self.port = free_port()
        self._directory = directory
        self._listening = ["--port", str(self.port)]
        if certificate is not None:
            self._listening = [
                "--port", "0", "--tls-port", str(self.port), "--tls-cert-file", str(certificate),
                "--tls-key-file", str(certificate.with_suffix(".key")), "--tls-auth-clients", "no",
            ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server with what it had before, and waits until it accepts connections."""
        process = self._process = subprocess.Popen(
            ["redis-server", *self._listening, "--bind", "127.0.0.1", "--dir", str(self._directory),
             "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        log = []
        for line in process.stdout:
            log.append(line)
            if "Ready to accept connections" in line:
                return
        raise AssertionError("redis-server has not started:\n" + "".join(log))

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis("127.0.0.1", self.port, **options)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        assert process.stdout is not None
        process.stdout.read()
        process.wait(TIMEOUT_SECONDS)
        process.stdout.close()
