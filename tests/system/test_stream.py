"""The stream over a real server: greeting, snapshots, pings, closing, and the rules of RFC 6455."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from server_process import TIMEOUT_SECONDS, Server
from ws_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE_FIELDS,
    KEY,
    PING,
    PONG,
    TEXT,
    RawClient,
    ask,
    connect,
    frame,
    handshake,
    open_socket,
    read_to_close,
    receive,
    receive_pong,
    receive_snapshots,
)

StartServer = Callable[..., Server]

pytestmark = pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, scope="module")

EVERYTHING = "/ws/metrics?channels=metrics"


@contextmanager
def client(server: Server, path: str = "/ws/metrics", **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}{path}", **options) as connection:
        yield connection


@pytest.mark.broadcast
@pytest.mark.parametrize("path", ["/ws/metrics", "/ws"])
def test_a_client_is_greeted_and_gets_the_current_snapshot_at_once(demo_server: Server, path: str) -> None:
    with client(demo_server, path) as connection:
        greeting, snapshot = receive(connection), receive(connection)
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


@pytest.mark.broadcast
def test_sequence_numbers_have_no_gap_that_is_not_announced(demo_server: Server) -> None:
    with client(demo_server, EVERYTHING) as connection:
        assert len(list(receive_snapshots(connection, 10))) == 10


@pytest.mark.broadcast
def test_every_client_and_every_poll_gets_the_same_bytes(demo_server: Server) -> None:
    with client(demo_server) as first, client(demo_server) as second:
        by_seq: list[dict[int, str]] = [{}, {}]
        for _ in range(5):
            for connection, seen in zip((first, second), by_seq, strict=True):
                data = connection.recv(TIMEOUT_SECONDS)
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
        receive_pong(connection)


@pytest.mark.parametrize("kind", ["ping", "health"])
def test_a_json_ping_is_answered_with_its_id(demo_server: Server, kind: str) -> None:
    with client(demo_server) as connection:
        ask(connection, type=kind, id=7)
        pong = receive(connection, "pong")
    assert pong["id"] == 7
    assert pong["timestamp"]


def test_a_control_ping_is_answered_with_its_payload(demo_server: Server) -> None:
    with client(demo_server) as connection:
        assert connection.ping(b"abc").wait(TIMEOUT_SECONDS)


@pytest.mark.parametrize(
    "text", ["hello", "{", "[]", '{"type":"ping","id":18446744073709551616}', '{"type":7}', '{"type":"dance"}', ""]
)
def test_a_message_that_is_not_understood_is_answered_with_an_error(demo_server: Server, text: str) -> None:
    with client(demo_server) as connection:
        connection.send(text)
        error = receive(connection, "error")
    assert error["code"] in ("bad_message", "unknown_type")
    assert error["message"]


def test_a_client_that_keeps_sending_nonsense_is_closed_with_1008(demo_server: Server) -> None:
    with RawClient(demo_server.port) as raw:
        # One is forgiven each second, and the server may be late.
        raw.send(frame(TEXT, b"nonsense") * 100)
        assert raw.close_code() == 1008


def test_a_client_that_sends_nothing_but_pongs_stays_connected(start_server: StartServer) -> None:
    server = start_server("--demo", WS_HEARTBEAT_INTERVAL="1")
    with client(server, ping_interval=None) as connection:
        for _ in range(35):  # longer than a silent client stays
            receive(connection, "metrics_update")


@pytest.mark.broadcast
def test_a_client_that_answers_no_pings_is_closed_with_1001(start_server: StartServer) -> None:
    server = start_server("--demo", WS_HEARTBEAT_INTERVAL="0.2")
    with RawClient(server.port) as raw:
        assert raw.close_code() == 1001


def test_a_full_server_refuses_with_503_and_retry_after(start_server: StartServer) -> None:
    # Connections that speak HTTP have a bound of the same number, and a client that has its 101 may count as one of
    # them for a moment longer: with room for one, the next connection would sometimes be refused before its request.
    server = start_server("--demo", WS_MAX_CONNECTIONS="2")
    with client(server), client(server):
        with pytest.raises(InvalidStatus) as refused:
            connect(server.websocket_url)
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0


def test_another_client_may_connect_after_one_has_left(start_server: StartServer) -> None:
    server = start_server("--demo", WS_MAX_CONNECTIONS="1")
    for _ in range(3):
        with client(server) as connection:
            receive(connection, "connected")


@pytest.mark.broadcast
def test_a_shutdown_closes_clients_with_1001_and_exits_with_0(start_server: StartServer) -> None:
    server = start_server("--demo")
    with client(server) as connection:
        receive(connection, "connected")
        server.process.terminate()
        assert read_to_close(connection)[1] == 1001
    assert server.process.wait(TIMEOUT_SECONDS) == 0


@pytest.mark.broadcast
def test_a_stalled_reader_is_skipped_and_others_get_every_frame(start_server: StartServer) -> None:
    server = start_server("--demo", METRIC_COLLECTION_INTERVAL="0.01")
    with RawClient(server.port, receive_buffer=4096), client(server, EVERYTHING) as reader:
        for number, _ in enumerate(receive_snapshots(reader, 4000)):
            if number % 20 == 0 and server.get("/api/system/performance")["frames_skipped"]:
                break
        else:
            raise AssertionError("the reader that stopped was never skipped")


# -- raw frames, for what no client library sends


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
        pytest.param(frame(CLOSE, b"\x03\xe8bye"), 1000, id="5.5.1: the code is echoed"),
        pytest.param(frame(CLOSE, (4321).to_bytes(2, "big")), 4321, id="7.4.2: private codes are echoed"),
        pytest.param(frame(CLOSE, (1005).to_bytes(2, "big")), 1002, id="7.4.1: a code that is never sent"),
        pytest.param(frame(CLOSE, (999).to_bytes(2, "big")), 1002, id="7.4.2: a code that is not one"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="5.5.1: half a code"),
        pytest.param(frame(CLOSE), 1000, id="5.5.1: no code"),
    ],
)
def test_frames_are_answered_with_the_close_code_that_the_rfc_names(
    demo_server: Server, sent: bytes, code: int
) -> None:
    with RawClient(demo_server.port) as raw:
        raw.send(sent)
        assert raw.close_code() == code


@pytest.mark.broadcast
@pytest.mark.parametrize(
    "behind",
    [frame(CLOSE, b"\x03\xe9"), frame(7), frame(PING), frame(TEXT, b"ping"), frame(TEXT, b"x", rsv=7), b"\0" * 300_000],
    ids=["another Close", "reserved opcode", "ping", "message", "reserved bits", "no frames"],
)
def test_a_close_with_bytes_behind_it_is_answered_with_its_own_code(demo_server: Server, behind: bytes) -> None:
    with RawClient(demo_server.port) as raw:
        raw.send(frame(CLOSE, b"\x03\xe8") + behind)
        assert raw.close_code() == 1000
        assert raw.next_frame() is None


@pytest.mark.broadcast
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (frame(PING, b"p") * 60, (PONG, b"p")),
        ((frame(TEXT, b"pi", fin=False) + frame(CONTINUATION, b"ng")) * 30, (TEXT, b"pong")),
    ],
    ids=["pings", "fragments"],
)
def test_frames_beyond_the_rate_wait_and_the_connection_stays(
    start_server: StartServer, sent: bytes, answer: tuple[int, bytes]
) -> None:
    server = start_server(WS_RATE_LIMIT="20")
    with RawClient(server.port) as raw:
        began = time.monotonic()
        raw.send(sent)
        answers = (read for read in raw.frames() if read == answer)
        count = 60 if answer[0] == PONG else 30
        assert len(list(islice(answers, count))) == count
    # Forty of the sixty frames at once; then twenty a second.
    assert time.monotonic() - began > 0.95


@pytest.mark.broadcast
@pytest.mark.parametrize("flood", [frame(PING, b""), frame(PONG, b""), frame(TEXT, b"", fin=False)])
def test_a_flood_of_small_frames_leaves_the_ticks_to_the_others(demo_server: Server, flood: bytes) -> None:
    with RawClient(demo_server.port) as raw, client(demo_server, EVERYTHING) as other:
        raw.sock.setblocking(False)
        snapshots = receive_snapshots(other, 10)
        for _ in range(10):
            with suppress(BlockingIOError):
                while True:
                    raw.sock.send(flood * 10_000)
            next(snapshots)


def test_fragments_with_a_ping_between_them_are_one_message(demo_server: Server) -> None:
    with RawClient(demo_server.port) as raw:
        raw.send(frame(TEXT, b"pi", fin=False) + frame(PING, b"!") + frame(CONTINUATION, b"ng"))
        answers = []
        for read in raw.frames():
            if read in ((PONG, b"!"), (TEXT, b"pong")):
                answers.append(read)
            if len(answers) == 2:
                break
    assert answers == [(PONG, b"!"), (TEXT, b"pong")]


def test_frames_sent_together_with_the_handshake_are_read(demo_server: Server) -> None:
    with RawClient(demo_server.port, "/ws", behind=frame(TEXT, b"ping")) as raw:
        assert (TEXT, b"pong") in raw.frames()


def answer_to(server: Server, *fields: str, path: str = "/ws/metrics") -> bytes:
    """Returns the head of the answer to a handshake with these fields."""
    with open_socket(server.port) as sock:
        sock.sendall(handshake(path, *fields))
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(65536)
            if not data:
                break
            answer += data
        return answer.partition(b"\r\n\r\n")[0]


HOST, UPGRADE, CONNECTION, _, VERSION = HANDSHAKE_FIELDS


def test_the_accept_field_matches_the_example_of_the_rfc(demo_server: Server) -> None:
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer_to(demo_server)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((HOST, "Upgrade: WebSocket", "Connection: keep-alive, Upgrade", KEY, VERSION), 101),
        ((HOST, UPGRADE, CONNECTION, KEY), 426),
        ((HOST, UPGRADE, CONNECTION, KEY, "Sec-WebSocket-Version: 8"), 426),
        ((HOST, UPGRADE, CONNECTION, VERSION), 400),
        ((HOST, UPGRADE, CONNECTION, "Sec-WebSocket-Key: c2hvcnQ=", VERSION), 400),
        ((HOST, UPGRADE, CONNECTION, "Sec-WebSocket-Key: not base64!", VERSION), 400),
        ((*HANDSHAKE_FIELDS, KEY), 400),
        ((*HANDSHAKE_FIELDS, "Origin: http://evil.example"), 403),
        ((*HANDSHAKE_FIELDS, "Origin: null"), 403),
        ((*HANDSHAKE_FIELDS, "Origin: http://localhost"), 101),
        ((*HANDSHAKE_FIELDS, "Origin: http://localhost:3000"), 101),
        ((HOST, KEY, VERSION), 426),
    ],
)
def test_a_handshake_is_answered_with_the_status_for_its_fields(
    demo_server: Server, fields: tuple[str, ...], status: int
) -> None:
    answer = answer_to(demo_server, *fields)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    if status == 426:
        assert b"Sec-WebSocket-Version: 13" in answer or b"\r\nUpgrade: websocket" in answer


def test_an_upgrade_of_an_unknown_path_is_404(demo_server: Server) -> None:
    assert answer_to(demo_server, path="/ws/other").startswith(b"HTTP/1.1 404 ")
