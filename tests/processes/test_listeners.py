"""The listening sockets of several workers: one port, which no other server shares."""

from __future__ import annotations

import socket

import pytest

from observability.processes.listeners import HAS_REUSE_PORT, open_listeners


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
    listeners = open_listeners("127.0.0.1", 0, 3)
    (port,) = {sock.getsockname()[1] for mine in listeners for sock in mine}
    assert len({sock.fileno() for mine in listeners for sock in mine}) == 3
    reached = set()
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port)):
            reached.add(accept_any(listeners))
    assert reached == {0, 1, 2}
    close(listeners)


def test_workers_share_one_socket_without_the_option() -> None:
    listeners = open_listeners("127.0.0.1", 0, 3, reuse_port=False)
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
            open_listeners("127.0.0.1", other.getsockname()[1], 2)


def test_a_connection_waits_until_it_is_accepted() -> None:
    listeners = open_listeners("127.0.0.1", 0, 1)
    with socket.create_connection(listeners[0][0].getsockname()) as client:
        client.sendall(b"hello")
        listeners[0][0].setblocking(True)
        accepted, _ = listeners[0][0].accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
    close(listeners)
