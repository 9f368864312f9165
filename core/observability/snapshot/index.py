"""The index of an encoded snapshot: where each part lies in the payload, and how another process learns that.

    shape    sections, groups, keys, symbols                    MessagePack; the same until a key is added or removed
    numbers  length of the head; offset, length, tick per part  words; different on every tick

Views (in `stream/`) cut their messages out of a payload by this index.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import msgspec


class Member:
    """The position of one part in the payload, and the tick on which it last changed.

    A filter by symbol compares `symbol`; None passes every filter.
    """

    __slots__ = ("changed_seq", "data", "length", "offset", "prefix", "symbol", "version")

    def __init__(self, prefix: bytes, symbol: str | None) -> None:
        self.prefix = prefix
        self.symbol = symbol
        self.version: int | None = None
        self.data = b""
        self.changed_seq = 0
        self.offset = 0
        self.length = 0


class GroupIndex:
    """The members of one group, by key; `removed` lists the keys removed on this tick."""

    __slots__ = ("as_list", "members", "name", "removed")

    def __init__(self, name: str | None, *, as_list: bool) -> None:
        self.name = name
        self.as_list = as_list
        self.members: dict[str, Member] = {}
        self.removed: list[str] = []


class SectionIndex:
    """The position of one section in the payload, its fields and its groups. `prefix` is `"name":{`."""

    __slots__ = ("fields", "groups", "length", "name", "offset", "prefix")

    def __init__(self, name: str, prefix: bytes, fields: Member | None, groups: list[GroupIndex]) -> None:
        self.name = name
        self.prefix = prefix
        self.fields = fields
        self.groups = groups
        self.offset = 0
        self.length = 0


class SnapshotIndex:
    """The positions in one payload."""

    def __init__(self, sections: list[SectionIndex]) -> None:
        self.head_length = 0
        """Length of `{"type":...` up to the comma before the first section."""
        self.sections = sections
        self.custom: dict[str, Member] = {}


class _Group(msgspec.Struct, array_like=True):
    name: str | None
    as_list: bool
    keys: list[str]
    symbols: list[str | None]
    removed: list[str]


class _Section(msgspec.Struct, array_like=True):
    name: str
    prefix: bytes
    has_fields: bool
    groups: list[_Group]


class _Shape(msgspec.Struct, array_like=True):
    sections: list[_Section]
    custom: list[str]


_decode_shape = msgspec.msgpack.Decoder(_Shape).decode


class IndexWriter:
    """Encodes an index that changes with every tick; the shape is encoded anew only when it differs."""

    def __init__(self, index: SnapshotIndex) -> None:
        self._index = index
        self._sizes: list[int] = []
        self._shape = b""
        self._had_removed = True

    def shape(self) -> bytes:
        # A change of keys shows in their number or, if as many were removed as added, in `removed`.
        groups = [group for section in self._index.sections for group in section.groups]
        sizes = [len(self._index.custom), *(len(group.members) for group in groups)]
        has_removed = any(group.removed for group in groups)
        if sizes != self._sizes or has_removed or self._had_removed:
            self._sizes = sizes
            self._had_removed = has_removed
            self._shape = msgspec.msgpack.encode(self._describe())
        return self._shape

    def numbers(self) -> bytes:
        # hot: once per tick, if there are workers (benchmarks/bench_tick.py)
        numbers = [self._index.head_length]
        for section in self._index.sections:
            numbers += (section.offset, section.length)
        for member in _members(self._index):
            numbers += (member.offset, member.length, member.changed_seq)
        return array("q", numbers).tobytes()

    def _describe(self) -> _Shape:
        sections = [
            _Section(
                section.name,
                section.prefix,
                section.fields is not None,
                [
                    _Group(
                        group.name,
                        group.as_list,
                        list(group.members),
                        [member.symbol for member in group.members.values()],
                        group.removed,
                    )
                    for group in section.groups
                ],
            )
            for section in self._index.sections
        ]
        return _Shape(sections, list(self._index.custom))


class IndexReader:
    """Decodes the bytes of an `IndexWriter`; the objects of one shape are reused."""

    def __init__(self) -> None:
        self._shape = b""
        self._index = SnapshotIndex([])
        self._members: list[Member] = []

    def read(self, shape: bytes, numbers: bytes) -> SnapshotIndex:
        """Returns the index; the next call changes it."""
        # hot: once per tick and worker, if a subscriber has a view of its own (benchmarks/bench_workers.py)
        if shape != self._shape:
            self._index = _index_of(_decode_shape(shape))
            self._members = list(_members(self._index))
            self._shape = shape
        index = self._index
        words = iter(memoryview(numbers).cast("q").tolist())
        index.head_length = next(words)
        for section in index.sections:
            section.offset, section.length = next(words), next(words)
        for member, offset, length, changed_seq in zip(self._members, words, words, words, strict=True):
            member.offset, member.length, member.changed_seq = offset, length, changed_seq
        return index


def _members(index: SnapshotIndex) -> Iterator[Member]:
    """Yields every part, in the order of the numbers."""
    for section in index.sections:
        if section.fields is not None:
            yield section.fields
        for group in section.groups:
            yield from group.members.values()
    yield from index.custom.values()


def _index_of(shape: _Shape) -> SnapshotIndex:
    sections = []
    for described in shape.sections:
        groups = []
        for group in described.groups:
            groups.append(GroupIndex(group.name, as_list=group.as_list))
            groups[-1].members = {
                key: Member(b"", symbol) for key, symbol in zip(group.keys, group.symbols, strict=True)
            }
            groups[-1].removed = group.removed
        fields = Member(b"", None) if described.has_fields else None
        sections.append(SectionIndex(described.name, described.prefix, fields, groups))
    index = SnapshotIndex(sections)
    index.custom = {name: Member(b"", None) for name in shape.custom}
    return index
