"""The serializer: it encodes once per tick, and parts that have not changed keep their bytes."""

from __future__ import annotations

from typing import Any

import orjson

from observability.snapshot.sections import Group, Part
from observability.snapshot.serializer import Serializer


class Thing:
    """A part that counts how often it was encoded."""

    def __init__(self, **fields: Any) -> None:
        self.version = 0
        self.fields = fields
        self.encodes = 0

    def to_json(self) -> dict[str, Any]:
        self.encodes += 1
        return self.fields


class Things:
    """A section with fields, a group of its own members, a named group and a list."""

    def __init__(self) -> None:
        self.name = "things"
        self.last_input_ns: int | None = None
        self.fields: Part | None = Thing(total=3)
        self.bare: dict[str, Part] = {}
        self.named: dict[str, Part] = {}
        self.listed: dict[str, Part] = {}
        self.groups = (Group(None, self.bare), Group("by_name", self.named), Group("list", self.listed, as_list=True))

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


def encode(serializer: Serializer, **custom: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = orjson.loads(serializer.encode(7, 1_500_000_000, 42, custom)[0])
    return decoded


def test_the_head_names_tick_epoch_and_times() -> None:
    section = Things()
    section.last_input_ns = 1_250_000_000
    document = encode(Serializer("e1", [section]))
    assert document["type"] == "metrics_update"
    assert (document["seq"], document["epoch"], document["mono_ns"]) == (7, "e1", 42)
    assert document["timestamp"] == "1970-01-01T00:00:01.500Z"
    assert document["age_ms"] == {"things": 250.0}


def test_each_group_is_encoded_under_its_name() -> None:
    section = Things()
    section.bare["AAPL"] = Thing(bid=1.5)
    section.named["paper"] = Thing(pnl=None)
    section.listed["a"] = Thing(n=1)
    section.listed["b"] = Thing(n=2)
    assert encode(Serializer("e", [section]))["things"] == {
        "total": 3,
        "AAPL": {"bid": 1.5},
        "by_name": {"paper": {"pnl": None}},
        "list": [{"n": 1}, {"n": 2}],
    }


def test_an_empty_section_is_an_empty_object() -> None:
    section = Things()
    section.fields = None
    section.groups = (Group(None, {}),)
    assert encode(Serializer("e", [section]))["things"] == {}


def test_a_part_is_encoded_again_only_when_its_version_changes() -> None:
    section = Things()
    part = section.bare["AAPL"] = Thing(bid=1.0)
    serializer = Serializer("e", [section])
    encode(serializer)
    part.fields["bid"] = 2.0
    assert encode(serializer)["things"]["AAPL"] == {"bid": 1.0}
    part.version += 1
    assert encode(serializer)["things"]["AAPL"] == {"bid": 2.0}
    assert part.encodes == 2


def test_a_removed_part_leaves_the_snapshot_and_may_return() -> None:
    section = Things()
    section.listed["a"] = Thing(n=1)
    section.listed["b"] = Thing(n=2)
    serializer = Serializer("e", [section])
    encode(serializer)
    del section.listed["a"]
    assert encode(serializer)["things"]["list"] == [{"n": 2}]
    section.listed["a"] = Thing(n=3)
    assert encode(serializer)["things"]["list"] == [{"n": 2}, {"n": 3}]


def test_custom_metrics_are_encoded_under_their_name() -> None:
    assert encode(Serializer("e", []), mine=b'{"x":1}', broken=b"null") == {
        **encode(Serializer("e", [])),
        "mine": {"x": 1},
        "broken": None,
    }


def test_a_key_is_escaped() -> None:
    section = Things()
    section.bare['A"B'] = Thing(x=1)
    assert encode(Serializer("e", [section]))["things"]['A"B'] == {"x": 1}
