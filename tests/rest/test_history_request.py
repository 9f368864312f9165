"""The request for history: intervals and their names."""

from __future__ import annotations

import pytest

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.rest.history_request import interval_name, interval_of


@pytest.mark.parametrize(
    ("name", "interval_ns"),
    [
        ("100ms", 100 * NS_PER_MS),
        ("1500ms", 1500 * NS_PER_MS),
        ("90s", 90 * NS_PER_S),
        ("1m", NS_PER_MINUTE),
        ("1d", NS_PER_DAY),
    ],
)
def test_an_interval_has_one_name(name: str, interval_ns: int) -> None:
    assert interval_of(name) == interval_ns
    assert interval_name(interval_ns) == name
