"""Two hubs of a desk: one leads, the other follows its log and takes its place."""

from __future__ import annotations

import asyncio
import signal
import urllib.error
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cutting_proxy import CuttingProxy
from hosts import fill, post, post_until_taken, trade_ids, wait_until
from hub_program import HubProgram
from nats_server import NatsServer
from server_process import TIMEOUT_SECONDS, Served, Server, free_port, running
from storms import desk_kills
from ws_client import connect, receive


class Desk:
    """A NATS server, an edge, and hubs as a test starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = NatsServer(folder)
        self.engine = f"nats://{self.broker.address}"
        self.programs: list[HubProgram] = []
        self.servers: list[Server] = []

    def start_hub(self, name: str, engine: str | None = None) -> HubProgram:
        self.programs.append(HubProgram(engine or self.engine, self.folder / name))
        return self.programs[-1]

    def start_hubs(self, engine: str | None = None) -> tuple[HubProgram, HubProgram]:
        """Returns one that leads, and one that stands by. The first one connects to `engine`."""
        first = self.start_hub("a", engine)
        first.wait_until_it_leads()
        second = self.start_hub("b")
        second.wait_for_log("standing by: the hub on ")
        return first, second

    def start_edge(self) -> Server:
        self.servers.append(Server("--engine", self.engine, "--role", "edge"))
        return self.servers[-1]

    def close(self) -> None:
        for program in self.programs:
            program.kill()
        for server in self.servers:
            server.stop()
        self.broker.kill()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def desk_of(server: Served) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/api/system/health")["desk"]
    return found


def leading(desk: dict[str, Any]) -> int | None:
    """Returns the process of the hub that leads, if one does."""
    return desk["leader"]["pid"] if desk["leader"] else None


def book(server: Served) -> dict[str, Any]:
    """What must be the same at the hub that takes the place of another one."""
    strategy = server.next_snapshot()["strategy"]
    money = {name: strategy[name] for name in ("realized_pnl", "total_pnl", "open_positions", "gross_exposure")}
    return {
        "money": money,
        "positions": [
            {k: v for k, v in each.items() if k != "stale"} for each in server.get("/api/positions")["positions"]
        ],
        "trades": server.get("/api/trades?limit=1000")["trades"],
        "orders": server.get("/api/orders?limit=1000")["orders"],
    }


EVENTS = [
    *[fill(number, side, f"{100 + number * 0.1:.1f}") for number, side in enumerate(["buy", "buy", "sell"] * 5)],
    {"type": "order", "order_id": "o", "symbol": "Y", "side": "buy", "quantity": "3", "status": "new"},
    {"type": "cash", "cash_id": "c", "amount": "1000.01", "currency": "USD", "reason": "deposit"},
]


def test_a_standby_takes_the_place_of_a_killed_hub_with_the_same_state(desk: Desk) -> None:
    first, second = desk.start_hubs()
    edge = desk.start_edge()
    with connect(f"{edge.websocket_url}?channels=trades&lane_since=0") as lane:
        for event in EVENTS:
            post_until_taken(edge, [event])
        before = wait_until(lambda: found if len((found := book(first))["trades"]) == 15 else None)
        # Each host is heard of by itself.
        led = wait_until(lambda: found if (found := desk_of(edge))["leader"] and found["standby"] else None)
        assert led["leader"]["pid"] == first.process.pid
        assert [each["pid"] for each in led["standby"]] == [second.process.pid]
        wait_until(
            lambda: [hub["records_behind"] for each in (edge, first) for hub in desk_of(each)["standby"]] == [0, 0]
        )
        first.process.send_signal(signal.SIGKILL)
        second.wait_until_it_leads()
        assert book(second) == before
        now = wait_until(lambda: found if leading(found := desk_of(edge)) == second.process.pid else None)
        assert now["leader"]["term"] > led["leader"]["term"] and now["leader"]["since"] > led["leader"]["since"]
        assert now["standby"] == []
        # Sent again, nothing counts twice; and what follows continues the lane.
        answer = post_until_taken(edge, [*EVENTS, fill(99, "buy", "1")])
        assert (answer["accepted"], answer["duplicates"]) == (2, 16)
        came = [receive(lane, "trade") for _ in range(16)]
    assert [trade["trade_id"] for trade in came] == [*map(str, range(15)), "99"]
    assert all(after["prev"] == trade["seq"] for trade, after in pairwise(came))


def test_the_numbers_of_frames_count_on_when_all_servers_have_lost_them(tmp_path: Path) -> None:
    broker = NatsServer(tmp_path, "-p", str(free_port()))
    engine = f"nats://{broker.address}"
    hub = HubProgram(engine, tmp_path / "a")
    try:
        hub.wait_until_it_leads()
        with running("--engine", engine, "--role", "edge") as edge, connect(edge.websocket_url) as stream:
            before = receive(stream, "metrics_update")
            hub.kill()
            broker.kill()
            broker.start()
            last = edge.get("/api/metrics/current")["seq"]
            hub = HubProgram(engine, tmp_path / "a")
            after = receive(stream, "metrics_update")
            while after["epoch"] == before["epoch"]:
                after = receive(stream, "metrics_update")
            assert after["seq"] > last
            assert "the NATS servers have lost frames: their newest one is 0" in hub.log
    finally:
        hub.kill()
        broker.kill()


def test_a_hub_that_stops_hands_over_and_follows_when_it_comes_back(desk: Desk) -> None:
    first, second = desk.start_hubs()
    edge = desk.start_edge()
    post_until_taken(edge, [fill(1, "buy", "10")])
    first.process.terminate()
    assert first.process.wait(TIMEOUT_SECONDS) == 0
    second.wait_until_it_leads()
    post_until_taken(edge, [fill(2, "buy", "10")])
    again = desk.start_hub("a")
    again.wait_for_log("standing by: the hub on ")
    post_until_taken(edge, [fill(3, "buy", "10")])
    second.process.terminate()
    again.wait_until_it_leads()
    assert trade_ids(again, 3) == ["3", "2", "1"]


def test_a_hub_that_is_cut_off_ends_and_has_acknowledged_nothing_that_is_lost(desk: Desk) -> None:
    async def main() -> None:
        async with CuttingProxy(desk.broker.port).running() as proxy:
            first, second = await asyncio.to_thread(desk.start_hubs, f"nats://127.0.0.1:{proxy.port}")
            await asyncio.to_thread(post_until_taken, first, [fill(1, "buy", "10")])
            proxy.stall()
            with pytest.raises((urllib.error.HTTPError, OSError)):
                await asyncio.to_thread(post, first, "/api/ingest", [fill(2, "buy", "10")])
            assert await asyncio.to_thread(first.process.wait, TIMEOUT_SECONDS) == 1
            assert "this one ends" in first.log
            await asyncio.to_thread(second.wait_until_it_leads)
            assert await asyncio.to_thread(trade_ids, second) == ["1"]
            proxy.resume()
            # Its store is still a copy of the log: it follows again.
            again = desk.start_hub("a")
            await asyncio.to_thread(again.wait_for_log, "standing by: the hub on ")
            await asyncio.to_thread(post_until_taken, second, [fill(3, "buy", "10")])
            second.process.kill()
            await asyncio.to_thread(again.wait_until_it_leads)
            assert await asyncio.to_thread(trade_ids, again) == ["3", "1"]

    asyncio.run(main())


def test_a_store_of_another_desk_cannot_follow(desk: Desk, tmp_path: Path) -> None:
    first = desk.start_hub("a")
    first.wait_until_it_leads()
    with running("--data-dir", str(tmp_path / "b")) as server:
        post_until_taken(server, [fill(1, "buy", "10")])
    other = desk.start_hub("b")
    assert other.process.wait(TIMEOUT_SECONDS) == 1
    assert "copy the store of the hub that leads (`observability backup`)" in other.log


# -- kills and partitions at random


def test_no_acknowledged_event_is_lost_over_kills_and_partitions(tmp_path: Path) -> None:
    reported: list[str] = []
    asyncio.run(desk_kills.run(tmp_path, rounds=3, seed=1, report=reported.append))
    assert reported[-1].endswith("nothing lost, nothing twice, no older epoch after a newer one")
