"""Cohorts: subscribers that are sent the same bytes on a tick, and have nothing else due.

A cohort is an array of prepared sends, so a tick does nothing per client but the send. Who needs more (lanes, deltas, a
`lag` message) or has bytes unsent is in no cohort.

    members   | A | B | C | D |          a removed member is replaced by the last one; while a frame is being sent it
    sends     | a | b | c | d |          leaves a send that does nothing, so that indexes stay valid
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from picows import WSMsgType

from observability.snapshot.frames import HEADROOM, Frame
from observability.stream.io_uring import MAX_BATCH, SendBlock, SendRing
from observability.stream.views import View
from observability.websocket.deflate import DeflateMemory

# The loop runs between chunks, so that a REST answer waits for one chunk and not for all clients.
CHUNK_CLIENTS: Final = 128

_FINAL_TEXT: Final = 0x81
_RSV1: Final = 0x40
# In place of a socket: nothing can be written to it.
_NO_SOCKET: Final = -1


class CohortKey(NamedTuple):
    """What the members of a cohort have in common."""

    # hot: made, and hashed, once per handshake; a tuple does both in C (observability bench --only storm)

    view: View
    is_compressed: bool
    keeps_context: bool
    """Whether a message may be compressed against the one before it."""
    accepts_lag: bool
    is_plain: bool
    """Whether frames are written to their sockets, past their transports. TLS does not allow it."""
    takes_events: bool = False
    """Whether each message is an event of `event_stream.py`, and not a WebSocket frame."""


class Member(Protocol):
    """A subscriber, as its cohort sees it."""

    transport: asyncio.Transport

    @property
    def deflate(self) -> DeflateMemory | None: ...

    @property
    def send_shared(self) -> Callable[..., None]: ...

    def buffered_bytes(self) -> int: ...

    def skip_frames(self, count: int = 1) -> None: ...


# Makes the header of a message, of its length, and of whether it is compressed.
MakeHeader = Callable[[int, bool], bytes]
MemberT = TypeVar("MemberT", bound=Member)
T = TypeVar("T")


class Sends(Protocol):
    """The prepared sends of a cohort. An engine makes them."""

    def append(self, member: Member) -> bool:
        """Adds a member; returns False if the engine has no room for it."""

    def void(self, index: int) -> None:
        """Makes the send at `index` do nothing."""

    def remove(self, index: int) -> None:
        """Removes the send at `index`, and moves the last one there."""

    def set_message(self, message: bytearray, is_compressed: bool) -> None:
        """Prepares the payload of `message`, which has headroom in front, to be sent."""

    def send(self, start: int, end: int) -> list[int]:
        """Sends to the members from `start` to before `end`. Returns the indexes of those that have bytes unsent."""


class PicowsSends:
    """Sends through the members' transports, by picows."""

    def __init__(self) -> None:
        self._sends: list[Callable[..., Any]] = []
        self._message = bytearray()
        self._is_compressed = False

    def append(self, member: Member) -> bool:
        self._sends.append(member.send_shared)
        return True

    def void(self, index: int) -> None:
        self._sends[index] = _send_nothing

    def remove(self, index: int) -> None:
        _replace_by_last(self._sends, index)

    def set_message(self, message: bytearray, is_compressed: bool) -> None:
        self._message = message
        self._is_compressed = is_compressed

    def send(self, start: int, end: int) -> list[int]:
        # hot: once per client per tick (observability bench --only fanout)
        message, is_compressed = self._message, self._is_compressed
        for send in self._sends[start:end]:
            send(WSMsgType.TEXT, message, HEADROOM, True, is_compressed)
        # A transport that could not write everything has said so by `pause_writing`.
        return []


class SocketSends:
    """Sends by one system call per member, to its socket. The objects behind a transport are not touched: for many
    members they are in no cache."""

    def __init__(self, make_header: MakeHeader) -> None:
        self._make_header = make_header
        self._fds: list[int] = []
        self._members: list[Member] = []
        self._frame = b""

    def append(self, member: Member) -> bool:
        self._fds.append(member.transport.get_extra_info("socket").fileno())
        self._members.append(member)
        return True

    def void(self, index: int) -> None:
        self._fds[index] = _NO_SOCKET

    def remove(self, index: int) -> None:
        _replace_by_last(self._fds, index)
        _replace_by_last(self._members, index)

    def set_message(self, message: bytearray, is_compressed: bool) -> None:
        self._frame = self._make_header(len(message) - HEADROOM, is_compressed) + memoryview(message)[HEADROOM:]

    def send(self, start: int, end: int) -> list[int]:
        # hot: once per client per tick (observability bench --only fanout)
        frame = self._frame
        size, write = len(frame), os.write
        unsent = []
        for fd in self._fds[start:end]:
            try:
                sent = write(fd, frame)
            except OSError:
                sent = 0
            if sent != size and fd != _NO_SOCKET:
                unsent.append((fd, sent))
        behind = []
        for fd, sent in unsent:
            index = self._fds.index(fd, start, end)
            # A transport that gets bytes for a connection which has failed finds that out by itself.
            self._members[index].transport.write(frame[sent:])
            behind.append(index)
        return behind


class RingSends:
    """Sends by one system call per batch of members."""

    def __init__(self, ring: SendRing, make_header: MakeHeader) -> None:
        self._ring = ring
        self._make_header = make_header
        self._block = SendBlock()
        self._members: list[Member] = []

    def append(self, member: Member) -> bool:
        place = self._ring.register(member.transport.get_extra_info("socket").fileno())
        if place is None:
            return False
        self._block.append(place)
        self._members.append(member)
        return True

    def void(self, index: int) -> None:
        place = self._block.void(index)
        if place is not None:
            self._ring.unregister(place)

    def remove(self, index: int) -> None:
        place = self._block.remove(index)
        if place is not None:
            self._ring.unregister(place)
        _replace_by_last(self._members, index)

    def set_message(self, message: bytearray, is_compressed: bool) -> None:
        self._block.set_frame(self._make_header(len(message) - HEADROOM, is_compressed), message, HEADROOM)

    def send(self, start: int, end: int) -> list[int]:
        # hot: once per batch of clients per tick (observability bench --only fanout)
        behind = []
        for index, sent in self._ring.submit(self._block, start, end):
            # A transport that gets bytes for a connection which has failed finds that out by itself.
            self._members[index].transport.write(self._block.unsent(max(sent, 0)))
            behind.append(index)
        return behind


class Cohort(Generic[MemberT]):
    """The members with one key."""

    def __init__(self, key: CohortKey, sends: Sends) -> None:
        self.key = key
        self._members: list[MemberT | None] = []
        self._indexes: dict[MemberT, int] = {}
        self._sends = sends
        self._voided: list[int] = []
        self._is_sending = False
        self._identity: object | None = None
        """The message that every member got last, compressed; None if the next one must refer to none."""

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, member: MemberT) -> bool:
        """Adds a member that has got the newest frame. Returns False if its inflater is in another state than those of
        the others, or the engine has no room."""
        if self.key.keeps_context and self._identity is not None:
            deflate = member.deflate
            assert deflate is not None
            if not deflate.is_at(self._identity):
                return False
        if not self._sends.append(member):
            return False
        self._indexes[member] = len(self._members)
        self._members.append(member)
        return True

    def discard(self, member: MemberT) -> int:
        """Removes a member; returns the index it had."""
        index = self._indexes.pop(member)
        if member.deflate is not None:
            # Whether it got the newest message depends on how far the chunks are.
            member.deflate.forget()
        self._members[index] = None
        self._sends.void(index)
        if self._is_sending:
            self._voided.append(index)
        else:
            self._remove(index)
        return index

    def begin(self, frame: Frame) -> int:
        """Prepares a frame. Returns the number of sends that it takes."""
        self._compact()
        self._is_sending = True
        message = self.key.view.full(frame)
        if self.key.takes_events:
            self._sends.set_message(message.event, False)
        elif not self.key.is_compressed:
            self._sends.set_message(message.buffer, False)
        else:
            deflated = message.deflated
            is_next = self._identity is not None and self._identity is deflated.follows
            self._sends.set_message(deflated.stepped_frame() if is_next else deflated.contained_frame(), True)
            if self.key.keeps_context:
                self._identity = deflated.identity
        return len(self._members)

    def send(self, start: int, end: int) -> tuple[int, list[MemberT]]:
        """Sends to the members from `start` to before `end`. Returns how many there were, and those that have bytes
        unsent."""
        count = end - start
        if self._voided:
            count -= sum(1 for index in self._voided if start <= index < end)
        members = [self._members[index] for index in self._sends.send(start, end)]
        return count, [member for member in members if member is not None]

    def skip(self, start: int, end: int) -> list[MemberT]:
        """Returns the members from `start` to before `end`, to which the frame is not sent any more."""
        self._identity = None
        return [member for member in self._members[start:end] if member is not None]

    def end(self) -> None:
        """Ends the sending of a frame."""
        self._is_sending = False
        self._compact()

    def _compact(self) -> None:
        for index in sorted(self._voided, reverse=True):
            self._remove(index)
        self._voided.clear()

    def _remove(self, index: int) -> None:
        self._sends.remove(index)
        _replace_by_last(self._members, index)
        if index < len(self._members):
            moved = self._members[index]
            if moved is not None:
                self._indexes[moved] = index


def _replace_by_last(items: list[T], index: int) -> None:
    """Removes the item at `index`, and moves the last one there."""
    last = items.pop()
    if index < len(items):
        items[index] = last


def frame_header(length: int, is_compressed: bool) -> bytes:
    """Returns the header of an unmasked final text frame (RFC 6455 section 5.2)."""
    first = _FINAL_TEXT | (_RSV1 if is_compressed else 0)
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def no_header(_length: int, _is_compressed: bool) -> bytes:
    """Returns nothing: a message of `event_stream.py` is complete."""
    return b""


def _send_nothing(*_: object) -> None:
    """The send of a member that has left."""


assert CHUNK_CLIENTS <= MAX_BATCH
