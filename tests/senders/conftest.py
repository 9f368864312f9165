"""Ingest servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ingest_server import IngestServer, MakeIngestServer
from observability.routing.application import Application


@pytest.fixture
def start_ingest(serve: Callable[[Application], Any]) -> Iterator[MakeIngestServer]:
    """Starts ingest servers; all of them end with the test."""
    started: list[IngestServer] = []

    def start(**options: Any) -> IngestServer:
        started.append(IngestServer(serve, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()
