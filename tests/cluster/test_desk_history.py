"""What checks the histories of a desk finds each kind of fault, and nothing in a history that is good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storms.desk_history import ClientHistory, History, faults_of, older_epochs_told

Frames = list[tuple[str, int]]


def client(frames: Frames, entries: list[tuple[int, int]]) -> ClientHistory:
    made = ClientHistory()
    made.on_connected("h1", None)
    made.on_subscribed()
    for frame in frames:
        made.on_frame(*frame)
    for prev, seq in entries:
        made.on_entry("trades", prev, seq)
    return made


def history() -> History:
    made = History(
        frames={f"{epoch}:{seq}": {"sha": ["h1", "h2"]} for epoch, seq in [("a", 1), ("a", 2), ("b", 4), ("b", 5)]},
        clients=[client([("a", 1), ("a", 2), ("b", 4), ("b", 5)], [(0, 1), (1, 3)])],
        stored={"trades": ["t1", "t2"]},
    )
    made.sent["trades"] = {"t1", "t2", "t3"}
    made.acknowledged["trades"] = {"t1", "t2"}
    made.add_entry("trades", 1, "t1")
    made.add_entry("trades", 3, "t2")
    return made


def test_nothing_is_found_in_a_good_history_also_after_it_was_in_a_file(tmp_path: Path) -> None:
    history().write(tmp_path / "history")
    assert faults_of(history()) == faults_of(History.read(tmp_path / "history")) == []


def of_clients(frames: Frames, entries: list[tuple[int, int]]) -> Callable[[History], None]:
    return lambda history: history.clients.append(client(frames, entries))


ENTRIES = [(0, 1), (1, 3)]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda history: history.acknowledged["trades"].add("t3"), "lost"),
        (lambda history: history.stored["trades"].remove("t1"), "lost"),
        (lambda history: history.stored["trades"].append("t1"), "twice"),
        (lambda history: history.add_entry("trades", 4, "t2"), "twice"),
        (lambda history: history.add_entry("trades", 3, "t3"), "two entries"),
        (lambda history: history.add_entry("trades", 4, "t4"), "never sent"),
        (lambda history: history.stored["trades"].append("t3"), "not told"),
        (lambda history: history.add_entry("trades", 4, "t3"), "not stored"),
        (lambda history: history.frames["a:1"].update(other=["h3"]), "different frames"),
        (of_clients([("a", 1), ("b", 4), ("a", 2)], ENTRIES), "older epoch"),
        (of_clients([("a", 2), ("a", 1)], ENTRIES), "back"),
        (of_clients([("a", 4), ("b", 4)], ENTRIES), "back"),
        (of_clients([("a", 1), ("a", 3)], ENTRIES), "gap"),
        (of_clients([("a", 1), ("b", 4)], ENTRIES), "gap"),
        (of_clients([("a", 2), ("b", 5)], ENTRIES), "gap"),
        (of_clients([], [(0, 1)]), "lane"),
        (of_clients([], [(1, 3)]), "lane"),
        (of_clients([], [(0, 1), (0, 1), (1, 3)]), "lane"),
    ],
)
def test_a_fault_is_found(change: Callable[[History], None], kind: str) -> None:
    made = history()
    change(made)
    found = {fault.kind for fault in faults_of(made)}
    assert kind in found


def test_a_client_that_is_told_of_what_it_misses_has_no_fault() -> None:
    made = history()
    slow = client([("a", 1)], ENTRIES)
    slow.on_lag(1)
    slow.on_frame("b", 4)
    moved = client([("b", 4)], ENTRIES)
    moved.on_connected("h2", False)
    moved.on_frame("a", 1)
    moved.on_frame("a", 2)
    resumed = client([("a", 1)], ENTRIES)
    resumed.on_connected("h2", True)
    resumed.on_frame("a", 1)
    resumed.on_frame("a", 2)
    made.clients += [slow, moved, resumed]
    assert faults_of(made) == []
    assert older_epochs_told(made) == 0


def test_an_older_epoch_at_an_edge_that_is_behind_is_counted_if_the_client_was_told() -> None:
    made = history()
    moved = client([("a", 2), ("b", 4)], ENTRIES)
    moved.on_connected("h2", False)
    moved.on_frame("a", 2)
    moved.on_frame("b", 4)
    made.clients.append(moved)
    assert faults_of(made) == []
    assert older_epochs_told(made) == 1


def test_a_client_that_is_told_of_a_frame_that_came_has_a_gap() -> None:
    made = history()
    told = client([("a", 1)], ENTRIES)
    told.on_lag(1)
    told.on_frame("a", 2)
    made.clients.append(told)
    assert [fault.kind for fault in faults_of(made)] == ["gap"]
