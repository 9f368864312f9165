"""The serializer: all sections in, one encoded snapshot out, once per tick for everybody.

No collecting here and no sending. Nothing else in the project encodes what is broadcast; views of a snapshot are joined
from its bytes by the index that comes with it.

    {"type":..,"seq":..,...,"market_data":{"AAPL":{..},"AMZN":{..}},"strategy":{"total_pnl":..,"positions":[{..}]}}
     |------ head --------| |-------------- section -------------|             |--- fields ---| |--- group ---|
                                           |- member -| |- member -|                                         |member|
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from observability.core.parts import Group, Part, Section
from observability.core.timestamps import NS_PER_MS, format_iso_ms

RESERVED_NAMES = frozenset({"type", "seq", "prev_seq", "epoch", "timestamp", "mono_ns", "age_ms", "removed"})

_OPTIONS = orjson.OPT_NON_STR_KEYS


def encode_json(value: Any) -> bytes:
    """Encodes one JSON document; a NaN becomes null."""
    return orjson.dumps(value, option=_OPTIONS)


class Member:
    """Where one part stands in the payload, and the tick on which it last changed. `symbol` is what a filter by symbol
    goes by; None belongs to every symbol."""

    __slots__ = ("changed_seq", "data", "length", "offset", "prefix", "symbol", "version")

    def __init__(self, prefix: bytes, symbol: str | None) -> None:
        self.prefix = prefix
        self.symbol = symbol
        self.version: int | None = None
        self.data = b""
        self.changed_seq = 0
        self.offset = 0
        self.length = 0

    def refresh(self, part: Part, seq: int) -> bytes:
        """Returns the part's bytes, encoded again only if its version has changed."""
        # hot: once per part per tick (benchmarks/bench_tick.py)
        version = part.version
        if version != self.version:
            self.data = self.prefix + encode_json(part.to_json())
            self.version = version
            self.changed_seq = seq
        return self.data


class GroupIndex:
    """The members of one group, by key; `removed` names those that left on this tick."""

    def __init__(self, group: Group) -> None:
        self.name = group.name
        self.as_list = group.as_list
        self.members: dict[str, Member] = {}
        self.removed: list[str] = []
        self._parts = group.parts

    @property
    def is_invisible(self) -> bool:
        """A group without a name and without members leaves no trace in the payload."""
        return self.name is None and not self._parts

    def encode(self, into: _Pieces, seq: int) -> None:
        """Adds `"name":{...}`, `"name":[...]` or, for a group without a name, the bare members."""
        parts, members = self._parts, self.members
        if self.removed:
            self.removed = []
        if self.name is not None:
            into.add(encode_json(self.name) + (b":[" if self.as_list else b":{"))
        is_first = True
        for key, part in parts.items():
            member = members.get(key)
            if member is None:
                prefix = b"" if self.as_list else encode_json(key) + b":"
                member = members[key] = Member(prefix, getattr(part, "symbol", None))
            if is_first:
                is_first = False
            else:
                into.add(b",")
            data = member.refresh(part, seq)
            member.offset = into.add(data)
            member.length = len(data)
        if len(members) > len(parts):
            self.removed = [key for key in members if key not in parts]
            for key in self.removed:
                del members[key]
        if self.name is not None:
            into.add(b"]" if self.as_list else b"}")


class SectionIndex:
    """One section in the payload: where it stands whole, its fields, its groups."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.name = section.name
        self.prefix = encode_json(section.name) + b":{"
        self.fields = None if section.fields is None else Member(b"", None)
        self.groups = [GroupIndex(group) for group in section.groups]
        self.offset = 0
        self.length = 0

    def encode(self, into: _Pieces, seq: int) -> None:
        """Adds `"name":{fields, groups}`."""
        self.offset = into.add(self.prefix)
        needs_comma = False
        if self.fields is not None:
            assert self.section.fields is not None
            data = self.fields.refresh(self.section.fields, seq)[1:-1]
            self.fields.offset = into.add(data)
            self.fields.length = len(data)
            needs_comma = bool(data)
        for group in self.groups:
            if needs_comma and not group.is_invisible:
                into.add(b",")
            group.encode(into, seq)
            needs_comma = needs_comma or not group.is_invisible
        into.add(b"}")
        self.length = into.length - self.offset


class _Pieces:
    """Bytes to be joined, and how many there are so far."""

    __slots__ = ("_pieces", "length")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.length = 0

    def add(self, data: bytes) -> int:
        """Returns where `data` begins."""
        offset = self.length
        self._pieces.append(data)
        self.length = offset + len(data)
        return offset

    def join(self) -> bytes:
        return b"".join(self._pieces)


class SnapshotIndex:
    """Where everything stands in the newest payload. It changes with the next tick."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.head_length = 0
        """Length of `{"type":...` up to the comma before the first section."""
        self.sections = [SectionIndex(section) for section in sections]
        self.custom: dict[str, Member] = {}


class Serializer:
    """Encodes each snapshot once; parts whose version did not change keep the bytes they had."""

    def __init__(self, epoch: str, sections: Sequence[Section]) -> None:
        self.epoch = epoch
        self.index = SnapshotIndex(sections)
        self.snapshots_encoded = 0

    def encode(self, seq: int, now_ns: int, mono_ns: int, custom: Mapping[str, bytes]) -> bytes:
        """Returns the snapshot of one tick, and brings `index` up to it.

        now_ns is the tick's time (event clock), mono_ns the host's monotonic clock; custom holds the already encoded
        metrics of custom collectors by name.
        """
        index = self.index
        pieces = _Pieces()
        pieces.add(self._head(seq, now_ns, mono_ns))
        index.head_length = pieces.length
        for section in index.sections:
            pieces.add(b",")
            section.encode(pieces, seq)
        for name, data in custom.items():
            member = index.custom.get(name)
            if member is None:
                member = index.custom[name] = Member(encode_json(name) + b":", None)
            if data != member.data:
                member.data = data
                member.changed_seq = seq
            pieces.add(b",")
            member.offset = pieces.add(member.prefix + data)
            member.length = pieces.length - member.offset
        pieces.add(b"}")
        self.snapshots_encoded += 1
        return pieces.join()

    def _head(self, seq: int, now_ns: int, mono_ns: int) -> bytes:
        ages = {section.name: _age_ms(section.section, now_ns) for section in self.index.sections}
        head = {
            "type": "metrics_update",
            "seq": seq,
            "epoch": self.epoch,
            "timestamp": format_iso_ms(now_ns),
            "mono_ns": mono_ns,
            "age_ms": ages,
        }
        return encode_json(head)[:-1]


def _age_ms(section: Section, now_ns: int) -> float | None:
    if section.last_input_ns is None:
        return None
    return (now_ns - section.last_input_ns) / NS_PER_MS
