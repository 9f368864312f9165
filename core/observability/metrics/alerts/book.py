"""The alerts: raised by the engine or by a rule, acknowledged by a user, resolved when the problem is over.

    (none) --raise--> active --acknowledge--> acknowledged
                      ^    |                    |     |
                      |    +---resolve--------- | ----+--> resolved --raise--> active: the next occurrence
                      +---event of the engine---+

Each arrow is a transition. The listeners of transitions publish them and store them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, Literal, get_args

import msgspec

from observability.clocks.timestamps import format_iso_ms, iso_or_none, parse_iso_ns
from observability.errors import CheckpointError, EventError
from observability.events import Alert, Severity, event_time_ns
from observability.listeners import Listeners

logger = logging.getLogger(__name__)

Action = Literal["raised", "acknowledged", "resolved"]
Stage = Literal["active", "acknowledged", "resolved"]

AlertValue = float | int | bool | str

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)

_TIMES: Final = ("first_seen", "last_seen", "acknowledged", "resolved")

# In the order in which their alerts are dropped.
_DROPPED_FIRST: Final[tuple[Stage, ...]] = ("resolved", "acknowledged", "active")


class AlertState(msgspec.Struct):
    """One occurrence of one key, by the times of the events; it changes with each transition."""

    alert_id: str
    key: str
    severity: Severity
    title: str
    detail: str
    first_seen_ns: int
    last_seen_ns: int
    count: int = 1
    """Events of the engine in this occurrence; always 1 for a rule."""
    acknowledged_ns: int | None = None
    resolved_ns: int | None = None
    rule: str | None = None
    """The rule that raised it; None if the engine did."""
    member: str = ""
    """The symbol, strategy or other member that `*` stands for in the rule's metric."""
    occurrence: int = 1
    value: AlertValue | None = None
    """What the metric was when the rule raised it; None for an alert of the engine, and for a metric without a value.
    """
    threshold: AlertValue | None = None
    acknowledged_by: str = ""
    comment: str = ""
    """The comment of the person who acknowledged it."""
    labels: dict[str, str] = {}
    links: dict[str, str] = {}
    """URLs of pages that help, by name."""

    @property
    def stage(self) -> Stage:
        if self.resolved_ns is not None:
            return "resolved"
        return "active" if self.acknowledged_ns is None else "acknowledged"

    def says(self, event: Alert) -> bool:
        """Returns whether an event says the same."""
        mine = self.severity, self.title, self.detail, self.labels, self.links
        return mine == (event.severity, event.title, event.detail, event.labels, event.links)

    def to_json(self) -> dict[str, Any]:
        return {
            "alert_id": self.alert_id,
            "key": self.key,
            "severity": self.severity,
            "title": self.title,
            "detail": self.detail,
            "first_seen": format_iso_ms(self.first_seen_ns),
            "last_seen": format_iso_ms(self.last_seen_ns),
            "count": self.count,
            "acknowledged": iso_or_none(self.acknowledged_ns),
            "state": self.stage,
            "resolved": iso_or_none(self.resolved_ns),
            "rule": self.rule,
            "member": self.member,
            "occurrence": self.occurrence,
            "value": self.value,
            "threshold": self.threshold,
            "acknowledged_by": self.acknowledged_by,
            "comment": self.comment,
            "labels": self.labels,
            "links": self.links,
        }


@dataclass(frozen=True, slots=True)
class AlertContent:
    """The content of an alert to be raised; `rule` is None for one of the engine."""

    key: str
    severity: Severity
    title: str
    detail: str
    rule: str | None = None
    member: str = ""
    value: AlertValue | None = None
    threshold: AlertValue | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


TransitionListener = Callable[[AlertState, Action], None]


def alert_id(event: Alert) -> str:
    """Returns the id of an alert: the same for the same key (or title) on every host and after every restart."""
    return blake2b((event.key or event.title).encode(), digest_size=8).hexdigest()


def rule_alert_id(rule: str, member: str) -> str:
    """Returns the id of a rule's alert, which differs from that of every key of the engine."""
    return blake2b(rule_alert_key(rule, member).encode(), digest_size=8, person=b"rule").hexdigest()


def rule_alert_key(rule: str, member: str) -> str:
    return f"{rule}/{member}" if member else rule


def transition_document(state: AlertState, action: Action) -> dict[str, Any]:
    """Returns one transition as it is published and stored; `AlertBook.replay` reads it."""
    document = state.to_json()
    moment = "last_seen" if action == "raised" else action
    return {"action": action, "timestamp": document[moment], **document}


def state_of(document: Mapping[str, Any]) -> AlertState:
    """Returns the alert of a document, to the millisecond. Raises CheckpointError for one that it cannot read."""
    try:
        fields = {name: document[name] for name in AlertState.__struct_fields__ if name in document}
        for name in _TIMES:
            fields[f"{name}_ns"] = None if document[name] is None else parse_iso_ns(document[name])
        return msgspec.convert(fields, AlertState)
    except (KeyError, TypeError, EventError, msgspec.ValidationError) as error:
        raise CheckpointError(f"a stored transition of an alert cannot be read: {error!r}") from None


class AlertBookState(msgspec.Struct):
    """The book in a checkpoint."""

    alerts: list[AlertState] = []
    evicted: int = 0


class AlertBook:
    """At most `max_alerts` alerts. A new one beyond them replaces the oldest resolved one, else the oldest acknowledged
    one, else the oldest active one (counted in `evicted`)."""

    def __init__(self, max_alerts: int) -> None:
        self.version = 0
        """Rises with each change."""
        self.evicted = 0
        """Alerts that were dropped while they were active."""
        self.transitions: dict[tuple[str | None, Action], int] = {}
        """Counts since the start of this process, by rule (None for the engine) and action."""
        self._max_alerts = max_alerts
        # In the order in which their occurrences began.
        self._alerts: dict[str, AlertState] = {}
        self._listeners: Listeners[AlertState, Action] = Listeners("a transition of an alert")

    def add_transition_listener(self, listener: TransitionListener) -> None:
        """Calls `listener` at once with each alert that was raised, acknowledged or resolved. The state keeps changing,
        so a listener copies what it keeps."""
        self._listeners.add(listener)

    def note(self, event: Alert) -> None:
        """Applies one event of the engine. It makes an acknowledged or resolved alert active again; an acknowledged one
        not if it is the event that was applied last: senders repeat what they are not sure of."""
        ident, ts_ns = alert_id(event), event_time_ns(event)
        if event.state == "resolved":
            self.resolve(ident, ts_ns)
            return
        state = self._alerts.get(ident)
        if state is not None and state.stage == "acknowledged" and ts_ns == state.last_seen_ns and state.says(event):
            return
        if state is None or state.resolved_ns is not None:
            content = AlertContent(
                event.key or event.title,
                event.severity,
                event.title,
                event.detail,
                labels=event.labels,
                links=event.links,
            )
            self._begin(ident, content, ts_ns)
            return
        state.severity, state.title, state.detail = event.severity, event.title, event.detail
        state.labels, state.links = event.labels, event.links
        state.last_seen_ns = ts_ns
        state.count += 1
        state.acknowledged_ns = None
        state.acknowledged_by = state.comment = ""
        self._notify(state, "raised")

    def raise_rule(self, content: AlertContent, ts_ns: int) -> None:
        """Raises an alert of a rule, unless it is raised already."""
        assert content.rule is not None
        ident = rule_alert_id(content.rule, content.member)
        if not self.is_raised(ident):
            self._begin(ident, content, ts_ns)

    def see_again(self, ident: str, ts_ns: int) -> None:
        """Notes that the problem persists, which is not a transition."""
        state = self._alerts.get(ident)
        if state is not None:
            state.last_seen_ns = ts_ns
            self.version += 1

    def acknowledge(self, ident: str, now_ns: int, author: str = "", comment: str = "") -> AlertState | None:
        """Acknowledges an alert; None if it is unknown. A second time changes nothing."""
        state = self._alerts.get(ident)
        if state is not None and state.acknowledged_ns is None:
            state.acknowledged_ns = now_ns
            state.acknowledged_by, state.comment = author, comment
            self._notify(state, "acknowledged")
        return state

    def resolve(self, ident: str, now_ns: int) -> None:
        """Resolves an alert; does nothing if it is unknown or resolved."""
        if self.is_raised(ident):
            state = self._alerts[ident]
            state.resolved_ns = now_ns
            self._notify(state, "resolved")

    def get(self, ident: str) -> AlertState | None:
        """Returns an alert; None if it is unknown."""
        return self._alerts.get(ident)

    def is_raised(self, ident: str) -> bool:
        """Returns whether an alert is active or acknowledged."""
        state = self._alerts.get(ident)
        return state is not None and state.resolved_ns is None

    def all(self) -> list[AlertState]:
        """Returns every alert, newest first by when its occurrence began."""
        return list(reversed(self._alerts.values()))

    def active(self) -> list[AlertState]:
        """Returns the alerts that are neither acknowledged nor resolved, newest first."""
        return [state for state in self.all() if state.stage == "active"]

    def replay(self, document: Mapping[str, Any]) -> None:
        """Applies one `transition_document` of an earlier process, to the millisecond, without calling the listeners.
        Raises CheckpointError for a document that it cannot read."""
        state = state_of(document)
        known = self._alerts.get(state.alert_id)
        if known is None or known.occurrence != state.occurrence:
            self._enter(state)
        else:
            self._alerts[state.alert_id] = state
        self.version += 1

    def to_state(self) -> AlertBookState:
        return AlertBookState(list(self._alerts.values()), self.evicted)

    def load_state(self, state: AlertBookState) -> None:
        self.version += 1
        self.evicted = state.evicted
        self._alerts = {alert.alert_id: alert for alert in state.alerts[-self._max_alerts :]}

    def _begin(self, ident: str, content: AlertContent, ts_ns: int) -> None:
        before = self._alerts.get(ident)
        state = AlertState(
            alert_id=ident,
            key=content.key,
            severity=content.severity,
            title=content.title,
            detail=content.detail,
            first_seen_ns=ts_ns,
            last_seen_ns=ts_ns,
            rule=content.rule,
            member=content.member,
            value=content.value,
            threshold=content.threshold,
            labels=dict(content.labels),
            links=dict(content.links),
            occurrence=1 if before is None else before.occurrence + 1,
        )
        self._enter(state)
        self._notify(state, "raised")

    def _enter(self, state: AlertState) -> None:
        """Makes `state` the newest alert."""
        if self._alerts.pop(state.alert_id, None) is None and len(self._alerts) >= self._max_alerts:
            self._drop_one()
        self._alerts[state.alert_id] = state

    def _notify(self, state: AlertState, action: Action) -> None:
        self.version += 1
        key = (state.rule, action)
        self.transitions[key] = self.transitions.get(key, 0) + 1
        self._listeners.call(state, action)

    def _drop_one(self) -> None:
        oldest: dict[Stage, str] = {}
        for ident, state in self._alerts.items():
            oldest.setdefault(state.stage, ident)
        stage = next(stage for stage in _DROPPED_FIRST if stage in oldest)
        del self._alerts[oldest[stage]]
        if stage == "active":
            self.evicted += 1
            if self.evicted == 1:
                logger.warning("more than %d alerts are active; dropping the oldest", self._max_alerts)


def alert_documents(alerts: Iterable[AlertState]) -> list[dict[str, Any]]:
    """Returns alerts as JSON: active ones first, then acknowledged ones, then resolved ones."""
    return [alert.to_json() for alert in sorted(alerts, key=lambda alert: STAGES.index(alert.stage))]


def select_alerts(
    documents: Iterable[dict[str, Any]], stage: Stage | None, severity: Severity | None, limit: int
) -> list[dict[str, Any]]:
    """Returns the first `limit` documents with the given stage and severity (None for any), in the given order."""
    found = (
        document
        for document in documents
        if (stage is None or document["state"] == stage) and (severity is None or document["severity"] == severity)
    )
    return list(islice(found, limit))
