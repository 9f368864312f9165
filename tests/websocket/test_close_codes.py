"""Ended connections are counted by close code and side, under a bounded number of labels."""

from __future__ import annotations

import pytest

from observability.memory.counters import Counters
from observability.websocket.close_codes import DISCONNECTS, DisconnectCounters, is_loss


def test_private_codes_are_counted_by_their_thousand() -> None:
    counters = Counters()
    disconnects = DisconnectCounters(counters)
    for code in (1000, 1000, *range(3000, 5000)):
        disconnects.add(code, "client")
    (family,) = counters.families()
    assert family.name == DISCONNECTS
    assert {dict(labels)["code"]: sample.value for labels, sample in family.samples.items()} == {  # type: ignore[union-attr]
        "1000": 2, "3xxx": 1000, "4xxx": 1000
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "by", "lost"),
    [
        ("1000", "client", False),
        ("1001", "client", False),
        ("1005", "client", False),
        ("1006", "client", True),
        ("4xxx", "client", True),
        ("1001", "server", True),
        ("1013", "server", True),
    ],
)
def test_a_client_that_says_goodbye_is_not_lost(code: str, by: str, lost: bool) -> None:
    assert is_loss(code, by) is lost
