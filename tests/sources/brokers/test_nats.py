"""The source of NATS beside a real server; what becomes of its events, `tests/system/test_nats_source.py` shows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nkeys
import pytest
from nacl.signing import SigningKey
from nats.aio.client import Client

from certified import FIRST, SECOND
from nats_server import NatsServer, make_stream, publish
from observability.errors import ConfigError, SourceError
from observability.sources.brokers import nats as nats_source
from observability.sources.brokers import nats_connection
from observability.sources.brokers.nats import from_url
from observability.sources.source import Batch, Source
from server_process import POLL_SECONDS, TIMEOUT_SECONDS

EVENT = {"type": "heartbeat", "component": "engine"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One for all tests; each has a stream of its own."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


@asynccontextmanager
async def connected(url: str, cursor: str | None = None) -> AsyncIterator[Source]:
    source = from_url(url)
    try:
        await source.connect(cursor)
        yield source
    finally:
        await source.close()


def consumer_url(server: NatsServer, stream: str, parameters: str = "", *, login: str = "") -> str:
    return f"nats://{login}{server.address}?stream={stream}&durable=d{parameters}"


async def read_until(source: Source, payloads: int) -> tuple[list[bytes], Batch]:
    """Reads until so many payloads have come; returns them and the last batch."""
    found: list[bytes] = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            batch = await source.read()
            found += [payload for payload in batch.events if isinstance(payload, bytes)]
            if len(found) >= payloads:
                return found, batch


async def consumer(client: Client, stream: str) -> Any:
    return await client.jetstream().consumer_info(stream, "d")


async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what a server does in its own time, and tells nobody about."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(POLL_SECONDS)


async def until_acknowledged(client: Client, stream: str, number: int) -> None:
    """Waits until the server has the acknowledgement of every message up to `number`."""

    async def is_acknowledged() -> bool:
        floor = (await consumer(client, stream)).ack_floor
        return floor is not None and floor.stream_seq == number

    await wait_for(is_acknowledged)


def run(test: Awaitable[None]) -> None:
    async def running() -> None:
        await test

    asyncio.run(running())


def test_messages_come_in_order_and_are_acknowledged_when_the_runner_says_so(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "ORDER")
            await publish(client, "ORDER.a", b"1", b"2")
            async with connected(consumer_url(server, "ORDER")) as source:
                await publish(client, "ORDER.b", b"3")
                payloads, _ = await read_until(source, 3)
                assert payloads == [b"1", b"2", b"3"]
                assert (await consumer(client, "ORDER")).num_ack_pending == 3
                await source.acknowledge()
                await until_acknowledged(client, "ORDER", 3)

    run(test())


def test_what_was_read_and_not_stored_comes_again_before_what_is_new(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "AGAIN")
            await publish(client, "AGAIN.a", b"1", b"2")
            async with connected(consumer_url(server, "AGAIN")) as source:
                _, stored = await read_until(source, 2)
                await publish(client, "AGAIN.a", b"3", b"4")
                await read_until(source, 2)
                # Nothing was acknowledged, and it is not closed in order, as after a kill.
                await source._connection.close()  # type: ignore[attr-defined]
                await publish(client, "AGAIN.a", b"5")
                async with connected(consumer_url(server, "AGAIN"), stored.cursor) as next_source:
                    payloads, batch = await read_until(next_source, 3)
                    assert payloads == [b"3", b"4", b"5"]
                    assert batch.cursor is not None and batch.cursor.endswith(" 1-5")

    run(test())


def test_without_a_reset_nothing_is_lost_and_nothing_comes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers before 2.14 know no reset: what is outstanding comes after what is new."""
    monkeypatch.setattr(nats_source, "RESET_SECONDS", 0.05)
    config = (
        'authorization { users = [{user: u, password: p, permissions: {publish: {deny: "$JS.API.CONSUMER.RESET.>"}}}]}'
    )
    server = NatsServer(tmp_path, config=config)

    async def test() -> None:
        async with server.client(user="u", password="p") as client:
            await make_stream(client, "OLD")
            await publish(client, "OLD.a", b"1", b"2", b"3")
            url = consumer_url(server, "OLD", "&ack_wait=1", login="u:p@")
            async with connected(url) as source:
                _, stored = await read_until(source, 3)
                await publish(client, "OLD.a", b"4", b"5")
                await read_until(source, 2)
                await source._connection.close()  # type: ignore[attr-defined]
                await publish(client, "OLD.a", b"6")
                async with connected(url, stored.cursor) as next_source:
                    payloads, batch = await read_until(next_source, 3)
                    # The newest comes first, unless all this has taken longer than the time to acknowledge.
                    assert sorted(payloads) == [b"4", b"5", b"6"]
                    await next_source.acknowledge()
                    assert batch.cursor is not None and batch.cursor.endswith(" 1-6")

    try:
        run(test())
    finally:
        server.kill()


def test_what_is_not_acknowledged_is_given_back_at_the_end(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "BACK")
            await publish(client, "BACK.a", b"1")
            async with connected(consumer_url(server, "BACK")) as source:
                await read_until(source, 1)
            # Another program, which knows nothing of a reset, would have to wait for half a minute otherwise.
            subscription = await client.jetstream().pull_subscribe_bind("d", "BACK")
            messages = await subscription.fetch(1, timeout=TIMEOUT_SECONDS)
            assert messages[0].metadata.num_delivered == 2

    run(test())


def test_a_message_without_events_is_reported_and_never_comes_again(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "POISON")
            await publish(client, "POISON.a", b"{broken", EVENT, b"")
            async with connected(consumer_url(server, "POISON", "&ack_wait=1")) as source:
                payloads, batch = await read_until(source, 1)
                rejected = [*batch.rejected]
                while len(rejected) < 2:
                    rejected += (await source.read()).rejected
                assert [json.loads(payload) for payload in payloads] == [EVENT]
                assert rejected[0].startswith("message 1, POISON.a: expected an event")
                assert rejected[1].startswith("message 3, POISON.a: expected an event")
                terminated = await client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.POISON.d")
                # The first ping overtakes the subscription.
                await client.flush()
                await client.flush()
                await source.acknowledge()
                numbers = [json.loads((await terminated.next_msg(10)).data)["stream_seq"] for _ in range(2)]
                assert numbers == [1, 3]
                assert (await consumer(client, "POISON")).num_ack_pending == 0

    run(test())


def test_lines_and_numbers_that_json_has_not_are_left_to_the_gate(server: NatsServer) -> None:
    async def test() -> None:
        lines = b'{"type":"heartbeat","component":"a"}\n{"type":"heartbeat","component":"b"}\n'
        lenient = b'[{"type":"metric","name":"x","value":NaN}]'
        async with server.client() as client:
            await make_stream(client, "LINES")
            await publish(client, "LINES.a", lines, lenient)
            async with connected(consumer_url(server, "LINES")) as source:
                payloads, batch = await read_until(source, 2)
                assert (payloads, batch.rejected) == ([lines, lenient], [])

    run(test())


def test_a_stream_that_was_created_anew_is_read_from_its_beginning(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "ANEW")
            await publish(client, "ANEW.a", b"1", b"2")
            async with connected(consumer_url(server, "ANEW")) as source:
                _, stored = await read_until(source, 2)
                await source.acknowledge()
                await client.jetstream().delete_stream("ANEW")
                with pytest.raises(EOFError, match="the consumer does not go on"):
                    await source.read()
            await make_stream(client, "ANEW")
            await publish(client, "ANEW.a", b"11", b"12")
            async with connected(consumer_url(server, "ANEW"), stored.cursor) as source:
                payloads, _ = await read_until(source, 2)
                assert payloads == [b"11", b"12"]

    run(test())


def test_a_stream_that_a_power_cut_set_back_loses_none_of_its_new_messages(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)

    async def before() -> str | None:
        async with server.client() as client:
            await make_stream(client, "CUT")
            await publish(client, "CUT.a", b"1", b"2")
        server.kill()
        shutil.copytree(tmp_path / "store", tmp_path / "older")
        server.start()
        async with server.client() as client:
            await publish(client, "CUT.a", b"3", b"4")
            async with connected(consumer_url(server, "CUT")) as source:
                _, stored = await read_until(source, 4)
                await source.acknowledge()
        return stored.cursor

    async def after(cursor: str | None) -> None:
        async with server.client() as client:
            await publish(client, "CUT.a", b"13", b"14", b"15")
            async with connected(consumer_url(server, "CUT"), cursor) as source:
                payloads, _ = await read_until(source, 3)
                assert payloads == [b"13", b"14", b"15"]

    try:
        cursor = asyncio.run(before())
        server.kill()
        shutil.rmtree(tmp_path / "store")
        shutil.move(tmp_path / "older", tmp_path / "store")
        server.start()
        asyncio.run(after(cursor))
    finally:
        server.kill()


def test_a_consumer_that_was_deleted_is_made_again_where_the_cursor_stands(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "DELETED")
            await publish(client, "DELETED.a", b"1", b"2")
            url = consumer_url(server, "DELETED", "&deliver=new")
            async with connected(consumer_url(server, "DELETED")) as source:
                _, stored = await read_until(source, 2)
            await client.jetstream().delete_consumer("DELETED", "d")
            await publish(client, "DELETED.a", b"3")
            async with connected(url, stored.cursor) as source:
                payloads, _ = await read_until(source, 1)
                assert payloads == [b"3"]
                assert (await consumer(client, "DELETED")).config.deliver_policy == "by_start_time"

    run(test())


def test_a_queue_with_only_unacknowledged_messages_is_read_once(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "QUEUE", retention="workqueue")
            await publish(client, "QUEUE.a", b"1", b"2")
            async with connected(consumer_url(server, "QUEUE")) as source:
                _, stored = await read_until(source, 2)
            await client.jetstream().delete_consumer("QUEUE", "d")
            await publish(client, "QUEUE.a", b"3")
            async with connected(consumer_url(server, "QUEUE"), stored.cursor) as source:
                payloads, _ = await read_until(source, 1)
                assert payloads == [b"3"]
                await source.acknowledge()

                async def is_empty() -> bool:
                    return (await client.jetstream().stream_info("QUEUE")).state.messages == 0

                await wait_for(is_empty)

    run(test())


def test_messages_that_the_stream_dropped_before_they_were_read_are_gaps(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "LIMITED", max_msgs=2)
            await publish(client, "LIMITED.a", b"1")
            async with connected(consumer_url(server, "LIMITED")) as source:
                _, stored = await read_until(source, 1)
                assert stored.gaps == 0
                await source.acknowledge()
            await publish(client, "LIMITED.a", *[str(number).encode() for number in range(2, 8)])
            async with connected(consumer_url(server, "LIMITED"), stored.cursor) as source:
                payloads, batch = await read_until(source, 2)
                assert (payloads, batch.gaps) == ([b"6", b"7"], 4)

    run(test())


def test_what_was_acknowledged_after_a_backup_is_a_gap_once_it_is_restored(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "RESTORED")
            await publish(client, "RESTORED.a", b"1", b"2")
            async with connected(consumer_url(server, "RESTORED")) as source:
                _, backed_up = await read_until(source, 2)
                await source.acknowledge()
                await publish(client, "RESTORED.a", b"3", b"4", b"5")
                await read_until(source, 3)
                await source.acknowledge()
                await until_acknowledged(client, "RESTORED", 5)
            await publish(client, "RESTORED.a", b"6")
            async with connected(consumer_url(server, "RESTORED"), backed_up.cursor) as source:
                payloads, batch = await read_until(source, 1)
                assert (payloads, batch.gaps) == ([b"6"], 3)
            await client.jetstream().delete_consumer("RESTORED", "d")
            async with connected(consumer_url(server, "RESTORED"), backed_up.cursor) as source:
                payloads, batch = await read_until(source, 4)
                assert (payloads, batch.gaps) == ([b"3", b"4", b"5", b"6"], 0)

    run(test())


def test_what_a_filter_leaves_out_is_neither_read_nor_a_gap(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "FILTER")
            for subject in ("a", "b", "c", "a"):
                await publish(client, f"FILTER.{subject}", b"[%d]" % ord(subject))
            async with connected(consumer_url(server, "FILTER", "&subjects=FILTER.a,FILTER.c")) as source:
                payloads, batch = await read_until(source, 3)
                assert (payloads, batch.gaps) == ([b"[97]", b"[99]", b"[97]"], 0)

    run(test())


def test_no_more_is_read_than_may_be_unacknowledged(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "SLOW")
            await publish(client, "SLOW.a", *[str(number).encode() for number in range(9)])
            async with connected(consumer_url(server, "SLOW", "&max_ack_pending=4")) as source:
                first, _ = await read_until(source, 4)
                reading = asyncio.ensure_future(source.read())
                state = await consumer(client, "SLOW")
                assert (state.num_waiting, state.num_pending) == (0, 5)
                assert not reading.done()
                reading.cancel()
                await asyncio.wait([reading])
                await source.acknowledge()
                second, _ = await read_until(source, 4)
                await source.acknowledge()
                third, _ = await read_until(source, 1)
                assert first + second + third == [str(number).encode() for number in range(9)]

    run(test())


def test_a_message_that_went_to_another_client_is_not_taken(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_source, "MAX_IN_HAND", 2)

    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "SHARED")
            await publish(client, "SHARED.a", b"1", b"2", b"3")
            async with connected(consumer_url(server, "SHARED")) as source:
                await read_until(source, 2)
                other = await client.jetstream().pull_subscribe_bind("d", "SHARED")
                (third,) = await other.fetch(1, timeout=TIMEOUT_SECONDS)
                await source.acknowledge()
                await publish(client, "SHARED.a", b"4")
                payloads, batch = await read_until(source, 1)
                assert payloads == [b"4"]
                assert batch.cursor is not None and batch.cursor.endswith(" 1-2,4-4")
                await third.nak()
                payloads, batch = await read_until(source, 1)
                assert payloads == [b"3"]
                assert batch.cursor is not None and batch.cursor.endswith(" 1-4")

    run(test())


def test_a_consumer_that_is_there_keeps_what_the_url_does_not_say(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            await make_stream(client, "THERE")
            async with connected(consumer_url(server, "THERE", "&ack_wait=7&max_ack_pending=70")):
                pass
            async with connected(consumer_url(server, "THERE", "&ack_wait=8")):
                config = (await consumer(client, "THERE")).config
                assert (config.ack_wait, config.max_ack_pending) == (8, 70)

    run(test())


@pytest.mark.parametrize("config", [{"deliver_subject": "x", "ack_policy": "explicit"}, {"ack_policy": "none"}])
def test_a_consumer_that_cannot_acknowledge_each_message_is_refused(server: NatsServer, config: dict[str, Any]) -> None:
    async def test() -> None:
        stream = f"OTHER{len(config)}"
        async with server.client() as client:
            await make_stream(client, stream)
            await client.jetstream().add_consumer(stream, durable_name="d", **config)
            with pytest.raises(SourceError, match="is not a pull consumer that acknowledges each message"):
                async with connected(consumer_url(server, stream)):
                    pass

    run(test())


def test_a_stream_that_is_missing_is_named(server: NatsServer) -> None:
    async def test() -> None:
        async with connected(consumer_url(server, "MISSING")):
            pass

    with pytest.raises(SourceError, match="stream MISSING: stream not found"):
        run(test())


def test_the_end_of_the_server_ends_reading_after_what_had_arrived(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)

    async def test() -> None:
        async with connected(f"nats://{server.address}?subjects=a") as source:
            async with server.client() as client:
                await client.publish("a", b"1")

            async def has_arrived() -> bool:
                return bool(source._connection.queue)  # type: ignore[attr-defined]

            await wait_for(has_arrived)
            server.kill()
            assert (await source.read()).events == [b"1"]
            with pytest.raises(EOFError, match="the connection was lost"):
                await source.read()
            with pytest.raises(OSError, match="Connect"):
                await from_url(f"nats://{server.address}?subjects=a").connect(None)

    try:
        run(test())
    finally:
        server.kill()


def test_events_of_several_core_subjects_keep_their_order(server: NatsServer) -> None:
    async def test() -> None:
        async with connected(f"nats://{server.address}?subjects=core.order,core.fill.>,core.x.*") as source:
            async with server.client() as client:
                sent = []
                for number in range(300):
                    subject = ("core.order", "core.fill.a.b", "core.x.y", "core.other")[number % 4]
                    await client.publish(subject, b"%d" % number)
                    if number % 4 != 3:
                        sent.append(b"%d" % number)
                await client.flush()
            payloads, batch = await read_until(source, len(sent))
            assert payloads == sent
            assert batch.cursor is None

    run(test())


def test_a_core_message_whose_id_came_before_is_left_out(server: NatsServer) -> None:
    async def test() -> None:
        async with connected(f"nats://{server.address}?subjects=ids") as source:
            async with server.client() as client:
                for payload, identity in ((b"1", "a"), (b"2", "b"), (b"9", "a"), (b"3", "c")):
                    await client.publish("ids", payload, headers={"Nats-Msg-Id": identity})
                await client.flush()
            payloads, _ = await read_until(source, 3)
            assert payloads == [b"1", b"2", b"3"]

    run(test())


def test_holes_in_a_stream_that_republishes_are_gaps(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client:
            js = client.jetstream()
            await js.add_stream(
                name="REPUBLISH", subjects=["REPUBLISH.>"], republish={"src": "REPUBLISH.>", "dest": "live.>"}
            )  # fmt: skip
            async with connected(f"nats://{server.address}?subjects=live.%3E") as source:
                await publish(client, "REPUBLISH.a", b"1")
                await publish(client, "REPUBLISH.b", b"2")
                _, batch = await read_until(source, 2)
                assert batch.gaps == 0
                await source.close()
                await publish(client, "REPUBLISH.a", b"0")
                await source.connect(None)
                await publish(client, "REPUBLISH.a", b"3")
                await publish(client, "REPUBLISH.b", b"4")
                gaps = payloads = 0
                while payloads < 2:
                    batch = await source.read()
                    payloads += batch.messages
                    gaps += batch.gaps
                assert gaps == 1

    run(test())


def test_a_header_with_a_number_that_is_too_long_costs_nothing(server: NatsServer) -> None:
    async def test() -> None:
        async with server.client() as client, connected(f"nats://{server.address}?subjects=long") as source:
            number = "9" * 5_000
            numbers = {"Nats-Sequence": number, "Nats-Last-Sequence": number}
            await client.publish("long", b"1", headers=numbers)
            await client.publish("long", b"2")
            payloads, batch = await read_until(source, 2)
            assert (payloads, batch.gaps) == ([b"1", b"2"], 0)

    run(test())


def test_core_messages_that_find_no_room_are_gaps(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connection, "MAX_QUEUED_MESSAGES", 5)

    async def test() -> None:
        async with connected(f"nats://{server.address}?subjects=room,last") as source:
            async with server.client() as client:
                for number in range(8):
                    await client.publish("room", b"%d" % number)
                await client.flush()
            connection = source._connection  # type: ignore[attr-defined]

            async def is_full() -> bool:
                return bool(connection.dropped == 3)

            await wait_for(is_full)
            batch = await source.read()
            assert (batch.messages, batch.gaps) == (5, 3)

    run(test())


LOGINS = {
    "authorization {user: alice, password: secret}": ("alice:secret@", ""),
    "authorization {token: s3cret}": ("", "&token=s3cret"),
}


@pytest.mark.parametrize("config", LOGINS)
def test_a_server_lets_in_who_has_its_secret(tmp_path: Path, config: str) -> None:
    server = NatsServer(tmp_path, config=config)
    login, parameters = LOGINS[config]

    async def test() -> None:
        async with connected(f"nats://{login}{server.address}?subjects=a{parameters}"):
            pass
        with pytest.raises(OSError, match="Authorization Violation"):
            async with connected(f"nats://{server.address}?subjects=a"):
                pass

    try:
        run(test())
    finally:
        server.kill()


def test_a_credentials_file_logs_in(tmp_path: Path) -> None:
    operator, account, system, user = _Key("O"), _Key("A"), _Key("A"), _Key("U")
    operator_token = operator.sign(operator, {"type": "operator", "version": 2}, "op")
    accounts = [
        f"{key.public}: {operator.sign(key, {'type': 'account', 'version': 2, 'limits': _UNLIMITED}, 'account')}"
        for key in (account, system)
    ]
    user_token = account.sign(user, {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}, "us")
    config = (
        f"operator: {operator_token}\nsystem_account: {system.public}\nresolver: MEMORY\n"
        f"resolver_preload: {{{', '.join(accounts)}}}"
    )
    credentials = tmp_path / "user.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    server = NatsServer(tmp_path, config=config)

    async def test() -> None:
        url = f"nats://{server.address}?subjects=a"
        async with connected(f"{url}&creds={credentials}"):
            pass
        with pytest.raises(OSError, match="Authorization Violation"):
            async with connected(url):
                pass
        text = credentials.read_text()
        for other, fault in (
            (text.replace("NATS USER JWT", "NOTHING"), "expected a token and a seed"),
            (text.replace(user.seed, user.seed[:-1]), "the seed is not that of a key"),
        ):
            credentials.write_text(other)
            with pytest.raises(SourceError, match=fault):
                async with connected(f"{url}&creds={credentials}"):
                    pass

    try:
        run(test())
    finally:
        server.kill()


def test_tls_trusts_the_given_authority_alone(tmp_path: Path) -> None:
    cert, key = FIRST
    server = NatsServer(tmp_path, config=f'tls {{cert_file: "{cert}", key_file: "{key}"}}')

    async def test() -> None:
        async with connected(f"nats://{server.address}?subjects=a&ca={cert}"):
            pass
        with pytest.raises(OSError, match="certificate verify failed"):
            async with connected(f"nats://{server.address}?subjects=a&ca={SECOND[0]}"):
                pass

    try:
        run(test())
    finally:
        server.kill()


def test_a_server_that_does_not_encrypt_is_told_no_secret() -> None:
    async def test() -> None:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'INFO {"server_id":"x","version":"2.14.0","headers":true,"max_payload":1000}\r\n')
            heard.set_result(await reader.read())
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            with pytest.raises(OSError, match="the server does not encrypt"):
                async with connected(f"nats://user:secret@127.0.0.1:{port}?subjects=a&tls=1"):
                    pass
            assert await heard == b""

    run(test())


FAULTS = {
    "nats://h": "expected stream=NAME&durable=NAME, or subjects=NAME,NAME",
    "nats://h?stream=S": "durable: expected the name of a consumer",
    "nats://h?subjects=a&durable=d": "durable: given without stream",
    "nats://h?stream=a.b&durable=d": "stream: 'a.b', expected a name without",
    "nats://h?subjects=a..b": "subjects: 'a..b', expected such as",
    "nats://h?subjects=a.%3E.b": "subjects: 'a.>.b', expected such as",
    "nats://h?stream=S&durable=d&deliver=last": "deliver: 'last', expected all or new",
    "nats://h?stream=S&durable=d&ack_wait=0": "ack_wait: '0', expected an integer from 1",
    "nats://token@h?subjects=a": "a token is given as token=TOKEN",
    "nats://u:p@h?subjects=a&token=t": "expected one of USER:PASSWORD@, token= and creds=",
    "nats://h?subjects=a&creds=/nowhere": "creds: no file '/nowhere'",
    "nats://h?subjects=a&key=/nowhere": "key: given without cert",
    "nats://h?subjects=a&inbox=obs.main": "inbox: 'obs.main', expected up to four words",
    "nats://h?subjects=a&inbox=a.%3E": "inbox: 'a.>', expected up to four words",
    "nats://h?streams=S": "did you mean stream?",
}


@pytest.mark.parametrize("url", FAULTS)
def test_a_url_that_cannot_be_used_is_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_url(url)
    assert any(FAULTS[url] in fault for fault in raised.value.faults), raised.value.faults


def test_names_tell_sources_apart_and_no_secrets() -> None:
    assert from_url("nats://u:p@h?stream=S&durable=d").name == "nats:S/d@h:4222"
    assert from_url("nats://h:1?subjects=a,b.%3E&token=t").name == "nats:a,b.>@h:1"


_UNLIMITED = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1}
_KINDS = {"O": 14 << 3, "A": 0, "U": 20 << 3}


class _Key:
    """A key of NATS, which signs claims."""

    def __init__(self, kind: str) -> None:
        self._signing = SigningKey.generate()
        first = 18 << 3 | _KINDS[kind] >> 5, (_KINDS[kind] & 31) << 3
        self.seed = _encoded(bytes(first) + bytes(self._signing))
        self.public = _encoded(bytes([_KINDS[kind]]) + bytes(self._signing.verify_key))
        assert nkeys.from_seed(bytearray(self.seed.encode())).public_key.decode() == self.public

    def sign(self, subject: _Key, claims: dict[str, Any], name: str) -> str:
        body = {"iss": self.public, "sub": subject.public, "iat": 1, "name": name, "nats": claims}
        body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().strip("=")
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, body]
        text = ".".join(_url_encoded(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_url_encoded(self._signing.sign(text.encode()).signature)}"


def _encoded(data: bytes) -> str:
    return base64.b32encode(data + nkeys.crc16(bytearray(data)).to_bytes(2, "little")).decode().strip("=")


def _url_encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().strip("=")
