"""Why orders were rejected: each order counts once, under its text and venue, and the texts are bounded."""

from __future__ import annotations

from typing import Any

from observability.metrics.execution.reject_reasons import MAX_REASONS
from trading_desk import DAY, TradingDesk, order


def reasons(desk: TradingDesk) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in desk.quality()["reject_reasons"]]


def test_a_rejected_order_counts_once_under_its_reason_and_venue() -> None:
    desk = TradingDesk()
    desk.publish(
        order("rejected", 0, "a", reason="no money", venue="V"),
        order("rejected", 5, "a", reason="no money, again", venue="V"),
        order("rejected", 6, "b", reason="no money", venue="V"),
        order("rejected", 7, "c", reason=" "),
        order("filled", 8, "d"),
        order("rejected", 9, "d", reason="too late"),
    )
    assert reasons(desk) == [("no money", "V", 2), ("(none)", "", 1)]
    assert sum(count for *_, count in reasons(desk)) == desk.tick()["rejected"]


def test_texts_beyond_the_bound_share_a_count() -> None:
    desk = TradingDesk()
    desk.publish(*(order("rejected", 0, f"o{n}", reason=f"price {n} is off") for n in range(MAX_REASONS + 5)))
    assert len(reasons(desk)) == MAX_REASONS + 1
    assert reasons(desk)[0] == ("(other)", "", 5)


def test_a_restart_continues_the_counts_and_a_session_begins_anew() -> None:
    desk, later = TradingDesk(), TradingDesk()
    desk.publish(order("rejected", 0, "a", reason="no money"))
    later.execution.load(desk.execution.save())
    later.publish(order("rejected", 1, "a", reason="no money"), order("rejected", 2, "b", reason="no money"))
    assert reasons(later) == [("no money", "", 2)]
    later.publish(order("new", DAY / 1_000_000, "c"))
    assert reasons(later) == []
