"""The index in another process: after every tick it equals that of the serializer."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from observability.snapshot.index import IndexReader, IndexWriter, Member, SnapshotIndex
from observability.snapshot.sections import Group, Part
from observability.snapshot.serializer import Serializer


class Thing:
    """A part with one number."""

    def __init__(self, symbol: str | None) -> None:
        self.symbol = symbol
        self.version = 0

    def to_json(self) -> dict[str, Any]:
        return {"n": self.version**9}


class Box:
    """A section with fields, a group without a name and a list."""

    def __init__(self) -> None:
        self.name = "box"
        self.fields: Part | None = Thing(None)
        self.things: dict[str, Part] = {}
        self.listed: dict[str, Part] = {}
        self.groups = (Group(None, self.things), Group("listed", self.listed, as_list=True))
        self.last_input_ns: int | None = None

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


def told(member: Member | None) -> tuple[str | None, int, int, int] | None:
    return None if member is None else (member.symbol, member.offset, member.length, member.changed_seq)


def description(index: SnapshotIndex) -> list[Any]:
    """Returns everything in an index that a view reads."""
    return [
        index.head_length,
        [(name, told(member)) for name, member in index.custom.items()],
        [
            (
                section.name, section.prefix, section.offset, section.length, told(section.fields),
                [
                    (group.name, group.as_list, group.removed, [(k, told(m)) for k, m in group.members.items()])
                    for group in section.groups
                ],
            )
            for section in index.sections
        ],
    ]  # fmt: skip


steps = st.lists(
    st.tuples(st.sampled_from(["set", "remove"]), st.sampled_from(["things", "listed"]), st.sampled_from("ABC")),
    max_size=3,
)


@given(st.lists(steps, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_reader_has_the_index_of_the_writer_after_every_tick(ticks: list[Any], custom: list[bool]) -> None:
    box = Box()
    serializer = Serializer("e", [box])
    writer, reader = IndexWriter(serializer.index), IndexReader()
    for seq, changes in enumerate(ticks, 1):
        for action, group, key in changes:
            parts: dict[str, Part] = getattr(box, group)
            if action == "set":
                parts.setdefault(key, Thing(key)).version += 1
            else:
                parts.pop(key, None)
        serializer.encode(seq, 0, 0, {"mine": b"{}"} if any(custom[:seq]) else {})
        index = reader.read(writer.shape(), writer.numbers())
        assert description(index) == description(serializer.index)


def test_the_shape_keeps_its_bytes_until_a_key_is_added_or_removed() -> None:
    box = Box()
    serializer = Serializer("e", [box])
    writer = IndexWriter(serializer.index)
    shapes = []
    for seq, keys in enumerate(["A", "A", "AB", "AB", "B", "B", "B"], 1):
        box.things.clear()
        box.things.update({key: Thing(key) for key in keys})
        serializer.encode(seq, 0, 0, {})
        shapes.append(writer.shape())
    assert shapes[0] is shapes[1]
    assert shapes[2] is shapes[3]
    assert shapes[5] is shapes[6]
    assert len(set(shapes)) == 4  # A; A and B; B with A removed; B
