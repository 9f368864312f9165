from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.http11.refusals import Refusal
from observability.http11.targets import MAX_QUERY_PARAMETERS, parse_target, split_query

printable = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)


@given(segments=st.lists(printable, min_size=1, max_size=5))
def test_segments_survive_being_escaped_one_by_one(segments: list[str]) -> None:
    target = "/" + "/".join(quote(segment, safe="") for segment in segments)
    assert parse_target(b"GET", target.encode()).segments == tuple(segments)


@given(parameters=st.lists(st.tuples(printable.filter(bool), printable), max_size=10))
def test_parameters_survive_being_encoded_as_a_form(parameters: list[tuple[str, str]]) -> None:
    assert split_query(urlencode(parameters)) == parameters


def test_a_parameter_may_lack_a_value() -> None:
    assert split_query("a&b=&&c=d=e") == [("a", ""), ("b", ""), ("c", "d=e")]


@pytest.mark.parametrize("query", ["a=%", "a=%4", "%zz=a", "a=%ff", "a=%00", "a=%0d%0a"])
def test_a_parameter_that_does_not_decode_is_refused(query: str) -> None:
    with pytest.raises(Refusal) as caught:
        split_query(query)
    assert caught.value.status == 400
    assert not caught.value.closes


def test_parameters_are_bounded_in_number() -> None:
    assert len(split_query("&".join(["a=b"] * MAX_QUERY_PARAMETERS))) == MAX_QUERY_PARAMETERS
    with pytest.raises(Refusal, match="at most"):
        split_query("&".join(["a=b"] * (MAX_QUERY_PARAMETERS + 1)))
