"""What the supervisor and its children say to each other: "I serve", and "here is your channel to that one".

No processes here (see `supervisor.py`) and nothing of what goes over the channels (see `channel.py`).

    child       -> supervisor   1 byte: it serves
    supervisor  -> child        8 bytes, slot and generation of the hub, with a socket (SCM_RIGHTS)
    supervisor dies             end of stream
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
_CHANNEL: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Channel:
    """One end of a channel between hub and worker: whose the other end is, and of which generation the hub."""

    slot: int
    generation: int
    sock: socket.socket


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Returns the supervisor's and the child's end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def say_serving(control: socket.socket) -> None:
    """Tells the supervisor that this child serves."""
    control.send(SERVES)


def send_channel(control: socket.socket, channel: Channel) -> bool:
    """Gives a child its end of a channel; returns False if it takes nothing any more."""
    try:
        socket.send_fds(control, [_CHANNEL.pack(channel.slot, channel.generation)], [channel.sock.fileno()])
    except OSError:
        return False
    return True


class ChannelReceiver:
    """Opens each channel that the supervisor gives to this child, and ends this child with the supervisor."""

    def __init__(
        self,
        control: socket.socket,
        open_channel: Callable[[Channel], Coroutine[Any, Any, None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._control = control
        self._open = open_channel
        self._loop = loop
        self._opening: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop.add_reader(self._control.fileno(), self._on_control)

    def stop(self) -> None:
        self._loop.remove_reader(self._control.fileno())

    def _on_control(self) -> None:
        try:
            channel = _receive_channel(self._control)
        except BlockingIOError:
            return
        if channel is None:
            # The supervisor is gone: where the kernel does not end its children, they do so themselves.
            os._exit(1)
        # The loop alone keeps no task alive.
        task = self._loop.create_task(self._open(channel))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)


def _receive_channel(control: socket.socket) -> Channel | None:
    """Returns the next channel given to this child, None at the end of the stream. Raises BlockingIOError."""
    data, fds, _, _ = socket.recv_fds(control, _CHANNEL.size, 1)
    if not data:
        return None
    slot, generation = _CHANNEL.unpack(data)
    sock = socket.socket(fileno=fds[0])
    sock.setblocking(False)
    return Channel(slot, generation, sock)
