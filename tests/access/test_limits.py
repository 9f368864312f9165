"""The transports that one address may hold, and the clients counted over all workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from observability.access.limits import MIN_SWEPT_ADDRESSES, AddressQuota, ClientCounts
from observability.memory.mapping import SharedMapping


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


class Closable(asyncio.Protocol):
    """A protocol that says when its transport is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, _: Exception | None) -> None:
        self.closed.set()


@asynccontextmanager
async def transports(count: int) -> AsyncIterator[list[asyncio.Transport]]:
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(count)]
    made = [await loop.create_connection(Closable, sock=ours) for ours, _ in pairs]
    yield [transport for transport, _ in made]
    for (transport, _), (_, theirs) in zip(made, pairs, strict=True):
        transport.abort()
        theirs.close()
    for _, protocol in made:
        await protocol.closed.wait()


def test_an_address_may_hold_as_many_transports_as_its_quota(run: Callable[..., None]) -> None:
    async def main() -> None:
        quota = AddressQuota(2)
        async with transports(2) as both:
            for transport in both:
                assert quota.has_room("a")
                quota.take("a", transport)
            assert not quota.has_room("a")
            assert quota.has_room("b")

    run(main())


def test_a_closed_transport_frees_its_place(run: Callable[..., None]) -> None:
    async def main() -> None:
        quota = AddressQuota(1)
        async with transports(1) as (transport,):
            quota.take("a", transport)
            assert not quota.has_room("a")
            transport.abort()
            assert quota.has_room("a")

    run(main())


def test_addresses_without_open_transports_are_forgotten(run: Callable[..., None]) -> None:
    async def main() -> None:
        quota = AddressQuota(5)
        async with transports(2) as (gone, still):
            gone.abort()
            quota.take("still", still)
            for number in range(10 * MIN_SWEPT_ADDRESSES):
                quota.take(str(number), gone)
            assert len(quota) <= MIN_SWEPT_ADDRESSES
            for _ in range(4):
                quota.take("still", still)
            assert not quota.has_room("still")

    run(main())


def test_a_single_process_counts_only_its_own_clients() -> None:
    assert ClientCounts().websockets.set(3) == 3


def test_workers_count_the_clients_of_all_workers_by_kind() -> None:
    mapping = SharedMapping(4, 1)
    first, second, third = (ClientCounts.of_host(mapping.workers, slot) for slot in mapping.workers)
    assert first.websockets.set(2) == 2
    assert second.websockets.set(3) == 5
    assert third.connections.set(7) == 7
    assert first.websockets.set(1) == 4


def test_clients_of_a_dead_worker_are_no_longer_counted() -> None:
    mapping = SharedMapping(3, 1)
    first, second = (ClientCounts.of_host(mapping.workers, slot) for slot in mapping.workers)
    first.websockets.set(5)
    mapping.workers[0].clear()
    assert second.websockets.set(1) == 1
