"""The request for history: intervals and their names."""

from __future__ import annotations

import msgspec
import pytest

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.events import MAX_SYMBOL_LENGTH
from observability.rest.history_request import HistoryRequest, interval_name, interval_of


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


@pytest.mark.parametrize(("length", "is_taken"), [(MAX_SYMBOL_LENGTH, True), (MAX_SYMBOL_LENGTH + 1, False)])
def test_a_symbol_may_be_as_long_as_in_an_event(length: int, is_taken: bool) -> None:
    wanted = {"symbols": ["A" * length]}
    if is_taken:
        assert msgspec.convert(wanted, HistoryRequest).symbols == wanted["symbols"]
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wanted, HistoryRequest)
