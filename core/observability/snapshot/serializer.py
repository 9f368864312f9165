"""The serializer: all sections in, one encoded snapshot out, once per tick for all subscribers.

Nothing else encodes metrics for the broadcast: a view of a snapshot is joined from its bytes, by the index made with
them.

    {"type":..,"seq":..,...,"market_data":{"AAPL":{..},"AMZN":{..}},"strategy":{"total_pnl":..,"positions":[{..}]}}
     |------ head --------| |-------------- section -------------|             |--- fields ---| |--- group ---|
                                           |-- part --| |-- part --|                                          |part|
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate

from observability.clocks.timestamps import NS_PER_MS, format_iso_ms
from observability.encoding import encode_json
from observability.snapshot.frames import Payload
from observability.snapshot.index import PART_NUMBERS, GroupShape, Removed, SectionShape, Shape, SnapshotIndex
from observability.snapshot.sections import Group, Part, Section

_AFTER_COMMA = (1).__add__
RESERVED_NAMES = frozenset({"type", "seq", "prev_seq", "epoch", "timestamp", "mono_ns", "age_ms", "removed"})


class _Member:
    """The encoded bytes of one part, and the tick on which they last changed."""

    __slots__ = ("changed_seq", "data", "key", "prefix", "symbol", "version")

    def __init__(self, key: str, prefix: bytes, symbol: str | None) -> None:
        self.key = key
        self.prefix = prefix
        self.symbol = symbol
        self.version: int | None = None
        self.data = b""
        self.changed_seq = 0

    def encode(self, part: Part, seq: int) -> None:
        """Encodes the part anew; called when its version has changed."""
        self.data = self.prefix + encode_json(part.to_json())
        self.version = part.version
        self.changed_seq = seq


class _GroupEncoder:
    """Encodes one group: looks at the version of each part."""

    def __init__(self, group: Group) -> None:
        self._name = group.name
        self._as_list = group.as_list
        self._parts = group.parts
        self._keys: list[str] = []
        self._members: list[_Member] = []
        brackets = b"[]" if group.as_list else b"{}"
        self._opening = b"" if group.name is None else encode_json(group.name) + b":" + brackets[:1]
        self._closing = b"" if group.name is None else brackets[1:]

    @property
    def shape(self) -> GroupShape:
        return GroupShape(
            self._name, self._as_list, tuple(self._keys), tuple(member.symbol for member in self._members)
        )

    @property
    def is_invisible(self) -> bool:
        """Whether the group adds nothing to the payload: it has neither a name nor members."""
        return not self._opening and not self._parts

    def follow_keys(self) -> tuple[bool, list[str]]:
        """Takes on the keys of the group's parts; returns whether they differ from before, and the removed ones."""
        keys, parts = self._keys, self._parts
        new_keys = list(parts)
        if new_keys == keys:
            return False, []
        known = dict(zip(keys, self._members, strict=True))
        self._keys = new_keys
        self._members = [
            known.get(key) or _Member(key, self._prefix(key), getattr(part, "symbol", None))
            for key, part in parts.items()
        ]
        return True, [key for key in keys if key not in parts]

    def encode(self, into: _Pieces, seq: int) -> None:
        """Appends `"name":{...}`, `"name":[...]` or, for a group without a name, its members alone."""
        # hot: once per part per tick (benchmarks/bench_tick.py)
        into.add(self._opening)
        offset = into.offset
        pieces: list[bytes] = []
        numbers: list[int] = []
        for member, part in zip(self._members, self._parts.values(), strict=True):
            if part.version != member.version:
                member.encode(part, seq)
            data = member.data
            length = len(data)
            pieces.append(data)
            numbers += (offset, length, member.changed_seq)
            offset += length + 1
        into.numbers.extend(numbers)
        into.add(b",".join(pieces))
        into.add(self._closing)

    def _prefix(self, key: str) -> bytes:
        return b"" if self._as_list else encode_json(key) + b":"


class _GrowingGroupEncoder(_GroupEncoder):
    """Encodes a group that notes which parts were touched: no other part costs anything but the copy of its bytes."""

    def __init__(self, group: Group, touched: dict[str, Part]) -> None:
        super().__init__(group)
        self._touched = touched
        self._places: dict[str, int] = {}
        # The bytes of the parts with the commas between them, and their numbers in the index.
        self._pieces: list[bytes] = []
        self._numbers = array("q")
        self._offset = 0
        self._length = 0
        self._is_placed = False
        """Whether the offsets are those of the current lengths."""

    def follow_keys(self) -> tuple[bool, list[str]]:
        added = len(self._parts) - len(self._keys)
        if not added:
            return False, []
        assert added > 0, f"a part of group {self._name} was removed"
        for key in list(self._parts)[-added:]:
            self._places[key] = len(self._keys)
            self._keys.append(key)
            part = self._parts[key]
            self._members.append(_Member(key, self._prefix(key), getattr(part, "symbol", None)))
            self._pieces += (b",", b"") if self._pieces else (b"",)
            self._numbers.extend((0, 0, 0))
            self._touched[key] = part
        return True, []

    def encode(self, into: _Pieces, seq: int) -> None:
        # hot: once per touched part per tick (benchmarks/bench_tick.py)
        into.add(self._opening)
        if self._touched:
            self._encode_touched(seq)
        if not self._is_placed or into.offset != self._offset:
            self._place(into.offset)
        into.numbers.extend(self._numbers)
        into.add_pieces(self._pieces, self._length)
        into.add(self._closing)

    def _encode_touched(self, seq: int) -> None:
        """Encodes the touched parts that have changed."""
        touched, numbers = self._touched, self._numbers
        for key, part in touched.items():
            place = self._places[key]
            member = self._members[place]
            if part.version == member.version:
                continue
            member.encode(part, seq)
            at = place * PART_NUMBERS
            self._pieces[2 * place] = data = member.data
            if numbers[at + 1] != len(data):
                numbers[at + 1] = len(data)
                self._is_placed = False
            numbers[at + 2] = seq
        touched.clear()

    def _place(self, offset: int) -> None:
        """Computes the offset of each part; the first one has `offset`."""
        lengths = self._numbers[1::PART_NUMBERS]
        # Each part but the first begins after the one before and a comma.
        starts = array("q", accumulate(map(_AFTER_COMMA, lengths), initial=offset))
        self._offset, self._length = offset, max(0, starts.pop() - 1 - offset)
        self._numbers[::PART_NUMBERS] = starts
        self._is_placed = True


class _SectionEncoder:
    """Encodes one section."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.groups = [
            _GroupEncoder(group) if group.touched is None else _GrowingGroupEncoder(group, group.touched)
            for group in section.groups
        ]
        self._fields = None if section.fields is None else _Member("", b"", None)
        self._prefix = encode_json(section.name) + b":{"

    @property
    def shape(self) -> SectionShape:
        groups = tuple(group.shape for group in self.groups)
        return SectionShape(self.section.name, self._prefix, self._fields is not None, groups)

    def encode(self, into: _Pieces, seq: int) -> None:
        """Appends `"name":{fields, groups}`."""
        into.add(self._prefix)
        needs_comma = False
        if self._fields is not None:
            part = self.section.fields
            assert part is not None
            if part.version != self._fields.version:
                self._fields.encode(part, seq)
            data = self._fields.data[1:-1]
            into.add_part(data, self._fields.changed_seq)
            needs_comma = bool(data)
        for group in self.groups:
            if needs_comma and not group.is_invisible:
                into.add(b",")
            group.encode(into, seq)
            needs_comma = needs_comma or not group.is_invisible
        into.add(b"}")


class _Pieces:
    """Pieces of bytes to be joined, their total length, and the numbers of the parts among them."""

    __slots__ = ("_head_length", "_pieces", "length", "numbers")

    def __init__(self, head: bytes) -> None:
        self._pieces = [head]
        self._head_length = self.length = len(head)
        self.numbers = array("q")

    @property
    def offset(self) -> int:
        """The length after the head, from which the offsets of parts count."""
        return self.length - self._head_length

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self.length += len(data)

    def add_part(self, data: bytes, changed_seq: int) -> None:
        """Appends the bytes of a part, and its numbers."""
        self.numbers.extend((self.offset, len(data), changed_seq))
        self.add(data)

    def add_pieces(self, pieces: list[bytes], length: int) -> None:
        """Appends bytes in pieces, `length` of them together."""
        self._pieces += pieces
        self.length += length

    def payload(self) -> Payload:
        return Payload(tuple(self._pieces), self.length)


class Serializer:
    """Encodes each snapshot once; a part whose version has not changed keeps its bytes."""

    def __init__(self, epoch: str, sections: Sequence[Section]) -> None:
        self.epoch = epoch
        self.snapshots_encoded = 0
        self._sections = [_SectionEncoder(section) for section in sections]
        self._custom: list[_Member] = []
        self._shape: Shape | None = None

    def encode(self, seq: int, now_ns: int, mono_ns: int, custom: Mapping[str, bytes]) -> tuple[Payload, SnapshotIndex]:
        """Returns the snapshot of one tick, not joined yet, and its index.

        `now_ns` is the time of the tick by the event clock, `mono_ns` by the host's monotonic clock; `custom` holds the
        encoded metrics of custom collectors by name.
        """
        shape, removed = self._follow_keys(custom)
        pieces = _Pieces(self._head(seq, now_ns, mono_ns))
        numbers = array("q", (pieces.length,))
        for section in self._sections:
            pieces.add(b",")
            offset = pieces.length
            section.encode(pieces, seq)
            numbers.extend((offset, pieces.length - offset))
        for member, data in zip(self._custom, custom.values(), strict=True):
            if data != member.data:
                member.data = data
                member.changed_seq = seq
            pieces.add(b",")
            pieces.add_part(member.prefix + data, member.changed_seq)
        pieces.add(b"}")
        self.snapshots_encoded += 1
        return pieces.payload(), SnapshotIndex(shape, numbers + pieces.numbers, removed)

    def _follow_keys(self, custom: Mapping[str, bytes]) -> tuple[Shape, Removed]:
        """Returns the shape of this tick's index, which is the last one if no key was added or removed."""
        shape = self._shape
        removed: list[tuple[str, ...]] = []
        for section in self._sections:
            for group, described in zip(section.groups, section.section.groups, strict=True):
                has_changed, removed_keys = group.follow_keys()
                if has_changed:
                    shape = None
                    path = (section.section.name,) if described.name is None else (section.section.name, described.name)
                    removed += [(*path, key) for key in removed_keys]
        if list(custom) != [member.key for member in self._custom]:
            shape = None
            known = {member.key: member for member in self._custom}
            self._custom = [known.get(name) or _Member(name, encode_json(name) + b":", None) for name in custom]
        if shape is None:
            shape = self._shape = Shape(tuple(section.shape for section in self._sections), tuple(custom))
        return shape, tuple(removed)

    def _head(self, seq: int, now_ns: int, mono_ns: int) -> bytes:
        ages = {section.section.name: _age_ms(section.section, now_ns) for section in self._sections}
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
    return max(0, now_ns - section.last_input_ns) / NS_PER_MS
