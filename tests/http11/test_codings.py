"""Compressed content of requests: the same bytes in any number of members and steps, and a bound on all of it."""

from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.http11.codings import INPUT_BYTES, MAX_MEMBERS, STEP_BYTES, gunzip
from observability.http11.refusals import Refusal

NOISE = random.Random(1).randbytes(300_000)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300_000)), min_size=1, max_size=4), st.integers(0, 9))
def test_content_is_what_it_was_before_compression(members: list[tuple[bool, int]], level: int) -> None:
    contents = [NOISE[:size] if is_noise else bytes(size) for is_noise, size in members]
    packed = b"".join(gzip.compress(content, level) for content in contents)
    parts = list(gunzip(packed, 2_000_000))
    assert b"".join(parts) == b"".join(contents)
    assert max(map(len, parts)) <= STEP_BYTES


def test_a_bomb_is_decompressed_no_further_than_the_bound() -> None:
    sizes: list[int] = []
    with pytest.raises(Refusal, match="413"):
        sizes.extend(map(len, gunzip(gzip.compress(bytes(50_000_000)), 1_000_000)))
    assert sum(sizes) <= 1_000_000


def test_the_bound_itself_is_allowed() -> None:
    assert sum(map(len, gunzip(gzip.compress(bytes(STEP_BYTES * 3)), STEP_BYTES * 3))) == STEP_BYTES * 3


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", gzip.compress(NOISE)[:-1], gzip.compress(b"")[:10], gzip.compress(b"a") + b"x",
        gzip.compress(NOISE[:INPUT_BYTES * 2])[:INPUT_BYTES], b"\x1f\x8b" + bytes(100),
        gzip.compress(b"abc")[:-8] + bytes(8),
    ],
    ids=["empty", "plain", "cut", "only a head", "more behind it", "cut between pieces", "damaged", "wrong checksum"],
)  # fmt: skip
def test_what_is_not_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal, match="400"):
        list(gunzip(data, 10**7))


def test_endless_empty_members_are_refused() -> None:
    assert b"".join(gunzip(gzip.compress(b"a") * MAX_MEMBERS, 10**6)) == b"a" * MAX_MEMBERS
    with pytest.raises(Refusal, match="members"):
        list(gunzip(gzip.compress(b"") * (MAX_MEMBERS + 1), 10**6))
