"""Token buckets: the burst, the rate, and the addresses remembered."""

from __future__ import annotations

import pytest

from observability.access.rates import MessageRate, RequestRate
from observability.clocks.timestamps import NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S


def test_a_full_bucket_allows_a_burst_of_two_seconds() -> None:
    rate = MessageRate(50)
    assert [rate.allow(START_NS) for _ in range(101)] == [True] * 100 + [False]


def test_the_rate_is_allowed_after_the_burst() -> None:
    rate = MessageRate(50)
    allowed = sum(rate.allow(START_NS + tick * 1_000_000) for tick in range(10_000))  # one per ms, for 10 s
    assert allowed == 100 + 10 * 50 - 1


def test_a_refused_message_costs_no_token() -> None:
    rate = MessageRate(1)
    assert [rate.allow(START_NS) for _ in range(1000)].count(True) == 2
    assert rate.allow(START_NS + NS_PER_S)
    assert not rate.allow(START_NS + NS_PER_S)


def test_a_silent_client_saves_up_no_more_than_one_burst() -> None:
    rate = MessageRate(10)
    later_ns = START_NS + 3600 * NS_PER_S
    rate.allow(START_NS)
    assert [rate.allow(later_ns) for _ in range(21)].count(True) == 20


def test_a_rate_of_0_allows_everything() -> None:
    rate = MessageRate(0)
    assert all(rate.allow(START_NS) for _ in range(100_000))


def test_each_address_has_its_own_bucket() -> None:
    rate = RequestRate(1)
    assert [rate.wait_ns("192.0.2.1", START_NS) for _ in range(3)] == [0, 0, NS_PER_S]
    assert rate.wait_ns("192.0.2.2", START_NS) == 0


def test_a_client_that_waits_as_long_as_told_is_allowed() -> None:
    rate = RequestRate(3)
    while not (wait_ns := rate.wait_ns("192.0.2.1", START_NS)):
        pass
    assert rate.wait_ns("192.0.2.1", START_NS + wait_ns - 1) == 1
    assert rate.wait_ns("192.0.2.1", START_NS + wait_ns) == 0


def test_the_address_unused_for_longest_is_dropped_first() -> None:
    rate = RequestRate(1, max_addresses=2)
    for address in ("a", "a", "b", "b", "a", "c"):
        rate.wait_ns(address, START_NS)
    assert len(rate) == 2
    assert rate.wait_ns("a", START_NS) > 0
    assert rate.wait_ns("b", START_NS) == 0


@pytest.mark.parametrize("per_second", [1, 7, 1_000_000])
def test_the_burst_is_twice_the_rate(per_second: int) -> None:
    rate = MessageRate(per_second)
    count = 0
    while rate.allow(START_NS) and count < 2_100_000:
        count += 1
    assert count == 2 * per_second
