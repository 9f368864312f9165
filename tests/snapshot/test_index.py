"""The index of a snapshot: however late it is used, it cuts every part out of the payload that it was made with."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.clock import EventClock, HostClock
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.snapshot.frames import Frame, FrameRing
from observability.snapshot.index import PART_NUMBERS
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.sections import Group, Part
from observability.snapshot.serializer import Serializer
from observability.snapshot.shared_frames import FrameWriter, SharedFrames


class Thing:
    """A part with one number, whose length changes with it."""

    def __init__(self, symbol: str | None) -> None:
        self.symbol = symbol
        self.version = 0

    def to_json(self) -> dict[str, Any]:
        return {"key": self.symbol, "n": self.version**9}


class Box:
    """A section with fields, a group without a name and a list."""

    def __init__(self) -> None:
        self.name = "box"
        self.fields: Part | None = Thing(None)
        self.things: dict[str, Part] = {}
        self.listed: dict[str, Part] = {}
        self.groups = (Group(None, self.things), Group("listed", self.listed, as_list=True))
        self.last_input_ns: int | None = None

    @property
    def is_touched(self) -> bool:
        """Any part may have changed on every tick."""
        return True

    @is_touched.setter
    def is_touched(self, value: bool) -> None: ...

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


class Host:
    """A hub that ticks, and a worker of it."""

    def __init__(self) -> None:
        self.box = Box()
        mapping = SharedMapping(3, 1)
        self._serializer = Serializer("a1", [self.box])
        self._ring = FrameRing("a1")
        self._writer = FrameWriter(mapping, "a1", EventClock(HostClock()), Counters())
        self._worker = SharedFrames(mapping)
        self.shapes: list[int] = []

    def tick(self, custom: dict[str, bytes]) -> tuple[Frame, Frame]:
        """Returns the frame of a new tick, as the hub and as the worker has it."""
        seq = self._ring.latest_seq + 1
        payload, index = self._serializer.encode(seq, 0, 0, custom)
        self.shapes.append(id(index.shape))
        frame = self._ring.publish(payload, index, 0, 0, {})
        self._writer.write_frame(frame, SharedDocuments({}, ()))
        copied = self._worker.refresh()
        assert copied is not None
        return frame, copied


def cut(frame: Frame) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """Returns the snapshot put together from the parts alone, and the tick of the last change of each."""
    shape, payload, index = frame.index.shape, frame.payload, frame.index
    document: dict[str, Any] = orjson.loads(payload[: index.head_length] + b"}")
    changed: dict[tuple[str, ...], int] = {}
    at = shape.first_part
    for position, section in enumerate(shape.sections):
        assert payload[index.section(position)].startswith(section.prefix)
        content: dict[str, Any] = {}
        if section.has_fields:
            content |= orjson.loads(b"{" + payload[index.part(at)] + b"}")
            changed[section.name,] = index.changed_seq(at)
            at += PART_NUMBERS
        for group in section.groups:
            members = []
            for key in group.keys:
                members.append(payload[index.part(at)])
                changed[section.name, key] = index.changed_seq(at)
                at += PART_NUMBERS
            if group.name is None:
                content |= orjson.loads(b"{" + b",".join(members) + b"}")
            else:
                content[group.name] = orjson.loads(b"[" + b",".join(members) + b"]")
        document[section.name] = content
    for name in shape.custom:
        document |= orjson.loads(b"{" + payload[index.part(at)] + b"}")
        changed[name,] = index.changed_seq(at)
        at += PART_NUMBERS
    assert at == len(index.numbers)
    return document, changed


steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "remove", "move"]), st.sampled_from(["things", "listed"]), st.sampled_from("ABC")
    ),
    max_size=3,
)


@given(st.lists(steps, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_every_frame_keeps_the_index_it_was_made_with(ticks: list[Any], custom: list[bool]) -> None:
    host = Host()
    frames: list[tuple[Frame, Frame]] = []
    for seq, changes in enumerate(ticks, 1):
        for action, group, key in changes:
            parts: dict[str, Part] = getattr(host.box, group)
            part = parts.get(key)
            if action == "set":
                part = parts.setdefault(key, Thing(f"{group} {key}"))
                part.version += 1
            elif part is not None:
                del parts[key]
                if action == "move":
                    parts[key] = part
        frames.append(host.tick({"mine": b'{"n":%d}' % (seq // 2)} if any(custom[:seq]) else {}))
    for frame, copied in frames:
        document, changes = cut(frame)
        assert document == orjson.loads(frame.payload)
        assert (copied.payload, cut(copied), copied.index.removed) == (
            frame.payload, (document, changes), frame.index.removed,
        )  # fmt: skip


@given(st.lists(st.sampled_from(["set A", "set B", "remove A", "remove B", "wait"]), max_size=12))
def test_a_part_has_the_tick_of_its_last_change_and_a_removed_key_its_path(actions: list[str]) -> None:
    host = Host()
    changed: dict[str, int] = {}
    for seq, action in enumerate(actions, 1):
        verb, _, key = action.partition(" ")
        removed: tuple[tuple[str, ...], ...] = ()
        if verb == "set":
            host.box.listed.setdefault(key, Thing(key)).version += 1
            changed[key] = seq
        elif verb == "remove" and host.box.listed.pop(key, None) is not None:
            removed = (("box", "listed", key),)
            del changed[key]
        frame, _ = host.tick({})
        assert cut(frame)[1] == {("box",): 1, **{("box", key): seq for key, seq in changed.items()}}
        assert frame.index.removed == removed


def test_the_shape_is_the_same_object_until_a_key_is_added_or_removed() -> None:
    host = Host()
    for keys in ["A", "A", "AB", "AB", "B", "B", "C"]:
        for key in set(host.box.things) - set(keys):
            del host.box.things[key]
        for key in keys:
            host.box.things.setdefault(key, Thing(key)).version += 1
        host.tick({})
    a1, a2, ab1, ab2, b1, b2, c = host.shapes
    assert (a1, ab1, b1) == (a2, ab2, b2)
    assert len({a1, ab1, b1, c}) == 4
