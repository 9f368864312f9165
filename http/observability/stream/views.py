"""Views: the part of each snapshot that clients want, joined once per tick for all clients that want the same.

A view is sliced out of the encoded snapshot by its index; nothing is encoded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from observability.encoding import encode_json
from observability.snapshot.frames import HEADROOM, Frame, FrameSource
from observability.snapshot.index import GroupIndex, Member, SectionIndex, SnapshotIndex
from observability.websocket.deflate import DeflateCounters, SharedDeflater

_TYPE_UPDATE = b'{"type":"metrics_update",'


@dataclass(frozen=True, slots=True)
class ViewKey:
    """What distinguishes views. None means all channels, or all symbols."""

    channels: frozenset[str] | None = None
    """Names of sections and custom collectors."""
    symbols: frozenset[str] | None = None
    is_delta: bool = False


EVERYTHING = ViewKey()


class Message:
    """One message of one tick, shared by all clients of a view, uncompressed and compressed. `buffer` has room for the
    header of its frame in front."""

    __slots__ = ("buffer", "deflated", "payload", "seq")

    def __init__(self, seq: int, payload: bytes, deflater: SharedDeflater, buffer: bytearray | None = None) -> None:
        self.seq = seq
        self.deflated = deflater.next_message(payload)
        self.payload = payload
        self.buffer = bytearray(HEADROOM) + payload if buffer is None else buffer


class View:
    """One view. Its messages of a tick are made when the first client needs them."""

    def __init__(self, key: ViewKey, counters: DeflateCounters) -> None:
        self.key = key
        self.clients = 0
        """The number of clients that have this view now."""
        # A client in step with the deltas is not in step with the full messages.
        self._full_deflater = SharedDeflater(counters)
        self._delta_deflater = SharedDeflater(counters)
        self._full: Message | None = None
        self._delta: Message | None = None

    def full(self, frame: Frame) -> Message:
        """Returns the view of `frame`, which is the newest."""
        message = self._full
        if message is None or message.seq != frame.seq:
            if self.key.channels is None and self.key.symbols is None:
                message = Message(frame.seq, frame.payload, self._full_deflater, frame.buffer)
            else:
                message = Message(frame.seq, self._join_full(frame), self._full_deflater)
            self._full = message
        return message

    def delta(self, frame: Frame) -> Message:
        """Returns what has changed in the view since the frame before `frame`, which is the newest."""
        message = self._delta
        if message is None or message.seq != frame.seq:
            message = self._delta = Message(frame.seq, self._join_delta(frame), self._delta_deflater)
        return message

    def _join_full(self, frame: Frame) -> bytes:
        payload, index = frame.payload, frame.index
        pieces = [payload[: index.head_length]]
        pieces.extend(self._section(payload, section) for section in self._sections(index))
        pieces.extend(payload[m.offset : m.offset + m.length] for m in self._custom(index))
        return b",".join(pieces) + b"}"

    def _section(self, payload: bytes, section: SectionIndex) -> bytes:
        if self.key.symbols is None:
            return payload[section.offset : section.offset + section.length]
        pieces = []
        if section.fields is not None and section.fields.length:
            pieces.append(_slice(payload, section.fields))
        for group in section.groups:
            members = [_slice(payload, member) for member in group.members.values() if self._wants(member)]
            if members or group.name is not None:
                pieces.append(_group(group, members))
        return section.prefix + b",".join(pieces) + b"}"

    def _join_delta(self, frame: Frame) -> bytes:
        payload, seq, index = frame.payload, frame.seq, frame.index
        head = payload[len(_TYPE_UPDATE) : index.head_length]
        pieces = [b'{"type":"metrics_delta","prev_seq":%d,' % (seq - 1) + head]
        removed: list[list[str]] = []
        for section in self._sections(index):
            changed = []
            if section.fields is not None and section.fields.changed_seq == seq:
                changed.append(_slice(payload, section.fields))
            for group in section.groups:
                members = [
                    _slice(payload, member)
                    for member in group.members.values()
                    if member.changed_seq == seq and self._wants(member)
                ]
                if members:
                    changed.append(_group(group, members))
                path = [section.name] if group.name is None else [section.name, group.name]
                removed.extend([*path, key] for key in group.removed)
            if changed:
                pieces.append(section.prefix + b",".join(changed) + b"}")
        pieces.extend(payload[m.offset : m.offset + m.length] for m in self._custom(index) if m.changed_seq == seq)
        pieces.append(b'"removed":' + encode_json(removed))
        return b",".join(pieces) + b"}"

    def _sections(self, index: SnapshotIndex) -> Iterator[SectionIndex]:
        channels = self.key.channels
        return (section for section in index.sections if channels is None or section.name in channels)

    def _custom(self, index: SnapshotIndex) -> Iterator[Member]:
        channels = self.key.channels
        return (member for name, member in index.custom.items() if channels is None or name in channels)

    def _wants(self, member: Member) -> bool:
        symbols = self.key.symbols
        return symbols is None or member.symbol is None or member.symbol in symbols


class Views:
    """All views in use: the whole snapshot, and at most `max_views` others."""

    def __init__(self, frames: FrameSource, max_views: int, counters: DeflateCounters) -> None:
        self.everything = View(EVERYTHING, counters)
        self._frames = frames
        self._max_views = max_views
        self._counters = counters
        self._views: dict[ViewKey, View] = {EVERYTHING: self.everything}

    @property
    def channels(self) -> tuple[str, ...]:
        """The names a client may subscribe to, in the snapshot's order."""
        frame = self._frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        return (*(section.name for section in frame.index.sections), *frame.index.custom)

    def enter(self, key: ViewKey) -> View | None:
        """Adds a client to the view of `key` and returns the view; None if that would be one view too many."""
        view = self._views.get(key)
        if view is None:
            if len(self._views) > self._max_views:
                return None
            view = self._views[key] = View(key, self._counters)
        view.clients += 1
        return view

    def leave(self, view: View) -> None:
        """Removes one client from a view, and a view that has no clients left."""
        view.clients -= 1
        if not view.clients and view is not self.everything:
            del self._views[view.key]


def _slice(payload: bytes, member: Member) -> bytes:
    return payload[member.offset : member.offset + member.length]


def _group(group: GroupIndex, members: list[bytes]) -> bytes:
    joined = b",".join(members)
    if group.name is None:
        return joined
    return encode_json(group.name) + (b":[%b]" if group.as_list else b":{%b}") % joined
