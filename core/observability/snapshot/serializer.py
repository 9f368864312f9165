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
from struct import pack
from typing import Final

import orjson

from observability.clocks.timestamps import NS_PER_MS, format_iso_ms
from observability.encoding import encode_json
from observability.snapshot.frames import Payload
from observability.snapshot.index import PART_NUMBERS, GroupShape, Removed, SectionShape, Shape, SnapshotIndex
from observability.snapshot.sections import Group, Part, Section

NULL: Final = b"null"
RESERVED_NAMES = frozenset({"type", "seq", "prev_seq", "epoch", "timestamp", "mono_ns", "age_ms", "removed"})


class _Member:
    """The encoded bytes of one part, with what stands in front of them, and the tick on which they last changed."""

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
        # All keys of a part are strings. The option for others, which `encode_json` has, takes half as long again.
        self.data = self.prefix + orjson.dumps(part.to_json())
        self.version = part.version
        self.changed_seq = seq


class _GroupEncoder:
    """Encodes one group. The bytes of its parts are kept in pieces, and their numbers in the index, from tick to tick:
    a part that has not changed costs a look at its version, and nothing in a group that notes which parts were touched.
    """

    def __init__(self, group: Group) -> None:
        self._name = group.name
        self._as_list = group.as_list
        self._parts = group.parts
        self._touched = group.touched
        brackets = b"[]" if group.as_list else b"{}"
        self.opening = b"" if group.name is None else encode_json(group.name) + b":" + brackets[:1]
        self.closing = b"" if group.name is None else brackets[1:]
        self.pieces: list[bytes] = []
        """The bytes of the parts, each but the first with a comma in front."""
        self.numbers = array("q")
        """The numbers of the parts in the index."""
        self.length = 0
        """The length of all pieces together."""
        self._keys: list[str] = []
        self._members: list[_Member] = []
        # Only of a group that notes which parts were touched.
        self._places: dict[str, int] = {}
        # The length of each part and of a comma.
        self._steps: list[int] = []
        self._offset = 0
        self._is_placed = False
        """Whether the offsets are those of the current lengths."""
        self.is_changed = False
        """Whether parts were encoded or keys added or removed since the section took the pieces."""

    @property
    def shape(self) -> GroupShape:
        return GroupShape(
            self._name, self._as_list, tuple(self._keys), tuple(member.symbol for member in self._members)
        )

    @property
    def is_quiet(self) -> bool:
        """Whether no part was added, removed or changed since the last tick."""
        # hot: once per group per tick (benchmarks/bench_tick.py)
        parts, touched = self._parts, self._touched
        if touched is not None:
            return not touched and len(parts) == len(self._keys)
        if not parts:
            return not self._keys
        if list(parts) != self._keys:
            return False
        for member, part in zip(self._members, parts.values(), strict=True):  # noqa: SIM110
            if part.version != member.version:
                return False
        return True

    @property
    def is_invisible(self) -> bool:
        """Whether the group adds nothing to the payload: it has neither a name nor members."""
        return not self.opening and not self._parts

    def follow_keys(self) -> tuple[bool, list[str]]:
        """Takes on the keys of the group's parts; returns whether they differ from before, and the removed ones."""
        keys, parts, touched = self._keys, self._parts, self._touched
        if touched is not None:
            added = len(parts) - len(keys)
            if not added:
                return False, []
            assert added > 0, f"a part of group {self._name} was removed"
            for key in list(parts)[-added:]:
                self._places[key] = len(keys)
                keys.append(key)
                self._add(self._new_member(key, parts[key]))
                touched[key] = parts[key]
            self.is_changed = True
            return True, []
        new_keys = list(parts)
        if new_keys == keys:
            return False, []
        self.is_changed, self._is_placed = True, False
        known = dict(zip(keys, self._members, strict=True))
        self._keys = new_keys
        self._members, self._steps, self.pieces, self.numbers = [], [], [], array("q")
        for key, part in parts.items():
            self._add(known.get(key) or self._new_member(key, part))
        return True, [key for key in keys if key not in parts]

    def refresh(self, seq: int) -> None:
        """Encodes the parts that have changed."""
        # hot: once per group per tick (benchmarks/bench_tick.py)
        touched, members = self._touched, self._members
        if touched is None:
            changed = [
                (place, part)
                for place, (member, part) in enumerate(zip(members, self._parts.values(), strict=True))
                if part.version != member.version
            ]
        elif touched:
            places = self._places
            changed = [(places[key], part) for key, part in touched.items()]
        else:
            return
        pieces, numbers, steps = self.pieces, self.numbers, self._steps
        for place, part in changed:
            member = members[place]
            if part.version == member.version:
                continue
            self.is_changed = True
            member.encode(part, seq)
            at = place * PART_NUMBERS
            data = member.data
            pieces[place] = data if place else data[1:]
            numbers[at + 2] = seq
            step = len(data)
            if steps[place] != step:
                steps[place] = step
                numbers[at + 1] = step - 1
                self._is_placed = False
        if touched:
            touched.clear()

    def place(self, offset: int) -> None:
        """Computes the offset of each part, if it is another than before; the first one has `offset`."""
        if self._is_placed and offset == self._offset:
            return
        # Each part but the first begins after the one before and a comma.
        starts = [*accumulate(self._steps, initial=offset)]
        self._offset, self.length = offset, max(0, starts.pop() - 1 - offset)
        # Packing a struct takes a fifth of the time that an array takes of a list.
        self.numbers[::PART_NUMBERS] = array("q", pack(f"{len(starts)}q", *starts))
        self._is_placed = True

    def _new_member(self, key: str, part: Part) -> _Member:
        return _Member(key, b"," if self._as_list else b"," + encode_json(key) + b":", getattr(part, "symbol", None))

    def _add(self, member: _Member) -> None:
        """Adds a member, which has no bytes yet or those of before."""
        self._members.append(member)
        data = member.data or b","
        self.pieces.append(data if self.pieces else data[1:])
        self.numbers.extend((0, len(data) - 1, member.changed_seq))
        self._steps.append(len(data))
        self._is_placed = False


class _SectionEncoder:
    """Encodes one section, and keeps what it has encoded while no part of it changes."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.groups = [_GroupEncoder(group) for group in section.groups]
        self.pieces: list[bytes] = []
        """`,"name":{fields, groups}`"""
        self.length = 0
        """The length of the pieces, without the comma in front."""
        self.numbers = array("q")
        self._fields = None if section.fields is None else _Member("", b"", None)
        self._prefix = encode_json(section.name) + b":{"
        self._offset = -1
        self._is_joined = False

    @property
    def shape(self) -> SectionShape:
        groups = tuple(group.shape for group in self.groups)
        return SectionShape(self.section.name, self._prefix, self._fields is not None, groups)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing in the section has changed since the last tick, although it may have."""
        fields = self._fields
        if fields is not None:
            part = self.section.fields
            assert part is not None
            if part.version != fields.version:
                return False
        for group in self.groups:  # noqa: SIM110
            if not group.is_quiet:
                return False
        return True

    def encode(self, offset: int, seq: int) -> bool:
        """Encodes what has changed; the section has `offset`, from the end of the head. Returns whether any number of
        its parts is another than before."""
        # hot: once per section per tick (benchmarks/bench_tick.py)
        fields = self._fields
        if fields is not None:
            part = self.section.fields
            assert part is not None
            if part.version != fields.version:
                fields.encode(part, seq)
                self._offset = -1
        is_changed = offset != self._offset
        for group in self.groups:
            group.refresh(seq)
            if group.is_changed:
                is_changed = True
        if is_changed:
            self._join(offset)
        elif not self._is_joined:
            self.pieces = [b"".join(self.pieces)]
            self._is_joined = True
        return is_changed

    def _join(self, offset: int) -> None:
        start = offset
        self._offset = -1
        self._is_joined = False
        self.numbers = numbers = array("q")
        self.pieces = pieces = [b",", self._prefix]
        offset += len(self._prefix)
        needs_comma = False
        if self._fields is not None:
            data = self._fields.data[1:-1]
            numbers.extend((offset, len(data), self._fields.changed_seq))
            pieces.append(data)
            offset += len(data)
            needs_comma = bool(data)
        for group in self.groups:
            group.is_changed = False
            if group.is_invisible:
                continue
            opening = b"," + group.opening if needs_comma else group.opening
            offset += len(opening)
            group.place(offset)
            pieces.append(opening)
            pieces += group.pieces
            pieces.append(group.closing)
            numbers.extend(group.numbers)
            offset += group.length + len(group.closing)
            needs_comma = True
        pieces.append(b"}")
        self._offset, self.length = start, offset + 1 - start


class Serializer:
    """Encodes each snapshot once; a part whose version has not changed keeps its bytes."""

    def __init__(self, epoch: str, sections: Sequence[Section]) -> None:
        self.epoch = epoch
        self.snapshots_encoded = 0
        self._sections = tuple(sections)
        self._encoders = [_SectionEncoder(section) for section in sections]
        self._custom: list[_Member] = []
        self._shape: Shape | None = None
        # Of the parts of all sections.
        self._numbers = array("q")
        # Of the last snapshot: what followed its head, joined once it is needed again, and its index.
        self._tail: tuple[bytes, ...] = ()
        self._index: SnapshotIndex | None = None

    def encode(self, seq: int, now_ns: int, mono_ns: int, custom: Mapping[str, bytes]) -> tuple[Payload, SnapshotIndex]:
        """Returns the snapshot of one tick, not joined yet, and its index.

        `now_ns` is the time of the tick by the event clock, `mono_ns` by the host's monotonic clock; `custom` holds the
        encoded metrics of custom collectors by name.
        """
        head = self._head(seq, now_ns, mono_ns)
        if self._index is not None and self._is_quiet(custom):
            return self._encode_again(head, self._index)
        shape, removed = self._follow_keys(custom)
        pieces = [head]
        places = [len(head)]
        offset = 0
        is_changed = shape is not self._shape
        for encoder in self._encoders:
            offset += 1
            if encoder.encode(offset, seq):
                is_changed = True
            places += (len(head) + offset, encoder.length)
            pieces += encoder.pieces
            offset += encoder.length
        self._shape = shape
        if is_changed:
            self._numbers = array("q")
            for encoder in self._encoders:
                self._numbers.extend(encoder.numbers)
        numbers = array("q", places) + self._numbers
        for member, data in zip(self._custom, custom.values(), strict=True):
            if data != member.data:
                member.data = data
                member.changed_seq = seq
            pieces += (b",", member.prefix, data)
            offset += 1
            numbers.extend((offset, len(member.prefix) + len(data), member.changed_seq))
            offset += len(member.prefix) + len(data)
        pieces.append(b"}")
        for section in self._sections:
            section.is_touched = False
        self.snapshots_encoded += 1
        self._tail = tuple(pieces[1:])
        self._index = SnapshotIndex(shape, numbers, removed)
        return Payload(tuple(pieces), len(head) + offset + 1), self._index

    def _is_quiet(self, custom: Mapping[str, bytes]) -> bool:
        """Returns whether everything but the head is what it was in the last snapshot."""
        # hot: once per tick (benchmarks/bench_tick.py)
        for encoder in self._encoders:
            section = encoder.section
            if section.is_touched:
                if not encoder.is_quiet:
                    return False
                section.is_touched = False
        members = self._custom
        if not custom:
            return not members
        return list(custom) == [each.key for each in members] and list(custom.values()) == [
            each.data for each in members
        ]

    def _encode_again(self, head: bytes, index: SnapshotIndex) -> tuple[Payload, SnapshotIndex]:
        """Returns the last snapshot, of that index, with another head."""
        # hot: once per tick of an idle server (benchmarks/bench_tick.py)
        if len(self._tail) > 1:
            self._tail = (b"".join(self._tail),)
        longer = len(head) - index.head_length
        if longer or index.removed:
            numbers = array("q", index.numbers)
            numbers[0] += longer
            for at in range(1, index.shape.first_part, 2):
                numbers[at] += longer
            index = self._index = SnapshotIndex(index.shape, numbers)
        self.snapshots_encoded += 1
        return Payload((head, *self._tail), len(head) + len(self._tail[0])), index

    def _follow_keys(self, custom: Mapping[str, bytes]) -> tuple[Shape, Removed]:
        """Returns the shape of this tick's index, which is the last one if no key was added or removed."""
        shape = self._shape
        removed: list[tuple[str, ...]] = []
        for encoder in self._encoders:
            section = encoder.section
            for group, described in zip(encoder.groups, section.groups, strict=True):
                has_changed, removed_keys = group.follow_keys()
                if has_changed:
                    shape = None
                    path = (section.name,) if described.name is None else (section.name, described.name)
                    removed += [(*path, key) for key in removed_keys]
        if list(custom) != [member.key for member in self._custom]:
            shape = None
            known = {member.key: member for member in self._custom}
            self._custom = [known.get(name) or _Member(name, encode_json(name) + b":", None) for name in custom]
        if shape is None:
            shape = Shape(tuple(encoder.shape for encoder in self._encoders), tuple(custom))
        return shape, tuple(removed)

    def _head(self, seq: int, now_ns: int, mono_ns: int) -> bytes:
        # hot: once per tick (benchmarks/bench_tick.py)
        ages = {}
        for section in self._sections:
            input_ns = section.last_input_ns
            ages[section.name] = None if input_ns is None else max(0, now_ns - input_ns) / NS_PER_MS
        head = {
            "type": "metrics_update",
            "seq": seq,
            "epoch": self.epoch,
            "timestamp": format_iso_ms(now_ns),
            "mono_ns": mono_ns,
            "age_ms": ages,
        }
        return orjson.dumps(head)[:-1]
