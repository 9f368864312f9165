"""A desk on three NATS servers, which loses one of them and then the hub that leads. Takes a minute:

pytest tests/support/storms/three_servers.py
"""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from pathlib import Path

from hosts import wait_until
from hub_program import HubProgram
from nats_cluster import NatsCluster
from server_process import Served, Server
from storms.desk_kills import Traffic

REPLICAS = {"CLUSTER_REPLICAS": "3"}
# The default. The servers may need longer to elect who leads the lease; the other hub leads then.
LEASE = {"CLUSTER_LEASE": "5"}


class Hubs:
    """Two hubs. One that has ended by itself is started again, as a service manager does."""

    def __init__(self, engine: str, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._programs: dict[str, HubProgram] = {}

    def start(self, name: str) -> HubProgram:
        self._programs[name] = HubProgram(self._engine, self._folder / name, **REPLICAS, **LEASE)
        return self._programs[name]

    def leader(self) -> HubProgram:
        """Returns the hub that leads, once there is one."""
        return wait_until(self._leader)

    def kill(self, program: HubProgram) -> None:
        """Ends a hub for good."""
        program.kill()
        self._programs = {name: each for name, each in self._programs.items() if each is not program}

    def close(self) -> None:
        for program in self._programs.values():
            program.kill()

    def _leader(self) -> HubProgram | None:
        for name, program in list(self._programs.items()):
            if program.process.poll() is not None:
                program.kill()
                self.start(name)
        return next((each for each in self._programs.values() if each.is_leading), None)


def test_a_desk_outlives_a_nats_server_and_then_its_hub(tmp_path: Path) -> None:
    asyncio.run(lose_a_server_and_a_hub(tmp_path))


async def lose_a_server_and_a_hub(folder: Path) -> None:
    async with contextlib.AsyncExitStack() as opened:
        cluster = await asyncio.to_thread(NatsCluster, folder)
        opened.callback(cluster.close)
        hubs = Hubs(cluster.engine("desk"), folder)
        opened.callback(hubs.close)
        await asyncio.to_thread(hubs.start("a").wait_until_it_leads)
        await asyncio.to_thread(hubs.start("b").wait_for_log, "standing by: the hub on ")
        edges = []
        for _ in range(2):
            edges.append(await asyncio.to_thread(Server, "--engine", cluster.engine("edge"), "--role", "edge"))
            opened.callback(edges[-1].stop)
        traffic = Traffic()
        opened.push_async_callback(traffic.stop)
        traffic.begin(edges)
        await traffic.goes_on(events=10, frames=5)

        killed = await asyncio.to_thread(cluster.leader_of, "obs-main-lease")
        cluster.kill(killed)
        await traffic.goes_on(events=20, frames=20)
        assert await asyncio.to_thread(cluster.leader_of, "obs-main-lease") != killed

        hubs.kill(await asyncio.to_thread(hubs.leader))
        hub = await asyncio.to_thread(hubs.leader)
        await traffic.goes_on(events=20, frames=20)
        await traffic.finish(hub)

        # Each was a purchase of two, and each sender had its answer.
        bought = 2 * len(traffic.history.acknowledged)
        for server in (hub, *edges):
            await asyncio.to_thread(wait_until, lambda server=server: quantity_at(server) == bought)


def quantity_at(server: Served) -> Decimal:
    (position,) = server.get("/api/positions")["positions"]
    return Decimal(position["quantity"])
