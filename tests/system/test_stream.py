"""The metrics stream as clients see it: through the `websockets` package, and raw sockets where rules are bent."""

from __future__ import annotations

import json
import os
import socket
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from server_process import Server

StartServer = Callable[..., Server]


@contextmanager
def client(server: Server, path: str = "/ws/metrics", **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=10, **options) as connection:
        yield connection


def receive(connection: ClientConnection, kind: str) -> dict[str, Any]:
    """Returns the next message of a type; messages of other types are passed over."""
    while True:
        data = connection.recv(timeout=10)
        if data == "pong":
            continue
        message: dict[str, Any] = json.loads(data)
        if message["type"] == kind:
            return message


def code_of_close(connection: ClientConnection) -> int | None:
    """Reads until the server closes; returns the code it gave."""
    try:
        while True:
            connection.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else None


@pytest.mark.parametrize("path", ["/ws/metrics", "/ws"])
def test_a_client_is_greeted_and_gets_the_current_snapshot_at_once(demo_server: Server, path: str) -> None:
    with client(demo_server, path) as connection:
        greeting = json.loads(connection.recv(timeout=10))
        snapshot = json.loads(connection.recv(timeout=10))
    assert greeting["type"] == "connected"
    assert greeting.keys() >= {
        "timestamp",
        "client_id",
        "epoch",
        "seq",
        "update_frequency_hz",
        "server_time",
        "channels",
        "heartbeat_interval",
    }
    assert greeting["update_frequency_hz"] == 10
    assert (snapshot["type"], snapshot["epoch"]) == ("metrics_update", greeting["epoch"])
    assert snapshot["seq"] == greeting["seq"]


def test_sequence_numbers_follow_without_a_gap(demo_server: Server) -> None:
    with client(demo_server) as connection:
        seqs = [receive(connection, "metrics_update")["seq"] for _ in range(10)]
    assert seqs == list(range(seqs[0], seqs[0] + 10))


def test_every_client_and_every_poll_gets_the_same_bytes(demo_server: Server) -> None:
    with client(demo_server) as first, client(demo_server) as second:
        by_seq: list[dict[int, str]] = [{}, {}]
        for _ in range(5):
            for connection, seen in zip((first, second), by_seq, strict=True):
                data = connection.recv(timeout=10)
                assert isinstance(data, str)
                seen[json.loads(data).get("seq", -1)] = data
            polled = demo_server.get_bytes("/api/metrics/current").decode()
            by_seq[0].setdefault(json.loads(polled)["seq"], polled)
            by_seq[1].setdefault(json.loads(polled)["seq"], polled)
    common = [seq for seq in by_seq[0].keys() & by_seq[1].keys() if json.loads(by_seq[0][seq])["type"] != "connected"]
    assert common
    assert all(by_seq[0][seq] == by_seq[1][seq] for seq in common)


def test_a_text_ping_is_answered_with_a_text_pong(demo_server: Server) -> None:
    with client(demo_server) as connection:
        connection.send("ping")
        while connection.recv(timeout=10) != "pong":
            pass


@pytest.mark.parametrize("kind", ["ping", "health"])
def test_a_json_ping_is_answered_with_its_id(demo_server: Server, kind: str) -> None:
    with client(demo_server) as connection:
        connection.send(json.dumps({"type": kind, "id": 7}))
        pong = receive(connection, "pong")
    assert pong["id"] == 7
    assert pong["timestamp"]


def test_a_control_ping_is_answered_with_its_payload(demo_server: Server) -> None:
    with client(demo_server) as connection:
        assert connection.ping(b"abc").wait(10)


@pytest.mark.parametrize(
    "text", ["hello", "{", "[]", '{"type":"ping","id":18446744073709551616}', '{"type":7}', '{"type":"dance"}', ""]
)
def test_what_is_not_understood_is_answered_with_an_error(demo_server: Server, text: str) -> None:
    with client(demo_server) as connection:
        connection.send(text)
        error = receive(connection, "error")
    assert error["code"] in ("bad_message", "unknown_type")
    assert error["message"]


def test_a_client_that_keeps_sending_nonsense_is_closed_with_1008(demo_server: Server) -> None:
    with client(demo_server) as connection:
        for _ in range(10):
            connection.send("nonsense")
        assert code_of_close(connection) == 1008


def test_a_silent_client_is_pinged_and_stays_while_it_answers(start_server: StartServer) -> None:
    server = start_server("--demo", WS_HEARTBEAT_INTERVAL="0.2")
    with client(server, ping_interval=None) as connection:
        for _ in range(20):  # two seconds, ten heartbeats
            receive(connection, "metrics_update")


def test_a_client_without_a_sign_of_life_is_closed_with_1001(start_server: StartServer) -> None:
    server = start_server("--demo", WS_HEARTBEAT_INTERVAL="0.2")
    with raw_client(server) as sock:
        assert close_code(sock) == 1001


def test_a_full_server_refuses_with_503_and_says_when_to_come_back(start_server: StartServer) -> None:
    server = start_server("--demo", WS_MAX_CONNECTIONS="1")
    with client(server):
        with pytest.raises(InvalidStatus) as refused:
            connect(server.websocket_url)
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0


def test_a_place_is_free_again_when_its_client_has_left(start_server: StartServer) -> None:
    server = start_server("--demo", WS_MAX_CONNECTIONS="1")
    for _ in range(3):
        with client(server) as connection:
            receive(connection, "connected")


def test_a_shutdown_closes_with_1001_and_exits_with_0(start_server: StartServer) -> None:
    server = start_server("--demo")
    with client(server) as connection:
        receive(connection, "connected")
        server.process.terminate()
        assert code_of_close(connection) == 1001
    assert server.process.wait(10) == 0


def test_a_reader_that_stops_is_skipped_and_costs_nobody_else_a_frame(start_server: StartServer) -> None:
    server = start_server("--demo", METRIC_COLLECTION_INTERVAL="0.01")
    with raw_client(server, receive_buffer=4096), client(server) as reader:
        seqs: list[int] = []
        for _ in range(200):
            if server.get("/api/system/performance")["frames_skipped"]:
                break
            seqs.extend(receive(reader, "metrics_update")["seq"] for _ in range(20))
        else:
            raise AssertionError("the reader that stopped was never skipped")
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


# Frames by hand, for what no client library sends.


@contextmanager
def raw_client(server: Server, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", server.port))
        key = b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET /ws/metrics HTTP/1.1\r\nHost: localhost:{server.port}\r\nUpgrade: WebSocket\r\n"
            f"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        yield sock


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    length = len(payload)
    flag = 0x80 if masked else 0
    head = bytes([first, flag | length]) if length < 126 else bytes([first, flag | 126]) + struct.pack(">H", length)
    return head + (bytes(4) if masked else b"") + payload


def frames(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yields opcode and payload of each frame the server sends, until it ends the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += sock.recv(65536)
    head, _, buffer = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    while True:
        while True:
            if len(buffer) >= 2:
                length, start = buffer[1], 2
                if length == 126:
                    length, start = int.from_bytes(buffer[2:4], "big"), 4
                elif length == 127:
                    length, start = int.from_bytes(buffer[2:10], "big"), 10
                if len(buffer) >= start + length:
                    break
            data = sock.recv(65536)
            if not data:
                return
            buffer += data
        yield buffer[0] & 0x0F, buffer[start : start + length]
        buffer = buffer[start + length :]


def close_code(sock: socket.socket) -> int | None:
    """Returns the code of the server's Close frame; None for a Close without one."""
    for opcode, payload in frames(sock):
        if opcode == 8:
            return int.from_bytes(payload[:2], "big") if payload else None
    raise AssertionError("the connection ended without a Close frame")


TEXT, CONTINUATION, BINARY, CLOSE, PING = 1, 0, 2, 8, 9


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(TEXT, b"ping", rsv=4), 1002, id="RFC 6455 5.2: RSV1 without an extension"),
        pytest.param(frame(PING, b"", rsv=1), 1002, id="5.2: RSV3 on a control frame"),
        pytest.param(frame(3, b""), 1002, id="5.2: reserved opcode"),
        pytest.param(frame(11, b""), 1002, id="5.2: reserved control opcode"),
        pytest.param(frame(TEXT, b"ping", masked=False), 1002, id="5.1: not masked"),
        pytest.param(frame(CONTINUATION, b"x"), 1002, id="5.4: continuation of nothing"),
        pytest.param(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002, id="5.4: interleaved messages"),
        pytest.param(frame(PING, b"", fin=False), 1002, id="5.5: fragmented control frame"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="5.5: control frame too long"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="8.1: not UTF-8"),
        pytest.param(
            frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"), 1007, id="8.1: over two fragments"
        ),
        pytest.param(frame(BINARY, b"x"), 1003, id="7.4.1: binary"),
        pytest.param(
            frame(TEXT, b"x" * 60000, fin=False) + frame(CONTINUATION, b"x" * 60000), 1009, id="7.4.1: too big"
        ),
        pytest.param(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 300, 1009, id="too many fragments"),
        pytest.param(frame(CLOSE, struct.pack(">H", 1000) + b"bye"), 1000, id="5.5.1: the code is echoed"),
        pytest.param(frame(CLOSE, struct.pack(">H", 4321)), 4321, id="7.4.2: private codes are echoed"),
        pytest.param(frame(CLOSE, struct.pack(">H", 1005)), 1002, id="7.4.1: a code that is never sent"),
        pytest.param(frame(CLOSE, struct.pack(">H", 999)), 1002, id="7.4.2: a code that is not one"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="5.5.1: half a code"),
        pytest.param(frame(CLOSE), 1000, id="5.5.1: no code"),
    ],
)
def test_a_frame_is_answered_with_the_close_code_the_rfc_wants(
    demo_server: Server, sent: bytes, code: int | None
) -> None:
    with raw_client(demo_server) as sock:
        sock.sendall(sent)
        assert close_code(sock) == code


def test_a_message_in_fragments_with_a_ping_between_is_one_message(demo_server: Server) -> None:
    with raw_client(demo_server) as sock:
        sock.sendall(frame(TEXT, b"pi", fin=False) + frame(PING, b"!") + frame(CONTINUATION, b"ng"))
        answers = []
        for opcode, payload in frames(sock):
            if (opcode, payload) in ((10, b"!"), (1, b"pong")):
                answers.append(payload)
            if len(answers) == 2:
                break
    assert answers == [b"!", b"pong"]


def test_frames_that_came_with_the_handshake_are_read(demo_server: Server) -> None:
    with socket.create_connection(("127.0.0.1", demo_server.port), 10) as sock:
        key = b64encode(os.urandom(16))
        sock.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
            + key
            + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
            + frame(TEXT, b"ping")
        )
        assert any(payload == b"pong" for _, payload in frames(sock))


def handshake(server: Server, *fields: str, path: str = "/ws/metrics", version: str = "HTTP/1.1") -> bytes:
    """Returns the status line and head of the answer to a handshake with these fields."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall("\r\n".join((f"GET {path} {version}", *fields, "", "")).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(65536)
            if not data:
                break
            answer += data
        return answer.partition(b"\r\n\r\n")[0]


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
GOOD = ("Host: localhost", "Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13")


def test_the_accept_field_is_that_of_the_rfcs_example(demo_server: Server) -> None:
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in handshake(demo_server, *GOOD)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Host: localhost", "Upgrade: websocket", "Connection: Upgrade", KEY), 426),
        (("Host: localhost", "Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 8"), 426),
        (("Host: localhost", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"), 400),
        ((*GOOD[:3], "Sec-WebSocket-Key: c2hvcnQ=", GOOD[4]), 400),
        ((*GOOD[:3], "Sec-WebSocket-Key: not base64!", GOOD[4]), 400),
        ((*GOOD, KEY), 400),
        ((*GOOD, "Origin: http://evil.example"), 403),
        ((*GOOD, "Origin: null"), 403),
        ((*GOOD, "Origin: http://localhost"), 101),
        ((*GOOD, "Origin: http://localhost:3000"), 101),
        (("Host: localhost", KEY, "Sec-WebSocket-Version: 13"), 426),
    ],
)
def test_a_handshake_is_answered_with(demo_server: Server, fields: tuple[str, ...], status: int) -> None:
    answer = handshake(demo_server, *fields)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    if status == 426:
        assert b"Sec-WebSocket-Version: 13" in answer or b"\r\nUpgrade: websocket" in answer


def test_an_unknown_path_is_404_for_a_websocket_too(demo_server: Server) -> None:
    assert handshake(demo_server, *GOOD, path="/ws/other").startswith(b"HTTP/1.1 404 ")
