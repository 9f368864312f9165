"""Streams of a real Redis server are read once each, in order, across cuts, trims and deletions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

import nautilus_bus as bus
from event_loops import in_loop
from observability.errors import ConfigError, SourceError
from observability.events import Order, Quote
from observability.sources.brokers.redis import RedisSource, from_url
from observability.sources.source import Batch
from redis_server import RedisServer, needs_redis

pytestmark = needs_redis
TIMEOUT_SECONDS = 60
OWN = b'{"type": "signal", "strategy": "s", "symbol": "AAPL", "action": "%d"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as connected:
        connected.flushall()
        yield connected


def source(server: RedisServer, query: str = "stream=events&from=start", **options: Any) -> RedisSource:
    """Returns a source that compares the numbers of entries at every read."""
    made = from_url(f"redis://{server.address}?{query}")
    return RedisSource(replace(made._options, **options), check_seconds=0.0)


@asynccontextmanager
async def connected(made: RedisSource, cursor: str | None = None) -> AsyncIterator[RedisSource]:
    await made.connect(cursor)
    try:
        if cursor is None:
            assert (await read(made)).messages == 0
        yield made
    finally:
        await made.close()


async def read(made: RedisSource) -> Batch:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await made.read()


async def read_events(made: RedisSource, count: int) -> list[Batch]:
    """Reads until that many events have come."""
    batches: list[Batch] = []
    while sum(len(batch.events) for batch in batches) < count:
        batches.append(await read(made))
    return batches


def numbers(*batches: Batch) -> list[int]:
    """Returns the numbers of the events in our own JSON."""
    return [int(event.rsplit(b'"', 2)[1]) for batch in batches for event in batch.events if isinstance(event, bytes)]


def add(client: redis.Redis, *messages: int, stream: str = "events", id: str = "*") -> None:  # noqa: A002
    with client.pipeline() as pipeline:
        for number in messages:
            pipeline.xadd(stream, {"event": OWN % number}, id=id)  # type: ignore[arg-type]
        pipeline.execute()


@in_loop
async def test_events_of_ours_are_read_from_either_field(server: RedisServer, client: redis.Redis) -> None:
    client.xadd("events", {"event": OWN % 1})
    client.xadd("events", {"topic": "x", "payload": OWN % 2})
    client.xadd("events", {"payload": (OWN % 3).replace(b", ", b",\r\n")})
    async with connected(source(server)) as made:
        batch = await read(made)
    assert numbers(batch) == [1, 2, 3]
    assert (batch.messages, batch.rejected, batch.gaps) == (3, [], 0)


@in_loop
async def test_our_events_and_those_of_an_engine_keep_their_order(server: RedisServer, client: redis.Redis) -> None:
    add(client, 1)
    client.xadd("events", bus.entry(bus.quote()))  # type: ignore[arg-type]
    client.xadd("events", bus.entry(bus.quote()))  # type: ignore[arg-type]
    add(client, 2)
    async with connected(source(server)) as made:
        batch = await read(made)
    assert [type(event) for event in batch.events] == [bytes, Quote, Quote, bytes]
    assert numbers(batch) == [1, 2]


@in_loop
async def test_an_entry_that_is_no_event_costs_only_itself(server: RedisServer, client: redis.Redis) -> None:
    client.xadd("events", {"other": "field"})
    client.xadd("events", {"topic": "x", "payload": b'{"type": "QuoteTick"'})
    client.xadd("events", {"topic": "x", "type": "QuoteTick", "payload": b"x", "encoding": "sbe"})
    client.xadd("events", bus.entry(bus.order("OrderAccepted")))  # type: ignore[arg-type]
    client.xadd("events", bus.entry(bus.quote()))  # type: ignore[arg-type]
    async with connected(source(server)) as made:
        batch = await read(made)
    assert len(batch.events) == 1 and batch.messages == 5
    reasons = [reason.partition(": ")[2] for reason in batch.rejected]
    assert reasons[0] == "expected a field `event`, or `topic` and `payload`"
    assert reasons[1].startswith("Input data was truncated")
    assert reasons[2] == "encoding 'sbe': expected json or msgpack"
    assert reasons[3].startswith(f"order {bus.ORDER}: not known")
    assert all(reason.startswith("events ") for reason in batch.rejected)


@in_loop
async def test_a_source_begins_with_what_comes_unless_told_otherwise(server: RedisServer, client: redis.Redis) -> None:
    add(client, 1)
    async with connected(source(server, "stream=events")) as made:
        add(client, 2)
        assert numbers(await read(made)) == [2]


@in_loop
async def test_a_source_waits_for_a_stream_that_is_not_there_yet(server: RedisServer, client: redis.Redis) -> None:
    async with connected(source(server, "stream=events")) as made:
        reading = asyncio.create_task(read(made))
        await asyncio.sleep(0)
        add(client, 1)
        assert numbers(await reading) == [1]


@in_loop
async def test_reading_goes_on_behind_each_cursor(server: RedisServer, client: redis.Redis) -> None:
    add(client, *range(2_500))
    cursor, seen = None, []
    while len(seen) < 2_500:
        made = source(server)
        await made.connect(cursor)
        batch = await read(made)
        await made.close()
        cursor = batch.cursor
        seen += numbers(batch)
        assert batch.gaps == 0
    assert seen == list(range(2_500))


@in_loop
async def test_a_cursor_within_one_answer_of_the_server_is_exact(server: RedisServer, client: redis.Redis) -> None:
    for number in range(40):
        client.xadd("events", {"event": (OWN % number).ljust(50_000)})
    async with connected(source(server)) as made:
        first = await read(made)
    assert 0 < len(first.events) < 40
    client.xtrim("events", maxlen=5, approximate=False)
    async with connected(source(server), first.cursor) as made:
        second = await read(made)
    assert numbers(first, second) == [*range(len(first.events)), *range(35, 40)]
    assert second.gaps == 35 - len(first.events)


@in_loop
async def test_an_order_is_known_behind_a_cursor(server: RedisServer, client: redis.Redis) -> None:
    client.xadd("events", bus.entry(bus.initialized()))  # type: ignore[arg-type]
    async with connected(source(server)) as made:
        cursor = (await read(made)).cursor
    client.delete("events")
    client.xadd("events", bus.entry(bus.order("OrderAccepted")))  # type: ignore[arg-type]
    async with connected(source(server), cursor) as made:
        (event,) = (await read(made)).events
    assert isinstance(event, Order) and event.status == "new"


@in_loop
async def test_streams_are_merged_in_the_order_of_their_ids(server: RedisServer, client: redis.Redis) -> None:
    with client.pipeline() as pipeline:
        for number in range(1, 3_001):
            stream = f"s{0 if 100 < number < 2_900 else number % 7}"
            pipeline.xadd(stream, {"event": OWN % number}, id=f"{number}-0")  # type: ignore[arg-type]
        pipeline.execute()
    async with connected(source(server, "prefix=s&from=start")) as made:
        batches = await read_events(made, 3_000)
    assert numbers(*batches) == list(range(1, 3_001))


@in_loop
async def test_a_stream_that_begins_later_is_found_by_its_prefix(server: RedisServer, client: redis.Redis) -> None:
    client.set("trader-X:key", "no stream")
    async with connected(source(server, "prefix=trader-")) as made:
        add(client, 1, 2, stream="trader-X:stream:new")
        add(client, 3, stream="other")
        assert numbers(await read(made)) == [1, 2]


@in_loop
async def test_entries_trimmed_before_they_are_read_are_gaps(server: RedisServer, client: redis.Redis) -> None:
    add(client, *range(10))
    async with connected(source(server)) as made:
        first = await read(made)
        add(client, *range(10, 30))
        client.xtrim("events", maxlen=5, approximate=False)
        second = await read(made)
        gaps = first.gaps + second.gaps or (await read(made)).gaps
    assert numbers(first, second) == [*range(10), *range(25, 30)]
    assert gaps == 15


@in_loop
async def test_entries_trimmed_while_nobody_reads_are_gaps_after_a_restart(
    server: RedisServer, client: redis.Redis
) -> None:
    add(client, *range(10))
    async with connected(source(server)) as made:
        cursor = (await read(made)).cursor
    add(client, *range(10, 30))
    client.xtrim("events", maxlen=5, approximate=False)
    async with connected(source(server), cursor) as made:
        batch = await read(made)
    assert (numbers(batch), batch.gaps) == ([*range(25, 30)], 15)
    async with connected(source(server), batch.cursor) as made:
        add(client, 30)
        batch = await read(made)
    assert (numbers(batch), batch.gaps) == ([30], 0)


@in_loop
async def test_a_deleted_entry_in_the_middle_is_a_gap(server: RedisServer, client: redis.Redis) -> None:
    async with connected(source(server)) as made:
        add(client, 1)
        client.xadd("events", {"event": OWN % 2}, id="*")
        newest = client.xrevrange("events", count=1)[0][0]  # type: ignore[index]
        add(client, 3)
        client.xdel("events", newest)
        batch = await read(made)
    assert (numbers(batch), batch.gaps) == ([1, 3], 1)


@in_loop
async def test_only_what_was_trimmed_after_the_beginning_is_a_gap(server: RedisServer, client: redis.Redis) -> None:
    add(client, *range(10))
    client.xtrim("events", maxlen=5, approximate=False)
    async with connected(source(server)) as made:
        client.xtrim("events", maxlen=3, approximate=False)
        batch = await read(made)
    assert (numbers(batch), batch.gaps) == ([7, 8, 9], 2)


@in_loop
async def test_a_stream_that_was_made_anew_is_read_on_and_named(server: RedisServer, client: redis.Redis) -> None:
    add(client, 1, id="500-0")
    async with connected(source(server)) as made:
        assert numbers(await read(made)) == [1]
        client.delete("events")
        add(client, 2, id="7-0")
        batch = await read(made)
        add(client, 3, id="8-0")
        assert numbers(await read(made)) == [3]
    (reason,) = batch.rejected
    assert reason.startswith("stream events ends at 7-0, before 500-0, which was read")


@in_loop
async def test_a_lost_connection_is_an_os_error(server: RedisServer, client: redis.Redis) -> None:
    async with connected(source(server)) as made:
        client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(OSError, match=r"[Cc]onnection|while (reading|writing)"):
            await read(made)


@in_loop
async def test_a_key_that_is_no_stream_is_an_error_that_names_it(server: RedisServer, client: redis.Redis) -> None:
    client.set("events", "text")
    made = source(server)
    with pytest.raises(SourceError, match="XINFO STREAM events: WRONGTYPE"):
        await made.connect(None)
    await made.close()


@in_loop
async def test_a_user_needs_the_right_password_and_few_rights(server: RedisServer, client: redis.Redis) -> None:
    rights = ["+xread", "+xinfo|stream", "+multi", "+exec", "+scan", "+select"]
    client.acl_setuser("reader", enabled=True, passwords=["+right"], keys=["*"], commands=rights)
    made = from_url(f"redis://reader:wrong@{server.address}?stream=events")
    with pytest.raises(SourceError, match="invalid username-password pair") as raised:
        await made.connect(None)
    await made.close()
    assert "wrong" not in str(raised.value)
    made = from_url(f"redis://reader:right@{server.address}/3?prefix=event&from=start")
    with server.client(db=3) as other:
        other.xadd("events", {"event": OWN % 1})
    async with connected(made):
        assert numbers(await read(made)) == [1]


@in_loop
async def test_a_server_is_read_over_tls_and_its_certificate_is_checked(tmp_path: Path) -> None:
    certificate = Path(__file__).parents[2] / "certificates/first.crt"
    running = RedisServer(tmp_path, certificate=certificate)
    try:
        with running.client(ssl=True, ssl_ca_certs=str(certificate)) as client:
            add(client, 1)
        url = f"rediss://{running.address}?stream=events&from=start"
        unsure = from_url(url)
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await unsure.connect(None)
        await unsure.close()
        async with connected(from_url(f"{url}&ca={certificate}")) as made:
            assert numbers(await read(made)) == [1]
    finally:
        running.stop()


@in_loop
async def test_kills_of_the_server_lose_no_entry_and_repeat_none(tmp_path: Path) -> None:
    running = RedisServer(tmp_path)
    made, seen, gaps = source(running), list[int](), 0
    writing = asyncio.create_task(asyncio.to_thread(add_until_answered, running, 1_500))

    def is_done() -> bool:
        return bool(seen) and seen[-1] == 1_499

    async def read_on() -> None:
        nonlocal gaps
        cursor = None
        while not is_done():
            try:
                await made.connect(cursor)
                while not is_done():
                    batch = await read(made)
                    seen.extend(numbers(batch))
                    gaps += batch.gaps
                    cursor = batch.cursor
                    progress.set()
            except (OSError, SourceError):
                await asyncio.sleep(0.01)
            finally:
                await made.close()

    progress = asyncio.Event()
    reading = asyncio.create_task(read_on())
    try:
        for reached in (200, 600, 1_000):
            while len(seen) < reached:
                progress.clear()
                await asyncio.wait_for(progress.wait(), TIMEOUT_SECONDS)
            running.kill()
            running.start()
        await asyncio.wait_for(reading, TIMEOUT_SECONDS)
        await writing
        with running.client() as client:
            stored = [int(fields[b"event"].rsplit(b'"', 2)[1]) for _, fields in client.xrange("events")]  # type: ignore[union-attr]
    finally:
        running.stop()
    assert seen == stored
    assert set(stored) == set(range(1_500))
    assert gaps == 0


def add_until_answered(running: RedisServer, count: int) -> None:
    """Adds events one by one; one that is not answered is added again, and may then be there twice."""
    with running.client() as client:
        for number in range(count):
            while True:
                try:
                    add(client, number)
                    break
                except redis.RedisError:
                    time.sleep(0.01)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("", "no stream, expected stream=NAME or prefix=NAME"),
        ("?stream=a&from=here", "from: 'here', expected now or start"),
        ("?stream=a&reconciliation=no", "reconciliation: 'no', expected apart or count"),
        ("/one?stream=a", "database 'one', expected a number as in redis://HOST/1"),
        ("?streams=a", "'streams' is not a parameter"),
    ],
)
def test_a_url_with_a_fault_is_refused_with_the_reason(query: str, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_url(f"redis://localhost{query}")
    assert raised.value.faults[0].startswith(fault)


def test_a_name_has_the_streams_and_the_server_and_no_secret() -> None:
    made = from_url("redis://user:secret@example.com/2?stream=a,b&prefix=trader-")
    assert made.name == "redis:a,b,trader-*@example.com:6379/2"
    assert "secret" not in repr(made._options)
