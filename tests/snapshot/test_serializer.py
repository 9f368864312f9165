"""The serializer: it encodes once per tick, and parts that have not changed keep their bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.snapshot.index import PART_NUMBERS
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

    @property
    def is_touched(self) -> bool:
        """Any part may have changed on every tick."""
        return True

    @is_touched.setter
    def is_touched(self, value: bool) -> None: ...

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


def encode(serializer: Serializer, **custom: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = orjson.loads(serializer.encode(7, 1_500_000_000, 42, custom)[0].join())
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


def test_a_snapshot_without_news_has_the_bytes_of_the_last_after_another_head() -> None:
    section = Things()
    section.bare["AAPL"] = part = Thing(bid=1.0)
    serializer = Serializer("e", [section])
    custom = {"mine": b'{"n":1}'}
    made = [serializer.encode(seq, 0, 0, custom) for seq in (9, 10, 11)]
    (first, _), (second, index), (third, same) = made
    assert second.join() == first.join().replace(b'"seq":9', b'"seq":10')
    assert third.join() == first.join().replace(b'"seq":9', b'"seq":11')
    assert second.size == len(second.join()) == first.size + 1
    at = index.shape.first_part + PART_NUMBERS
    assert second.join()[index.part(at)] == b'"AAPL":{"bid":1.0}'
    assert second.join()[index.section(0)].startswith(b'"things":{"total":3,"AAPL"')
    assert same is index and part.encodes == 1


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


class Growing:
    """A section with one group, whose parts are only added; with `touched` it notes those that may have changed."""

    def __init__(self, name: str | None, touched: dict[str, Part] | None) -> None:
        self.name = "growing"
        self.last_input_ns: int | None = None
        self.fields: Part | None = Thing(total=1)
        self.parts: dict[str, Part] = {}
        self.groups = (Group(name, self.parts, touched=touched),)
        self.is_touched = True

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


@given(
    st.sampled_from([None, "by_name"]),
    st.lists(
        st.lists(st.tuples(st.sampled_from("ABCDE"), st.integers(0, 10**6), st.booleans()), max_size=4), max_size=10
    ),
)
def test_a_group_that_notes_touched_parts_is_encoded_like_any_other(
    name: str | None, ticks: list[list[tuple[str, int, bool]]]
) -> None:
    touched: dict[str, Part] = {}
    noting, plain = Growing(name, touched), Growing(name, None)
    serializers = Serializer("e", [noting]), Serializer("e", [plain])
    for seq, changes in enumerate(ticks, 1):
        # Where nothing has been touched, a part's bytes are not looked at.
        noting.is_touched |= seq % 3 == 0 or bool(changes)
        plain.is_touched = True
        if seq % 3 == 0:
            for section in (noting, plain):
                section.fields = Thing(total="x" * seq)
                section.fields.version = seq
        for key, number, has_changed in changes:
            for section in (noting, plain):
                part = section.parts.setdefault(key, Thing(n=number))
                assert isinstance(part, Thing)
                if has_changed:
                    part.fields = {"n": number}
                    part.version += 1
            touched[key] = noting.parts[key]
        (noted, index), (payload, plain_index) = (each.encode(seq, 10**seq, 10**seq, {}) for each in serializers)
        assert noted.join() == payload.join()
        assert noted.size == len(payload.join())
        assert (list(index.numbers), index.shape) == (list(plain_index.numbers), plain_index.shape)
        assert touched == {}


def test_a_part_is_found_when_only_a_section_before_it_has_grown() -> None:
    before, after = Things(), Things()
    after.name = "more"
    before.bare["A"], after.bare["B"] = Thing(n=1), Thing(n=2)
    serializer = Serializer("e", [before, after])
    serializer.encode(1, 1, 1, {})
    grown = before.bare["A"]
    assert isinstance(grown, Thing)
    grown.fields, grown.version = {"n": 1000}, 1
    payload, index = serializer.encode(2, 1, 1, {})
    at = index.shape.first_part + 3 * PART_NUMBERS
    assert payload.join()[index.part(at)] == b'"B":{"n":2}'


def test_a_part_that_fails_to_encode_shifts_no_other() -> None:
    section = Growing(None, {})
    touched = section.groups[0].touched
    assert touched is not None
    serializer = Serializer("e", [section])
    for key in "AB":
        section.parts[key] = Thing(n=1)
    serializer.encode(1, 1, 1, {})
    for key, content in (("A", {"n": 1000}), ("B", {"n": object()})):
        part = section.parts[key]
        assert isinstance(part, Thing)
        part.fields, part.version = content, 1
        touched[key] = part
    section.is_touched = True
    with pytest.raises(TypeError):
        serializer.encode(2, 1, 1, {})
    section.parts["B"].fields = {"n": 2}  # type: ignore[attr-defined]
    payload, index = serializer.encode(3, 1, 1, {})
    at = index.shape.first_part + 2 * PART_NUMBERS
    assert payload.join()[index.part(at)] == b'"B":{"n":2}'
