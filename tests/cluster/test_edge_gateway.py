"""The documents that go with a frame: those that edges have are left out, and none for long."""

from __future__ import annotations

from observability.cluster.edge_gateway import ChangedDocuments
from observability.snapshot.frames import FRAMES_KEPT
from observability.snapshot.on_demand import SharedDocuments


def test_a_document_that_stays_the_same_is_sent_twice_in_the_time_that_messages_are_kept() -> None:
    changed, body = ChangedDocuments(), b"{}"
    sent = [changed.of(SharedDocuments({"a": body, "b": None}, ("b",))) for _ in range(FRAMES_KEPT)]
    assert [number for number, each in enumerate(sent) if each.by_name["a"] is not None] == [0, FRAMES_KEPT // 2]
    assert all(each.by_name["b"] is None and each.old == ("b",) for each in sent)


def test_a_document_that_changes_is_sent_at_once() -> None:
    changed = ChangedDocuments()
    bodies = [b"1", b"2", b"3"]
    assert [changed.of(SharedDocuments({"a": body}, ())).by_name["a"] for body in bodies] == bodies
