"""The routing table of a worker: what changes something, or is in the hub's memory alone, is passed on to the hub."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import pytest

from observability.rest.published import Published
from observability.routing.router import Router
from observability.server.relay import Relay
from observability.server.route_table import IN_HUB, RouteParts, add_routes, relay_routes
from observability.snapshot.frames import FrameSource


async def call(message: bytes) -> bytes:
    raise AssertionError("nothing is asked here")


def on_refused(address: str, reason: str) -> None:
    raise AssertionError("and nothing refused")


def relayed(*, has_store: bool) -> set[str]:
    """The names of the routes that a worker passes on."""
    published = Published(cast(FrameSource, None))
    parts: dict[str, Any] = {field.name: IN_HUB for field in fields(RouteParts)}
    router, relay = Router(), Relay(call, on_refused)
    add_routes(router, RouteParts(**{**parts, "published": published}))
    relay_routes(router, published, relay, has_store=has_store)
    routes = [route for resource in router.resources for route in resource.routes.values()]
    return {route.name for route in routes if route.handler == relay.handle}


@pytest.mark.parametrize("has_store", [False, True])
def test_what_changes_something_is_relayed_and_all_else_that_a_worker_knows_is_not(has_store: bool) -> None:
    of_the_store = set() if has_store else {"trades", "trade", "trade_stats"}
    assert relayed(has_store=has_store) == {"ingest", "acknowledge_alert"} | of_the_store
