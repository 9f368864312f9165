"""The serializer: all sections in, one encoded snapshot out, once per tick for all subscribers.

Nothing else encodes metrics for the broadcast: a view of a snapshot is joined from its bytes, by the index that comes
with it.

    {"type":..,"seq":..,...,"market_data":{"AAPL":{..},"AMZN":{..}},"strategy":{"total_pnl":..,"positions":[{..}]}}
     |------ head --------| |-------------- section -------------|             |--- fields ---| |--- group ---|
                                           |- member -| |- member -|                                         |member|
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from observability.clocks.timestamps import NS_PER_MS, format_iso_ms
from observability.encoding import encode_json
from observability.snapshot.index import GroupIndex, Member, SectionIndex, SnapshotIndex
from observability.snapshot.sections import Group, Part, Section

RESERVED_NAMES = frozenset({"type", "seq", "prev_seq", "epoch", "timestamp", "mono_ns", "age_ms", "removed"})


def _refresh(member: Member, part: Part, seq: int) -> bytes:
    """Returns the bytes of a part, encoded anew only if its version has changed."""
    # hot: once per part per tick (benchmarks/bench_tick.py)
    version = part.version
    if version != member.version:
        member.data = member.prefix + encode_json(part.to_json())
        member.version = version
        member.changed_seq = seq
    return member.data


class _GroupEncoder:
    """Encodes one group, and updates its index."""

    def __init__(self, group: Group) -> None:
        self.index = GroupIndex(group.name, as_list=group.as_list)
        self._parts = group.parts

    @property
    def is_invisible(self) -> bool:
        """Whether the group adds nothing to the payload: it has neither a name nor members."""
        return self.index.name is None and not self._parts

    def encode(self, into: _Pieces, seq: int) -> None:
        """Appends `"name":{...}`, `"name":[...]` or, for a group without a name, its members alone."""
        index, parts = self.index, self._parts
        members, as_list = index.members, index.as_list
        if index.removed:
            index.removed = []
        if index.name is not None:
            into.add(encode_json(index.name) + (b":[" if as_list else b":{"))
        is_first = True
        for key, part in parts.items():
            member = members.get(key)
            if member is None:
                prefix = b"" if as_list else encode_json(key) + b":"
                member = members[key] = Member(prefix, getattr(part, "symbol", None))
            if is_first:
                is_first = False
            else:
                into.add(b",")
            data = _refresh(member, part, seq)
            member.offset = into.add(data)
            member.length = len(data)
        if len(members) > len(parts):
            index.removed = [key for key in members if key not in parts]
            for key in index.removed:
                del members[key]
        if index.name is not None:
            into.add(b"]" if as_list else b"}")


class _SectionEncoder:
    """Encodes one section, and updates its index."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self._groups = [_GroupEncoder(group) for group in section.groups]
        fields = None if section.fields is None else Member(b"", None)
        groups = [group.index for group in self._groups]
        self.index = SectionIndex(section.name, encode_json(section.name) + b":{", fields, groups)

    def encode(self, into: _Pieces, seq: int) -> None:
        """Appends `"name":{fields, groups}`."""
        index = self.index
        index.offset = into.add(index.prefix)
        needs_comma = False
        if index.fields is not None:
            assert self.section.fields is not None
            data = _refresh(index.fields, self.section.fields, seq)[1:-1]
            index.fields.offset = into.add(data)
            index.fields.length = len(data)
            needs_comma = bool(data)
        for group in self._groups:
            if needs_comma and not group.is_invisible:
                into.add(b",")
            group.encode(into, seq)
            needs_comma = needs_comma or not group.is_invisible
        into.add(b"}")
        index.length = into.length - index.offset


class _Pieces:
    """Pieces of bytes to be joined, and their total length."""

    __slots__ = ("_pieces", "length")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.length = 0

    def add(self, data: bytes) -> int:
        """Appends `data`; returns its offset."""
        offset = self.length
        self._pieces.append(data)
        self.length = offset + len(data)
        return offset

    def join(self) -> bytes:
        return b"".join(self._pieces)


class Serializer:
    """Encodes each snapshot once; a part whose version has not changed keeps its bytes."""

    def __init__(self, epoch: str, sections: Sequence[Section]) -> None:
        self.epoch = epoch
        self._sections = [_SectionEncoder(section) for section in sections]
        self.index = SnapshotIndex([section.index for section in self._sections])
        """The positions in the newest payload; the next `encode` changes it."""
        self.snapshots_encoded = 0

    def encode(self, seq: int, now_ns: int, mono_ns: int, custom: Mapping[str, bytes]) -> bytes:
        """Returns the snapshot of one tick, and updates `index`.

        `now_ns` is the time of the tick by the event clock, `mono_ns` by the host's monotonic clock; `custom` holds the
        encoded metrics of custom collectors by name.
        """
        index = self.index
        pieces = _Pieces()
        pieces.add(self._head(seq, now_ns, mono_ns))
        index.head_length = pieces.length
        for section in self._sections:
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
        ages = {section.index.name: _age_ms(section.section, now_ns) for section in self._sections}
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
