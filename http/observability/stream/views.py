"""Views: the part of each snapshot that clients want, joined once per tick for all clients that want the same.

A view is sliced out of the encoded snapshot by its index; nothing is encoded again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from observability.encoding import encode_json
from observability.snapshot.frames import HEADROOM, Frame, FrameSource
from observability.snapshot.index import PART_NUMBERS, Shape, SnapshotIndex
from observability.stream.event_stream import encode_event, event_id
from observability.websocket.deflate import DeflateCounters, SharedDeflater

_TYPE_UPDATE = b'{"type":"metrics_update",'


@dataclass(frozen=True, slots=True)
class ViewKey:
    """What distinguishes views. None means all channels, or all symbols."""

    channels: frozenset[str] | None = None
    """Names of sections and custom collectors."""
    symbols: frozenset[str] | None = None
    is_delta: bool = False


EVERYTHING: Final = ViewKey()
# Of each worker, which joins every view once per tick.
MAX_VIEWS: Final = 1024
MAX_VIEWS_PER_ADDRESS: Final = 128
# As many as there are combinations of the built-in channels, in either mode.
MAX_CHANNEL_VIEWS: Final = 64


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """How many different views may be in use at a time."""

    views: int = MAX_VIEWS
    views_per_address: int = MAX_VIEWS_PER_ADDRESS
    channel_views: int = MAX_CHANNEL_VIEWS
    """Views without a filter by symbol, beyond `views`."""


DEFAULT_LIMITS: Final = ViewLimits()


class Message:
    """One message of one tick, shared by all clients of a view, uncompressed, compressed, and as an event. `buffer` has
    room for the header of its frame in front."""

    __slots__ = ("_epoch", "_event", "buffer", "deflated", "payload", "seq")

    def __init__(self, frame: Frame, payload: bytes, deflater: SharedDeflater, buffer: bytearray | None = None) -> None:
        self.seq = frame.seq
        self._epoch = frame.epoch
        self._event: bytearray | None = None
        self.deflated = deflater.next_message(payload)
        self.payload = payload
        self.buffer = bytearray(HEADROOM) + payload if buffer is None else buffer

    @property
    def event(self) -> bytearray:
        """The message as an event whose id is its place in the stream, with the same headroom; made on first use."""
        event = self._event
        if event is None:
            event = self._event = bytearray(HEADROOM) + encode_event(self.payload, event_id(self._epoch, self.seq))
        return event


class View:
    """One view. Its messages of a frame are made when the first client needs them."""

    def __init__(self, key: ViewKey, counters: DeflateCounters, address: str = "") -> None:
        self.key = key
        self.address = address
        """The address that the view counts for; empty if it counts for none."""
        self.clients = 0
        """The number of clients that have this view now."""
        # A client in step with the deltas is not in step with the full messages.
        self._full_deflater = SharedDeflater(counters)
        self._delta_deflater = SharedDeflater(counters)
        self._full_frame: Frame | None = None
        self._delta_frame: Frame | None = None
        self._full: Message
        self._delta: Message
        self._shape: Shape | None = None
        self._cut = Cut((), ())

    def full(self, frame: Frame) -> Message:
        """Returns the view of `frame`."""
        if self._full_frame is not frame:
            if self.key.channels is None and self.key.symbols is None:
                message = Message(frame, frame.payload, self._full_deflater, frame.buffer)
            else:
                message = Message(frame, self._join_full(frame), self._full_deflater)
            self._full, self._full_frame = message, frame
        return self._full

    def delta(self, frame: Frame) -> Message:
        """Returns what has changed in the view since the frame before `frame`."""
        if self._delta_frame is not frame:
            self._delta = Message(frame, self._join_delta(frame), self._delta_deflater)
            self._delta_frame = frame
        return self._delta

    def _join_full(self, frame: Frame) -> bytes:
        payload, index = frame.payload, frame.index
        pieces = [payload[: index.head_length]]
        cut = self._cut_for(index.shape)
        if self.key.symbols is None:
            pieces.extend(payload[index.section(section.position)] for section in cut.sections)
        else:
            pieces.extend(_joined(payload, index, section) for section in cut.sections)
        pieces.extend(payload[index.part(at)] for at in cut.custom)
        return b",".join(pieces) + b"}"

    def _join_delta(self, frame: Frame) -> bytes:
        payload, seq, index = frame.payload, frame.seq, frame.index
        cut = self._cut_for(index.shape)
        head = payload[len(_TYPE_UPDATE) : index.head_length]
        pieces = [b'{"type":"metrics_delta","prev_seq":%d,' % (seq - 1) + head]
        for section in cut.sections:
            changed = []
            if section.fields is not None and index.changed_seq(section.fields) == seq:
                changed.append(payload[index.part(section.fields)])
            for group in section.groups:
                members = [payload[index.part(at)] for at in group.members if index.changed_seq(at) == seq]
                if members:
                    changed.append(group.opening + b",".join(members) + group.closing)
            if changed:
                pieces.append(section.prefix + b",".join(changed) + b"}")
        pieces.extend(payload[index.part(at)] for at in cut.custom if index.changed_seq(at) == seq)
        channels = self.key.channels
        removed = [path for path in index.removed if channels is None or path[0] in channels]
        pieces.append(b'"removed":' + encode_json(removed))
        return b",".join(pieces) + b"}"

    def _cut_for(self, shape: Shape) -> Cut:
        """Returns what the view takes out of payloads of this shape."""
        if shape is not self._shape:
            self._shape, self._cut = shape, _cut_of(shape, self.key)
        return self._cut


@dataclass(frozen=True, slots=True)
class GroupCut:
    """The members that a view takes of a group: where their numbers begin."""

    opening: bytes
    closing: bytes
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SectionCut:
    """What a view takes of a section: its place among all sections, its own fields, members of its groups."""

    position: int
    prefix: bytes
    fields: int | None
    groups: tuple[GroupCut, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """What a view takes out of every payload of one shape."""

    sections: tuple[SectionCut, ...]
    custom: tuple[int, ...]


def _cut_of(shape: Shape, key: ViewKey) -> Cut:
    channels, symbols = key.channels, key.symbols
    sections = []
    at = shape.first_part
    for position, section in enumerate(shape.sections):
        fields = None
        if section.has_fields:
            fields, at = at, at + PART_NUMBERS
        groups = []
        for group in section.groups:
            wanted = tuple(
                at + PART_NUMBERS * i
                for i, symbol in enumerate(group.symbols)
                if symbols is None or symbol is None or symbol in symbols
            )
            at += PART_NUMBERS * len(group.keys)
            brackets = b"[]" if group.as_list else b"{}"
            opening = b"" if group.name is None else encode_json(group.name) + b":" + brackets[:1]
            groups.append(GroupCut(opening, b"" if group.name is None else brackets[1:], wanted))
        if channels is None or section.name in channels:
            sections.append(SectionCut(position, section.prefix, fields, tuple(groups)))
    custom = tuple(at + PART_NUMBERS * i for i, name in enumerate(shape.custom) if channels is None or name in channels)
    return Cut(tuple(sections), custom)


def _joined(payload: bytes, index: SnapshotIndex, section: SectionCut) -> bytes:
    """Returns a section with those members alone that the view wants."""
    pieces = []
    if section.fields is not None and (fields := payload[index.part(section.fields)]):
        pieces.append(fields)
    pieces.extend(
        group.opening + b",".join([payload[index.part(at)] for at in group.members]) + group.closing
        for group in section.groups
        if group.members or group.opening
    )
    return section.prefix + b",".join(pieces) + b"}"


class Views:
    """All views in use, within the limits. A view that others have is shared, and always free."""

    def __init__(self, frames: FrameSource, counters: DeflateCounters, limits: ViewLimits = DEFAULT_LIMITS) -> None:
        self.everything = View(EVERYTHING, counters)
        self._frames = frames
        self._limits = limits
        self._counters = counters
        self._views: dict[ViewKey, View] = {EVERYTHING: self.everything}
        self._channel_views = 0
        self._counted = 0
        self._of_address: Counter[str] = Counter()
        self._shape: Shape | None = None
        self._channels: tuple[str, ...] = ()
        self._groups: list[list[str]] = []

    @property
    def channels(self) -> tuple[str, ...]:
        """The names a client may subscribe to, in the snapshot's order."""
        self._read_shape()
        return self._channels

    @property
    def groups(self) -> list[list[str]]:
        """The paths of groups, whose members deltas bring one by one. Of a group without a name, the section's."""
        self._read_shape()
        return self._groups

    def _read_shape(self) -> None:
        """Reads what each client that connects is told of the newest snapshot, unless it is known."""
        # hot: several times per handshake (observability bench --only storm)
        frame = self._frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        shape = frame.index.shape
        if shape is self._shape:
            return
        self._shape = shape
        self._channels = (*(section.name for section in shape.sections), *shape.custom)
        self._groups = [
            [section.name] if group.name is None else [section.name, group.name]
            for section in shape.sections
            for group in section.groups
        ]

    def enter(self, key: ViewKey, address: str) -> View | None:
        """Adds a client at `address` to the view of `key` and returns the view; None if there is no room for it."""
        # hot: once per handshake (observability bench --only storm); the key's hash is made in Python.
        view = self.everything if key is EVERYTHING else self._views.get(key)
        if view is None:
            view = self._make(key, address)
            if view is None:
                return None
            self._views[key] = view
        view.clients += 1
        return view

    def leave(self, view: View) -> None:
        """Removes one client from a view, and a view that has no clients left."""
        view.clients -= 1
        if view.clients or view is self.everything:
            return
        del self._views[view.key]
        if not view.address:
            self._channel_views -= 1
        else:
            self._counted -= 1
            self._of_address[view.address] -= 1
            if not self._of_address[view.address]:
                del self._of_address[view.address]

    def _make(self, key: ViewKey, address: str) -> View | None:
        """Returns a new view, which counts for the address that asked for it first."""
        limits = self._limits
        # Few different views have no symbols, and most clients want one of those, so they have room of their own.
        if key.symbols is None and self._channel_views < limits.channel_views:
            self._channel_views += 1
            return View(key, self._counters)
        if self._counted >= limits.views or self._of_address[address] >= limits.views_per_address:
            return None
        self._counted += 1
        self._of_address[address] += 1
        return View(key, self._counters, address)
