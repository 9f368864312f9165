"""The REST documents that an aggregator makes of several sites; others are asked for with `?site=NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from observability.metrics.alerts.book import AlertBook, alert_documents
from observability.metrics.assembly import make_summary
from observability.sites.naming import merged_alerts, prefixed
from observability.sites.sections import MergedSections
from observability.sites.site import Site
from observability.sites.system_section import SystemSection


def symbols_document(sections: MergedSections) -> dict[str, Any]:
    """Returns `GET /api/metrics/symbols`."""
    symbols = list(sections.market.parts(None))
    return {"symbols": symbols, "count": len(symbols)}


def summary_document(sections: MergedSections, system_section: SystemSection) -> dict[str, Any]:
    """Returns `GET /api/metrics/summary`: sums over the live sites, null without any."""
    market = _of_live(sections, sections.market.parts(None))
    has_live = any(site.is_live for site in sections.sites.sites)
    summary = make_summary(
        symbols=len(market) if has_live else None,
        trades=sum(each["trades"] for each in market) if has_live else None,
        volume=sum(each["volume"] for each in market) if has_live else None,
        active_strategies=len(_of_live(sections, sections.strategy.parts("strategies"))) if has_live else None,
        strategy=sections.strategy.own_fields(),
        execution=sections.execution.own_fields(),
        system=system_section.fields.to_json(),
    )
    return {**summary, "missing_sites": sections.sites.missing}


class AlertsDocument:
    """`GET /api/system/alerts`, made anew once an alert has changed, here or at a site."""

    def __init__(self, book: AlertBook, sites: Sequence[Site]) -> None:
        """`book` has the aggregator's own."""
        self._book = book
        self._sites = sites
        self._made_of: object = None
        self._document: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        documents = {site.name: site.alerts for site in self._sites if site.alerts is not None}
        made_of = self._book.version, documents
        if made_of != self._made_of:
            self._made_of = made_of
            alerts = merged_alerts(alert_documents(self._book.all()), documents)
            self._document = {"alerts": alerts, "count": len(alerts)}
        return self._document


def _of_live(sections: MergedSections, parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the parts of the live sites."""
    live = tuple(prefixed(site.name, "") for site in sections.sites.sites if site.is_live)
    return [part.to_json() for name, part in parts.items() if name.startswith(live)]
