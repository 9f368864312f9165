"""Names of several sites side by side: `SITE/NAME` for symbols, strategies and positions, `SITE:ID` for alerts.

The name of a desk has neither `/` nor `:`, so the site is what stands before the first one. An id is part of paths, in
which a slash would begin another segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from observability.metrics.alerts.book import STAGES

SEPARATOR: Final = "/"
ID_SEPARATOR: Final = ":"

Fields = dict[str, Any]

# The fields of parts that name a symbol, a strategy or a position.
_NAMES: Final = ("key", "symbol", "strategy")
# The fields of parts that say whether they are too old.
_STALENESS: Final = ("stale", "quote_stale", "print_stale")


def prefixed(site: str, name: str) -> str:
    """Returns how a name of a site's own is shown among those of all sites."""
    return f"{site}{SEPARATOR}{name}"


def renamed(site: str, part: Fields, *, is_stale: bool) -> Fields:
    """Returns a part of a site with its names prefixed; that of a stale site is stale wherever it can say so."""
    for name in _NAMES:
        if isinstance(part.get(name), str):
            part[name] = prefixed(site, part[name])
    signal = part.get("last_signal")
    if isinstance(signal, dict):
        part["last_signal"] = renamed(site, signal, is_stale=is_stale)
    if is_stale:
        for name in _STALENESS:
            if part.get(name) is not None:
                part[name] = True
        for venue in (part.get("venues") or {}).values():
            if "stale" in venue:
                venue["stale"] = True
    return part


def id_at(site: str, alert_id: str) -> str:
    """Returns the id of an alert of a site among those of all sites."""
    return f"{site}{ID_SEPARATOR}{alert_id}"


def split_id(alert_id: str) -> tuple[str, str]:
    """Returns the site of an alert, empty for one of the aggregator, and its id there."""
    site, separator, own = alert_id.partition(ID_SEPARATOR)
    return (site, own) if separator else ("", alert_id)


def alert_at(site: str, alert: Fields) -> Fields:
    """Returns an alert of a site as one of all sites."""
    return {**alert, "alert_id": id_at(site, alert["alert_id"]), "site": site}


def merged_alerts(own: Sequence[Fields], documents: Mapping[str, bytes]) -> list[Fields]:
    """Returns the alerts of the aggregator and of all sites: active ones first, newest first among equals. `documents`
    are those of the sites, by name."""
    found = [
        *({**alert, "site": None} for alert in own),
        *(alert_at(site, alert) for site, body in documents.items() for alert in orjson.loads(body)["alerts"]),
    ]
    found.sort(key=lambda alert: alert["first_seen"], reverse=True)
    found.sort(key=lambda alert: STAGES.index(alert["state"]))
    return found
