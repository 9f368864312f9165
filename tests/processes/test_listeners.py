"""The listening sockets of several workers: one port, which no other server shares."""

from __future__ import annotations

import errno
import socket

import pytest

from observability.processes import listeners as listeners_module
from observability.processes.listeners import HAS_REUSE_PORT, open_listeners


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")


def close(listeners: tuple[tuple[socket.socket, ...], ...]) -> None:
    for sock in {sock for mine in listeners for sock in mine}:
        sock.close()


def accept_any(listeners: tuple[tuple[socket.socket, ...], ...]) -> int:
    """Returns the number of the worker whose socket has a connection."""
    for number, mine in enumerate(listeners):
        for sock in mine:
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                continue
            return number
    raise AssertionError("no connection has come")


@pytest.mark.skipif(not HAS_REUSE_PORT, reason="the kernel spreads no connections")
def test_each_worker_has_a_socket_of_its_own_on_the_same_port() -> None:
    listeners = open_listeners(["127.0.0.1"], 0, 3)
    (port,) = {sock.getsockname()[1] for mine in listeners for sock in mine}
    assert len({sock.fileno() for mine in listeners for sock in mine}) == 3
    reached = set()
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port)):
            reached.add(accept_any(listeners))
    assert reached == {0, 1, 2}
    close(listeners)


def test_workers_share_one_socket_without_the_option() -> None:
    listeners = open_listeners(["127.0.0.1"], 0, 3, reuse_port=False)
    assert len({sock.fileno() for mine in listeners for sock in mine}) == 1
    with socket.create_connection(listeners[0][0].getsockname()):
        assert accept_any(listeners) == 0
    close(listeners)


def test_a_port_in_use_is_refused_even_if_its_server_would_share_it() -> None:
    with socket.socket() as other:
        if HAS_REUSE_PORT:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="already in use"):
            open_listeners(["127.0.0.1"], other.getsockname()[1], 2)


def test_a_connection_waits_until_it_is_accepted() -> None:
    listeners = open_listeners(["127.0.0.1"], 0, 1)
    with socket.create_connection(listeners[0][0].getsockname()) as client:
        client.sendall(b"hello")
        listeners[0][0].setblocking(True)
        accepted, _ = listeners[0][0].accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
    close(listeners)


def reached(listeners: tuple[tuple[socket.socket, ...], ...]) -> set[str]:
    """Returns the addresses of this host at which a connection is accepted."""
    port = listeners[0][0].getsockname()[1]
    found = set()
    for address in ("127.0.0.1", "::1", "127.0.0.2"):
        try:
            socket.create_connection((address, port), timeout=60).close()
        except ConnectionRefusedError:
            continue
        found.add(address)
    return found


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        (["::"], {"127.0.0.1", "::1", "127.0.0.2"}),
        (["0.0.0.0"], {"127.0.0.1", "127.0.0.2"}),
        (["::1"], {"::1"}),
        (["127.0.0.1", "::1"], {"127.0.0.1", "::1"}),
        (["::", "0.0.0.0", "::"], {"127.0.0.1", "::1", "127.0.0.2"}),
    ],
)
@needs_ipv6
def test_every_address_of_every_host_is_listened_on(hosts: list[str], addresses: set[str], count: int) -> None:
    listeners = open_listeners(hosts, 0, count)
    assert reached(listeners) == addresses
    assert len({sock.getsockname()[1] for mine in listeners for sock in mine}) == 1
    close(listeners)


def test_any_address_is_that_of_ipv4_alone_on_a_host_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    make = listeners_module._make

    def without_ipv6(family: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return make(family)

    monkeypatch.setattr(listeners_module, "_make", without_ipv6)
    listeners = open_listeners(["::"], 0, 2)
    assert {sock.family for mine in listeners for sock in mine} == {socket.AF_INET}
    close(listeners)
    with pytest.raises(OSError, match="not supported"):
        open_listeners(["::1"], 0, 2)


@needs_ipv6
def test_a_free_port_is_one_that_is_free_at_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners_module, "PATIENCE_SECONDS", 0)
    bind = listeners_module._bind_patiently
    refused: list[int] = []

    def refuse_the_first(family: int, sockaddr: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6 and len(refused) < 2:
            refused.append(family)
            raise OSError(errno.EADDRINUSE, "taken")
        return bind(family, sockaddr)

    monkeypatch.setattr(listeners_module, "_bind_patiently", refuse_the_first)
    listeners = open_listeners(["127.0.0.1", "::1"], 0, 1)
    assert reached(listeners) == {"127.0.0.1", "::1"}
    close(listeners)
