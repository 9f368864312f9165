"""The verdict on the system: healthy, degraded or unhealthy, and why.

No measuring here (see `system_collector.py`).

    reason                          degraded      unhealthy
    cpu_percent                     >= 95
    memory_percent                  >= 85         >= 95
    disk_percent                    >= 85         >= 95
    event_loop_lag_ms               >= 100        >= 1000
    component (by heartbeat)        degraded      down
                                    silent
    critical alert active           any
    a part's own fault              any
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from observability.metrics.system.components import SILENT

Health = Literal["healthy", "degraded", "unhealthy"]

# (degraded, unhealthy); a busy CPU alone makes nothing wrong, it makes things late, which the lag shows.
THRESHOLDS: Final[Mapping[str, tuple[float, float | None]]] = {
    "cpu_percent": (95.0, None),
    "memory_percent": (85.0, 95.0),
    "disk_percent": (85.0, 95.0),
    "event_loop_lag_ms": (100.0, 1000.0),
}


def assess(
    figures: Mapping[str, float | None],
    components: Iterable[tuple[str, str]],
    critical_alerts: int,
    faults: Iterable[str] = (),
) -> tuple[Health, list[str]]:
    """Returns the verdict and its reasons, without measured values, so that they change only with the verdict."""
    degraded: list[str] = []
    unhealthy: list[str] = []
    for name, (degraded_at, unhealthy_at) in THRESHOLDS.items():
        value = figures.get(name)
        if value is None:
            continue
        if unhealthy_at is not None and value >= unhealthy_at:
            unhealthy.append(f"{name} >= {unhealthy_at:g}")
        elif value >= degraded_at:
            degraded.append(f"{name} >= {degraded_at:g}")
    for name, status in components:
        if status == "down":
            unhealthy.append(f"component {name} is down")
        elif status in ("degraded", SILENT):
            degraded.append(f"component {name} is {status}")
    if critical_alerts:
        degraded.append("a critical alert is active")
    degraded.extend(faults)
    verdict: Health = "unhealthy" if unhealthy else "degraded" if degraded else "healthy"
    return verdict, unhealthy + degraded
