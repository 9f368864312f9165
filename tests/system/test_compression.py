"""permessage-deflate over a real server: clients inflate what others get uncompressed, and each tick is compressed once
for all of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection

from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect, receive, receive_deltas, receive_text

StartServer = Callable[..., Server]

pytestmark = [
    pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, scope="module"),
    pytest.mark.broadcast,
]

TICKS = 100
TAKEOVER = ClientPerMessageDeflateFactory()
NO_TAKEOVER = ClientPerMessageDeflateFactory(server_no_context_takeover=True)


@pytest.fixture
def fast_server(start_server: StartServer) -> Server:
    return start_server("--demo", METRIC_COLLECTION_INTERVAL="0.01", WS_RATE_LIMIT="0")


@contextmanager
def join(server: Server, factory: ClientPerMessageDeflateFactory | None, query: str = "") -> Iterator[ClientConnection]:
    extensions = None if factory is None else [factory]
    url = f"{server.websocket_url}{query}"
    with connect(url, compression=None, extensions=extensions) as connection:
        yield connection


@dataclass
class Received:
    """What one client has received: its snapshots by number, and how many it was told that it missed."""

    texts: dict[int, str] = field(default_factory=dict)
    skipped: int = 0

    def collect(self, connection: ClientConnection, last_seq: int) -> None:
        """Receives snapshots up to `last_seq`."""
        while True:
            data = connection.recv(TIMEOUT_SECONDS)
            assert isinstance(data, str)
            document = json.loads(data)
            if document["type"] == "lag":
                self.skipped += document["skipped"]
            elif document["type"].startswith("metrics"):
                self.texts[document["seq"]] = data
                if document["seq"] >= last_seq:
                    return


def collect_all(connections: list[ClientConnection], received: list[Received], last_seq: int) -> None:
    threads = [
        threading.Thread(target=one.collect, args=(connection, last_seq))
        for connection, one in zip(connections, received, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)


def compressions(server: Server) -> dict[str, float]:
    families = text_string_to_metric_families(server.get_bytes("/metrics").decode())
    samples = [s for f in families for s in f.samples if s.name == "websocket_compressions_total"]
    return {sample.labels["kind"]: sample.value for sample in samples}


def test_every_client_inflates_to_the_same_text(fast_server: Server) -> None:
    with ExitStack() as stack:
        factories = (None, TAKEOVER, TAKEOVER, NO_TAKEOVER)
        # Clients that ask for something are told of what they miss.
        connections = [stack.enter_context(join(fast_server, factory, "?channels=metrics")) for factory in factories]
        received = [Received() for _ in connections]
        common = [0]
        # Two workers need not skip the same snapshots.
        while min(common) <= 10:
            collect_all(connections, received, fast_server.get("/api/metrics/current")["seq"] + TICKS)
            plain, *inflated = (one.texts for one in received)
            common = [len(plain.keys() & messages.keys()) for messages in inflated]
    for messages in inflated:
        assert all(plain[seq] == messages[seq] for seq in plain.keys() & messages.keys())
    for one in received:
        assert max(one.texts) - min(one.texts) + 1 == len(one.texts) + one.skipped


def test_clients_that_join_and_change_their_view_stay_in_step(fast_server: Server) -> None:
    received = Received()
    compared = 0
    with join(fast_server, None) as plain, join(fast_server, TAKEOVER) as changing:
        first = fast_server.get("/api/metrics/current")["seq"]
        thread = threading.Thread(target=received.collect, args=(plain, first + TICKS))
        thread.start()
        while thread.is_alive():
            changing.send('{"type":"subscribe","channels":["execution"]}')
            receive_text(changing, "subscribed")
            changing.send("ping")
            changing.send('{"type":"subscribe","channels":["metrics"]}')
            receive_text(changing, "subscribed")
            for _ in range(5):
                data = receive_text(changing, "metrics_update")
                other = received.texts.get(json.loads(data)["seq"])
                if other is not None:
                    assert data == other
                    compared += 1
            with join(fast_server, TAKEOVER) as joining:
                assert receive(joining, "metrics_update")["market_data"]
    assert compared > 10


def test_deltas_are_compressed_too_and_add_up(fast_server: Server) -> None:
    with join(fast_server, TAKEOVER, "?mode=delta") as connection:
        assert len(list(receive_deltas(connection, TICKS))) == TICKS


def test_a_tick_is_compressed_once_however_many_clients_there_are(
    fast_server: Server, worker_arguments: tuple[str, ...]
) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(join(fast_server, TAKEOVER)) for _ in range(8)]
        start, before = fast_server.get("/api/metrics/current")["seq"], compressions(fast_server)
        collect_all(connections, [Received() for _ in connections], start + 50)
        after, end = compressions(fast_server), fast_server.get("/api/metrics/current")["seq"]
    processes = 2 if worker_arguments else 1
    assert 10 < after["stepped"] - before["stepped"] <= processes * (end - start + 1)


def test_a_client_may_send_compressed_messages(fast_server: Server) -> None:
    with join(fast_server, TAKEOVER) as connection:
        connection.send(json.dumps({"type": "ping", "id": "x" * 60}))
        assert receive(connection, "pong")["id"] == "x" * 60
