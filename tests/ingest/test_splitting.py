"""The splitting of JSON with a bad element: every other element is found as it is."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import EventError
from observability.ingest.splitting import MAX_DEPTH, split_array, split_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
BAD = [
    b"NaN",
    b"-Infinity",
    b"01",
    b'"a\tb\n"',
    b'"\\ud83d"',
    b"",
    b"{1:2}",
    b'{"a":NaN]',
    b"\xff",
    b"'a'",
    b'{"a":1}{',
]


@given(st.lists(JSON, max_size=5))
def test_an_array_that_is_json_is_split_into_its_elements(elements: list[object]) -> None:
    assert [orjson.loads(element) for element in split_array(orjson.dumps(elements))] == elements


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_an_object_that_is_json_is_split_into_its_members(members: dict[str, object]) -> None:
    split = split_object(orjson.dumps(members))
    assert {orjson.loads(name): orjson.loads(value) for name, value in split.items()} == members


@pytest.mark.parametrize("bad", BAD[:-1])
@given(before=st.lists(JSON, max_size=3), after=st.lists(JSON, max_size=3))
def test_a_bad_element_stays_in_its_place(bad: bytes, before: list[object], after: list[object]) -> None:
    data = b" [" + b" , ".join([*map(orjson.dumps, before), bad, *map(orjson.dumps, after)]) + b"]\n"
    if not before + after and not bad:
        return
    elements = list(split_array(data))
    assert len(elements) == len(before) + 1 + len(after)
    assert elements[len(before)] == bad.strip()
    del elements[len(before)]
    assert [orjson.loads(element) for element in elements] == before + after


@pytest.mark.parametrize("data", [b"", b"[", b"[1", b"1]", b'["]', b"[{]", b"[1]2]", b"{}", b"[1}, 2]", BAD[-1]])
def test_brackets_and_quotes_that_do_not_pair_are_refused(data: bytes) -> None:
    with pytest.raises(EventError):
        list(split_array(data))


def test_brackets_are_followed_to_a_bounded_depth() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert list(split_array(b"[%b,NaN]" % deep)) == [deep, b"NaN"]
    with pytest.raises(EventError):
        list(split_array(b"[[%b],NaN]" % deep))


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000 + b"]",
        b'["' + b"\\" * 1_000_000 + b"]",
        b'["' + b'",' * 500_000 + b"]",
        b"[" + b"[[[[[[[[" * 100_000 + b"]",
        b'[{"a":"' * 100_000 + b"]",
    ],
)
def test_the_work_per_byte_is_bounded_whatever_the_bytes(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(EventError):
        list(split_array(data))
    # Quadratic work would take hours.
    assert time.process_time() - began < 10
