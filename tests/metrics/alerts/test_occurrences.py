"""The occurrences of alerts, as they are read from the store."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from observability.encoding import encode_json
from observability.events import Alert
from observability.metrics.alerts.book import Action, AlertBook, AlertState, transition_document
from observability.metrics.alerts.occurrences import OccurrenceFilter, _page
from observability.store.file import DATABASE_NAME, open_database
from observability.store.schema import INSERT_ALERT_TRANSITION

S = 1_000_000_000


def test_an_alert_that_was_dropped_and_raised_again_has_two_occurrences(tmp_path: Path) -> None:
    book = AlertBook(max_alerts=1)
    rows: list[tuple[int, int, str, str, str]] = []

    def store(state: AlertState, action: Action) -> None:
        document = encode_json(transition_document(state, action)).decode()
        rows.append((len(rows) + 1, state.last_seen_ns, state.alert_id, action, document))

    book.add_transition_listener(store)
    for seconds, key, detail in ((1, "gate", "first"), (2, "gate", "again"), (3, "other", ""), (4, "gate", "second")):
        book.note(Alert("warning", key, detail=detail, key=key, ts=seconds * S))
    with closing(open_database(tmp_path / DATABASE_NAME)) as connection:
        connection.executemany(INSERT_ALERT_TRANSITION, rows)
        occurrences, _ = _page(connection, OccurrenceFilter(), 10, None)
    found = [(each["key"], each["occurrence"], each["count"], each["detail"]) for each in occurrences]
    assert found == [("gate", 1, 1, "second"), ("other", 1, 1, ""), ("gate", 1, 2, "again")]
