"""The same end-to-end test without a proxy and through real nginx with the configuration in `deploy/`.

No benchmark of nginx here.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from event_reader import event_stream
from server_process import ROOT, TIMEOUT_SECONDS, Server
from ws_client import connect, read_to_close, receive, receive_pong

StartServer = Callable[..., Server]

# It is where only root's PATH may point.
NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
CONFIGURATION = ROOT / "deploy" / "nginx.conf"

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

MAIN_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
{site}
}}
"""


BARE_SITE = """
server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{backend_port}; {options} }}
}}
"""
# How a proxy is set up that says nothing about its clients: what nginx does by default, and with connections kept open.
# By HTTP/1.1 it is known by the user that it runs as, which is its own only if root starts it.
BARE_OPTIONS = [""]
if os.geteuid() == 0:
    BARE_OPTIONS.append('proxy_http_version 1.1; proxy_set_header Connection "";')


def shipped_site(port: int, backend_port: int) -> str:
    """Returns the configuration in `deploy/` for these ports."""
    site = CONFIGURATION.read_text()
    for pattern, replacement in (
        (r"server 127\.0\.0\.1:8000;", f"server 127.0.0.1:{backend_port};"),
        (r"listen 80;", f"listen 127.0.0.1:{port};"),
    ):
        site, count = re.subn(pattern, replacement, site)
        assert count == 1, f"deploy/nginx.conf: expected {pattern} once"
    return site


@contextmanager
def nginx(prefix: Path, make_site: Callable[[int], str]) -> Iterator[int]:
    """Runs nginx with the configuration that `make_site` returns for a port; yields the port. Everything of it is below
    `prefix`."""
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        configuration = prefix / "nginx.conf"
        configuration.write_text(MAIN_CONFIGURATION.format(prefix=prefix, site=make_site(port)))
        # nginx inherits listeners by this variable when it replaces itself. Connections wait in this one's backlog
        # until it is there, and nobody else can take the port.
        process = subprocess.Popen(
            [NGINX, "-p", str(prefix), "-e", "stderr", "-c", str(configuration)],
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=(listener.fileno(),),
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        yield port
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        complaints = [line for line in errors.splitlines() if re.search(r"\[(warn|error|crit|alert|emerg)\]", line)]
        assert process.returncode == 0, errors
    assert complaints == []


@pytest.fixture(scope="module")
def nginx_port(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with nginx(tmp_path_factory.mktemp("nginx"), partial(shipped_site, backend_port=demo_server.port)) as port:
        yield port


@pytest.fixture(params=["direct", "nginx"])
def port(request: pytest.FixtureRequest, demo_server: Server) -> int:
    """The port to talk to: the server's own, and nginx's in front of it."""
    if request.param == "direct":
        return demo_server.port
    through_nginx: int = request.getfixturevalue("nginx_port")
    return through_nginx


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **fields: str
) -> tuple[int, dict[str, str], bytes]:
    """Returns status, fields (names in lower case) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_a_snapshot_is_answered_and_known_by_its_tag(port: int) -> None:
    status, fields, body = ask(port, "GET", "/api/metrics/current")
    snapshot = json.loads(body)
    assert status == 200
    assert fields["content-type"] == "application/json"
    assert fields["etag"] == f'"{snapshot["epoch"]}-{snapshot["seq"]}"'


def test_head_has_the_fields_of_get_and_no_body(port: int) -> None:
    status, fields, body = ask(port, "HEAD", "/api/metrics/summary")
    assert (status, body) == (200, b"")
    assert int(fields["content-length"]) > 0


def test_the_history_can_be_asked_for(port: int) -> None:
    request = json.dumps({"time_range": "1h", "metric_types": ["system"], "limit": 5}).encode()
    status, _, body = ask(port, "POST", "/api/metrics/history", request, content_type="application/json")
    assert status == 200
    assert {row["type"] for row in json.loads(body)["data"]} == {"system"}


def test_a_refusal_arrives_as_it_was_sent(port: int) -> None:
    status, fields, body = ask(port, "GET", "/api/trades?limit=0")
    assert status == 422
    assert fields["content-type"] == "application/problem+json"
    assert [error["parameter"] for error in json.loads(body)["errors"]] == ["limit"]


def test_requests_of_one_connection_are_answered_in_order(port: int) -> None:
    paths = ["/health", "/api/metrics/symbols", "/nothing", "/health/live"] * 5
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as sock, sock.makefile("rb") as answers:
        sock.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths))
        statuses = []
        for _ in paths:
            statuses.append(int(answers.readline().split()[1]))
            fields = http.client.parse_headers(answers)
            answers.read(int(fields["Content-Length"]))
    assert statuses == [404 if path == "/nothing" else 200 for path in paths]


@pytest.mark.parametrize("path", ["/ws/metrics", "/ws"])
def test_the_stream_runs_answers_pings_and_closes_cleanly(port: int, path: str) -> None:
    # Of the page that this very host and port served.
    with connect(f"ws://127.0.0.1:{port}{path}", origin=Origin(f"http://127.0.0.1:{port}")) as connection:
        greeting = receive(connection)
        seqs = [receive(connection, "metrics_update")["seq"] for _ in range(5)]
        assert connection.ping(b"payload").wait(TIMEOUT_SECONDS)
        connection.send("ping")
        receive_pong(connection)
        connection.close(1000, "enough")
    assert greeting["type"] == "connected"
    assert seqs == list(range(seqs[0], seqs[0] + 5))
    assert (connection.protocol.close_code, connection.protocol.close_reason) == (1000, "")


def test_events_pass_at_once_and_one_by_one(port: int) -> None:
    with event_stream(port) as stream:
        seqs = [json.loads(stream.next("metrics_update").data)["seq"] for _ in range(5)]
    assert seqs == list(range(seqs[0], seqs[0] + 5))


def test_events_pass_a_proxy_that_buffers_what_it_may(demo_server: Server, tmp_path: Path) -> None:
    with (
        nginx(tmp_path, lambda port: BARE_SITE.format(port=port, backend_port=demo_server.port, options="")) as port,
        event_stream(port, "/stream?channels=alerts") as stream,
    ):
        # Buffered, it would come with the one that fills a page of memory, which never comes.
        assert stream.next().kind == "connected"


def test_a_page_of_another_origin_gets_no_stream(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{port}/ws/metrics", origin=Origin("http://evil.example"))
    assert refused.value.response.status_code == 403


def test_a_write_through_the_proxy_is_not_one_from_this_machine(demo_server: Server, nginx_port: int) -> None:
    path = "/api/system/alerts/acknowledge/unknown"
    assert ask(demo_server.port, "POST", path)[0] == 404
    assert ask(nginx_port, "POST", path)[0] in (401, 403)


@pytest.mark.parametrize("options", BARE_OPTIONS)
def test_nobody_writes_through_a_proxy_that_says_nothing_of_its_clients(
    demo_server: Server, tmp_path: Path, options: str
) -> None:
    event = b'{"type":"heartbeat","component":"outsider"}'
    with nginx(
        tmp_path, lambda port: BARE_SITE.format(port=port, backend_port=demo_server.port, options=options)
    ) as port:
        status, _, body = ask(port, "POST", "/api/ingest", event, content_type="application/json")
        assert (status, b"API_TOKENS" in body) == (403, True)
        assert ask(port, "POST", "/api/system/alerts/acknowledge/unknown")[0] == 403
        assert ask(port, "GET", "/api/metrics/summary")[0] == 200
    assert ask(demo_server.port, "POST", "/api/ingest", event, content_type="application/json")[0] == 200


@pytest.mark.parametrize("megabytes", [1.5, 4])
def test_a_batch_as_large_as_the_server_takes_passes_the_proxy(
    start_server: StartServer, tmp_path: Path, megabytes: float
) -> None:
    line = b'{"type":"log","level":"info","message":"%s"}\n' % (b"x" * 900)
    batch = line * int(megabytes * 1024 * 1024 // len(line))
    batch += b"\n" * (int(megabytes * 1024 * 1024) - len(batch))
    server = start_server(API_TOKENS="write:0123456789abcdef")
    with nginx(tmp_path, partial(shipped_site, backend_port=server.port)) as port:
        status, _, body = ask(
            port, "POST", "/api/ingest", batch,
            content_type="application/x-ndjson", authorization="Bearer 0123456789abcdef",
        )  # fmt: skip
    assert (status, json.loads(body)["rejected_count"]) == (200, 0)


def test_clients_behind_the_proxy_are_told_of_a_shutdown(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--demo")
    with (
        nginx(tmp_path, partial(shipped_site, backend_port=server.port)) as port,
        connect(f"ws://127.0.0.1:{port}/ws/metrics") as connection,
    ):
        receive(connection, "metrics_update")
        server.stop()
        assert read_to_close(connection)[1] == 1001
