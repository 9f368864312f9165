"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.config.config import Config
from observability.config.store_settings import Size
from observability.errors import ConfigError

SIZE = Size(16_000_000, 100 * 10**12)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("500mb", 500 * 10**6), ("16000000", 16_000_000), ("20000KB", 20_000_000), ("1TB", 10**12)],
)
def test_a_size_is_read_in_any_unit(text: str, size: int) -> None:
    assert SIZE.parse(text) == size


@pytest.mark.parametrize(
    "text", ["", "4 GB", "4G", "-1", "+4GB", "0.5GB", "15MB", "101TB", "1e9", "\u0664GB", "04GB", "4_0GB"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        SIZE.parse(text)


@given(st.integers(16_000_000, 100 * 10**12))
def test_what_is_shown_reads_as_the_same_size(size: int) -> None:
    assert SIZE.parse(SIZE.format(size)) == size


def test_a_store_without_room_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"STORE_MAX_BYTES: '1MB', expected bytes, .* from 16MB to 100TB"):
        Config.from_environment({"STORE_MAX_BYTES": "1MB"}, {})


def test_the_age_is_in_days() -> None:
    assert Config.from_environment({"STORE_MAX_AGE": "7"}, {}).store_max_age == 7
