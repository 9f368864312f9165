"""Prometheus Alertmanager: alerts are posted to `/api/v2/alerts`, and again while they are raised.

Alertmanager takes an alert for resolved that it was not told of for some minutes, so clients repeat it, as Prometheus
does every minute. Grouping, silences and inhibition are then Alertmanager's.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.encoding import encode_json
from observability.notify.delivery import place_of, post_json
from observability.notify.notice import Message, Notice

PATH: Final = "/api/v2/alerts"
SCHEMES: Final = {"alertmanager": "http", "alertmanagers": "https"}


class Alertmanager:
    """Posts alerts to one Alertmanager."""

    is_batched = True
    repeat_ns = NS_PER_MINUTE

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = f"{SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}{PATH}"
        self.place = place_of(url)

    def send(self, message: Message) -> None:
        post_json(self._url, encode_json([_alert(notice) for notice in message.notices]), {})


def _alert(notice: Notice) -> dict[str, Any]:
    # A notice that was stored by an earlier version may have neither labels nor links.
    alert: dict[str, Any] = {"labels": {}, "links": {}, **notice.document}
    labels = {_name(name): value for name, value in alert["labels"].items()} | {
        "alertname": alert["rule"] or alert["key"],
        "severity": alert["severity"],
        "alert_id": alert["alert_id"],
        "member": alert["member"],
    }
    annotations = {_name(name): link for name, link in alert["links"].items()}
    annotations |= {"summary": alert["title"], "description": alert["detail"]}
    for name in ("value", "threshold"):
        if alert[name] is not None:
            annotations[name] = str(alert[name])
    document = {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": annotations,
        "startsAt": alert["first_seen"],
    }
    if alert["links"]:
        document["generatorURL"] = next(iter(alert["links"].values()))
    if notice.kind == "resolved":
        document["endsAt"] = alert["resolved"]
    return document


def _name(text: str) -> str:
    """Returns a name that Alertmanager takes."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return f"_{name}" if name[:1].isdecimal() or not name else name
