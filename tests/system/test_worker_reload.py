"""SIGHUP replaces the workers while they serve, so that they read a new certificate."""

from __future__ import annotations

import http.client
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from certified import FIRST, SECOND, trusting
from hosts import WORKERS, children, wait_until
from server_process import TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]


@pytest.fixture
def tls_host(start_server: StartServer, pair: tuple[Path, Path]) -> Server:
    return start_server("--workers", str(WORKERS), "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))


def trusting_anything() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answers(server: Server, context: ssl.SSLContext) -> bool:
    """Returns whether the worker that gets the connection is trusted, and answers."""
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except ssl.SSLCertVerificationError:
        return False
    finally:
        connection.close()


def test_sighup_gives_every_worker_the_new_certificate(tls_host: Server, pair: tuple[Path, Path]) -> None:
    pair[0].write_bytes(SECOND[0].read_bytes())
    pair[1].write_bytes(SECOND[1].read_bytes())
    before = children(tls_host.process.pid)
    tls_host.process.send_signal(signal.SIGHUP)
    while len(children(tls_host.process.pid) & before) > 1:
        assert answers(tls_host, trusting_anything())
    assert all(answers(tls_host, trusting(SECOND[0])) for _ in range(10))


def test_a_wrong_certificate_leaves_the_workers_serving(tls_host: Server, pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(SECOND[1].read_bytes())
    before = children(tls_host.process.pid)
    tls_host.process.send_signal(signal.SIGHUP)
    tls_host.wait_for_log("before it served; the workers that were to be replaced keep running")
    wait_until(lambda: children(tls_host.process.pid) == before)
    assert all(answers(tls_host, trusting(FIRST[0])) for _ in range(10))
