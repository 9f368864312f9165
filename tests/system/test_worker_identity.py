"""However many workers there are, all of them send the same bytes for a tick, and a tick is encoded once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hosts import peers_on_every_worker, streams_on_every_worker
from server_process import TIMEOUT_SECONDS, Server
from ws_client import receive

TICKS = 5
DOCUMENTS = (
    "/api/metrics/current", "/api/metrics/summary", "/api/metrics/symbols",
    "/api/trades/execution/quality", "/api/strategy/performance", "/api/strategy/breaks",
    "/api/system/health", "/api/system/performance", "/api/system/components", "/api/system/stats",
    "/api/system/alerts", "/api/system/alerts/rules",
)  # fmt: skip


@dataclass
class Host:
    """A server, and how many workers serve its clients."""

    server: Server
    workers: int


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda workers: f"{workers} workers")
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    server = Server("--demo", "--workers", str(request.param))
    yield Host(server, request.param)
    server.stop()


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_stream_and_rest_of_every_worker_send_the_same_bytes_per_tick(host: Host, compression: str | None) -> None:
    with (
        peers_on_every_worker(host.server, host.workers) as peers,
        streams_on_every_worker(host.server, host.workers, compression) as clients,
    ):
        polled: list[dict[int, bytes]] = [{} for _ in peers]
        streamed: list[dict[int, bytes]] = [{} for _ in clients]
        common: set[int] = set()
        while len(common) < TICKS:
            for client, seen in zip(clients, streamed, strict=True):
                data = client.recv(timeout=TIMEOUT_SECONDS, decode=False)
                seen[json.loads(data)["seq"]] = data
            for peer, seen in zip(peers, polled, strict=True):
                status, body = peer.get("/api/metrics/current")
                assert status == 200
                seen[json.loads(body)["seq"]] = body
            common = set.intersection(*(set(seen) for seen in (*polled, *streamed)))
    assert len(polled) == len(streamed) == host.workers
    for seq in common:
        assert len({seen[seq] for seen in (*polled, *streamed)}) == 1


def test_a_version_of_a_document_is_the_same_bytes_from_every_worker(host: Host) -> None:
    with peers_on_every_worker(host.server, host.workers) as peers:
        bodies: dict[str, dict[bytes, set[bytes]]] = {path: defaultdict(set) for path in DOCUMENTS}
        answered_by: dict[str, dict[bytes, set[int]]] = {path: defaultdict(set) for path in DOCUMENTS}

        def common(path: str) -> int:
            """Returns how many versions every worker has answered with."""
            return sum(len(workers) == host.workers for workers in answered_by[path].values())

        while min(common(path) for path in DOCUMENTS) < TICKS:
            for path in DOCUMENTS:
                for worker, peer in enumerate(peers):
                    etag, body = peer.get_version(path)
                    bodies[path][etag].add(body)
                    answered_by[path][etag].add(worker)
    different = {path for path in DOCUMENTS if any(len(seen) != 1 for seen in bodies[path].values())}
    assert different == set()


def test_a_tick_is_encoded_once_however_many_clients_there_are(host: Host) -> None:
    with (
        peers_on_every_worker(host.server, host.workers) as peers,
        streams_on_every_worker(host.server, host.workers, None) as clients,
    ):
        before = after = json.loads(peers[0].get("/api/system/stats")[1])
        while after["ticks"] < before["ticks"] + TICKS:
            for client in clients:
                receive(client)
            for peer in peers:
                peer.get("/api/metrics/current")
            after = json.loads(peers[-1].get("/api/system/stats")[1])
    assert after["snapshots_encoded"] - before["snapshots_encoded"] == after["ticks"] - before["ticks"]
