"""Workers replaced while they serve: for another certificate, or because the source has changed."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import WORKERS, children, wait_until
from server import ROOT, TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]

CERTIFICATES = ROOT / "tests" / "certificates"
FIRST = (CERTIFICATES / "first.crt", CERTIFICATES / "first.key")
SECOND = (CERTIFICATES / "second.crt", CERTIFICATES / "second.key")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "server.crt", tmp_path / "server.key"
    cert.write_bytes(FIRST[0].read_bytes())
    key.write_bytes(FIRST[1].read_bytes())
    return cert, key


@pytest.fixture
def tls_host(start_server: StartServer, pair: tuple[Path, Path]) -> Server:
    return start_server("--workers", str(WORKERS), "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))


def trusting(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cert))


def trusting_anything() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answers(server: Server, context: ssl.SSLContext) -> bool:
    """Whether the worker that has the connection is trusted, and answers."""
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except ssl.SSLCertVerificationError:
        return False
    finally:
        connection.close()


def test_a_hangup_gives_every_worker_the_new_certificate_and_refuses_nobody(
    tls_host: Server, pair: tuple[Path, Path]
) -> None:
    pair[0].write_bytes(SECOND[0].read_bytes())
    pair[1].write_bytes(SECOND[1].read_bytes())
    before = children(tls_host.process.pid)
    tls_host.process.send_signal(signal.SIGHUP)
    while len(children(tls_host.process.pid) & before) > 1:
        assert answers(tls_host, trusting_anything())
    assert all(answers(tls_host, trusting(SECOND[0])) for _ in range(10))


def test_a_pair_that_does_not_fit_leaves_the_workers_that_serve(tls_host: Server, pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(SECOND[1].read_bytes())
    before = children(tls_host.process.pid)
    tls_host.process.send_signal(signal.SIGHUP)
    tls_host.wait_for_log("before it served; those it was to follow stay")
    wait_until(lambda: children(tls_host.process.pid) == before)
    assert all(answers(tls_host, trusting(FIRST[0])) for _ in range(10))


def test_all_processes_start_again_when_a_source_changes(tmp_path: Path) -> None:
    for root in ("core", "http"):
        subprocess.run(["cp", "-r", str(ROOT / root), str(tmp_path)], check=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path / "core"), str(tmp_path / "http")))}
    command = [sys.executable, "-m", "observability.http", "serve", "--port", "0", "--workers", "2", "--reload"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert "2 workers" in process.stdout.readline()
        changed = tmp_path / "core/observability/core/version.py"
        changed.write_text(changed.read_text().replace("0.", "9."))
        assert "observability 9." in process.stdout.readline()
        process.terminate()
        assert process.wait(TIMEOUT_SECONDS) == 0
