"""Exemplars: the newest order of each bucket of a leg."""

from __future__ import annotations

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.metrics.execution.exemplars import BOUNDS_NS, LegExemplars

BUCKET_OF_2_MS = BOUNDS_NS.index(2_500_000)


def test_the_newest_order_of_each_bucket_is_kept() -> None:
    exemplars = LegExemplars()
    for order_id, milliseconds in (("a", 2), ("b", 600), ("c", 2)):
        exemplars.note("send_to_ack", order_id, "X", milliseconds * NS_PER_MS, 5 * NS_PER_S)
    assert exemplars.of("send_to_ack") == {
        BUCKET_OF_2_MS: ("c", "X", 0.002, 5.0),
        BOUNDS_NS.index(NS_PER_S): ("b", "X", 0.6, 5.0),
    }
    assert exemplars.of("cancel_to_ack") == {}


def test_a_bound_belongs_to_the_bucket_below_it_and_beyond_the_last_is_infinity() -> None:
    exemplars = LegExemplars()
    exemplars.note("leg", "a", "X", BOUNDS_NS[3], 0)
    exemplars.note("leg", "b", "X", BOUNDS_NS[-1] + 1, 0)
    assert set(exemplars.of("leg")) == {3, len(BOUNDS_NS)}


def test_an_order_without_an_id_or_that_ended_before_it_began_leads_nowhere() -> None:
    exemplars = LegExemplars()
    exemplars.note("leg", "", "X", 1, 0)
    exemplars.note("leg", "a", "X", -1, 0)
    assert exemplars.of("leg") == {}
