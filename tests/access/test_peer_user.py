"""Whose socket is at the other end of a connection within this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from http_application import HttpApplication, bodies
from observability.access import authorization
from observability.access import peer_user as module
from observability.access.peer_user import IS_KNOWN, peer_user
from observability.http11.messages import Request, Response

pytestmark = pytest.mark.skipif(not IS_KNOWN, reason="the kernel cannot be asked")

WRITE = b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


def connected(address: str) -> tuple[socket.socket, socket.socket]:
    """Returns both ends of a connection, the accepted one first."""
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        client = socket.create_connection(server.getsockname()[:2])
        return server.accept()[0], client


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    both = connected(request.param)
    yield both
    for end in both:
        end.close()


@pytest.mark.parametrize("ask", [peer_user, module._ask_kernel, module._read_table])
def test_the_user_of_the_other_end_is_known(
    ends: tuple[socket.socket, socket.socket], ask: Callable[..., int | None]
) -> None:
    accepted, _ = ends
    assert ask(accepted.getpeername()[:2], accepted.getsockname()[:2]) == os.geteuid()


@pytest.mark.parametrize("ask", [peer_user, module._ask_kernel, module._read_table])
def test_nobody_holds_an_end_that_is_closed(
    ends: tuple[socket.socket, socket.socket], ask: Callable[..., int | None]
) -> None:
    accepted, client = ends
    peer, own = accepted.getpeername()[:2], accepted.getsockname()[:2]
    client.close()
    assert ask(peer, own) is None
    assert ask((peer[0], 1), own) is None


def test_the_table_is_read_if_the_kernel_may_not_be_asked(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(module, "_ask_kernel", forbidden)
    accepted, _ = ends
    assert peer_user(accepted.getpeername()[:2], accepted.getsockname()[:2]) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_user_is_the_one_that_the_program_runs_as() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            client = socket.create_connection(server.getsockname())
            client.recv(1)
            os._exit(0)
        accepted = server.accept()[0]
        assert peer_user(accepted.getpeername(), accepted.getsockname()) == 65534
        accepted.close()
        os.waitpid(child, 0)


def test_a_write_without_a_token_needs_a_connection_of_the_servers_user(
    serve: Callable[..., Any], served: HttpApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(request: Request) -> Response:
        return Response(body=b"written")

    served.application.router.add("POST", "/write", write)
    server = serve(served.application)
    assert bodies(server.exchange(WRITE)) == [(200, b"written")]
    monkeypatch.setattr(authorization.os, "geteuid", lambda: os.getuid() + 1)
    ((status, body),) = bodies(server.exchange(WRITE))
    assert (status, b"API_TOKENS" in body) == (403, True)
