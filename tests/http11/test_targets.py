"""Request targets: decoded segments and query parameters."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.http11.refusals import Refusal
from observability.http11.targets import MAX_QUERY_PARAMETERS, parse_target, split_query

printable = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)


@given(segments=st.lists(printable, min_size=1, max_size=5))
def test_escaped_segments_are_decoded_to_the_originals(segments: list[str]) -> None:
    target = "/" + "/".join(quote(segment, safe="") for segment in segments)
    assert parse_target(b"GET", target.encode()).segments == tuple(segments)


@given(parameters=st.lists(st.tuples(printable.filter(bool), printable), max_size=10))
def test_form_encoded_parameters_are_decoded_to_the_originals(parameters: list[tuple[str, str]]) -> None:
    assert split_query(urlencode(parameters)) == parameters


def test_a_parameter_without_a_value_has_an_empty_one() -> None:
    assert split_query("a&b=&&c=d=e") == [("a", ""), ("b", ""), ("c", "d=e")]


@pytest.mark.parametrize("query", ["a=%", "a=%4", "%zz=a", "a=%ff", "a=%00", "a=%0d%0a"])
def test_a_parameter_that_does_not_decode_is_refused(query: str) -> None:
    with pytest.raises(Refusal) as caught:
        split_query(query)
    assert caught.value.status == 400
    assert not caught.value.closes


def test_the_number_of_parameters_is_limited() -> None:
    assert len(split_query("&".join(["a=b"] * MAX_QUERY_PARAMETERS))) == MAX_QUERY_PARAMETERS
    with pytest.raises(Refusal, match="at most"):
        split_query("&".join(["a=b"] * (MAX_QUERY_PARAMETERS + 1)))
