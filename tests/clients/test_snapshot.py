"""The snapshot that a client holds: what deltas do to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from delta_cases import CASES, GROUPS, DeltaCase, Sections, delta, whole
from observability.clients.snapshot import HeldSnapshot


def held(sections: Sections) -> HeldSnapshot:
    snapshot = HeldSnapshot()
    snapshot.set_groups(GROUPS)
    snapshot.apply(whole(1, sections))
    return snapshot


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_delta_makes_the_servers_next_snapshot(case: DeltaCase) -> None:
    document = held(case.held).apply(delta(2, case.changed, case.removed))
    assert json.dumps(document) == json.dumps(whole(2, case.expected))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_snapshot_that_a_program_has_is_not_changed_by_later_deltas(case: DeltaCase) -> None:
    snapshot = held(case.held)
    before = json.dumps(snapshot.document)
    kept: Any = snapshot.document
    snapshot.apply(delta(2, case.changed, case.removed))
    assert json.dumps(kept) == before


def test_a_delta_of_another_frame_is_not_applied() -> None:
    snapshot = held({"market_data": {}})
    assert snapshot.apply(delta(3, {"market_data": {"A": {}}})) is None
    assert snapshot.position == ("e", 1)


def test_an_older_snapshot_of_the_same_epoch_is_skipped_and_of_another_taken() -> None:
    snapshot = held({})
    snapshot.apply(whole(5, {}))
    assert snapshot.apply(whole(4, {})) is None
    assert snapshot.apply({**whole(1, {}), "epoch": "f"}) == {**whole(1, {}), "epoch": "f"}
