"""An HTTP server with nothing but ingest over HTTP and WebSocket, and a log that commits when a test says so."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from websockets.sync.client import ClientConnection

from observability.access.authorization import OriginCheck
from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.ingest.gate import IngestGate
from observability.memory.counters import Counters
from observability.routing.application import Application
from observability.routing.router import Router
from observability.senders.endpoint import SenderEndpoint
from observability.senders.route import IngestRoutes
from paced_log import PacedLog
from server_process import TIMEOUT_SECONDS
from ws_client import connect, receive

WAIT_SECONDS = TIMEOUT_SECONDS


def fill(number: int) -> str:
    """Returns a fill as JSON."""
    return json.dumps(
        {
            "type": "fill",
            "trade_id": f"t{number}",
            "order_id": "o",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "1",
            "price": "2",
        }
    )


class IngestServer:
    """The server, its endpoint and its log."""

    def __init__(
        self,
        serve: Callable[[Application], Any],
        *,
        is_prompt: bool = False,
        heartbeat_seconds: float = 15,
        **options: Any,
    ) -> None:
        bus, clock, counters, router = Bus(), EventClock(HostClock()), Counters(), Router()
        self.log = PacedLog(bus, is_prompt=is_prompt)
        gate = IngestGate(bus, self.log, clock, counters, **options)
        IngestRoutes(gate).add_to(router)
        router.add_websocket("/ws/ingest", SenderEndpoint.role)
        application = Application(router)
        self.http = serve(application)
        self.endpoint: SenderEndpoint = self.http.call(
            lambda: SenderEndpoint(
                gate,
                clock,
                counters,
                self.http.loop,
                origins=OriginCheck(),
                heartbeat_seconds=heartbeat_seconds,
            )
        )
        application.upgrade = self.endpoint.upgrade

    def commit(self, position: int | None = None) -> None:
        """Commits all rows, or those up to `position`."""
        self.http.call(lambda: self.log.commit(position))

    def wait_for_fills(self, count: int) -> None:
        self.http.wait_until(lambda: len(self.log.fills) >= count)

    def post(self, body: bytes | str, **fields: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Returns status, header fields and document of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http.port, timeout=WAIT_SECONDS)
        with closing(connection):
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request("POST", "/api/ingest", body, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), json.loads(response.read())

    @contextmanager
    def sender(self, **options: Any) -> Iterator[ClientConnection]:
        """Connects a sender and reads its greeting."""
        with connect(f"ws://127.0.0.1:{self.http.port}/ws/ingest", **options) as connection:
            assert receive(connection)["type"] == "connected"
            yield connection

    def stop(self) -> None:
        self.commit()
        self.http.run(self.endpoint.close(WAIT_SECONDS))


MakeIngestServer = Callable[..., IngestServer]
