"""A notice: what one route is to say about one alert. A message carries one notice or a group of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec

Kind = Literal["raised", "acknowledged", "resolved", "escalated", "repeated", "unsilenced", "test"]
State = Literal["pending", "delivered", "failed", "dropped"]

RAISING: Final[frozenset[str]] = frozenset({"raised", "escalated", "repeated", "unsilenced", "test"})
"""The kinds that say that an alert is there."""

SCHEDULED: Final[frozenset[str]] = frozenset({"escalated", "repeated", "unsilenced"})
"""The kinds that are delivered later, if the alert is still there."""

_HEADINGS: Final[dict[Kind, str]] = {
    "raised": "",
    "acknowledged": "ACKNOWLEDGED ",
    "resolved": "RESOLVED ",
    "escalated": "ESCALATED ",
    "repeated": "STILL ",
    "unsilenced": "STILL ",
    "test": "TEST ",
}


class Notice(msgspec.Struct):
    """A notice and what has become of it; it is a row of the store's table `notices`."""

    key: str
    """Differs from that of every other notice; the same after a restart."""
    seq: int
    """The number of the transition that it is about."""
    route: str
    kind: Kind
    alert_id: str
    occurrence: int
    ts_ns: int
    due_ns: int
    """Both by the host's clock."""
    document: dict[str, Any]
    """The alert, as `GET /api/system/alerts` shows it."""
    attempts: int = 0
    state: State = "pending"
    error: str = ""
    """Why the last attempt failed, or why there was none."""
    done_ns: int | None = None

    def heading(self) -> str:
        alert = self.document
        return f"[{_HEADINGS[self.kind]}{alert['severity'].upper()}] {alert['title']}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is handed to a channel at once."""

    route: str
    notices: Sequence[Notice]

    @property
    def key(self) -> str:
        """The same for every attempt to deliver the same notices."""
        return blake2b(" ".join(notice.key for notice in self.notices).encode(), digest_size=16).hexdigest()

    def title(self) -> str:
        first = self.notices[0].heading()
        rest = len(self.notices) - 1
        return f"{first} (and {rest} more)" if rest else first

    def text(self) -> str:
        return "\n\n".join("\n".join(_lines(notice)) for notice in self.notices)


def _lines(notice: Notice) -> list[str]:
    alert = notice.document
    lines = [notice.heading()]
    if alert["detail"]:
        lines.append(alert["detail"])
    if alert["value"] is not None and alert["threshold"] is not None:
        lines.append(f"value {alert['value']}, threshold {alert['threshold']}")
    lines.append(f"since {alert['first_seen']}" + (f", resolved {alert['resolved']}" if alert["resolved"] else ""))
    lines.append(f"{alert['rule'] or alert['key']}{' ' + alert['member'] if alert['member'] else ''}")
    if alert.get("labels"):
        lines.append(", ".join(f"{name} {value}" for name, value in alert["labels"].items()))
    lines += [f"{name}: {link}" for name, link in alert.get("links", {}).items()]
    return lines
