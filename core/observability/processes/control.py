"""The control socket between the supervisor and each child: a child reports that it serves, and is given RPC sockets.

    child      -> supervisor   1 byte: it serves
    supervisor -> child        8 bytes, slot of the other end and generation of the hub, with a socket (SCM_RIGHTS)
    end of stream              the other side has ended

What goes over an RPC socket is in `rpc.py`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

SERVES: Final = b"S"
_HEADER: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class RpcSocket:
    """One end of a socket for calls between a worker and a hub: the slot of the other end, the hub's generation."""

    slot: int
    generation: int
    sock: socket.socket


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Returns both ends of a new socket, which do not block."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    here.setblocking(False)
    there.setblocking(False)
    return here, there


def say_serving(control: socket.socket) -> None:
    """Reports to the supervisor that this child serves."""
    control.send(SERVES)


def send_rpc_socket(control: socket.socket, rpc_socket: RpcSocket) -> bool:
    """Gives a child its end of an RPC socket; returns False if the child has ended or does not read."""
    try:
        socket.send_fds(control, [_HEADER.pack(rpc_socket.slot, rpc_socket.generation)], [rpc_socket.sock.fileno()])
    except OSError:
        return False
    return True


class RpcSocketReceiver:
    """Opens each RPC socket that the supervisor gives to this child, and ends this child with the supervisor."""

    def __init__(
        self,
        control: socket.socket,
        open_rpc_socket: Callable[[RpcSocket], Coroutine[Any, Any, None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._control = control
        self._open = open_rpc_socket
        self._loop = loop
        self._opening: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop.add_reader(self._control.fileno(), self._on_control)

    def stop(self) -> None:
        self._loop.remove_reader(self._control.fileno())

    def _on_control(self) -> None:
        try:
            rpc_socket = _receive_rpc_socket(self._control)
        except BlockingIOError:
            return
        if rpc_socket is None:
            # The supervisor has died. Where the kernel does not end its children (see `child.py`), they end themselves.
            os._exit(1)
        # The loop holds only a weak reference to a task.
        task = self._loop.create_task(self._open(rpc_socket))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)


def _receive_rpc_socket(control: socket.socket) -> RpcSocket | None:
    """Returns the next RPC socket given to this child; None at the end of the stream. Raises BlockingIOError."""
    data, fds, _, _ = socket.recv_fds(control, _HEADER.size, 1)
    if not data:
        return None
    slot, generation = _HEADER.unpack(data)
    sock = socket.socket(fileno=fds[0])
    sock.setblocking(False)
    return RpcSocket(slot, generation, sock)
