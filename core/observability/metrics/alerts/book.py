"""The alerts: raised by the engine or by a rule, acknowledged by somebody, resolved when what was wrong is over.

No durability here (listeners of the transitions see to that) and no rules that raise them (see `rule_book.py`).

    (none) --raise--> active --acknowledge--> acknowledged
                      ^    |                    |     |
                      |    +---resolve--------- | ----+--> resolved --raise--> active: the next occurrence
                      +---event of the engine---+
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, Literal, get_args

import msgspec

from observability.clocks.timestamps import format_iso_ms, iso_or_none, parse_iso_ns
from observability.errors import CheckpointError, EventError
from observability.events import Alert, Severity, event_time_ns

logger = logging.getLogger(__name__)

Action = Literal["raised", "acknowledged", "resolved"]
Stage = Literal["active", "acknowledged", "resolved"]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)

_TIMES: Final = ("first_seen", "last_seen", "acknowledged", "resolved")

# Those that make room first come first.
_EXPENDABLE: Final[tuple[Stage, ...]] = ("resolved", "acknowledged", "active")


class AlertState(msgspec.Struct):
    """One occurrence of one key; times are the events' own."""

    alert_id: str
    key: str
    severity: Severity
    title: str
    detail: str
    first_seen_ns: int
    last_seen_ns: int
    count: int = 1
    """Events of this occurrence; a rule raises once."""
    acknowledged_ns: int | None = None
    resolved_ns: int | None = None
    rule: str | None = None
    """The rule that raised it; None for the engine."""
    member: str = ""
    """Which symbol, strategy or whatever `*` stands for in the rule's metric."""
    occurrence: int = 1

    @property
    def stage(self) -> Stage:
        if self.resolved_ns is not None:
            return "resolved"
        return "active" if self.acknowledged_ns is None else "acknowledged"

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
        }


@dataclass(frozen=True, slots=True)
class Raise:
    """What a rule says of one member when it raises."""

    rule: str
    member: str
    severity: Severity
    title: str
    detail: str


TransitionListener = Callable[[AlertState, Action], None]


def alert_id(event: Alert) -> str:
    """Returns the id of an alert: the same for the same key (or title) on every host and after every restart."""
    return blake2b((event.key or event.title).encode(), digest_size=8).hexdigest()


def rule_alert_id(rule: str, member: str) -> str:
    """Returns the id of a rule's alert, which no key of the engine has."""
    return blake2b(rule_alert_key(rule, member).encode(), digest_size=8, person=b"rule").hexdigest()


def rule_alert_key(rule: str, member: str) -> str:
    return f"{rule}/{member}" if member else rule


def transition_document(state: AlertState, action: Action) -> dict[str, Any]:
    """Returns what listeners show of one transition; `AlertBook.retake` reads it."""
    document = state.to_json()
    moment = "last_seen" if action == "raised" else action
    return {"action": action, "timestamp": document[moment], **document}


class AlertBookState(msgspec.Struct):
    """What a checkpoint holds of the book."""

    alerts: list[AlertState] = []
    evicted: int = 0


class AlertBook:
    """At most `max_alerts` alerts; beyond, a resolved one makes room, else an acknowledged one, else the oldest
    (counted in `evicted`)."""

    def __init__(self, max_alerts: int) -> None:
        self.version = 0
        """Rises with each change."""
        self.evicted = 0
        """Alerts that were active still when they made room."""
        self.transitions: dict[tuple[str | None, Action], int] = {}
        """Counts since the start, by rule (None for the engine) and action."""
        self._max_alerts = max_alerts
        # In the order in which their occurrences began.
        self._alerts: dict[str, AlertState] = {}
        self._listeners: list[TransitionListener] = []

    def add_transition_listener(self, listener: TransitionListener) -> None:
        """Calls `listener` with each alert that was raised, acknowledged or resolved, at once and in order. The state
        goes on changing: what is to be kept of it is to be copied."""
        self._listeners.append(listener)

    def note(self, event: Alert) -> None:
        """Takes one event of the engine; one that is acknowledged or resolved is active again."""
        ident, ts_ns = alert_id(event), event_time_ns(event)
        if event.state == "resolved":
            self.resolve(ident, ts_ns)
            return
        state = self._alerts.get(ident)
        if state is None or state.resolved_ns is not None:
            self._begin(ident, event.key or event.title, event.severity, event.title, event.detail, ts_ns)
            return
        state.severity, state.title, state.detail = event.severity, event.title, event.detail
        state.last_seen_ns = ts_ns
        state.count += 1
        state.acknowledged_ns = None
        self._tell(state, "raised")

    def raise_rule(self, what: Raise, ts_ns: int) -> None:
        """Raises an alert of a rule, unless it is raised already."""
        ident = rule_alert_id(what.rule, what.member)
        if not self.is_raised(ident):
            key = rule_alert_key(what.rule, what.member)
            self._begin(ident, key, what.severity, what.title, what.detail, ts_ns, rule=what.rule, member=what.member)

    def see_again(self, ident: str, ts_ns: int) -> None:
        """Notes that what was wrong still is; no transition."""
        state = self._alerts.get(ident)
        if state is not None:
            state.last_seen_ns = ts_ns
            self.version += 1

    def acknowledge(self, ident: str, now_ns: int) -> AlertState | None:
        """Acknowledges an alert; None if it is unknown. A second time changes nothing."""
        state = self._alerts.get(ident)
        if state is not None and state.acknowledged_ns is None:
            state.acknowledged_ns = now_ns
            self._tell(state, "acknowledged")
        return state

    def resolve(self, ident: str, now_ns: int) -> None:
        """Resolves an alert; nothing happens if it is unknown or resolved."""
        if self.is_raised(ident):
            state = self._alerts[ident]
            state.resolved_ns = now_ns
            self._tell(state, "resolved")

    def is_raised(self, ident: str) -> bool:
        """Whether an alert is there and not resolved, be it acknowledged or not."""
        state = self._alerts.get(ident)
        return state is not None and state.resolved_ns is None

    def get(self, ident: str) -> AlertState | None:
        return self._alerts.get(ident)

    def all(self) -> list[AlertState]:
        """Returns every alert kept, newest first by when it was first seen."""
        return list(reversed(self._alerts.values()))

    def active(self) -> list[AlertState]:
        """Returns those neither acknowledged nor resolved, newest first."""
        return [state for state in self.all() if state.stage == "active"]

    def retake(self, document: Mapping[str, Any]) -> None:
        """Takes over one transition as `transition_document` showed it in an earlier process, to the millisecond; no
        listener hears of it. Raises CheckpointError for what is none."""
        try:
            fields = {name: document[name] for name in AlertState.__struct_fields__ if name in document}
            for name in _TIMES:
                fields[f"{name}_ns"] = None if document[name] is None else parse_iso_ns(document[name])
            state = msgspec.convert(fields, AlertState)
        except (KeyError, TypeError, EventError, msgspec.ValidationError) as error:
            raise CheckpointError(f"a transition of an alert cannot be read: {error!r}") from None
        known = self._alerts.get(state.alert_id)
        if known is None or known.occurrence != state.occurrence:
            self._enter(state)
        else:
            self._alerts[state.alert_id] = state
        self.version += 1

    def to_state(self) -> AlertBookState:
        return AlertBookState(list(self._alerts.values()), self.evicted)

    def restore(self, state: AlertBookState) -> None:
        """Takes over what an earlier process kept."""
        self.version += 1
        self.evicted = state.evicted
        self._alerts = {alert.alert_id: alert for alert in state.alerts[-self._max_alerts :]}

    def _begin(
        self,
        ident: str,
        key: str,
        severity: Severity,
        title: str,
        detail: str,
        ts_ns: int,
        *,
        rule: str | None = None,
        member: str = "",
    ) -> None:
        before = self._alerts.get(ident)
        occurrence = 1 if before is None else before.occurrence + 1
        state = AlertState(
            ident, key, severity, title, detail, ts_ns, ts_ns, rule=rule, member=member, occurrence=occurrence
        )
        self._enter(state)
        self._tell(state, "raised")

    def _enter(self, state: AlertState) -> None:
        """Makes `state` the newest one."""
        if self._alerts.pop(state.alert_id, None) is None and len(self._alerts) >= self._max_alerts:
            self._make_room()
        self._alerts[state.alert_id] = state

    def _tell(self, state: AlertState, action: Action) -> None:
        self.version += 1
        key = (state.rule, action)
        self.transitions[key] = self.transitions.get(key, 0) + 1
        for listener in self._listeners:
            listener(state, action)

    def _make_room(self) -> None:
        oldest: dict[Stage, str] = {}
        for ident, state in self._alerts.items():
            oldest.setdefault(state.stage, ident)
        stage = next(stage for stage in _EXPENDABLE if stage in oldest)
        del self._alerts[oldest[stage]]
        if stage == "active":
            self.evicted += 1
            if self.evicted == 1:
                logger.warning("more than %d alerts are active: the oldest make room", self._max_alerts)


def alert_documents(alerts: Iterable[AlertState]) -> list[dict[str, Any]]:
    """Returns what is shown of alerts: those nobody has acknowledged first, those that are over last."""
    return [alert.to_json() for alert in sorted(alerts, key=lambda alert: STAGES.index(alert.stage))]


def select_alerts(
    documents: Iterable[dict[str, Any]], stage: Stage | None, severity: Severity | None, limit: int
) -> list[dict[str, Any]]:
    """Returns the first `limit` of one stage and one severity (None for any), in the order they have."""
    found = (
        document
        for document in documents
        if (stage is None or document["state"] == stage) and (severity is None or document["severity"] == severity)
    )
    return list(islice(found, limit))
