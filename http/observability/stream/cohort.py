"""Cohorts: subscribers that are sent the same bytes on a tick, and have nothing else due.

A cohort is an array of prepared sends, so a tick does nothing per client but the send. Who needs more (lanes, deltas)
or has bytes unsent is in no cohort.

    members   | A | B | C | D |          a removed member is replaced by the last one; while a frame is being sent it
    sends     | a | b | c | d |          leaves a send that does nothing, so that indexes stay valid
    skipped   | 0 | 2 | 2 | 1 |          frames that the server was too late to send: neighbours with the same number
                                         are sent one `lag` message with the next frame, by the same send
    pings     { B }                      members that are sent a ping with the next frame, by the same send
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from picows import WSMsgType

from observability.clocks.timestamps import format_iso_ms
from observability.encoding import encode_json
from observability.snapshot.frames import HEADROOM, Frame
from observability.stream.batches.block import MAX_BATCH, Batches
from observability.stream.event_stream import encode_event
from observability.stream.views import View
from observability.websocket.connection import WebSocketConnection
from observability.websocket.deflate import DeflateMemory

# The loop runs between chunks, so that a REST answer waits for one chunk, which takes little more than a millisecond,
# and not for all clients. Each chunk costs about 50 us beside its sends: the loop finds little of itself in the caches.
CHUNK_CLIENTS: Final = 250
# A chunk may be larger while no client asks for anything.
CALM_CHUNK_CLIENTS: Final = 500

_FINAL_TEXT: Final = 0x81
_RSV1: Final = 0x40


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

    def skip_frames(self, count: int = 1, newest_seq: int = 0) -> None: ...


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

    def set_message(self, message: bytearray, is_compressed: bool, before: bytes = b"") -> None:
        """Prepares the payload of `message`, which has headroom in front, to be sent, and a message `before` it unless
        that is empty."""

    @property
    def takes_pings(self) -> bool:
        """Whether a ping may go with a message."""

    def set_pings(self, indexes: Sequence[int]) -> None:
        """Prepares the message to be sent with a ping in front of it to these members, and without one to others."""

    def send(self, start: int, end: int) -> list[int]:
        """Sends to the members from `start` to before `end`. Returns the indexes of those that have bytes unsent."""


class PicowsSends:
    """Sends through the members' transports, by picows."""

    takes_pings = False

    def __init__(self) -> None:
        self._sends: list[Callable[..., Any]] = []
        self._message = bytearray()
        self._is_compressed = False
        self._before: bytearray | None = None

    def append(self, member: Member) -> bool:
        self._sends.append(member.send_shared)
        return True

    def void(self, index: int) -> None:
        self._sends[index] = _send_nothing

    def remove(self, index: int) -> None:
        _replace_by_last(self._sends, index)

    def set_message(self, message: bytearray, is_compressed: bool, before: bytes = b"") -> None:
        self._message = message
        self._is_compressed = is_compressed
        self._before = bytearray(HEADROOM) + before if before else None

    def set_pings(self, indexes: Sequence[int]) -> None:
        assert not indexes, "pings are sent by themselves"

    def send(self, start: int, end: int) -> list[int]:
        # hot: once per client per tick (observability bench --only fanout)
        message, is_compressed, text = self._message, self._is_compressed, WSMsgType.TEXT
        if self._before is not None:
            for send in self._sends[start:end]:
                send(text, self._before, HEADROOM, True, False)
                send(text, message, HEADROOM, True, is_compressed)
            return []
        for send in self._sends[start:end]:
            send(text, message, HEADROOM, True, is_compressed)
        # A transport that could not write everything has said so by `pause_writing`.
        return []


class BatchSends:
    """Sends by one system call per batch of members, to their sockets. The objects behind a transport are not touched:
    for many members they are in no cache."""

    def __init__(self, batches: Batches, make_header: MakeHeader, *, takes_pings: bool = False) -> None:
        self.takes_pings = takes_pings
        self._batches = batches
        self._make_header = make_header
        self._block = batches.make_block(WebSocketConnection.ping if takes_pings else b"")
        self._members: list[Member] = []

    def append(self, member: Member) -> bool:
        place = self._batches.register(member.transport.get_extra_info("socket").fileno())
        if place is None:
            return False
        self._block.append(place)
        self._members.append(member)
        return True

    def void(self, index: int) -> None:
        place = self._block.void(index)
        if place is not None:
            self._batches.unregister(place)

    def remove(self, index: int) -> None:
        place = self._block.remove(index)
        if place is not None:
            self._batches.unregister(place)
        _replace_by_last(self._members, index)

    def set_message(self, message: bytearray, is_compressed: bool, before: bytes = b"") -> None:
        self._block.set_frame(_framed(self._make_header, before, message, is_compressed), message, HEADROOM)

    def set_pings(self, indexes: Sequence[int]) -> None:
        self._block.set_prefaced(indexes)

    def send(self, start: int, end: int) -> list[int]:
        # hot: once per batch of clients per tick (observability bench --only fanout)
        behind: list[int] = []
        for index, sent in self._batches.submit(self._block, start, end):
            # A transport that gets bytes for a connection which has failed finds that out by itself.
            self._members[index].transport.write(self._block.unsent(index, max(sent, 0)))
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
        self._frame: Frame | None = None
        self._message = bytearray()
        self._is_message_compressed = False
        # Per member, the frames that it has skipped and was not told of; whether there are any; and with how many the
        # message is prepared.
        self._skipped: list[int] = []
        self._has_skipped = False
        self._prepared = 0
        # Members that a ping is due to, and the indexes of those that this frame brings it to.
        self._pings: dict[MemberT, None] = {}
        self._pinged: list[int] = []
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
        self._skipped.append(0)
        return True

    def skipped_by(self, member: MemberT) -> int:
        """Returns how many frames a member has skipped without having been told."""
        return self._skipped[self._indexes[member]] if self._has_skipped else 0

    def discard(self, member: MemberT) -> int:
        """Removes a member; returns the index it had."""
        index = self._indexes.pop(member)
        if member.deflate is not None:
            # Whether it got the newest message depends on how far the chunks are.
            member.deflate.forget()
        self._members[index] = None
        self._pings.pop(member, None)
        self._sends.void(index)
        if self._is_sending:
            self._voided.append(index)
        else:
            self._remove(index)
        return index

    def ping(self, member: MemberT) -> bool:
        """Sends a ping to a member with the next frame. Returns False if that cannot be done, or if the last one still
        waits for a frame."""
        if not self._sends.takes_pings or member in self._pings:
            return False
        self._pings[member] = None
        return True

    def begin(self, frame: Frame) -> int:
        """Prepares a frame. Returns the number of sends that it takes."""
        self._compact()
        self._is_sending = True
        message = self.key.view.full(frame)
        self._frame, self._is_message_compressed = frame, False
        if self.key.takes_events:
            self._message = message.event
        elif not self.key.is_compressed:
            self._message = message.buffer
        else:
            deflated = message.deflated
            is_next = self._identity is not None and self._identity is deflated.follows
            self._message = deflated.stepped_frame() if is_next else deflated.contained_frame()
            self._is_message_compressed = True
            if self.key.keeps_context:
                self._identity = deflated.identity
        self._has_skipped = self._has_skipped and any(self._skipped)
        self._prepare(0)
        if self._pings or self._pinged:
            self._pinged = [self._indexes[member] for member in self._pings]
            self._sends.set_pings(self._pinged)
        return len(self._members)

    def send(self, start: int, end: int) -> tuple[int, Sequence[MemberT]]:
        """Sends to the members from `start` to before `end`. Returns how many there were, and those that have bytes
        unsent."""
        count = end - start
        if self._voided:
            count -= sum(1 for index in self._voided if start <= index < end)
        indexes = self._send_with_lag(start, end) if self._has_skipped else self._sends.send(start, end)
        if self._pings:
            self._forget_pings(start, end)
        if not indexes:
            return count, ()
        members = [self._members[index] for index in indexes]
        return count, [member for member in members if member is not None]

    def _send_with_lag(self, start: int, end: int) -> list[int]:
        """Does the same where some members are to be told of skipped frames first."""
        behind: list[int] = []
        while start < end:
            count, stop = self._skipped[start], start + 1
            while stop < end and self._skipped[stop] == count:
                stop += 1
            # Before the send, in which a member may leave.
            self._skipped[start:stop] = [0] * (stop - start)
            if count != self._prepared:
                self._prepare(count)
            behind += self._sends.send(start, stop)
            start = stop
        return behind

    def _forget_pings(self, start: int, end: int) -> None:
        """Ends the wait of those members from `start` to before `end` that were sent a ping."""
        for index in self._pinged:
            if start <= index < end and (member := self._members[index]) is not None:
                self._pings.pop(member, None)

    def _prepare(self, skipped: int) -> None:
        """Prepares the message for members that have skipped so many frames."""
        before = b""
        if skipped:
            assert self._frame is not None, "prepared since a frame was begun"
            before = encode_json({"type": "lag", "skipped": skipped, "timestamp": format_iso_ms(self._frame.ts_ns)})
            if self.key.takes_events:
                before = encode_event(before)
        self._prepared = skipped
        self._sends.set_message(self._message, self._is_message_compressed, before)

    def skip(self, start: int, end: int) -> int:
        """Skips the frame for the members from `start` to before `end`, to which it is not sent any more; returns how
        many they are."""
        self._identity = None
        if self.key.accepts_lag:
            self._skip(start, end, 1)
        return sum(1 for member in self._members[start:end] if member is not None)

    def skip_all(self, count: int) -> None:
        """Skips frames for every member."""
        if self.key.accepts_lag:
            self._skip(0, len(self._members), count)

    def _skip(self, start: int, end: int, count: int) -> None:
        self._has_skipped = True
        self._skipped[start:end] = [skipped + count for skipped in self._skipped[start:end]]

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
        _replace_by_last(self._skipped, index)
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


def _framed(make_header: MakeHeader, before: bytes, message: bytearray, is_compressed: bool) -> bytes:
    """Returns what precedes the payload of `message`: its header, and a message before it."""
    header = make_header(len(message) - HEADROOM, is_compressed)
    return make_header(len(before), False) + before + header if before else header


def no_header(_length: int, _is_compressed: bool) -> bytes:
    """Returns nothing: a message of `event_stream.py` is complete."""
    return b""


def _send_nothing(*_: object) -> None:
    """The send of a member that has left."""


assert CHUNK_CLIENTS <= CALM_CHUNK_CLIENTS <= MAX_BATCH
