"""A custom collector that says which objects of a server only the garbage collector could free, as a package that is
installed in a folder.

No tests here.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path
from typing import Any

from observability.metrics.collectors import BaseCollector

NAME = "cycles"


def install(folder: Path) -> str:
    """Makes the package; returns the PYTHONPATH with which a server finds it."""
    info = folder / "cycle_finder-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cycle-finder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[observability.collectors]\n{NAME} = cycle_finder:CycleFinder\n")
    return os.pathsep.join((str(folder), str(Path(__file__).parent)))


class CycleFinder(BaseCollector):
    """Counts objects by their types: `live` are those of connections that something refers to, `cycles` those that
    refer to one another and that nothing else refers to. They stay, because no collector frees them."""

    def __init__(self) -> None:
        super().__init__(NAME)

    async def _start_impl(self) -> None:
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)

    async def _stop_impl(self) -> None: ...

    async def get_current_metrics(self) -> dict[str, Any]:
        gc.collect()
        found, gc.garbage[:] = gc.garbage[:], []
        unreachable = set(map(id, found))
        live = (type(value) for value in gc.get_objects() if id(value) not in unreachable)
        return {
            "live": Counter(kind.__name__ for kind in live if _is_connection(kind)),
            "cycles": Counter(f"{type(value).__module__}.{type(value).__qualname__}" for value in found),
        }


def _is_connection(kind: type) -> bool:
    return hasattr(kind, "connection_lost") or hasattr(kind, "on_lost") or kind.__name__ == "WSTransport"
