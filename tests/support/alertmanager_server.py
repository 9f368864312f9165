"""A real Alertmanager of Debian's package, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hosts import wait_until
from server_process import free_port

PROGRAM = "prometheus-alertmanager"
NOBODY = "name: nobody"
# Notices of a new group, and of one that has changed, are sent at once.
CONFIGURATION = """\
route: {{receiver: nobody, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{{receiver}}}]
"""

needs_alertmanager = pytest.mark.skipif(
    shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed (Debian: {PROGRAM})"
)


class AlertmanagerServer:
    """What listens on a port of the loopback."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"

    def alerts(self) -> list[dict[str, Any]]:
        """Returns the alerts that are raised there."""
        with urllib.request.urlopen(f"http://{self.address}/api/v2/alerts") as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def send(self, *alerts: dict[str, Any]) -> None:
        """Sends alerts, as Prometheus does."""
        request = urllib.request.Request(
            f"http://{self.address}/api/v2/alerts",
            json.dumps(alerts).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request):
            pass

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready"):
                return True
        except OSError:
            return False


@contextmanager
def alertmanager(directory: Path, webhook: str | None = None) -> Iterator[AlertmanagerServer]:
    """Yields a server that is ready, and ends it; it sends everything to a webhook, if one is given."""
    receiver = NOBODY if webhook is None else f"{NOBODY}, webhook_configs: [{{url: '{webhook}'}}]"
    (directory / "alertmanager.yml").write_text(CONFIGURATION.format(receiver=receiver))
    port = free_port()
    process = subprocess.Popen(
        [PROGRAM, f"--config.file={directory / 'alertmanager.yml'}", f"--storage.path={directory}",
         f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        server = AlertmanagerServer(port)
        wait_until(server.is_ready)
        yield server
    finally:
        process.terminate()
        process.wait()
