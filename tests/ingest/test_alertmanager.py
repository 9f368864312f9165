"""The message of an Alertmanager as events: what each part becomes, and what malformed parts cost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.encoding import encode_json
from observability.errors import EventError
from observability.events import AnyEvent
from observability.ingest.alertmanager import alerts_of, events_of

FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "HighLatency", "severity": "page", "instance": "db-1"},
    "annotations": {"summary": "Latency is high", "description": "of db-1", "runbook_url": "https://wiki/latency"},
    "startsAt": "2024-03-01T11:00:00.123456789+01:00",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus:9090/graph?g0.expr=x",
    "fingerprint": "4f5e",
}


def read(*alerts: Any) -> list[Any]:
    found = events_of(alerts_of(json.dumps({"version": "4", "status": "firing", "alerts": alerts}).encode()))
    assert json.loads(encode_json(found)) == found
    return found


def test_every_part_of_an_alert_has_its_place_in_the_event() -> None:
    (event,) = read(FIRING)
    assert event == {
        "type": "alert", "severity": "critical", "title": "Latency is high", "detail": "of db-1", "key": "4f5e",
        "state": "raised", "labels": FIRING["labels"],
        "links": {"runbook": "https://wiki/latency", "source": "http://prometheus:9090/graph?g0.expr=x"},
        "ts": 1_709_287_200_123_456_789,
    }  # fmt: skip
    msgspec.convert(event, AnyEvent)


def test_a_resolved_alert_is_dated_by_its_end() -> None:
    (event,) = read({**FIRING, "status": "resolved", "endsAt": "2024-03-01T10:00:01Z"})
    assert (event["state"], event["ts"]) == ("resolved", 1_709_287_201_000_000_000)


def test_alerts_that_we_have_sent_do_not_come_back() -> None:
    own = {**FIRING, "labels": {"alertname": "drawdown", "alert_id": "abc"}}
    assert [event["key"] for event in read(own, FIRING)] == ["4f5e"]


@pytest.mark.parametrize(("word", "severity"), [("Error", "critical"), ("none", "warning"), ("INFO", "info")])
def test_a_severity_is_read_in_the_words_of_other_systems(word: str, severity: str) -> None:
    (event,) = read({**FIRING, "labels": {"severity": word}})
    assert (event["severity"], event["title"]) == (severity, "Latency is high")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"alerts":{}}', b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(EventError, match="not a message of an Alertmanager"):
        alerts_of(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner), max_leaves=4
)


@given(st.fixed_dictionaries({}, optional={name: _JSON | st.dictionaries(st.text(), _JSON) for name in FIRING}))
def test_whatever_an_object_holds_becomes_an_event_that_is_valid(alert: dict[str, Any]) -> None:
    for event in read(alert):
        msgspec.convert(event, AnyEvent)
