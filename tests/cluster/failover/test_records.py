"""The log of a desk: what a store may follow, and rows that a hub writes before it commits them."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cutting_proxy import CuttingProxy
from desk_links import link_to, run, until
from nats_server import NatsServer
from observability.cluster.failover.lease import Holder, Lease, LeaseKeeper, holder_of
from observability.cluster.failover.records import (
    CURSOR,
    Record,
    RecordFollower,
    RecordShipper,
    StoreState,
    pack_record,
    unpack_record,
)
from observability.cluster.link import Link
from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store import schema

ROWS = [
    (1, schema.UPSERT_SILENCE, ("s", 1, 2, "{}")),
    (2, schema.UPDATE_FILL, (None, 3)),
    (3, schema.UPSERT_SILENCE, ("t", 2**62, -1, b"\0".decode())),
]
EMPTY = StoreState(None, is_empty=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


def without_positions(rows: list[Any]) -> list[Any]:
    return [(statement, parameters) for _, statement, parameters in rows]


# -- what a record is


def test_rows_are_unpacked_as_they_were_packed() -> None:
    assert unpack_record(pack_record(ROWS)) == without_positions(ROWS)


def test_a_statement_that_no_store_knows_is_refused() -> None:
    body = zlib.compress(msgspec.msgpack.encode(Record(["DROP TABLE fills"], [(0, [])])))
    with pytest.raises(StoreError, match="is of another version: its store is written by 'DROP TABLE fills'"):
        unpack_record(body)


@pytest.mark.parametrize(
    "body", [b"", b"x", zlib.compress(b"\xc1"), zlib.compress(msgspec.msgpack.encode([[], [[0, []]]]))]
)
def test_bytes_that_are_no_record_are_refused(body: bytes) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        unpack_record(body)


# -- what a store may follow


def log(first: int, last: int, created: str = "now") -> dict[str, Any]:
    return {"created": created, "state": {"first_seq": first, "last_seq": last}}


def at(seq: int, created: str = "now") -> StoreState:
    return StoreState(json.dumps({"log": created, "seq": seq}), is_empty=False)


@pytest.mark.parametrize(
    ("state", "info", "base", "seq"),
    [
        (EMPTY, log(0, 0), "", 0),
        (EMPTY, log(1, 9), "empty", 0),
        (StoreState(None, is_empty=False), log(0, 0), "", 0),
        (at(5), log(1, 9), "empty", 5),
        (at(5), log(6, 9), "", 5),
        (at(9), log(1, 9), "store", 9),
        (at(9, "before"), log(0, 0), "", 0),
    ],
)
def test_a_store_follows_a_log_from_its_place(state: StoreState, info: Any, base: str, seq: int) -> None:
    assert state.place_in(info, base).seq == seq


@pytest.mark.parametrize(
    ("state", "info", "base", "fault"),
    [
        (EMPTY, log(1, 9), "store", "this store has followed none; copy the store of the hub"),
        (EMPTY, log(2, 9), "", "this store has followed none"),
        (StoreState(None, is_empty=False), log(1, 9), "empty", "this store has followed none"),
        (at(5, "before"), log(1, 9), "empty", "this store has followed another log"),
        (at(5), log(7, 9), "", "the log begins with message 7, and this store ends with 5"),
        (at(10), log(1, 9), "empty", "the NATS servers have lost the end of the log"),
    ],
)
def test_a_store_that_is_no_copy_is_refused_with_what_to_do(
    state: StoreState, info: Any, base: str, fault: str
) -> None:
    with pytest.raises(StoreError, match=fault):
        state.place_in(info, base)


# -- with a server


class Hub:
    """A hub's side of the log."""

    def __init__(self, link: Link, state: StoreState = EMPTY) -> None:
        self.link = link
        self.replaced: list[str] = []
        self.shipper = RecordShipper(link, state, Counters(), self.replaced.append)

    async def ship(self, rows: list[Any]) -> tuple[int, str]:
        shipped = await asyncio.to_thread(self.shipper.ship, rows)
        assert shipped.cursor[0] == CURSOR
        return shipped.rows, shipped.cursor[2]


def test_a_standby_gets_each_commit_once_over_connections_that_are_cut(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as proxy:
            hub, standby = Hub(link_to(proxy.port, "cut")), link_to(proxy.port, "cut")
            await hub.link.open()
            hub.link.start()
            came: list[Any] = []
            follower = RecordFollower(standby, EMPTY, came.append)
            standby.start()
            # One is larger than a message.
            large = [(1, schema.UPSERT_SILENCE, ("x", 1, 2, "".join(map(str, range(700_000)))))]
            sent = [[(1, schema.UPDATE_FILL, (None, number))] for number in range(20)] + [large]
            for number, rows in enumerate(sent):
                if number % 4 == 3:
                    proxy.cut()
                count, cursor = await hub.ship(rows)
                assert count == 1
            await until(lambda: len(came) == len(sent))
            assert [rows[:-1] for rows in came] == [without_positions(rows) for rows in sent]
            # The place of the hub's own store is that of the standby's.
            assert came[-1][-1] == (schema.UPSERT_SOURCE_CURSOR, (CURSOR, 0, cursor))
            assert follower.fault is None and hub.replaced == []
            await standby.close()
            await hub.link.close()

    run(main())


def test_a_standby_takes_no_record_behind_one_that_it_cannot_read(broker: NatsServer) -> None:
    async def main() -> None:
        hub, standby = Hub(link_to(broker.port, "newer")), link_to(broker.port, "newer")
        await hub.link.open()
        came: list[Any] = []
        follower = RecordFollower(standby, EMPTY, came.append)
        await standby.open()
        for statement in (schema.UPDATE_FILL, "INSERT INTO what_a_newer_version_has VALUES (?, ?)", schema.UPDATE_FILL):
            await hub.ship([(1, statement, (None, 1))])
        await until(lambda: follower.seq == 3)
        # Its store would have its place behind the record that it lacks, and never get it.
        assert len(came) == 1
        assert "the hub that leads is of another version" in str(follower.fault)
        await standby.close()
        await hub.link.close()

    run(main())


def test_a_hub_cannot_write_after_another_one_has_written(broker: NatsServer) -> None:
    async def main() -> None:
        old, new = Hub(link_to(broker.port, "two")), Hub(link_to(broker.port, "two"))
        for hub in (old, new):
            await hub.link.open()
            hub.link.start()
        await new.ship(ROWS)
        shipping = asyncio.create_task(old.ship(ROWS))
        await until(lambda: old.replaced)
        assert old.replaced[0] == "another hub writes the log of desk two"
        with pytest.raises(StoreError, match="the NATS servers do not store rows"):
            await shipping
        for hub in (old, new):
            await hub.link.close()

    run(main())


def test_rows_of_which_the_answer_was_lost_are_not_written_twice(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as proxy:
            hub = Hub(link_to(proxy.port, "lost"))
            await hub.link.open()
            hub.link.start()
            connection = hub.link.connection
            assert connection is not None
            ask, asked = connection.ask, []

            async def ask_and_lose(*args: Any, **options: Any) -> Any:
                asked.append(await ask(*args, **options))
                connection.end(EOFError("the answer was lost"))
                raise EOFError("the answer was lost")

            connection.ask = ask_and_lose  # type: ignore[method-assign]
            count, cursor = await hub.ship(ROWS)
            assert (count, json.loads(cursor)["seq"], len(asked)) == (3, 1, 1)
            assert json.loads((await hub.ship(ROWS))[1])["seq"] == 2
            await hub.link.close()

    run(main())


def test_the_lease_is_one_hubs_until_it_is_not_renewed(broker: NatsServer) -> None:
    async def main() -> None:
        links = [link_to(broker.port, "lease") for _ in range(2)]
        first, second = (Lease(link, 1, Holder(f"hub {number}", "host", 1)) for number, link in enumerate(links))
        for link in links:
            await link.open()
        one, two = (link.connection for link in links)
        assert one is not None and two is not None
        assert await first.take(one) and first.is_held
        revision = first.revision
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while loop.time() - begin < 1.5:
            # Renewals keep it beyond its time, under the same number.
            assert await first.take(one)
            assert not await second.take(two)
            await asyncio.sleep(0.2)
        assert first.revision == revision
        while not await second.take(two):  # noqa: ASYNC110 - a look at the servers is no event
            await asyncio.sleep(0.05)
        assert not first.is_held and not await first.take(one)
        assert second.revision > revision
        await second.release(two)
        assert await first.take(one)
        for link in links:
            await link.close()

    run(main())


def test_a_hub_that_cannot_renew_its_lease_is_told(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as proxy:
            link, lost = link_to(proxy.port, "stalled"), asyncio.Event()
            lease = Lease(link, 1, holder_of(None))
            keeper = LeaseKeeper(link, lease, Counters(), lambda _: lost.set())
            await link.open()
            link.start()
            keeper.start()
            proxy.stall()
            await lost.wait()
            assert not lease.is_held
            proxy.resume()
            await keeper.stop()
            await link.close()

    run(main())


def test_a_directory_is_the_same_holder_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert holder_of(tmp_path).ident == holder_of(tmp_path).ident
    assert holder_of(tmp_path).ident != holder_of(tmp_path / "other").ident
    assert holder_of(None).ident == holder_of(None).ident != holder_of(tmp_path).ident
