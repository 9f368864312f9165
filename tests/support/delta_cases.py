"""What deltas do to a snapshot: for the clients in Python and in JavaScript, which must do the same."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

GROUPS: Final = [["market_data"], ["strategy", "strategies"], ["strategy", "positions"]]

Sections = dict[str, Any]


class DeltaCase(NamedTuple):
    """The sections of a snapshot, those of a delta, the paths that it removes, and the sections afterwards."""

    held: Sections
    changed: Sections
    removed: list[list[str]]
    expected: Sections


CASES: Final = {
    "a changed member replaces its own and no other": DeltaCase(
        {"market_data": {"A": {"bid": 1, "ask": 2}, "B": {"bid": 3}}},
        {"market_data": {"A": {"bid": 5}}},
        [],
        {"market_data": {"A": {"bid": 5}, "B": {"bid": 3}}},
    ),
    "fields of a section come together and groups stay": DeltaCase(
        {"strategy": {"total_pnl": 1, "reason": "x", "strategies": {"s": {"a": 1}}, "positions": []}},
        {"strategy": {"total_pnl": 2}},
        [],
        {"strategy": {"total_pnl": 2, "strategies": {"s": {"a": 1}}, "positions": []}},
    ),
    "a group that changes leaves the fields as they are": DeltaCase(
        {"strategy": {"total_pnl": 1, "strategies": {"s": {"a": 1}, "t": {"a": 1}}}},
        {"strategy": {"strategies": {"s": {"b": 2}}}},
        [],
        {"strategy": {"total_pnl": 1, "strategies": {"s": {"b": 2}, "t": {"a": 1}}}},
    ),
    "members of a list are replaced by key in their order": DeltaCase(
        {"strategy": {"positions": [{"key": "s/A", "quantity": 1}, {"key": "s/B", "quantity": 2}]}},
        {"strategy": {"positions": [{"key": "s/A", "quantity": 7}, {"key": "s/C", "quantity": 3}]}},
        [["strategy", "positions", "s/B"]],
        {"strategy": {"positions": [{"key": "s/A", "quantity": 7}, {"key": "s/C", "quantity": 3}]}},
    ),
    "a field that is an object is replaced and not merged": DeltaCase(
        {"execution": {"latency": {"p50": 1, "p99": 2}}, "custom": {"a": 1, "b": 2}},
        {"execution": {"latency": {"p50": 3}}, "custom": {"a": 5}},
        [],
        {"execution": {"latency": {"p50": 3}}, "custom": {"a": 5}},
    ),
    "a section that becomes null is null": DeltaCase({"custom": {"a": 1}}, {"custom": None}, [], {"custom": None}),
    "what a view does not hold cannot be removed from it": DeltaCase(
        {"market_data": {"A": {}}},
        {},
        [["market_data", "B"], ["strategy", "positions", "s/B"], ["gone"]],
        {"market_data": {"A": {}}},
    ),
    "a removed custom collector is gone": DeltaCase({"custom": {"a": 1}, "other": 1}, {}, [["custom"]], {"other": 1}),
}


def whole(seq: int, sections: Sections) -> dict[str, Any]:
    """Returns a `metrics_update`."""
    return {"type": "metrics_update", "seq": seq, "epoch": "e", "timestamp": f"at {seq}", **sections}


def delta(seq: int, sections: Sections, removed: list[list[str]] | None = None) -> dict[str, Any]:
    """Returns a `metrics_delta`."""
    head = {"type": "metrics_delta", "prev_seq": seq - 1, "seq": seq, "epoch": "e", "timestamp": f"at {seq}"}
    return {**head, **sections, "removed": removed or []}
