"""What hosts of a desk say of themselves over a real server, and what each of them makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from desk_links import link_to, run, until
from fake_clock import FakeClock
from nats_server import NatsServer
from observability.cluster.failover import presence
from observability.cluster.failover.presence import Backlog, HostStatus, Presence
from observability.memory.counters import Counters


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


class Host:
    """A host of a desk on a server, with a clock of its own, and the status that a test gives it."""

    def __init__(self, broker: NatsServer, desk: str, status: HostStatus) -> None:
        self.status = status
        self.counters = Counters()
        self.clock = FakeClock()
        self.link = link_to(broker.port, desk, self.clock)
        self.presence = Presence(self.link, self.clock, lambda _: self.status, self.counters)

    async def __aenter__(self) -> Host:
        await self.link.open()
        self.presence.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.presence.stop()
        await self.link.close()

    def seen(self, kind: str) -> list[Any]:
        found: list[Any] = self.presence.to_json()[kind]
        return found

    async def hear(self, data: bytes) -> None:
        """Lets another host of the desk say something."""
        assert self.link.connection is not None
        await self.link.connection.publish(self.link.desk.status_subject, data)
        # What was published before comes before the answer.
        await self.link.connection.request("$JS.API.INFO")


def status(ident: str, role: Any = "hub", **changing: Any) -> HostStatus:
    return HostStatus(ident, role, ident, 1, "0", **changing)


def test_every_host_sees_every_other_one(broker: NatsServer) -> None:
    async def main() -> None:
        leader = status("a", term=3, since_ns=10**18, epoch="e", seq=7, log_seq=9)
        standby = status("b", log_seq=8, behind=1, behind_ns=2 * 10**9)
        edge = status("c", "edge", epoch="e", seq=5, behind=2, behind_ns=10**8, lag_ns=10**6, clients=4)
        async with Host(broker, "all", leader) as a, Host(broker, "all", standby) as b, Host(broker, "all", edge) as c:
            await until(lambda: all(len(each.presence._seen()) == 3 for each in (a, b, c)))
            seen = [each.presence.to_json() for each in (a, b, c)]
        own = ("role", "host", "leads")
        assert [{name: each.pop(name) for name in own} for each in seen] == [
            {"role": "hub", "host": "a", "leads": True},
            {"role": "hub", "host": "b", "leads": False},
            {"role": "edge", "host": "c", "leads": False},
        ]
        assert seen[0] == seen[1] == seen[2]
        host = {"pid": 1, "version": "0", "age_seconds": 0.0}
        assert seen[0] == {
            "name": "all",
            "pid": 1,
            "trouble": None,
            "leader": {
                "host": "a", **host, "since": "2001-09-09T01:46:40.000Z", "term": 3, "epoch": "e", "seq": 7,
            },
            "standby": [{"host": "b", **host, "records_behind": 1, "seconds_behind": 2.0}],
            # What it has lacked for longer than its newest frame took is the lag.
            "edges": [
                {"host": "c", **host, "epoch": "e", "seq": 5, "frames_behind": 2, "lag_ms": 100.0, "clients": 4}
            ],
        }  # fmt: skip

    run(main())


def test_a_host_that_says_nothing_more_is_forgotten(broker: NatsServer) -> None:
    async def main() -> None:
        async with Host(broker, "silent", status("c", "edge")) as edge:
            assert edge.presence.trouble == "no hub leads desk silent now"
            async with Host(broker, "silent", status("a", term=1)):
                await until(lambda: edge.presence.leader() is not None)
            edge.clock.advance(presence.FORGET_SECONDS)
            leader = edge.presence.to_json()["leader"]
            assert leader is not None and leader["age_seconds"] == presence.FORGET_SECONDS
            edge.clock.advance(0.1)
            assert edge.presence.to_json()["leader"] is None
            assert edge.presence.trouble == "no hub leads desk silent now"
            assert [each["host"] for each in edge.seen("edges")] == ["c"]

    run(main())


def test_the_hub_with_the_highest_term_leads(broker: NatsServer) -> None:
    async def main() -> None:
        async with Host(broker, "terms", status("c", "edge")) as edge:
            for ident, term in (("old", 4), ("new", 5), ("older", 3)):
                await edge.hear(msgspec.json.encode(status(ident, term=term)))
            leader = edge.presence.leader()
            assert leader is not None and leader.ident == "new"
            assert edge.seen("standby") == []

    run(main())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"ident":"x","role":"king","host":"x","pid":1,"version":"0"}',
     b'{"ident":"x","role":"edge","host":"x","pid":-1,"version":"0"}',
     b'{"ident":"x","role":"edge","host":"x","pid":1,"version":"0","behind":%d}' % 2**63,
     b'{"x":' + b"[" * 4000,
     msgspec.json.encode(status("x", "edge")) + b" " * presence.MAX_STATUS_BYTES],
)  # fmt: skip
def test_what_is_no_status_is_left_out(broker: NatsServer, data: bytes) -> None:
    async def main() -> None:
        async with Host(broker, "bad", status("c", "edge")) as edge:
            await edge.hear(data)
            await edge.hear(msgspec.json.encode({**msgspec.to_builtins(status("d", "edge")), "of a newer version": 1}))
            assert [each["host"] for each in edge.seen("edges")] == ["c", "d"]

    run(main())


def test_no_more_hosts_are_kept_than_there_may_be(broker: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MAX_HOSTS", 2)

    async def main() -> None:
        async with Host(broker, "many", status("c", "edge")) as edge:
            for ident in ("d", "e", "f", "d"):
                await edge.hear(msgspec.json.encode(status(ident, "edge")))
            assert [each["host"] for each in edge.seen("edges")] == ["c", "d", "e"]
            edge.clock.advance(presence.FORGET_SECONDS + 1)
            await edge.hear(msgspec.json.encode(status("g", "edge")))
            assert [each["host"] for each in edge.seen("edges")] == ["c", "g"]

    run(main())


def test_a_host_without_a_connection_says_so_and_knows_itself(broker: NatsServer) -> None:
    async def main() -> None:
        host = Host(broker, "cut", status("c", "edge", clients=3))
        desk = host.presence.to_json()
        assert desk["trouble"] == "no connection to the NATS servers: not connected yet"
        assert [each["clients"] for each in desk["edges"]] == [3]

    run(main())


def test_the_figures_of_a_desk_are_those_of_the_host_that_is_furthest_behind(broker: NatsServer) -> None:
    async def main() -> None:
        async with Host(broker, "figures", status("a", term=1, since_ns=2 * 10**9)) as hub:
            for each in (
                status("b", log_seq=1, behind=7, behind_ns=10**9),
                status("c", log_seq=8),
                status("d", "edge", lag_ns=10**6, behind=3),
                status("e", "edge", lag_ns=10**7),
            ):
                await hub.hear(msgspec.json.encode(each))
            await until(lambda: hub.counters.total("cluster_edges") == 2)
            names = ("leaders", "hubs_standing_by", "standby_records_behind", "edges_frames_behind")
            assert [hub.counters.total(f"cluster_{name}") for name in names] == [1, 2, 7, 3]
            seconds = ("standby_behind_seconds", "edges_lag_seconds", "leading_since_seconds")
            assert [hub.counters.float_total(f"cluster_{name}") for name in seconds] == [1.0, 0.01, 2.0]

    run(main())


def test_a_backlog_says_for_how_long_something_has_been_lacking() -> None:
    clock = FakeClock()
    backlog = Backlog(clock)
    seen = []
    for seq, newest in ((5, 3), (5, 5), (5, 8), (7, 8), (8, 8), (8, 9)):
        clock.advance(1.0)
        backlog.update(seq, newest)
        seen.append((backlog.entries, backlog.behind_ns / 10**9))
    assert seen == [(0, 0.0), (0, 0.0), (3, 1.0), (1, 2.0), (0, 0.0), (1, 1.0)]
