"""The transitions of alerts in the log: a line for each, at the level of the alert's severity."""

from __future__ import annotations

import logging
from typing import Final

from observability.events import Severity
from observability.metrics.alerts.book import Action, AlertState

logger = logging.getLogger(__name__)

_LEVELS: Final[dict[Severity, int]] = {
    "info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR
}  # fmt: skip


def log_transition(state: AlertState, action: Action) -> None:
    """Logs one transition. Further events of the engine about an active alert are no news."""
    if action == "raised" and state.count > 1:
        return
    level = _LEVELS[state.severity] if action == "raised" else logging.INFO
    detail = f": {state.detail}" if state.detail and action == "raised" else ""
    logger.log(
        level, "alert %s (%s, %s) %s: %s%s", state.alert_id, state.severity, state.key, action, state.title, detail,
        extra={
            "ids": {"alert_id": state.alert_id, "rule": state.rule, "member": state.member, "action": action},
            "is_limited": False,
        },
    )  # fmt: skip
