"""The snapshot that a client holds: what deltas do to it."""

from __future__ import annotations

from typing import Any

from observability.clients.snapshot import HeldSnapshot

GROUPS = [["market_data"], ["strategy", "strategies"], ["strategy", "positions"]]


def whole(seq: int, **sections: Any) -> dict[str, Any]:
    return {"type": "metrics_update", "seq": seq, "epoch": "e", "timestamp": f"at {seq}", **sections}


def delta(seq: int, *removed: list[str], **sections: Any) -> dict[str, Any]:
    head = {"type": "metrics_delta", "prev_seq": seq - 1, "seq": seq, "epoch": "e", "timestamp": f"at {seq}"}
    return {**head, **sections, "removed": list(removed)}


def held(**sections: Any) -> HeldSnapshot:
    snapshot = HeldSnapshot()
    snapshot.set_groups(GROUPS)
    snapshot.apply(whole(1, **sections))
    return snapshot


def test_a_changed_member_replaces_its_own_and_no_other() -> None:
    snapshot = held(market_data={"A": {"bid": 1, "ask": 2}, "B": {"bid": 3}})
    assert snapshot.apply(delta(2, market_data={"A": {"bid": 5}})) == whole(
        2, market_data={"A": {"bid": 5}, "B": {"bid": 3}}
    )


def test_fields_of_a_section_come_together_and_groups_stay() -> None:
    snapshot = held(strategy={"total_pnl": 1, "reason": "x", "strategies": {"s": {"a": 1}}, "positions": []})
    assert snapshot.apply(delta(2, strategy={"total_pnl": 2})) == whole(
        2, strategy={"total_pnl": 2, "strategies": {"s": {"a": 1}}, "positions": []}
    )


def test_members_of_a_list_are_replaced_by_key_in_their_order() -> None:
    snapshot = held(strategy={"positions": [{"key": "s/A", "quantity": 1}, {"key": "s/B", "quantity": 2}]})
    changed = {"positions": [{"key": "s/A", "quantity": 7}, {"key": "s/C", "quantity": 3}]}
    document = snapshot.apply(delta(2, ["strategy", "positions", "s/B"], strategy=changed))
    assert document is not None
    assert document["strategy"]["positions"] == [{"key": "s/A", "quantity": 7}, {"key": "s/C", "quantity": 3}]


def test_a_field_that_is_an_object_is_replaced_and_not_merged() -> None:
    snapshot = held(execution={"latency": {"p50": 1, "p99": 2}}, custom={"a": 1, "b": 2})
    document = snapshot.apply(delta(2, execution={"latency": {"p50": 3}}, custom={"a": 5}))
    assert document == whole(2, execution={"latency": {"p50": 3}}, custom={"a": 5})


def test_a_delta_of_another_frame_is_not_applied() -> None:
    snapshot = held(market_data={})
    assert snapshot.apply(delta(3, market_data={"A": {}})) is None
    assert snapshot.position == ("e", 1)


def test_a_snapshot_that_a_program_has_is_not_changed_by_later_deltas() -> None:
    snapshot = held(market_data={"A": {"bid": 1}}, strategy={"positions": [{"key": "s/A"}], "strategies": {}})
    before = snapshot.document
    assert before is not None
    copied = {**before, "strategy": dict(before["strategy"])}
    snapshot.apply(delta(2, ["market_data", "A"], ["strategy", "positions", "s/A"], market_data={"B": {}}))
    assert before == copied
    assert before["market_data"] == {"A": {"bid": 1}}
    assert before["strategy"]["positions"] == [{"key": "s/A"}]


def test_an_older_snapshot_of_the_same_epoch_is_skipped_and_of_another_taken() -> None:
    snapshot = held()
    snapshot.apply(whole(5))
    assert snapshot.apply(whole(4)) is None
    assert snapshot.apply({**whole(1), "epoch": "f"}) == {**whole(1), "epoch": "f"}


def test_paths_that_a_view_does_not_hold_are_ignored_when_removed() -> None:
    snapshot = held(market_data={"A": {}})
    assert snapshot.apply(delta(2, ["market_data", "B"], ["strategy", "positions", "s/B"])) == whole(
        2, market_data={"A": {}}
    )
