"""Telegram, Slack, PagerDuty, mail and a hundred other services, by Apprise (https://github.com/caronc/apprise).

Apprise is installed by `pip install 'observability[notify]'`.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any, Final

from observability.notify.delivery import DeliveryFailed
from observability.notify.notice import RAISING, Message

MISSING: Final = "needs Apprise: pip install 'observability[notify]'"


class AppriseService:
    """One service, by its Apprise URL."""

    is_batched = False
    repeat_ns = 0

    def __init__(self, url: str) -> None:
        self._service = _service(url)
        self.place = f"{url.partition(':')[0]}://***"

    def send(self, message: Message) -> None:
        apprise = importlib.import_module("apprise")
        kinds = {notice.kind for notice in message.notices}
        severities = {notice.document["severity"] for notice in message.notices}
        kind = apprise.NotifyType.INFO
        if kinds == {"resolved"}:
            kind = apprise.NotifyType.SUCCESS
        elif kinds & RAISING:
            kind = apprise.NotifyType.FAILURE if "critical" in severities else apprise.NotifyType.WARNING
        # Apprise logs why it failed and returns only that it did.
        reasons = _Reasons()
        logger = logging.getLogger("apprise")
        logger.addHandler(reasons)
        try:
            if not self._service.notify(body=message.text(), title=message.title(), notify_type=kind):
                raise DeliveryFailed("; ".join(reasons.lines) or "the service did not take it")
        finally:
            logger.removeHandler(reasons)


def find_fault(url: str) -> tuple[str, str] | None:
    """Returns what is wrong with a URL and what was expected; None if Apprise can use it."""
    try:
        _service(url)
    except ImportError:
        return f"{url.partition(':')[0]}://", MISSING
    except ValueError:
        return "not shown", "a URL that Apprise knows, see https://github.com/caronc/apprise/wiki"
    return None


def _service(url: str) -> Any:
    """Returns the service. Raises ImportError without Apprise, ValueError for a URL that it does not know."""
    with warnings.catch_warnings():
        # Of modules of the standard library that Apprise uses, where they are still there.
        warnings.simplefilter("ignore", DeprecationWarning)
        apprise = importlib.import_module("apprise")
        # Its lines may have secrets in them.
        logging.getLogger("apprise").propagate = False
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        raise ValueError("not a URL of Apprise")
    return service


class _Reasons(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
