"""Servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certified import FIRST
from server_process import Server

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def worker_arguments(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments for as many workers as a module asks for by `parametrize`, one by default."""
    number = getattr(request, "param", 1)
    return () if number == 1 else ("--workers", str(number))


@pytest.fixture
def start_server(worker_arguments: tuple[str, ...]) -> Iterator[StartServer]:
    """Starts servers with arguments and environment; all of them end with the test."""
    servers: list[Server] = []

    def start(*arguments: str, **environment: str) -> Server:
        servers.append(Server(*worker_arguments, *arguments, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key, in files that a test may write others over."""
    cert, key = tmp_path / "server.crt", tmp_path / "server.key"
    cert.write_bytes(FIRST[0].read_bytes())
    key.write_bytes(FIRST[1].read_bytes())
    return cert, key


@pytest.fixture(scope="module")
def demo_server(worker_arguments: tuple[str, ...]) -> Iterator[Server]:
    """One server with the simulator and the paper engine, shared by a module's tests."""
    server = Server("--demo", *worker_arguments)
    yield server
    server.stop()
