"""What a host finds out about the servers of its desk, with real ones that are configured otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from desk_links import run, until
from nats_server import NatsServer
from observability.clocks.clock import HostClock
from observability.cluster import link as link_module
from observability.cluster.desk import Desk
from observability.cluster.link import Link
from observability.cluster.server_check import check_edge_access, check_follower_access, check_hub_access
from observability.cluster.streams import make_frame_stream, make_stream
from observability.config.config import Config
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.sites.site import Site
from observability.sources.brokers.nats_connection import NatsConnection
from server_process import run_command

Check = Callable[[NatsConnection, Desk], Any]

# By the name of a user, a subject that it may not publish to.
OF_HUBS = {
    "frame": "obs.main.frame",
    "lane": "obs.main.lane.orders",
    "record": "obs.main.record",
    "lease": "obs.main.lease",
    "status": "obs.main.status",
    "answer": "_INBOX.>",
    "create": "$JS.API.STREAM.CREATE.obs-main-lease",
    "info": "$JS.API.STREAM.INFO.obs-main-lanes",
    "get": "$JS.API.DIRECT.GET.>",
    "follow": "$JS.API.CONSUMER.CREATE.>",
    "flow": "$JS.FC.>",
    "release": "$JS.API.STREAM.PURGE.>",
}
OF_EDGES = {
    "question": "obs.main.question",
    "info": "$JS.API.STREAM.INFO.obs-main-lanes",
    "follow": "$JS.API.CONSUMER.CREATE.>",
    "flow": "$JS.FC.>",
}
ALL = OF_HUBS | OF_EDGES


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    users = [f'{{user: {name}, password: hidden, permissions: {{publish: {{deny: ["{subject}"]}}}}}}'
             for name, subject in ALL.items()]  # fmt: skip
    users.append('{user: deaf, password: hidden, permissions: {subscribe: {deny: ["obs.main.question"]}}}')
    users.append('{user: own, password: hidden, permissions: {subscribe: {allow: ["_INBOX_own.>"]}}}')
    users.append("{user: desk, password: hidden}")
    # Less than the servers' default.
    config = f"max_payload: 100000\nauthorization {{ users: [{', '.join(users)}] }}\n"
    server = NatsServer(tmp_path_factory.mktemp("nats"), config=config)
    yield server
    server.kill()


def desk_of(broker: NatsServer, user: str, **settings: Any) -> Desk:
    """Returns a desk for a user, behind whose name may be the parameters of the login."""
    name, question, parameters = user.partition("?")
    desk = Desk.of(Config(engine=f"nats://{name}:hidden@{broker.address}{question}{parameters}", **settings))
    assert desk is not None
    return desk


def checked_as(broker: NatsServer, user: str, check: Check) -> None:
    """Opens a link as a user, with a check. Raises SourceError."""

    async def main() -> None:
        desk = desk_of(broker, user)
        link = Link(desk, HostClock())
        link.add_opener(lambda connection: check(connection, desk))
        await link.open()
        await link.close()

    run(main())


@pytest.mark.parametrize("user", OF_HUBS)
def test_a_subject_that_a_hub_may_not_publish_to_is_named(broker: NatsServer, user: str) -> None:
    with pytest.raises(SourceError, match="may not publish to") as refused:
        checked_as(broker, user, check_hub_access)
    assert OF_HUBS[user].removesuffix(">") in str(refused.value)
    assert "allow it in the permissions of the user" in str(refused.value) and "hidden" not in str(refused.value)


@pytest.mark.parametrize("user", OF_EDGES)
def test_a_subject_that_an_edge_may_not_publish_to_is_named(broker: NatsServer, user: str) -> None:
    with pytest.raises(SourceError, match="may not publish to") as refused:
        checked_as(broker, user, check_edge_access)
    assert OF_EDGES[user].removesuffix(">") in str(refused.value)


@pytest.mark.parametrize("user", OF_EDGES)
def test_a_subject_that_an_aggregator_may_not_publish_to_is_named(broker: NatsServer, user: str) -> None:
    async def main() -> None:
        await Site(desk_of(broker, user), HostClock(), Counters()).link.open()

    with pytest.raises(SourceError, match="may not publish to") as refused:
        run(main())
    assert OF_EDGES[user].removesuffix(">") in str(refused.value)


def test_an_edge_that_may_not_say_its_status_works_and_is_told(
    broker: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    checked_as(broker, "status", check_edge_access)
    assert "may not publish to obs.main.status: other hosts do not show this edge" in caplog.text


@pytest.mark.parametrize(
    ("user", "is_told"), [("desk", True), ("desk?inbox=_INBOX_own", True), ("own?inbox=_INBOX_own", False)]
)
def test_a_host_that_may_read_the_answers_of_others_is_told(
    broker: NatsServer, user: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    checked_as(broker, user, check_follower_access)
    assert ("may read what other hosts and engines are answered" in caplog.text) is is_told


def test_a_user_of_other_inboxes_is_told_to_give_their_prefix(broker: NatsServer) -> None:
    with pytest.raises(SourceError, match="or give the prefix of inboxes that it may read, as inbox=PREFIX"):
        checked_as(broker, "own", check_follower_access)


def test_the_check_changes_no_stream_and_asks_nothing(broker: NatsServer) -> None:
    async def main() -> None:
        desk = desk_of(broker, "desk", desk="kept")
        link = Link(desk, HostClock())
        await link.open()
        connection = link.connection
        assert connection is not None
        for name, subject in ((desk.frame_stream, desk.frame_subject), (desk.lease_stream, desk.lease_subject)):
            await make_stream(link, connection, name, subject, storage="memory")
            await connection.ask(subject, b"1")
        for check in (check_hub_access, check_edge_access):
            await check(connection, desk)
        for name in (desk.frame_stream, desk.lease_stream):
            info = await connection.request(f"$JS.API.STREAM.INFO.{name}")
            assert (info["state"]["messages"], info["state"]["consumer_count"]) == (1, 0)
        for name in (desk.lane_stream, desk.record_stream):
            assert "error" in await connection.request(f"$JS.API.STREAM.INFO.{name}")
        await link.close()

    run(main())


def test_a_hub_that_may_not_do_its_part_ends_with_one_line(broker: NatsServer, tmp_path: Path) -> None:
    engine = f"nats://deaf:hidden@{broker.address}"
    ended = run_command("serve", "--port", "0", "--engine", engine, "--data-dir", str(tmp_path))
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("observability: ")]
    assert 'subscription to "obs.main.question"; allow it in the permissions of the user' in line
    assert "hidden" not in ended.stderr


def test_a_small_max_payload_is_said(broker: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    checked_as(broker, "desk", check_hub_access)
    assert "take messages of 100,000 bytes (max_payload), less than their default of 1,048,576" in caplog.text


def test_limits_of_a_stream_that_are_not_ours_are_said(broker: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        desk = desk_of(broker, "desk", desk="limits")
        async with broker.client(user="desk", password="hidden") as client:
            await client.jetstream().add_stream(
                name=desk.frame_stream, subjects=[desk.frame_subject], storage="memory", max_msgs=7, allow_direct=True
            )
        link = Link(desk, HostClock())
        await link.open()
        assert link.connection is not None
        found = await make_frame_stream(link, link.connection)
        assert found["config"]["max_msgs"] == 7
        said = (
            "stream obs-limits-frames is there with other limits, and used as it is: {'max_msgs': 7, 'max_bytes': -1}"
        )
        assert f"{said}, where a new one has {{'max_msgs': 50, 'max_bytes': 5000000}}" in caplog.text
        # One that has the limits of a new one is nothing to speak of.
        caplog.clear()
        for _ in range(2):
            await make_stream(link, link.connection, "own", "own", storage="memory", max_msgs=1)
        assert caplog.text == ""
        await link.close()

    run(main())


def test_more_copies_than_there_are_servers_are_refused_in_words(broker: NatsServer) -> None:
    async def main() -> None:
        link = Link(desk_of(broker, "desk", desk="copies", cluster_replicas=3), HostClock())
        await link.open()
        assert link.connection is not None
        with pytest.raises(SourceError, match="CLUSTER_REPLICAS is 3, which needs as many servers in one cluster"):
            await make_frame_stream(link, link.connection)
        await link.close()

    run(main())


def test_a_server_without_jetstream_is_refused_in_words(tmp_path: Path) -> None:
    # A comment keeps the server of tests from switching it on.
    broker = NatsServer(tmp_path, config="# no store_dir\nport: -1\n")
    try:
        with pytest.raises(SourceError, match="nats-server has JetStream off; switch it on"):
            run(Link(desk_of(broker, "any"), HostClock()).open())
    finally:
        broker.kill()


class MovedClock(HostClock):
    """A clock that a test sets wrong."""

    ahead_ns = 0

    def time_ns(self) -> int:
        return super().time_ns() + self.ahead_ns


def test_a_clock_that_goes_wrong_later_is_measured_and_said(
    broker: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "CLOCK_SECONDS", 0.02)
    caplog.set_level(logging.INFO)

    async def main() -> None:
        clock = MovedClock()
        link = Link(desk_of(broker, "desk", desk="clock"), clock)
        link.add_opener(lambda connection: make_frame_stream(link, connection))
        await link.open()
        link.start()
        assert "have both follow NTP" not in caplog.text
        clock.ahead_ns = 5 * 10**9
        await until(lambda: "the clock of this host is +5.00 s off that of the NATS servers" in caplog.text)
        clock.ahead_ns = 0
        await until(lambda: "the clock of this host is with that of the NATS servers again" in caplog.text)
        assert caplog.text.count("have both follow NTP") == 1
        await link.close()

    run(main())
