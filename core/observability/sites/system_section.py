"""The section `system` of the merged snapshot: the aggregator's own host, the alerts of all sites, and the section of
each site under `sites`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from observability.metrics import BaseCollector
from observability.metrics.system_collector import SystemCollector
from observability.sites.sections import MergedSection, SitesSection
from observability.snapshot.sections import JsonPart

METRICS: Final = "metrics"


class SystemSection(BaseCollector):
    """Shows what `own` measures of this host. Its health is that of the host and of every site."""

    def __init__(self, own: SystemCollector, sites: SitesSection) -> None:
        super().__init__(own.name)
        self.own = own
        self.fields = JsonPart()
        self._sites = sites
        self._merged = MergedSection(own.name, sites, ((METRICS, False),), dict)
        self.groups = self._merged.groups
        self.last_input_ns: int | None = None
        self.is_touched = True
        own.add_health_reason("sites", self._why_degraded)

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick
        self.is_touched = True
        self._merged.refresh(now_ns)
        self.last_input_ns = self._merged.last_input_ns
        self.own.refresh(now_ns, is_recorded=is_recorded)
        mine, live = self.own.fields.to_json(), self._merged.live_fields()
        self.fields.offer(
            {
                **mine,
                "active_alerts": _count(mine, live, "active_alerts"),
                "critical_alerts": _count(mine, live, "critical_alerts"),
                "demo": any(fields["demo"] for fields in live.values()),
                "missing_sites": self._sites.missing,
            }
        )

    async def get_current_metrics(self) -> dict[str, Any]:
        return {**await self._merged.get_current_metrics(), **self.fields.to_json()}

    async def _start_impl(self) -> None:
        await self.own.start()

    async def _stop_impl(self) -> None:
        await self.own.stop()

    def _why_degraded(self) -> str | None:
        reasons = [f"{site.name} is {site.status}" for site in self._sites.sites if not site.is_live]
        for name, fields in self._merged.live_fields().items():
            if fields["health"] not in ("healthy", None):
                reasons.append(f"{name} is {fields['health']}")
        return ", ".join(reasons) or None


def _count(mine: Mapping[str, Any], live: Mapping[str, Mapping[str, Any]], name: str) -> int:
    return int(mine[name]) + sum(int(fields[name]) for fields in live.values())
