"""The connection of a host to a desk of its own on a server, and waiting for what comes over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from observability.clocks.clock import Clock, HostClock
from observability.cluster.desk import Desk
from observability.cluster.link import Link
from observability.config.config import Config
from server_process import POLL_SECONDS, TIMEOUT_SECONDS


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a test to its end, which must come in time."""
    uvloop.run(asyncio.wait_for(main, TIMEOUT_SECONDS))


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - conditions of several objects
        await asyncio.sleep(POLL_SECONDS)


def desk_at(port: int, name: str) -> Desk:
    desk = Desk.of(Config(engine=f"nats://127.0.0.1:{port}", desk=name))
    assert desk is not None
    return desk


def link_to(port: int, name: str, clock: Clock | None = None) -> Link:
    return Link(desk_at(port, name), clock or HostClock())
