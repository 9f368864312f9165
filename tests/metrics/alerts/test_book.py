"""The states of an alert: raised, acknowledged, resolved, raised again; and the transitions that listeners get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import CheckpointError
from observability.events import Alert
from observability.metrics.alerts.book import (
    AlertBook,
    AlertBookState,
    AlertContent,
    AlertState,
    alert_documents,
    alert_id,
    rule_alert_id,
    select_alerts,
    transition_document,
)
from observability.store.checkpoint import pack, unpack

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000

DRAWDOWN = AlertContent("drawdown", "critical", "Drawdown of 6 %", "", rule="drawdown")


def event(key: str = "feed", seconds: int = 0, **changes: Any) -> Alert:
    fields: dict[str, Any] = {"severity": "warning", "title": "Feed lost", "ts": NOON + seconds * S}
    return Alert(key=key, **(fields | changes))


def watched(max_alerts: int = 100) -> tuple[AlertBook, list[tuple[str, str]]]:
    """A book, and the (title, action) of each of its transitions."""
    book = AlertBook(max_alerts)
    transitions: list[tuple[str, str]] = []
    book.add_transition_listener(lambda state, action: transitions.append((state.title, action)))
    return book, transitions


def only(book: AlertBook) -> AlertState:
    (state,) = book.all()
    return state


def test_each_event_of_the_engine_is_a_transition() -> None:
    book, transitions = watched()
    book.note(event())
    book.note(event(title="Feed still lost"))
    assert transitions == [("Feed lost", "raised"), ("Feed still lost", "raised")]


def test_a_rule_raises_once_until_its_alert_is_resolved() -> None:
    book, transitions = watched()
    for seconds in range(3):
        book.raise_rule(DRAWDOWN, NOON + seconds * S)
    book.acknowledge(only(book).alert_id, NOON)
    book.raise_rule(DRAWDOWN, NOON + 9 * S)
    assert transitions == [("Drawdown of 6 %", "raised"), ("Drawdown of 6 %", "acknowledged")]
    assert only(book).count == 1


def test_the_engine_can_resolve_its_alert() -> None:
    book, transitions = watched()
    book.note(event())
    book.note(event(seconds=5, state="resolved"))
    assert transitions == [("Feed lost", "raised"), ("Feed lost", "resolved")]
    assert (only(book).stage, only(book).to_json()["resolved"]) == ("resolved", "2012-06-21T12:00:05.000Z")
    assert book.active() == []


def test_an_alert_that_was_never_raised_cannot_be_resolved() -> None:
    book, transitions = watched()
    book.note(event(state="resolved"))
    assert (book.all(), transitions) == ([], [])


def test_an_alert_is_resolved_only_once() -> None:
    book, transitions = watched()
    book.note(event())
    for seconds in (1, 2):
        book.resolve(alert_id(event()), NOON + seconds * S)
    assert [action for _, action in transitions] == ["raised", "resolved"]
    assert only(book).resolved_ns == NOON + S


def test_an_alert_is_acknowledged_only_once() -> None:
    book, transitions = watched()
    book.note(event())
    for seconds in (1, 2):
        assert book.acknowledge(alert_id(event()), NOON + seconds * S) is only(book)
    assert [action for _, action in transitions] == ["raised", "acknowledged"]
    assert (only(book).stage, only(book).acknowledged_ns) == ("acknowledged", NOON + S)


def test_a_resolved_alert_that_is_raised_again_is_a_new_occurrence() -> None:
    book, _ = watched()
    book.note(event())
    book.note(event(seconds=1))
    book.acknowledge(alert_id(event()), NOON + 2 * S)
    book.note(event(seconds=3, state="resolved"))
    book.note(event(seconds=60))
    state = only(book)
    assert (state.occurrence, state.count, state.first_seen_ns, state.acknowledged_ns, state.stage) == (
        2, 1, NOON + 60 * S, None, "active"
    )  # fmt: skip


def test_a_new_occurrence_is_the_newest_alert() -> None:
    book, _ = watched()
    book.note(event("a"))
    book.note(event("b"))
    book.note(event("a", state="resolved"))
    book.note(event("a"))
    assert [state.key for state in book.all()] == ["a", "b"]


def test_an_event_of_the_engine_does_not_resolve_a_rules_alert() -> None:
    book, _ = watched()
    book.raise_rule(DRAWDOWN, NOON)
    book.note(event("drawdown", state="resolved"))
    assert only(book).stage == "active"


def test_each_member_of_a_rule_has_its_own_alert() -> None:
    book, _ = watched()
    for member in ("AAPL", "AMZN"):
        book.raise_rule(AlertContent(f"stale/{member}", "warning", "Stale", "", "stale", member), NOON)
    book.resolve(rule_alert_id("stale", "AAPL"), NOON)
    assert [(state.key, state.member, state.stage) for state in book.all()] == [
        ("stale/AMZN", "AMZN", "active"),
        ("stale/AAPL", "AAPL", "resolved"),
    ]


def test_resolved_alerts_are_dropped_before_acknowledged_ones() -> None:
    book, _ = watched(max_alerts=3)
    for key in "abc":
        book.note(event(key))
    book.acknowledge(alert_id(event("a")), NOON)
    book.note(event("b", state="resolved"))
    book.note(event("d"))
    assert [state.key for state in book.all()] == ["d", "c", "a"]
    assert book.evicted == 0


def test_transitions_are_counted_by_rule_and_action() -> None:
    book, _ = watched()
    book.raise_rule(DRAWDOWN, NOON)
    book.note(event())
    book.note(event())
    book.resolve(rule_alert_id("drawdown", ""), NOON)
    assert book.transitions == {("drawdown", "raised"): 1, (None, "raised"): 2, ("drawdown", "resolved"): 1}


@pytest.mark.parametrize(
    ("stage", "severity", "limit", "keys"),
    [
        (None, None, 9, "dacb"),
        ("active", None, 9, "da"),
        ("resolved", None, 9, "b"),
        (None, "critical", 9, "a"),
        (None, None, 2, "da"),
    ],
)
def test_alerts_are_selected_by_stage_and_severity(stage: Any, severity: Any, limit: Any, keys: str) -> None:
    book, _ = watched()
    book.note(event("a", severity="critical"))
    for key in "bcd":
        book.note(event(key))
    book.note(event("b", state="resolved"))
    book.acknowledge(alert_id(event("c")), NOON)
    found = select_alerts(alert_documents(book.all()), stage, severity, limit)
    assert "".join(document["key"] for document in found) == keys


Step = tuple[str, str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("event", "end", "rule", "acknowledge", "resolve")),
        st.sampled_from("abcd"),
        st.integers(0, 99),
    ),
    max_size=40,
)


def apply(book: AlertBook, step: Step) -> None:
    action, key, seconds = step
    now_ns = NOON + seconds * S
    if action == "event":
        book.note(event(key, seconds))
    elif action == "end":
        book.note(event(key, seconds, state="resolved"))
    elif action == "rule":
        book.raise_rule(AlertContent(f"rule/{key}", "warning", key, "", "rule", key), now_ns)
    elif action == "acknowledge":
        book.acknowledge(alert_id(event(key)), now_ns)
    else:
        book.resolve(rule_alert_id("rule", key), now_ns)


@given(STEPS, STEPS)
def test_a_restored_book_continues_as_the_original_would(before: list[Step], after: list[Step]) -> None:
    book = AlertBook(5)
    for step in before:
        apply(book, step)
    restored = AlertBook(5)
    restored.load_state(unpack(pack(book.to_state()), AlertBookState))
    for step in after:
        apply(book, step)
        apply(restored, step)
    assert restored.all() == book.all()
    assert restored.evicted == book.evicted


@given(STEPS, STEPS)
def test_replaying_the_transitions_gives_the_same_book(before: list[Step], after: list[Step]) -> None:
    book = AlertBook(100)
    for step in before:
        apply(book, step)
    restored = AlertBook(100)
    restored.load_state(unpack(pack(book.to_state()), AlertBookState))
    documents: list[dict[str, Any]] = []
    book.add_transition_listener(lambda state, action: documents.append(transition_document(state, action)))
    for step in after:
        apply(book, step)
    for document in documents:
        restored.replay(document)
    assert restored.all() == book.all()


@pytest.mark.parametrize("document", [{}, {"alert_id": 1}, {"first_seen": 1}])
def test_a_document_that_is_no_transition_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        AlertBook(5).replay(document)


def test_a_document_has_the_time_of_its_transition() -> None:
    book, _ = watched()
    book.note(event())
    book.note(event(seconds=1))
    book.acknowledge(alert_id(event()), NOON + 2 * S)
    book.resolve(alert_id(event()), NOON + 3 * S)
    moments = [
        transition_document(only(book), action)["timestamp"] for action in ("raised", "acknowledged", "resolved")
    ]
    assert moments == [f"2012-06-21T12:00:0{second}.000Z" for second in (1, 2, 3)]


def test_the_same_event_again_leaves_an_acknowledgement_alone_and_a_later_one_does_not() -> None:
    book, _ = watched()
    book.note(event())
    book.acknowledge(alert_id(event()), NOON, "ana")
    book.note(event())
    assert book.all()[0].stage == "acknowledged"
    later = event()
    later.ts = NOON + 1
    book.note(later)
    assert book.all()[0].stage == "active"
