"""What the supervisor and its children say to each other: "I serve", and "here is your channel to that one".

No processes here (see `supervisor.py`) and nothing of what goes over the channels (see `channel.py`).

    child       -> supervisor   1 byte: it serves
    supervisor  -> child        8 bytes, slot and generation of the hub, with a socket (SCM_RIGHTS)
    supervisor dies             end of stream
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

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


def receive_channel(control: socket.socket) -> Channel | None:
    """Returns the next channel given to this child, None at the end of the stream. Raises BlockingIOError."""
    data, fds, _, _ = socket.recv_fds(control, _CHANNEL.size, 1)
    if not data:
        return None
    slot, generation = _CHANNEL.unpack(data)
    sock = socket.socket(fileno=fds[0])
    sock.setblocking(False)
    return Channel(slot, generation, sock)
