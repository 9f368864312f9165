"""The webhook of an Alertmanager (version 4 of its message), as `alert` events.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config

    status               firing raises, resolved resolves
    fingerprint          key: an alert has the same one each time
    labels.severity      severity, in the words of other systems, too; a warning if there is none that is known
    annotations          summary or title, else labels.alertname --> title; description or message --> detail
    annotations, ..URL   links: runbook_url --> runbook, ..., generatorURL --> source
    startsAt, endsAt     time of the event; a firing that is sent again has the same, so it changes nothing
    labels               labels

Alerts with the label `alert_id` are left out, also those of another server that shares the Alertmanager: taken, each
would be sent there anew, and the two would answer each other for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import parse_iso_ns
from observability.errors import EventError
from observability.events import (
    LINK,
    MAX_ALERT_LABEL_LENGTH,
    MAX_ALERT_LABELS,
    MAX_KEY_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_LINK_LENGTH,
    MAX_LINKS,
    MAX_TEXT_LENGTH,
    MAX_TITLE_LENGTH,
    MIN_NS,
)
from observability.ingest.dialects import read_word

OWN_LABEL: Final = "alert_id"
"""The label by which an alert of this server is known, or of one like it."""

_URL: Final = "_url"
# What Go writes for no time.
_NO_TIME: Final = "0001-01-01T00:00:00Z"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def alerts_of(body: bytes) -> list[Any]:
    """Returns the alerts of a message. Raises EventError for what is no message of an Alertmanager."""
    try:
        alerts = _decode(body).get("alerts")
    except (msgspec.DecodeError, RecursionError) as error:
        raise EventError(f"not a message of an Alertmanager: {error}") from None
    if not isinstance(alerts, list):
        raise EventError("not a message of an Alertmanager: an array `alerts` is required")
    return alerts


def events_of(alerts: Iterable[Any]) -> list[Any]:
    """Returns alerts as events. What is no alert stays as it is, for the gate to refuse."""
    return [_event(alert) if isinstance(alert, dict) else alert for alert in alerts if not _is_own(alert)]


def _is_own(alert: Any) -> bool:
    return isinstance(alert, dict) and OWN_LABEL in _texts(alert.get("labels"))


def _event(alert: Mapping[str, Any]) -> dict[str, Any]:
    labels, annotations = _texts(alert.get("labels")), _texts(alert.get("annotations"))
    is_resolved = alert.get("status") == "resolved"
    title = annotations.get("summary") or annotations.get("title") or labels.get("alertname") or "alert"
    fingerprint = alert.get("fingerprint")
    if not isinstance(fingerprint, str) or not fingerprint:
        # Before version 0.19.
        fingerprint = ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or title
    event: dict[str, Any] = {
        "type": "alert",
        "severity": _severity(labels.get("severity", "")),
        "title": title[:MAX_TITLE_LENGTH],
        "detail": (annotations.get("description") or annotations.get("message") or "")[:MAX_TEXT_LENGTH],
        "key": fingerprint[:MAX_KEY_LENGTH],
        "state": "resolved" if is_resolved else "raised",
        "labels": {
            name[:MAX_LABEL_LENGTH]: value[:MAX_ALERT_LABEL_LENGTH]
            for name, value in list(labels.items())[:MAX_ALERT_LABELS]
        },
        "links": _links(annotations, alert.get("generatorURL")),
    }
    ts_ns = _time_ns(alert.get("endsAt" if is_resolved else "startsAt"))
    return event if ts_ns is None else event | {"ts": ts_ns}


def _severity(word: str) -> str:
    if word.lower() == "page":
        return "critical"
    return read_word("severity", word, ("info", "warning", "critical")) or "warning"


def _links(annotations: Mapping[str, str], generator: Any) -> dict[str, str]:
    found = {name.removesuffix(_URL): link for name, link in annotations.items() if name.endswith(_URL)}
    if isinstance(generator, str):
        found.setdefault("source", generator)
    links = [
        (name[:MAX_LABEL_LENGTH], link)
        for name, link in found.items()
        if len(link) <= MAX_LINK_LENGTH and LINK.fullmatch(link)
    ]
    return dict(links[:MAX_LINKS])


def _texts(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    return {str(name): value for name, value in given.items() if isinstance(value, str)}


def _time_ns(given: Any) -> int | None:
    """Returns a time; None for one that is not known, which is then that of the arrival."""
    if not isinstance(given, str) or given == _NO_TIME:
        return None
    try:
        ts_ns = parse_iso_ns(given)
    except EventError:
        return None
    return ts_ns if ts_ns >= MIN_NS else None
