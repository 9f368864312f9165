"""Tokens, limits and TLS of a real server, and what it says of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from certified import CERTIFICATES, FIRST, SECOND, trusting
from server_process import NO_RULES, ROOT, TIMEOUT_SECONDS, Server
from ws_client import connect, receive, receive_pong

StartServer = Callable[..., Server]

SECRET = "hunter2-hunter2-hunter2"
ACKNOWLEDGE = "/api/system/alerts/acknowledge/none"
OPEN_PAGES = ("/", "/docs", "/openapi.json", "/asyncapi.json")
PATHS = ("/api/metrics/current", "/api/trades", "/api/system/logs/recent", "/metrics", "/openapi.json", "/")


def ask(server: Server, path: str, method: str = "GET", **fields: str) -> tuple[int, dict[str, str], bytes]:
    """Returns status, fields and body, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def refused_status(url: str, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as raised, connect(url, **options):
        pass
    return int(raised.value.response.status_code)


# -- tokens


def test_a_write_needs_a_token_once_there_is_one(start_server: StartServer) -> None:
    server = start_server(API_TOKENS=f"write:{SECRET}")
    assert ask(server, ACKNOWLEDGE, "POST")[0] == 401
    assert ask(server, ACKNOWLEDGE, "POST", Authorization=f"Bearer {SECRET}")[0] == 404
    assert ask(server, "/api/metrics/current")[0] == 200


def test_with_a_read_token_only_health_and_pages_are_open(start_server: StartServer) -> None:
    server = start_server(API_TOKENS=f"read:{SECRET}")
    description = json.loads(ask(server, "/openapi.json")[2])
    for path, operations in description["paths"].items():
        if "get" in operations:
            is_open = path.startswith(("/health", "/static/")) or path in OPEN_PAGES
            status = ask(server, re.sub(r"{\w+}", "1", path))[0]
            # 404: no file of the page has this name.
            assert status in ((200, 404) if is_open else (401,)), path
    for fields in ({}, {"Authorization": f"Bearer {SECRET}x"}):
        assert ask(server, "/metrics", **fields)[0] == 401
    assert ask(server, "/metrics", Authorization=f"Bearer {SECRET}")[0] == 200
    assert ask(server, ACKNOWLEDGE, "POST", Authorization=f"Bearer {SECRET}")[0] == 403


def test_a_websocket_needs_a_token_in_any_of_three_places(start_server: StartServer) -> None:
    server = start_server(API_TOKENS=f"read:{SECRET}")
    url = server.websocket_url
    assert refused_status(url) == 401
    assert refused_status(f"{url}?token=x") == 401
    for target, options in (
        (f"{url}?token={SECRET}", {}),
        (url, {"additional_headers": {"Authorization": f"Bearer {SECRET}"}}),
        (url, {"subprotocols": [Subprotocol("observability"), Subprotocol(f"bearer.{SECRET}")]}),
    ):
        with connect(target, **options) as connection:
            assert receive(connection)["type"] == "connected"
            assert SECRET not in str(connection.response.headers)


def test_a_token_is_never_told(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--log-level", "DEBUG", API_TOKENS=f"write:{SECRET},read:x", LOG_DIR=str(tmp_path))
    answers: list[str] = []
    for wrong in (SECRET, f"{SECRET}-wrong", f"{SECRET} {SECRET}", f"{SECRET}\x00"):
        for method, path in [(method, path) for path in (*PATHS, ACKNOWLEDGE, "/none") for method in ("GET", "POST")]:
            quoted = wrong.replace(" ", "+").replace("\x00", "%00")
            answers.append(str(ask(server, f"{path}?token={quoted}&limit=x", method)))
            if "\x00" not in wrong:
                answers.append(str(ask(server, path, method, Authorization=f"Bearer {wrong}")))
                answers.append(str(ask(server, path, method, Sec_WebSocket_Protocol=f"bearer.{wrong}")))
    for raw in (
        f"GET /?token={SECRET} HTTP/9.9\r\n\r\n", f"GET /?token={SECRET}\x01 HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRET}\x01\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer {SECRET}\r\n\r\n",
    ):  # fmt: skip
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as sock:
            sock.sendall(raw.encode())
            answers.append(sock.recv(65536).decode())
    for query in (f"?token={SECRET}-wrong", f"?token={SECRET}&channels=none", f"?token={SECRET}&since=x"):
        try:
            with connect(f"{server.websocket_url}{query}") as connection:
                answers.append(str(connection.recv(TIMEOUT_SECONDS)))
        except InvalidStatus as error:
            answers.append(f"{error.response.headers}{error.response.body!r}")
    answers += [str(ask(server, path, Authorization=f"Bearer {SECRET}")) for path in PATHS]
    log = server.stop()
    assert any("refused" in line for line in log)
    told = "\n".join([*answers, *log, server.start_line, (tmp_path / "observability.log").read_text()])
    assert SECRET not in told


def test_a_token_that_can_be_guessed_is_a_warning_that_does_not_show_it(start_server: StartServer) -> None:
    server = start_server(API_TOKENS="write:hunter2")
    assert "hunter2" not in server.wait_for_log("WARNING.*API_TOKENS")


# -- limits


def ask_at_once(server: Server, *fields: str) -> tuple[list[int], str]:
    """Returns the statuses and the whole answer to requests that are sent in one piece: one per header field. Sent
    apart, they could be as far apart as a rate allows."""
    requests = "".join(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n" for field in fields)
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_SECONDS) as sock:
        sock.sendall(requests.encode())
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    return [int(status) for status in re.findall(r"HTTP/1\.1 ([0-9]+)", answer)], answer


def test_who_asks_too_often_is_told_when_to_come_back(start_server: StartServer) -> None:
    server = start_server(HTTP_RATE_LIMIT="1")
    statuses, answer = ask_at_once(server, *["X: x"] * 8)
    assert statuses[:2] == [200, 200] and 429 in statuses
    assert "retry-after: 1\r\n" in answer.lower()
    server.wait_for_log("refused 127.0.0.1: 429 more than 1 requests a second")


def test_a_handshake_counts_as_a_request(start_server: StartServer) -> None:
    server = start_server(HTTP_RATE_LIMIT="1")
    refusal: InvalidStatus | None = None
    for _ in range(TIMEOUT_SECONDS):  # one is allowed each second
        ask_at_once(server, *["X: x"] * 8)
        try:
            connect(server.websocket_url).close()
        except InvalidStatus as error:
            refusal = error
            break
    assert refusal is not None
    assert refusal.response.status_code == 429


def test_behind_a_trusted_proxy_each_client_has_its_own_limit(start_server: StartServer) -> None:
    server = start_server(HTTP_RATE_LIMIT="1", TRUSTED_PROXIES="127.0.0.0/8")
    for client in ("192.0.2.1", "192.0.2.2"):
        statuses, _ = ask_at_once(server, *[f"X-Forwarded-For: 10.9.9.9, {client}"] * 8)
        assert statuses[:2] == [200, 200] and 429 in statuses
        server.wait_for_log(f"refused {client}: 429")


def test_who_is_no_trusted_proxy_cannot_choose_an_address(start_server: StartServer) -> None:
    server = start_server(HTTP_RATE_LIMIT="1")
    assert 429 in ask_at_once(server, *(f"X-Forwarded-For: 192.0.2.{number}" for number in range(8)))[0]
    server.wait_for_log("refused 127.0.0.1: 429")


def test_one_address_gets_so_many_websockets_until_one_leaves(start_server: StartServer) -> None:
    server = start_server(MAX_CONNECTIONS_PER_ADDRESS="2")
    with ExitStack() as stack:
        first = stack.enter_context(connect(server.websocket_url))
        second = stack.enter_context(connect(server.websocket_url))
        with pytest.raises(InvalidStatus) as raised, connect(server.websocket_url):
            pass
        assert raised.value.response.status_code == 429
        assert raised.value.response.headers["Retry-After"] == "5"
        first.close()
        # The server has seen it go when it has answered its Close.
        third = stack.enter_context(connect(server.websocket_url))
        assert third.recv(TIMEOUT_SECONDS) and second.recv(TIMEOUT_SECONDS)


# -- TLS


@pytest.fixture
def tls_server(start_server: StartServer, pair: tuple[Path, Path]) -> Server:
    return start_server("--demo", "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]), **NO_RULES)


def handshake(server: Server, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS)
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def get_over_tls(server: Server, path: str, cert: Path = FIRST[0]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=TIMEOUT_SECONDS, context=trusting(cert))
    try:
        connection.request("GET", path, headers={"Accept": "*/*"})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_everything_is_there_over_tls(tls_server: Server) -> None:
    assert f"https://127.0.0.1:{tls_server.port}/" in tls_server.start_line
    assert "wss://" in tls_server.start_line and "http://" not in tls_server.start_line
    status, fields, body = get_over_tls(tls_server, "/api/metrics/current")
    assert status == 200 and json.loads(body)["type"] == "metrics_update"
    assert fields["strict-transport-security"].startswith("max-age=")
    url = f"wss://localhost:{tls_server.port}/ws/metrics"
    with connect(url, ssl=trusting(FIRST[0])) as connection:
        kinds = [receive(connection)["type"] for _ in range(5)]
        connection.send("ping")
        receive_pong(connection)
    assert kinds == ["connected", *["metrics_update"] * 4]
    assert not [line for line in tls_server.stop() if "WARNING" in line or "ERROR" in line]


def test_http_1_1_is_chosen_and_nothing_older_than_tls_1_2(tls_server: Server) -> None:
    context = trusting(FIRST[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(tls_server, context) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
        assert sock.version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with handshake(tls_server, context) as sock:
        cipher = sock.cipher()
        assert cipher is not None and cipher[0].startswith("ECDHE-")
    context.set_ciphers("AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        handshake(tls_server, context)
    tls_server.wait_for_log("refused 127.0.0.1: TLS handshake: no shared cipher")


def test_requests_in_a_pipeline_are_answered_and_the_connection_ends_cleanly(tls_server: Server) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: a\r\n%b\r\n"
    with handshake(tls_server, trusting(FIRST[0])) as sock:
        sock.sendall(request % b"" * 50 + request % b"Connection: close\r\n")
        data = b""
        while part := sock.recv(65536):  # a truncated stream would raise
            data += part
    assert data.count(b"HTTP/1.1 200 OK") == 51
    assert not [line for line in tls_server.stop() if "WARNING" in line or "ERROR" in line]


def test_a_client_that_says_goodbye_leaves_nothing_in_the_log(tls_server: Server) -> None:
    with handshake(tls_server, trusting(FIRST[0])) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.unwrap().close()
    assert not [line for line in tls_server.stop() if "WARNING" in line or "ERROR" in line]


def test_plain_http_on_the_tls_port_is_told_so_in_one_line(tls_server: Server) -> None:
    status, _, body = ask(tls_server, "/health")
    assert status == 400 and b"https://" in body
    with socket.create_connection(("127.0.0.1", tls_server.port), TIMEOUT_SECONDS) as sock:
        sock.sendall(os.urandom(1).replace(b"\x16", b"x"))
        while sock.recv(4096):
            pass
    assert get_over_tls(tls_server, "/health")[0] == 200
    assert len([line for line in tls_server.stop() if "refused" in line]) == 2


def test_tls_on_the_plain_port_is_told_so_in_one_line(start_server: StartServer) -> None:
    server = start_server()
    with pytest.raises(ssl.SSLError):
        handshake(server, trusting(FIRST[0]))
    assert ask(server, "/health")[0] == 200
    assert len([line for line in server.stop() if "refused" in line]) == 1


def test_a_hello_in_pieces_is_a_hello(tls_server: Server) -> None:
    context = trusting(FIRST[0])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", tls_server.port), TIMEOUT_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(65536))
        # The request travels with the end of the handshake.
        tls.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.sendall(outgoing.read())
        while True:
            incoming.write(sock.recv(65536))
            try:
                assert tls.read(65536).startswith(b"HTTP/1.1 200")
                break
            except ssl.SSLWantReadError:
                pass


def test_a_hangup_loads_the_new_certificate_and_keeps_connections(tls_server: Server, pair: tuple[Path, Path]) -> None:
    with handshake(tls_server, trusting(FIRST[0])) as old:
        for path, source in zip(pair, SECOND, strict=True):
            path.write_bytes(source.read_bytes())
        tls_server.process.send_signal(signal.SIGHUP)
        tls_server.wait_for_log("the TLS certificate was read again")
        assert get_over_tls(tls_server, "/health", SECOND[0])[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            get_over_tls(tls_server, "/health", FIRST[0])
        old.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert old.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_hangup_with_a_bad_pair_keeps_the_old_one(tls_server: Server, pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(SECOND[1].read_bytes())
    tls_server.process.send_signal(signal.SIGHUP)
    assert "ERROR" in tls_server.wait_for_log("the TLS certificate was not replaced.*key values mismatch")
    assert get_over_tls(tls_server, "/health")[0] == 200


@pytest.mark.parametrize(
    ("cert", "key", "fault"),
    [
        (FIRST[0], SECOND[1], "key values mismatch"),
        (FIRST[0], CERTIFICATES / "locked.key", "the key has a passphrase"),
        (FIRST[0], FIRST[0], "not PEM|pem|no start line"),
        (Path(__file__), FIRST[1], "not PEM|pem|no start line"),
    ],
)
def test_files_that_are_no_pair_are_a_clear_error(cert: Path, key: Path, fault: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "observability", "serve", "--port", "0"],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'core'}{os.pathsep}{ROOT / 'http'}",
            "TLS_CERT": str(cert),
            "TLS_KEY": str(key),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 1
    assert "TLS_CERT" in result.stderr and "TLS_KEY" in result.stderr
    assert any(part in result.stderr for part in fault.split("|")), result.stderr
    assert "Traceback" not in result.stderr


# -- fields of every answer


@pytest.mark.parametrize("path", ["/health", "/api/metrics/current", "/", "/none"])
def test_every_answer_has_the_security_fields(demo_server: Server, path: str) -> None:
    _, fields, _ = ask(demo_server, path, Accept="text/html")
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["referrer-policy"] == "no-referrer"
    assert fields["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in fields
