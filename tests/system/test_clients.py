"""Independent clients, each used as its users would: `websockets`, picows, browsers' handshakes, http.client, curl."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import json
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import picows
import pytest

from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect, connect_async

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
TICKS = 10


def assert_consecutive_snapshots(messages: list[str | bytes]) -> None:
    """Raises AssertionError unless a greeting is followed by snapshots without a gap."""
    documents = [json.loads(message) for message in messages]
    assert documents[0]["type"] == "connected"
    assert {document["type"] for document in documents[1:]} == {"metrics_update"}
    seqs = [document["seq"] for document in documents[1:]]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


# -- WebSocket


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websockets_receives_snapshots_in_a_thread(demo_server: Server, compression: str | None) -> None:
    with connect(demo_server.websocket_url, compression=compression) as connection:
        messages = [connection.recv(timeout=TIMEOUT_SECONDS) for _ in range(TICKS)]
        assert connection.ping(b"abc").wait(TIMEOUT_SECONDS)
    assert_consecutive_snapshots(messages)
    assert connection.protocol.close_code == 1000


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websockets_receives_snapshots_in_a_loop(demo_server: Server, compression: str | None) -> None:
    async def receive() -> list[str | bytes]:
        async with connect_async(demo_server.websocket_url, compression=compression) as connection:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await (await connection.ping())
                return [await connection.recv() for _ in range(TICKS)]

    assert_consecutive_snapshots(asyncio.run(receive()))


class Listener(picows.WSListener):
    """Collects `TICKS` texts and closes the connection."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.close_code: picows.WSCloseCode | None = None

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.messages.append(frame.get_payload_as_utf8_text())
            if len(self.messages) == TICKS:
                transport.send_close(picows.WSCloseCode.OK)
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self.close_code = frame.get_close_code()
            transport.disconnect()


def test_picows_receives_snapshots(demo_server: Server) -> None:
    async def receive() -> Listener:
        transport, listener = await picows.ws_connect(Listener, demo_server.websocket_url)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await transport.wait_disconnected()
        assert isinstance(listener, Listener)
        return listener

    listener = asyncio.run(receive())
    assert_consecutive_snapshots(listener.messages[:TICKS])
    assert listener.close_code is picows.WSCloseCode.OK


BROWSER_FIELDS = {
    # Firefox 132: two tokens in Connection.
    "Firefox": {
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        "Accept": "*/*",
        "Accept-Language": "en-US,en;q=0.5",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Extensions": "permessage-deflate",
        "Connection": "keep-alive, Upgrade",
        "Sec-Fetch-Dest": "empty",
        "Sec-Fetch-Mode": "websocket",
        "Sec-Fetch-Site": "same-origin",
        "Pragma": "no-cache",
        "Cache-Control": "no-cache",
        "Upgrade": "websocket",
    },
    "Chromium": {
        "Connection": "Upgrade",
        "Pragma": "no-cache",
        "Cache-Control": "no-cache",
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Accept-Language": "en-US,en;q=0.9",
        "Cookie": "theme=dark; session=1",
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    },
}


@pytest.mark.parametrize("browser", BROWSER_FIELDS)
def test_a_browsers_handshake_is_accepted(demo_server: Server, browser: str) -> None:
    key = b64encode(b"0123456789abcdef").decode()
    origin = f"127.0.0.1:{demo_server.port}"
    fields = {"Host": origin, "Origin": f"http://{origin}", "Sec-WebSocket-Key": key, **BROWSER_FIELDS[browser]}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    address = ("127.0.0.1", demo_server.port)
    with socket.create_connection(address, TIMEOUT_SECONDS) as sock, sock.makefile("rb") as answer:
        sock.sendall(f"GET /ws/metrics HTTP/1.1\r\n{head}\r\n".encode())
        assert answer.readline().startswith(b"HTTP/1.1 101 ")
        answered = http.client.parse_headers(answer)
    expected = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    assert answered["Sec-WebSocket-Accept"] == b64encode(expected).decode()
    assert answered["Upgrade"].lower() == "websocket"
    assert answered["Connection"].lower() == "upgrade"


# -- HTTP


@pytest.fixture
def connection(demo_server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", demo_server.port, timeout=TIMEOUT_SECONDS)
    yield connection
    connection.close()


def test_http_client_sends_all_requests_over_one_connection(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    first = connection.sock
    for method, path, status in (
        ("GET", "/api/metrics/current", 200),
        ("HEAD", "/api/metrics/current", 200),
        ("GET", "/nothing", 404),
        ("OPTIONS", "/api/trades", 204),
        ("DELETE", "/api/trades", 405),
        ("GET", "/health", 200),
    ):
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    assert connection.sock is first


def test_http_client_sends_content_in_chunks(connection: http.client.HTTPConnection) -> None:
    body = iter([b'{"time_range"', b":", b'"1h","limit":1}'])
    connection.request("POST", "/api/metrics/history", body, {"Content-Type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200
    assert json.loads(response.read())["interval"] == "10s"


def test_http_client_gets_gzip_that_it_can_decompress(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/api/metrics/current", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.getheader("Content-Encoding") == "gzip"
    assert json.loads(gzip.decompress(response.read()))["type"] == "metrics_update"


def curl(server: Server, path: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT_SECONDS), *arguments, server.url(path)]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=True)


@needs_curl
@pytest.mark.parametrize("arguments", [(), ("--http1.0",), ("--http2",), ("--compressed",)], ids=" ".join)
def test_curl_gets_a_snapshot(demo_server: Server, arguments: tuple[str, ...]) -> None:
    snapshot = json.loads(curl(demo_server, "/api/metrics/current", *arguments).stdout)
    assert snapshot["type"] == "metrics_update"


@needs_curl
@pytest.mark.parametrize("field", ["Expect: 100-continue", "Transfer-Encoding: chunked"])
def test_curl_posts_a_request_for_history(demo_server: Server, field: str) -> None:
    arguments = ("-H", field, "-H", "Content-Type: application/json", "-d", '{"limit":1}')
    answer: dict[str, Any] = json.loads(curl(demo_server, "/api/metrics/history", *arguments).stdout)
    assert answer["interval"] == "10s"


@needs_curl
def test_curl_sends_two_requests_over_one_connection(demo_server: Server) -> None:
    url = demo_server.url("/health")
    log = curl(demo_server, "/health/live", "--verbose", "--output", "/dev/null", "--output", "/dev/null", url).stderr
    assert b"Re-using existing" in log or b"Reusing existing" in log
