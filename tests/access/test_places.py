"""AddressQuota of an address: real transports, that close when they like."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from observability.access.places import MIN_SWEPT_ADDRESSES, AddressQuota


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@asynccontextmanager
async def transports(count: int) -> AsyncIterator[list[asyncio.Transport]]:
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(count)]
    made = [(await loop.create_connection(asyncio.Protocol, sock=ours))[0] for ours, _ in pairs]
    yield made
    for transport, (_, theirs) in zip(made, pairs, strict=True):
        transport.abort()
        theirs.close()
    # The loop closes its handles on its next turns.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_an_address_gets_as_many_as_it_may_have(run: Callable[..., None]) -> None:
    async def main() -> None:
        places = AddressQuota(2)
        async with transports(2) as both:
            for transport in both:
                assert places.has_room("a")
                places.take("a", transport)
            assert not places.has_room("a")
            assert places.has_room("b")

    run(main())


def test_a_closed_one_makes_room(run: Callable[..., None]) -> None:
    async def main() -> None:
        places = AddressQuota(1)
        async with transports(1) as (transport,):
            places.take("a", transport)
            assert not places.has_room("a")
            transport.abort()
            assert places.has_room("a")

    run(main())


def test_addresses_that_have_gone_are_forgotten(run: Callable[..., None]) -> None:
    async def main() -> None:
        places = AddressQuota(5)
        async with transports(2) as (gone, still):
            gone.abort()
            places.take("still", still)
            for number in range(10 * MIN_SWEPT_ADDRESSES):
                places.take(str(number), gone)
            assert len(places) <= MIN_SWEPT_ADDRESSES
            for _ in range(4):
                places.take("still", still)
            assert not places.has_room("still")

    run(main())
