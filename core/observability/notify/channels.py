"""The channels by the scheme of their URL: a webhook, Alertmanager, or what Apprise knows."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from observability.notify import alertmanager, apprise_service
from observability.notify.alertmanager import Alertmanager
from observability.notify.apprise_service import AppriseService
from observability.notify.delivery import Channel
from observability.notify.route import Route
from observability.notify.webhook import Webhook

_WEBHOOKS = ("http", "https")
# What a request may have in its first line.
_PRINTABLE: Final = re.compile(r"[!-~]+")


def is_webhook(url: str) -> bool:
    """Returns whether a route to this URL posts to a webhook."""
    return url.partition(":")[0] in _WEBHOOKS


def check_channel(url: str) -> tuple[str, str] | None:
    """Returns what is wrong with the URL of a channel and what was expected; None if nothing is."""
    scheme = url.partition(":")[0]
    if scheme in _WEBHOOKS or scheme in alertmanager.SCHEMES:
        try:
            parts = urlsplit(url)
            is_url = bool(parts.hostname) and parts.port != 0 and _PRINTABLE.fullmatch(url) is not None
        except ValueError:
            is_url = False
        return None if is_url else ("not shown", f"{scheme}://HOST[:PORT] and a path, other than ASCII as %XX")
    return apprise_service.find_fault(url)


def open_channel(route: Route) -> Channel:
    """Returns the channel of a route whose URL was checked."""
    scheme = route.to.partition(":")[0]
    if is_webhook(route.to):
        return Webhook(route.to, route.secret)
    if scheme in alertmanager.SCHEMES:
        return Alertmanager(route.to)
    return AppriseService(route.to)
