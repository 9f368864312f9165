"""The connection of a host to the servers of its desk, with a real server behind a proxy that cuts it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from nats.aio.msg import Msg

from cutting_proxy import CuttingProxy
from desk_links import desk_at, link_to, run, until
from nats_server import NatsServer, make_stream, publish
from observability.clocks.clock import HostClock
from observability.clocks.timestamps import NS_PER_HOUR
from observability.cluster.batches import BatchAnswerer
from observability.cluster.desk import Desk
from observability.cluster.follower import StreamFollower
from observability.cluster.frame_message import FrameMessage, pack_frame
from observability.cluster.frame_publisher import FramePublisher
from observability.cluster.frame_receiver import FrameReceiver
from observability.cluster.link import Link
from observability.cluster.questions import QuestionAnswerer, Questions
from observability.cluster.server_check import check_edge_access, check_hub_access, check_server
from observability.cluster.streams import make_frame_stream
from observability.errors import HubUnavailable, SourceError
from observability.ingest.answers import IngestAnswer
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.snapshot.frames import NO_INDEX, Frame
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.shared_frames import SharedFrames
from observability.sources.brokers.nats_connection import NatsConnection


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


def frame(seq: int, epoch: str = "a1") -> Frame:
    return Frame(epoch, seq, seq, seq, b'{"seq":%d}' % seq, NO_INDEX)


class Hub:
    """A link and what publishes frames over it."""

    def __init__(self, desk: Desk, epoch: str) -> None:
        self.link = Link(desk, HostClock())
        self.counters = Counters()
        self.replaced: list[str] = []
        self.epoch = epoch
        self.publisher = FramePublisher(self.link, epoch, 0.01, self.counters, self.replaced.append)

    async def open(self) -> None:
        await self.link.open()
        self.link.start()
        self.publisher.start()

    async def close(self) -> None:
        await self.publisher.stop()
        await self.link.close()

    def publish(self, seq: int) -> None:
        self.publisher.put(frame(seq, self.epoch), SharedDocuments({"d": b"%d" % seq}, ()), None)

    @property
    def published(self) -> int:
        return self.counters.total("cluster_frames_published_total")

    @property
    def is_connected(self) -> bool:
        connection = self.link.connection
        return connection is not None and not connection.is_lost

    @property
    def unpublished(self) -> int:
        return self.counters.total("cluster_frames_unpublished_total")


class Edge:
    """A mapping that is filled over a link, and the numbers of the frames that came."""

    def __init__(self, desk: Desk, mapping: SharedMapping | None = None) -> None:
        self.mapping = mapping = mapping or SharedMapping(3, 1)
        self.link = Link(desk, HostClock())
        self.counters = Counters()
        self.frames = SharedFrames(mapping)
        self.seen: list[tuple[str, int]] = []
        self.questions = Questions(self.link)
        self.receiver = FrameReceiver(
            self.link, mapping, self.counters, HostClock(), 0.01, self._on_frame, self.questions.abandon
        )

    def _on_frame(self) -> None:
        newest = self.frames.refresh()
        assert newest is not None, "a frame was written again"
        self.seen.append((newest.epoch, newest.seq))


def test_frames_come_once_and_in_order_over_connections_that_are_cut(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as hubs, CuttingProxy(broker.port).running() as edges:
            hub, edge = Hub(desk_at(hubs.port, "cut"), "a1"), Edge(desk_at(edges.port, "cut"))
            await hub.open()
            edge.link.start()
            for seq in range(1, 31):
                if seq % 10 == 0:
                    (hubs if seq % 20 else edges).cut()
                    await until(lambda: hub.link.connection is not None)
                hub.publish(seq)
                await until(lambda: hub.published + hub.unpublished == seq)  # noqa: B023 - awaited here
            # What was published while there was no connection is lost, and newer frames follow.
            await until(lambda: hub.is_connected)
            hub.publish(31)
            await until(lambda: edge.seen and edge.seen[-1] == ("a1", 31))
            assert edge.seen == sorted(set(edge.seen))
            assert len(edge.seen) == hub.published
            assert edge.link.connections > 1 and hub.link.connections > 1
            assert edge.frames.documents.by_name == {"d": b"31"}
            await edge.link.close()
            await hub.close()

    run(main())


def test_a_follower_from_now_on_gets_nothing_older_and_misses_nothing_newer(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as proxy:
            hub, link = Hub(desk_at(broker.port, "now"), "a1"), link_to(proxy.port, "now")
            await hub.open()
            hub.publish(1)
            await until(lambda: hub.published == 1)
            seen: list[int] = []
            desk = link.desk
            StreamFollower(
                link, desk.frame_stream, desk.frame_subject, lambda _, place: seen.append(place.seq), is_from_now=True
            )
            await link.open()
            link.start()
            hub.publish(2)
            await until(lambda: seen == [2])
            # What comes while it is cut off is newer than its beginning, too.
            proxy.cut()
            hub.publish(3)
            await until(lambda: seen == [2, 3])
            await link.close()
            await hub.close()

    run(main())


def test_a_follower_from_now_on_gets_all_of_a_stream_that_is_younger(broker: NatsServer) -> None:
    async def main() -> None:
        hub, link = Hub(desk_at(broker.port, "young"), "a1"), link_to(broker.port, "young")
        desk, seen = link.desk, []
        StreamFollower(
            link, desk.frame_stream, desk.frame_subject, lambda _, place: seen.append(place.seq), is_from_now=True
        )
        await hub.open()
        hub.publish(1)
        await until(lambda: hub.published == 1)
        await link.open()
        await until(lambda: seen == [1])
        await link.close()
        await hub.close()

    run(main())


def test_a_hub_whose_desk_another_one_has_taken_over_is_told(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as proxy:
            old, new = Hub(desk_at(proxy.port, "over"), "a1"), Hub(desk_at(broker.port, "over"), "b2")
            edge = Edge(desk_at(broker.port, "over"))
            await old.open()
            edge.link.start()
            old.publish(1)
            await until(lambda: old.published == 1)
            proxy.stall()
            old.publish(2)
            await new.open()
            assert new.publisher.newest_seq == 1
            new.publish(3)
            await until(lambda: new.published == 1)
            proxy.resume()
            await until(lambda: old.replaced)
            assert old.replaced == ["another hub publishes to desk over: its epoch is b2"]
            new.publish(4)
            await until(lambda: edge.seen[-1:] == [("b2", 4)])
            assert edge.seen == [("a1", 1), ("b2", 3), ("b2", 4)]
            for each in (edge.link, old, new):
                await each.close()

    run(main())


def test_an_edge_whose_receiver_is_replaced_shows_no_frame_again(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "again")
        hub, edge = Hub(desk, "a1"), Edge(desk)
        await hub.open()
        edge.link.start()
        for seq in (1, 2, 3):
            hub.publish(seq)
            await until(lambda: edge.seen[-1:] == [("a1", seq)])  # noqa: B023 - awaited here
        await edge.link.close()
        hub.publish(4)
        await until(lambda: hub.published == 4)
        replaced = Edge(desk, edge.mapping)
        replaced.link.start()
        await until(lambda: replaced.seen)
        assert replaced.seen == [("a1", 4)]
        await replaced.link.close()
        # With nothing new, it waits for the next frame.
        replaced = Edge(desk, edge.mapping)
        replaced.link.start()
        await until(lambda: replaced.counters.total("cluster_frames_received_total") == 4)
        assert replaced.seen == []
        hub.publish(5)
        await until(lambda: replaced.seen)
        assert replaced.seen == [("a1", 5)]
        await replaced.link.close()
        await hub.close()

    run(main())


def test_an_edge_shows_no_frame_again_that_servers_send_again_nor_one_of_an_older_hub(broker: NatsServer) -> None:
    async def main() -> None:
        async with CuttingProxy(broker.port).running() as proxy:
            desk = desk_at(broker.port, "lost")
            edge = Edge(desk_at(proxy.port, "lost"))
            for epoch, seqs in (("a1", (1, 2)), ("b2", (4, 5, 6))):
                hub = Hub(desk, epoch)
                await hub.open()
                edge.link.start() if not edge.seen else None
                for seq in seqs:
                    hub.publish(seq)
                    await until(lambda: edge.seen[-1:] == [(epoch, seq)])  # noqa: B023 - awaited here
                await hub.close()
            async with broker.client() as client:
                await client.jetstream().delete_stream(desk.frame_stream)
            # What the servers have after they have lost the end: frames that have been shown, and an older hub's.
            for epoch, seqs in (("b2", (4, 5)), ("a1", (2, 8)), ("b2", (6, 7))):
                hub = Hub(desk, epoch)
                await hub.open()
                for seq in seqs:
                    hub.publish(seq)
                await until(lambda: hub.published == len(seqs))  # noqa: B023 - awaited here
                await hub.close()
            came = len(edge.seen)
            proxy.cut()
            await until(lambda: len(edge.seen) > came)
            assert edge.seen[came:] == [("b2", 7)]
            # A desk that was made anew begins with low numbers.
            hub = Hub(desk, "c3")
            await hub.open()
            hub.publish(1)
            await until(lambda: edge.seen[-1:] == [("c3", 1)])
            await hub.close()
            await edge.link.close()

    run(main())


def test_messages_that_are_no_frames_are_counted_and_said_once_until_one_is_shown(
    broker: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "bad")
        hub, edge = Hub(desk, "a1"), Edge(desk)
        await hub.open()
        edge.link.start()
        hub.publish(1)
        await until(lambda: hub.published == 1)
        async with broker.client() as client:
            await client.jetstream().publish(desk.frame_subject, b"nonsense")
            for seq in (2, 3):
                damaged = FrameMessage("a1", seq, seq, seq, 0, 10**7, (b"{}", b"", b"", b""), {}, ())
                # Without its hash.
                await client.jetstream().publish(desk.frame_subject, pack_frame(damaged)[1])
        await until(lambda: edge.counters.total("cluster_frames_refused_total") == 3)
        await hub.close()
        hub = Hub(desk, "a1")
        await hub.open()
        hub.publish(2)
        await until(lambda: edge.seen[-1:] == [("a1", 2)])
        await edge.link.close()
        await hub.close()

    run(main())
    assert caplog.text.count("a frame is not shown") == 1


def test_a_connection_that_ends_at_once_is_made_again_after_a_longer_pause_each_time(broker: NatsServer) -> None:
    async def main() -> None:
        link = Link(desk_at(broker.port, "short"), HostClock())
        loop, times = asyncio.get_running_loop(), []

        async def open_and_end(connection: NatsConnection) -> None:
            times.append(loop.time())
            loop.call_later(0.01, connection.end, EOFError("no"))

        link.add_opener(open_and_end)
        link.start()
        await until(lambda: len(times) == 4)
        await link.close()
        # Pauses of 0.1, 0.2 and 0.4 s.
        assert times[3] - times[0] > 0.65

    run(main())


def test_a_connection_that_is_lost_while_it_is_opened_ends_a_start_with_one_line(broker: NatsServer) -> None:
    async def lose(connection: NatsConnection) -> None:
        raise EOFError("the connection was lost")

    async def main() -> None:
        link = Link(desk_at(broker.port, "short"), HostClock())
        link.add_opener(lose)
        with pytest.raises(SourceError, match="the connection was lost"):
            await link.open()

    run(main())


def test_of_two_answers_to_one_question_the_first_counts(broker: NatsServer) -> None:
    async def main() -> None:
        link = Link(desk_at(broker.port, "two"), HostClock())
        await link.open()
        assert link.connection is not None
        async with broker.client() as client:

            async def reply(message: Msg) -> None:
                await client.publish(message.reply, b"1")
                await client.publish(message.reply, b"2")

            await client.subscribe("two.question", cb=reply)
            # The first ping overtakes the subscription.
            await client.flush()
            await client.flush()
            answers = await asyncio.gather(*(link.connection.ask("two.question", b"") for _ in range(20)))
        assert [[message.data for message in answer] for answer in answers] == [[b"1"]] * 20
        await link.close()

    run(main())


def test_a_follower_of_rows_does_not_begin_again_at_a_server_that_is_behind(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "rows")
        async with broker.client() as client:
            await make_stream(client, desk.record_stream, desk.record_subject)
            await publish(client, desk.record_subject, 1, 2)
        for may_rewind in (True, False):
            link, came = Link(desk, HostClock()), []
            StreamFollower(
                link, desk.record_stream, desk.record_subject, lambda message, _: came.append(message.data),  # noqa: B023
                seq=3, may_rewind=may_rewind,
            )  # fmt: skip
            if may_rewind:
                await link.open()
                await until(lambda: came == [b"1", b"2"])  # noqa: B023
            else:
                with pytest.raises(SourceError, match="ends with message 2, and 3 has come already"):
                    await link.open()
            await link.close()

    run(main())


def test_a_follower_whose_consumer_is_gone_continues_after_the_last_message(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "gone")
        link = Link(desk, HostClock())
        link.add_opener(lambda connection: _ignore(make_frame_stream(link, connection)))
        seen: list[bytes] = []
        StreamFollower(link, desk.frame_stream, desk.frame_subject, lambda message, _: seen.append(message.data))
        await link.open()
        link.start()
        async with broker.client() as client:
            stream = client.jetstream()
            await stream.publish(desk.frame_subject, b"1")
            await until(lambda: seen == [b"1"])
            (consumer,) = await stream.consumers_info(desk.frame_stream)
            await stream.delete_consumer(desk.frame_stream, consumer.name)
            await stream.publish(desk.frame_subject, b"2")
            await until(lambda: seen == [b"1", b"2"])
        await link.close()

    run(main())


def test_a_connection_has_subscribed_only_once_its_server_has_read_so() -> None:
    async def main() -> None:
        read: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'INFO {"server_id":"x","version":"2.14.0","headers":true,"max_payload":1000}\r\n')
            while line := await reader.readline():
                read.append(line)
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            desk = desk_at(server.sockets[0].getsockname()[1], "slow")
            connection = NatsConnection(desk.address)
            try:
                await connection.open()
                await connection.subscribe("what")
                then = list(read)
            finally:
                await connection.close()
        # A ping behind the subscription has come back.
        assert [line.split()[0] for line in then[-2:]] == [b"SUB", b"PING"]

    run(main())


def test_a_large_answer_comes_whole_and_a_question_without_a_hub_is_refused(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "ask")
        asking, answering = Link(desk, HostClock()), Link(desk, HostClock())
        await asking.open()
        with pytest.raises(HubUnavailable, match="desk ask has no hub now"):
            await Questions(asking).ask(b"1")

        async def answer(question: bytes) -> bytes:
            return question * 3_000_000

        answerer = QuestionAnswerer(answering, answer)
        await answering.open()
        answerer.start()
        assert await Questions(asking).ask(b"7") == b"7" * 3_000_000
        assert await Questions(asking).ask(b"") == b""
        with pytest.raises(HubUnavailable, match="larger than the NATS servers take"):
            await Questions(asking).ask(bytes(2_000_000))
        await asking.close()
        await answering.close()

    run(main())


def test_a_message_with_unreadable_text_costs_no_other_message(broker: NatsServer) -> None:
    async def main() -> None:
        link, came = link_to(broker.port, "raw"), []
        link.add_handler("raw.in.*", lambda message: came.append((message.data, message.headers)))
        await link.open()
        assert link.connection is not None
        await link.connection.subscribe("raw.in.*")
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        await reader.readline()
        writer.write(
            b'CONNECT {"verbose":false,"headers":true}\r\n'
            b"PUB raw.in.\xff 1\r\n1\r\n"
            b"PUB raw.in.a \xfe 1\r\n2\r\n"
            b"HPUB raw.in.a 16 17\r\nNATS/1.0 \xff\xff\xff\r\n\r\n3\r\n"
            b"HPUB raw.in.a 8 9\r\nNATS/1.04\r\n"
            b"HPUB raw.in.a 18 19\r\nNATS/1.0\r\nA: b\r\n\r\n5\r\n"
        )
        await until(lambda: len(came) == 5)
        assert came == [(b"%d" % number, {"A": "b"} if number == 5 else None) for number in range(1, 6)]
        writer.close()
        await link.close()

    run(main())


@pytest.mark.parametrize("reply", ["obs.reflect.record", "$JS.API.STREAM.NAMES"])
def test_a_hub_answers_to_inboxes_alone(broker: NatsServer, reply: str) -> None:
    async def main() -> None:
        desk, asked, published = desk_at(broker.port, "reflect"), [], []
        link = Link(desk, HostClock())

        async def answer(question: bytes) -> bytes:
            asked.append(question)
            return question

        answerer = QuestionAnswerer(link, answer)
        await link.open()
        answerer.start()
        async with broker.client() as client:

            async def note(message: Msg) -> None:
                published.append(message.subject)

            await client.subscribe(reply, cb=note)
            await client.publish(desk.question_subject, b"1", reply=reply)
            assert (await client.request(desk.question_subject, b"2")).data == b"2"
            await client.flush()
        assert (asked, published) == ([b"2"], [])
        await link.close()

    run(main())


def test_a_hub_that_starts_or_stops_refuses_at_once_what_it_cannot_do(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "stops")
        asking, answering = Link(desk, HostClock()), Link(desk, HostClock())
        questions, taken = Questions(asking), []

        async def answer(question: bytes) -> bytes:
            taken.append(question)
            return question

        async def take(data: bytes, _key: str | None) -> IngestAnswer:
            taken.append(data)
            return IngestAnswer(200, b"{}")

        async def statuses() -> tuple[str, str]:
            assert asking.connection is not None
            (reply,) = await asking.connection.ask(desk.batch_subject("engine"), b"batch")
            try:
                await questions.ask(b"question")
            except HubUnavailable as unavailable:
                return (reply.headers or {})["Obs-Status"], str(unavailable)
            return (reply.headers or {})["Obs-Status"], "answered"

        answerers = QuestionAnswerer(answering, answer), BatchAnswerer(answering, take)
        await asking.open()
        await answering.open()
        assert await statuses() == ("503", "it starts or stops")
        for each in answerers:
            each.start()
        assert await statuses() == ("200", "answered")
        for each in answerers:
            await each.drain(1)
        assert await statuses() == ("503", "it starts or stops")
        assert taken == [b"batch", b"question"]
        await asking.close()
        await answering.close()

    run(main())


def test_a_question_of_a_hub_that_is_gone_fails_with_the_first_frame_of_the_next(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_at(broker.port, "gone")
        hub, edge, dead = Hub(desk, "a1"), Edge(desk), Link(desk, HostClock())
        asked = asyncio.Event()

        async def never(_: bytes) -> bytes:
            asked.set()
            await asyncio.Event().wait()
            return b""

        QuestionAnswerer(dead, never).start()
        await dead.open()
        await hub.open()
        await edge.link.open()
        hub.publish(1)
        await until(lambda: edge.seen)
        asking = asyncio.create_task(edge.questions.ask(b"1"))
        await asked.wait()
        hub.publish(2)
        await until(lambda: len(edge.seen) == 2)
        assert not asking.done()
        await hub.close()
        other = Hub(desk, "b2")
        await other.open()
        other.publish(4)
        with pytest.raises(HubUnavailable, match="another hub has begun to lead desk gone"):
            await asking
        for link in (other, edge.link, dead):
            await link.close()

    run(main())


class _Server:
    """What a connection knows of its server."""

    def __init__(self, **server: Any) -> None:
        self.server = server
        self.max_payload = 1024 * 1024
        self.denied: set[str] = set()

    async def publish(self, *_: Any, **__: Any) -> None: ...

    async def settle(self) -> None: ...


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ({"version": "2.10.22", "jetstream": True}, "nats-server 2.10.22, expected 2.11 or later"),
        ({"jetstream": True}, "nats-server of an unknown version, expected 2.11 or later"),
        ({"version": "2.11.0"}, "has JetStream off; switch it on"),
    ],
)
def test_a_server_that_cannot_serve_a_desk_is_refused_with_what_to_do(server: dict[str, Any], fault: str) -> None:
    with pytest.raises(SourceError, match=fault):
        check_server(_Server(**server))  # type: ignore[arg-type]


def test_a_hub_alone_says_that_a_cluster_of_servers_has_one_copy_of_each_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, desk = _Server(version="2.15.1", jetstream=True, cluster="c"), desk_at(1, "d")
    check_server(server)  # type: ignore[arg-type]
    run(check_edge_access(server, desk))  # type: ignore[arg-type]
    assert "CLUSTER_REPLICAS" not in caplog.text
    run(check_hub_access(server, desk))  # type: ignore[arg-type]
    assert "CLUSTER_REPLICAS is 1" in caplog.text


def test_a_clock_that_differs_from_the_servers_is_said(broker: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    class FastClock(HostClock):
        def time_ns(self) -> int:
            return super().time_ns() + NS_PER_HOUR

    async def main() -> None:
        link = link_to(broker.port, "clock", FastClock())
        link.add_opener(lambda connection: _ignore(make_frame_stream(link, connection)))
        await link.open()
        await link.close()

    run(main())
    assert "the clock of this host is +3" in caplog.text


async def _ignore(awaited: Coroutine[Any, Any, object]) -> None:
    await awaited
