"""The index of one encoded snapshot: where each part lies in its payload. Views (in `stream/`) cut by it.

    shape    sections, groups, keys, symbols                    the same object until a key is added or removed
    numbers  length of the head; offset, length per section; offset, length, tick of the last change per part
             The offset of a section counts from the beginning, that of a part from the end of the head, so that the
             numbers of parts stay the same while only the head and other parts change.
    removed  the keys removed on this tick

An index is made with its payload, travels with it, and never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

_HEAD_NUMBERS: Final = 1
_SECTION_NUMBERS: Final = 2
PART_NUMBERS: Final = 3


class GroupShape(msgspec.Struct, array_like=True, frozen=True):
    """The parts of one group, in order. A filter by symbol compares `symbols`; None passes every filter."""

    name: str | None
    as_list: bool
    keys: tuple[str, ...]
    symbols: tuple[str | None, ...]


class SectionShape(msgspec.Struct, array_like=True, frozen=True):
    """One section. `prefix` is `"name":{`; its own fields, if it has any, are its first part."""

    name: str
    prefix: bytes
    has_fields: bool
    groups: tuple[GroupShape, ...]


class Shape(msgspec.Struct, array_like=True, frozen=True):
    """What an index describes: the parts of all sections in order, then the custom collectors."""

    sections: tuple[SectionShape, ...]
    custom: tuple[str, ...]

    @property
    def first_part(self) -> int:
        """The place in the numbers at which those of the parts begin."""
        return _HEAD_NUMBERS + _SECTION_NUMBERS * len(self.sections)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        groups = (len(group.keys) for section in self.sections for group in section.groups)
        return sum(groups) + sum(section.has_fields for section in self.sections) + len(self.custom)


Removed = tuple[tuple[str, ...], ...]
"""Paths of removed keys: section, name of the group if it has one, key."""


class SnapshotIndex(msgspec.Struct, frozen=True, eq=False):
    """The positions in one payload."""

    shape: Shape
    numbers: Sequence[int] | memoryview[int]
    removed: Removed = ()

    @property
    def head_length(self) -> int:
        """The length of `{"type":...` up to the comma before the first section."""
        return self.numbers[0]

    def has_changed_since(self, before: SnapshotIndex) -> bool:
        """Returns whether any part is another than in an earlier snapshot of the same hub."""
        if self is before:
            return False
        shape = self.shape
        return shape is not before.shape or self.numbers[shape.first_part :] != before.numbers[shape.first_part :]

    def section(self, position: int) -> slice:
        """Returns where the section at a position of the shape lies."""
        at = _HEAD_NUMBERS + _SECTION_NUMBERS * position
        offset = self.numbers[at]
        return slice(offset, offset + self.numbers[at + 1])

    def part(self, at: int) -> slice:
        """Returns where the part whose numbers begin at `at` lies."""
        offset = self.numbers[0] + self.numbers[at]
        return slice(offset, offset + self.numbers[at + 1])

    def changed_seq(self, at: int) -> int:
        """Returns the tick on which the part whose numbers begin at `at` last changed."""
        return self.numbers[at + 2]
