"""The occurrences of alerts: each time that one was raised, with everything that became of it.

The store has every transition; memory has the newest occurrence of each alert.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from observability.clocks.timestamps import MAX_NS, parse_iso_ns
from observability.events import Severity
from observability.metrics.alerts.book import state_of
from observability.store.reader import StoreReader
from observability.store.schema import MAX_ROW_SEQ

# Transitions that are read for one page, which may have fewer occurrences then: an engine may repeat an alert for days.
MAX_ROWS: Final = 100_000
MAX_TRANSITIONS: Final = 100

# The first event of an occurrence has the count 1. Parameters: the seq before which to search, and how many.
_BEGINNINGS: Final = (
    "SELECT seq, alert_id FROM alert_transitions WHERE seq < ? AND action = 'raised' "
    "AND coalesce(json_extract(document, '$.count'), 1) = 1"
)
_FOLLOWING: Final = (
    "SELECT action, document FROM alert_transitions WHERE alert_id = ? AND seq >= ? AND ts_ns <= ? ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class OccurrenceFilter:
    """Which occurrences are wanted, by when they began; None stands for any."""

    alert_id: str | None = None
    rule: str | None = None
    severity: Severity | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    until_ns: int = MAX_NS
    """What came later is left out."""

    def takes(self, alert: Mapping[str, Any]) -> bool:
        """Returns whether the document of an alert is wanted."""
        began_ns = parse_iso_ns(alert["first_seen"])
        return (
            self.alert_id in (None, alert["alert_id"])
            and self.rule in (None, alert["rule"])
            and self.severity in (None, alert["severity"])
            and (self.start_ns is None or began_ns >= self.start_ns)
            and (self.end_ns is None or began_ns < self.end_ns)
        )


Page = tuple[list[dict[str, Any]], int | None]
"""Occurrences, newest first, and the seq before which the next page begins; None if this is the last."""


class StoredOccurrences:
    """The occurrences on disk, read through a StoreReader in any process."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def page(self, wanted: OccurrenceFilter, limit: int, before_seq: int | None = None) -> Page:
        """Returns one page. Raises StoreError."""
        return await self._reader.run(_page, wanted, limit, before_seq)


def page_of_memory(alerts: Sequence[dict[str, Any]], wanted: OccurrenceFilter, limit: int) -> Page:
    """Returns the newest occurrence of each alert in memory, newest first; the only page."""
    found = sorted(filter(wanted.takes, alerts), key=lambda alert: str(alert["first_seen"]), reverse=True)
    return [_occurrence(None, alert, _moments(alert)) for alert in found[:limit]], None


def _page(connection: sqlite3.Connection, wanted: OccurrenceFilter, limit: int, before_seq: int | None) -> Page:
    tests, values = [_BEGINNINGS], list[Any]()
    for test, value in (
        ("alert_id = ?", wanted.alert_id),
        ("json_extract(document, '$.rule') = ?", wanted.rule),
        ("json_extract(document, '$.severity') = ?", wanted.severity),
        ("ts_ns >= ?", wanted.start_ns),
        ("ts_ns < ?", wanted.end_ns),
        ("ts_ns <= ?", None if wanted.until_ns == MAX_NS else wanted.until_ns),
    ):
        if value is not None:
            tests.append(test)
            values.append(value)
    found = connection.execute(
        f"{' AND '.join(tests)} ORDER BY seq DESC LIMIT ?",
        (MAX_ROW_SEQ if before_seq is None else before_seq, *values, limit),
    ).fetchall()
    page: list[dict[str, Any]] = []
    rows_left = MAX_ROWS
    for seq, alert_id in found:
        if rows_left <= 0:
            return page, page[-1]["seq"]
        rows = list(_rows_of(connection, alert_id, seq, wanted.until_ns, rows_left))
        rows_left -= len(rows)
        page.append(_occurrence(seq, rows[-1][1], _transitions(rows)))
    return page, found[-1][0] if len(found) == limit else None


def _rows_of(
    connection: sqlite3.Connection, alert_id: str, first_seq: int, until_ns: int, most: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the transitions of the occurrence that began with `first_seq`."""
    occurrence = None
    for number, (action, text) in enumerate(connection.execute(_FOLLOWING, (alert_id, first_seq, until_ns))):
        document = orjson.loads(text)
        # An alert that was dropped from memory begins with the occurrence 1 again.
        begins = action == "raised" and document.get("count", 1) == 1
        if number and (begins or document.get("occurrence", 1) != occurrence or number >= most):
            return
        occurrence = document.get("occurrence", 1)
        yield action, document


def _transitions(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Returns what changed; another event about an active alert did not."""
    transitions: list[dict[str, Any]] = []
    for action, document in rows:
        if transitions and action == transitions[-1]["action"] == "raised":
            continue
        transitions.append(_transition(action, document["timestamp"], document))
    return transitions[:1] + transitions[1:][1 - MAX_TRANSITIONS :]


def _moments(alert: Mapping[str, Any]) -> list[dict[str, Any]]:
    times = (("raised", "first_seen"), ("acknowledged", "acknowledged"), ("resolved", "resolved"))
    return [_transition(action, alert[name], alert) for action, name in times if alert[name] is not None]


def _transition(action: str, timestamp: str, document: Mapping[str, Any]) -> dict[str, Any]:
    author = {name: document.get(name, "") for name in ("acknowledged_by", "comment")}
    return {"action": action, "timestamp": timestamp, **(author if action == "acknowledged" else {})}


def _occurrence(seq: int | None, alert: Mapping[str, Any], transitions: list[dict[str, Any]]) -> dict[str, Any]:
    # A document of an earlier version lacks fields.
    return {"seq": seq, **state_of(alert).to_json(), "transitions": transitions}
