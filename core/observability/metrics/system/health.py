"""The health of the system: healthy, degraded or unhealthy, with reasons.

    reason                          degraded      unhealthy
    cpu_percent                     >= 95
    memory_percent                  >= 85         >= 95
    disk_percent                    >= 85         >= 95
    event_loop_lag_ms               >= 100        >= 1000
    component (by heartbeat)        degraded      down
                                    silent
    active critical alert           any
    unacknowledged loss             any
    fault of a part of the server   any

Reasons name thresholds and not measured values, so that they change only with the health.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from observability.metrics.system.components import SILENT

Health = Literal["healthy", "degraded", "unhealthy"]

# (degraded, unhealthy). A busy CPU is not unhealthy in itself: it delays work, which shows as event loop lag.
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
    """Returns the health and its reasons, the worst first; `faults` are those of the server's own parts."""
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
    health: Health = "unhealthy" if unhealthy else "degraded" if degraded else "healthy"
    return health, unhealthy + degraded
