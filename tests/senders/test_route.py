"""Both doors of ingest over a log whose disk is as fast as the test says: answers that wait, senders that are held."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from observability.access.authorization import OriginCheck
from observability.access.limits import Limits
from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.ingest.gate import MAX_EVENTS, IngestGate
from observability.memory.counters import Counters
from observability.routing.application import Application
from observability.routing.router import Router
from observability.senders.endpoint import SenderEndpoint
from observability.senders.route import MAX_BODY_BYTES, IngestRoutes
from observability.senders.sender import MAX_ERRORS, MAX_MESSAGE_BYTES, MAX_TAKING, MAX_WAITING
from paced_log import PacedLog

WAIT_SECONDS = 10
SMALL_BODY_BYTES = 1000


def fill(number: int) -> str:
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


class Doors:
    """A server with nothing but ingest, and its log."""

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
        self.gate = IngestGate(bus, self.log, clock, counters, **options)
        IngestRoutes(self.gate).add_to(router)
        router.add_websocket("/ws/ingest", "write")
        application = Application(router, limits=Limits(max_body_bytes=SMALL_BODY_BYTES))
        self.server = serve(application)
        self.stream: SenderEndpoint = self.server.call(
            lambda: SenderEndpoint(
                self.gate,
                clock,
                counters,
                self.server.loop,
                heartbeat_seconds=heartbeat_seconds,
                origins=OriginCheck(),
            )
        )
        application.upgrade = self.stream.upgrade

    def commit(self) -> None:
        self.server.call(self.log.commit)

    def wait_for_fills(self, count: int) -> None:
        self.server.wait_until(lambda: len(self.log.fills) >= count)

    def post(self, body: bytes | str, **fields: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_SECONDS)
        with closing(connection):
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request("POST", "/api/ingest", body, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), json.loads(response.read())

    @contextmanager
    def sender(self, **options: Any) -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.server.port}/ws/ingest", **options) as connection:
            assert json.loads(connection.recv(WAIT_SECONDS))["type"] == "connected"
            yield connection


MakeDoors = Callable[..., Doors]


@pytest.fixture
def doors(serve: Callable[[Application], Any]) -> Iterator[MakeDoors]:
    made: list[Doors] = []

    def make(**options: Any) -> Doors:
        made.append(Doors(serve, **options))
        return made[-1]

    yield make
    for each in made:
        each.commit()
        each.server.run(each.stream.close(WAIT_SECONDS))


def receive(sender: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(sender.recv(WAIT_SECONDS))
    return message


# -- over HTTP


def test_a_request_is_answered_when_its_fills_are_on_disk(doors: MakeDoors) -> None:
    door = doors()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(door.post(fill(1))))
    asking.start()
    door.wait_for_fills(1)
    assert answers == []
    door.commit()
    asking.join(WAIT_SECONDS)
    ((status, _, body),) = answers
    assert (status, body["accepted"]) == (200, 1)


def test_a_disk_that_is_late_is_503_with_retry_after(doors: MakeDoors) -> None:
    door = doors(durable_seconds=0.05)
    status, fields, body = door.post(fill(1))
    assert (status, fields["Retry-After"], fields["Content-Type"]) == (503, "1", "application/problem+json")
    assert "send it again" in body["detail"]


def test_a_peer_that_goes_away_does_not_break_its_batch_off(doors: MakeDoors) -> None:
    door = doors()
    body = b"[%b]" % b",".join(fill(number).encode() for number in range(MAX_EVENTS))
    with door.server.connect() as sock:
        sock.sendall(b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        door.wait_for_fills(1)
        # A reset, not just the end of what is sent.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    door.server.wait_until(lambda: door.server.listener.connection_count == 0)
    door.wait_for_fills(MAX_EVENTS)


def test_the_larger_body_is_this_route_s_alone(doors: MakeDoors) -> None:
    door = doors(is_prompt=True)
    assert door.post(fill(1) + " " * SMALL_BODY_BYTES)[0] == 200
    for path, size in (("/api/ingest", MAX_BODY_BYTES + 1), ("/none", SMALL_BODY_BYTES + 1)):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        assert b"413 Content Too Large" in door.server.exchange(head.encode())


@pytest.mark.parametrize(
    ("value", "status"),
    [('"k"', 200), ("k", 200), ("8e03978e-40d5-43e8-bc93-6894a57f9324", 200), (r'"a\"b\\"', 200), ('""', 400),
     ("a b", 400), ('"a', 400), ('"a";b=1', 400), ("a,b", 400), ("k" * 256, 400)],
)  # fmt: skip
def test_a_key_is_one_string_in_quotes_or_bare(doors: MakeDoors, value: str, status: int) -> None:
    assert doors(is_prompt=True).post(fill(1), Idempotency_Key=value)[0] == status


def test_a_key_in_quotes_is_the_key(doors: MakeDoors) -> None:
    door = doors(is_prompt=True)
    door.post(fill(1), Idempotency_Key='"k"')
    assert door.post(fill(1), Idempotency_Key="k")[1]["Idempotent-Replayed"] == "true"


def test_content_with_a_coding_is_415_that_says_which_is_taken(doors: MakeDoors) -> None:
    status, fields, _ = doors().post(fill(1), Content_Encoding="gzip")
    assert (status, fields["Accept-Encoding"]) == (415, "identity")


# -- over WebSocket


def test_messages_are_acknowledged_in_order_each_when_it_is_on_disk(doors: MakeDoors) -> None:
    door = doors()
    with door.sender() as sender:
        for number in range(3):
            sender.send(fill(number))
        sender.send('{"type":"heartbeat","component":"engine"}')
        door.wait_for_fills(3)
        with pytest.raises(TimeoutError):
            sender.recv(0.05)
        door.server.call(lambda: door.log.commit(1))
        assert receive(sender)["seq"] == 1
        door.commit()
        assert [receive(sender)["seq"] for _ in range(3)] == [2, 3, 4]


def test_a_sender_is_not_read_from_while_too_much_of_it_waits(doors: MakeDoors) -> None:
    door = doors(durable_seconds=WAIT_SECONDS)
    with door.sender() as sender:
        (client,) = door.stream.clients.values()
        sent = 2 * MAX_WAITING
        for number in range(sent):
            sender.send(fill(number))
        door.server.wait_until(lambda: client.is_held)
        assert door.server.call(lambda: len(door.log.fills)) == MAX_TAKING
        acks: list[int] = []
        while len(acks) < sent:
            door.commit()
            acks.append(receive(sender)["seq"])
        assert acks == list(range(1, sent + 1))
        assert door.log.fills == [f"t{number}" for number in range(sent)]
        door.server.wait_until(lambda: not client.is_held)


def test_a_sender_that_is_held_is_not_taken_for_dead(doors: MakeDoors) -> None:
    door = doors(heartbeat_seconds=0.05, durable_seconds=WAIT_SECONDS)
    door.server.call(door.stream.start)
    with door.sender() as sender:
        (client,) = door.stream.clients.values()
        beats: list[None] = []
        send_ping = client.send_ping
        client.send_ping = lambda: beats.append(send_ping())  # type: ignore[method-assign,func-returns-value]
        for number in range(MAX_WAITING):
            sender.send(fill(number))
        door.server.wait_until(lambda: client.is_held)
        beats.clear()
        door.server.wait_until(lambda: len(beats) > 5)
        for number in range(MAX_WAITING):
            door.commit()
            assert receive(sender)["seq"] == number + 1


def test_on_shutdown_what_was_taken_is_acknowledged_before_the_close(doors: MakeDoors) -> None:
    door = doors(durable_seconds=WAIT_SECONDS)
    with door.sender() as sender:
        sender.send(fill(1))
        door.wait_for_fills(1)
        closing_stream = threading.Thread(target=lambda: door.server.run(door.stream.close(WAIT_SECONDS)))
        closing_stream.start()
        (client,) = door.stream.clients.values()
        door.server.wait_until(lambda: client._is_finishing)
        door.commit()
        assert receive(sender)["accepted"] == 1
        with pytest.raises(ConnectionClosed) as closed:
            sender.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        closing_stream.join(WAIT_SECONDS)


def test_a_disk_that_is_late_is_an_error_and_the_sender_goes_on(doors: MakeDoors) -> None:
    door = doors(durable_seconds=0.05)
    with door.sender() as sender:
        sender.send(fill(1))
        answer = receive(sender)
        assert (answer["type"], answer["seq"], answer["code"]) == ("error", 1, "unavailable")
        door.commit()
        sender.send(fill(1))
        assert receive(sender)["duplicates"] == 1


def test_a_large_message_is_one_that_is_larger_than_the_stream_s(doors: MakeDoors) -> None:
    door = doors(is_prompt=True)
    with door.sender(compression=None) as sender:
        sender.send(fill(1) + " " * (MAX_MESSAGE_BYTES - 1000))
        assert receive(sender)["accepted"] == 1
        sender.send(" " * (MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            sender.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_sender_that_is_never_understood_is_closed(doors: MakeDoors) -> None:
    with doors().sender() as sender:
        for number in range(1, MAX_ERRORS + 1):
            sender.send("nothing")
            answer = receive(sender)
            assert (answer["type"], answer["code"], answer["seq"]) == ("error", "bad_message", number)
        with pytest.raises(ConnectionClosed) as closed:
            sender.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_binary_is_no_message(doors: MakeDoors) -> None:
    with doors().sender() as sender:
        sender.send(b"[]")
        with pytest.raises(ConnectionClosed) as closed:
            sender.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003


def test_messages_of_a_sender_that_is_gone_are_still_taken_once_begun(doors: MakeDoors) -> None:
    door = doors(durable_seconds=WAIT_SECONDS)
    with door.sender() as sender:
        sender.send(json.dumps({"events": [json.loads(fill(1))], "key": "k"}))
        door.wait_for_fills(1)
    door.server.wait_until(lambda: not door.stream.clients)
    door.commit()
    assert door.post(f"[{fill(1)}]", Idempotency_Key="k")[1]["Idempotent-Replayed"] == "true"
