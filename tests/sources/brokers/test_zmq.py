"""The ZeroMQ source by itself, with a real publisher in another process: forms of messages, gaps, losses, refusals."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from observability.errors import ConfigError, SourceError
from observability.events import Fill, Heartbeat, Order
from observability.sources.brokers.zmq import ZmqSource, from_url
from observability.sources.source import Batch
from zmq_publisher import Publisher

BEAT = {"type": "Heartbeat", "component": "engine", "timestamp": "2025-10-21T22:00:00Z"}
QUOTE = {"type": "quote", "symbol": "X", "bid": 1, "ask": 2}
FILL = {"type": "fill", "trade_id": "t", "order_id": "o", "symbol": "X", "side": "buy", "quantity": 1, "price": 1}
ORDER = {
    "type": "OrderRequest", "order_id": "o", "symbol": "X", "side": "Bid", "quantity": 2.0, "status": "Pending",
    "filled_quantity": 1.0, "average_price": 5.0,
}  # fmt: skip


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    made.kill()


def run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), 60))


@asynccontextmanager
async def opened(url: str, cursor: str | None = None) -> AsyncIterator[ZmqSource]:
    source = from_url(url)
    try:
        await source.connect(cursor)
        yield source
    finally:
        await source.close()


@asynccontextmanager
async def subscribed(publisher: Publisher, query: str = "", cursor: str | None = None) -> AsyncIterator[ZmqSource]:
    async with opened(f"zmq://127.0.0.1:{publisher.port}{query}", cursor) as source:
        await asyncio.to_thread(publisher.wait_for_subscriber)
        yield source


async def read(source: ZmqSource, messages: int) -> Batch:
    """Reads until as many messages have come, and returns them as one batch."""
    parts: list[Batch] = []
    while sum(part.messages for part in parts) < messages:
        parts.append(await source.read())
    return Batch(
        tuple(event for part in parts for event in part.events),
        next((part.cursor for part in reversed(parts) if part.cursor), None),
        sum(part.messages for part in parts),
        sum(part.gaps for part in parts),
        [why for part in parts for why in part.rejected],
    )


async def read_to_the_end(source: ZmqSource) -> int:
    """Returns how many messages have come until the connection was lost."""
    taken = 0
    with suppress(EOFError):
        while True:
            taken += (await source.read()).messages
    return taken


def test_every_form_of_a_message_is_read_in_order(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            own, beat = json.dumps(QUOTE), json.dumps(BEAT)
            publisher.send_frames(["market", own], ["system", beat], [own], [f"system {beat}"], ["market", own, "17"])
            batch = await read(source, 5)
        kinds = [event if isinstance(event, bytes) else type(event) for event in batch.events]
        assert kinds == [own.encode(), Heartbeat, own.encode(), Heartbeat, own.encode()]
        assert (batch.gaps, batch.rejected, batch.cursor) == (0, [], None)

    run(play)


def test_only_the_topics_that_are_asked_for_come(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher, "?topics=order,system") as source:
            publisher.send("market", QUOTE)
            publisher.send("system", BEAT)
            assert [type(event) for event in (await read(source, 1)).events] == [Heartbeat]

    run(play)


def test_a_bad_message_costs_only_itself(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            publisher.send_frames(
                ["order", json.dumps({**ORDER, "side": "up"})],
                ["a", "b", "c", "d"],
                ["a", "b", "c"],
                ["order", json.dumps({**ORDER, "filled_quantity": "NaN"})],
                ["order", '{"type":"Heartbeat","component":"x","more":' + "[" * 9_999 + "]" * 9_999 + "}"],
                ["order", json.dumps(ORDER)],
            )
            batch = await read(source, 6)
        assert [type(event) for event in batch.events] == [Order, Fill]
        assert [why.partition(":")[0].partition(",")[0] for why in batch.rejected] == [
            "OrderRequest",
            "4 frames",
            "3 frames",
            "OrderRequest",
            "Heartbeat",
        ]

    run(play)


def test_numbers_that_are_missing_are_counted_by_topic(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            publisher.send("a", QUOTE, QUOTE, first_number=7)
            publisher.send("b", QUOTE, first_number=1)
            publisher.send("a", QUOTE, first_number=12)
            assert (await read(source, 4)).gaps == 3
            # A publisher that was started again begins anew.
            publisher.send("a", QUOTE, QUOTE, first_number=0)
            assert (await read(source, 2)).gaps == 0

    run(play)


def test_the_sequence_of_books_is_counted_only_if_asked_for(publisher: Publisher) -> None:
    async def play() -> None:
        for query, gaps in (("", 0), ("?book_sequence=1", 4)):
            async with subscribed(publisher, query) as source:
                for number in (1, 6):
                    publisher.send(
                        "market", {"type": "OrderBookUpdate", "symbol": "X", "bids": [], "asks": [], "sequence": number}
                    )
                assert (await read(source, 2)).gaps == gaps
            await asyncio.to_thread(publisher.wait_for_leaving)

    run(play)


def test_the_cursor_knows_what_is_filled_and_the_numbers_of_durable_topics(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            publisher.send("market", QUOTE, first_number=5)
            publisher.send("order", ORDER, first_number=8)
            cursor = (await read(source, 2)).cursor
            assert cursor is not None
            assert json.loads(cursor) == {"filled": {"o": ["1.0", "5.00"]}, "numbers": {"order": 8}}
        await asyncio.to_thread(publisher.wait_for_leaving)
        publisher.send("market", QUOTE, first_number=6)
        publisher.send("order", ORDER, first_number=9)
        async with subscribed(publisher, cursor=cursor) as after:
            publisher.send("market", QUOTE, first_number=7)
            publisher.send("order", {**ORDER, "filled_quantity": 2.0}, first_number=10)
            batch = await read(after, 2)
        assert batch.gaps == 1
        assert [str(event.quantity) for event in batch.events if isinstance(event, Fill)] == ["1.0"]

    run(play)


def test_numbers_that_came_after_the_cursor_are_no_gap_once_connected_again(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            publisher.send("mixed", ORDER, first_number=1)
            cursor = (await read(source, 1)).cursor
            publisher.send("mixed", QUOTE, QUOTE, first_number=2)
            assert (await read(source, 2)).cursor is None
            await source.close()
            await asyncio.to_thread(publisher.wait_for_leaving)
            await source.connect(cursor)
            await asyncio.to_thread(publisher.wait_for_subscriber)
            publisher.send("mixed", QUOTE, first_number=4)
            assert (await read(source, 1)).gaps == 0

    run(play)


def test_a_stored_position_that_cannot_be_read_is_said() -> None:
    async def play() -> None:
        with pytest.raises(SourceError, match="the stored position cannot be read"):
            async with opened("zmq://127.0.0.1:1", "{"):
                pass

    run(play)


def test_nothing_that_came_before_the_end_of_a_connection_is_lost(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            publisher.send("a", *[QUOTE] * 3000)
            first = await source.read()
            publisher.kill()
            taken = first.messages + await read_to_the_end(source)
        # What was still in the publisher's own buffers went with it.
        assert taken >= first.messages

    run(play)


def test_a_read_that_is_cancelled_loses_no_message(publisher: Publisher) -> None:
    async def play() -> None:
        async with subscribed(publisher) as source:
            for number in range(20):
                reading = asyncio.ensure_future(source.read())
                await asyncio.sleep(0)
                publisher.send("a", QUOTE, first_number=number)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                batch = await read(source, 1)
                assert (batch.messages, batch.gaps) == (1, 0)

    run(play)


def test_a_port_on_which_nobody_listens_is_said() -> None:
    async def play() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(SourceError, match="nobody listens there"):
                async with opened(f"zmq://127.0.0.1:{unused.getsockname()[1]}"):
                    pass

    run(play)


def test_a_port_that_is_taken_cannot_be_bound() -> None:
    async def play() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(SourceError, match="in use"):
                async with opened(f"zmq://127.0.0.1:{taken.getsockname()[1]}?bind=1"):
                    pass

    run(play)


def test_pull_takes_what_is_pushed() -> None:
    async def play() -> None:
        publisher = Publisher(kind="PUSH")
        try:
            async with opened(f"zmq://127.0.0.1:{publisher.port}?type=pull") as source:
                publisher.send("order", FILL, FILL)
                assert len((await read(source, 2)).events) == 2
        finally:
            publisher.kill()

    run(play)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("zmq://host", "no port"),
        ("zmq:5555", "no host"),
        ("zmq://host:70000", "a port from 1 to 65535"),
        ("zmq://host:1?topic=market", "'topic' is not a parameter, .* did you mean topics"),
        ("zmq://host:1?type=req", "type: 'req', expected sub or pull"),
        ("zmq://host:1?type=pull&topics=a", "topics: given with type=pull"),
        ("zmq://host:1?bind=yes", "bind: 'yes', expected 0 or 1"),
        ("zmq://host:1?hwm=0", "hwm: '0', expected an integer from 1"),
        ("zmq://host:1?hwm=1&hwm=2", "hwm is given twice"),
        ("zmq://host:1/path", "a path or a user"),
        ("zmq://host:1#x", "no # in it"),
    ],
)
def test_a_wrong_url_is_refused_with_what_was_expected(url: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        from_url(url)
