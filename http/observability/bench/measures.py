"""The measures: what each is called, what its columns mean, and which of them tells a good server from a bad one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a table. A column with a ratio is followed by its ratio to the floor."""

    key: str
    heading: str
    digits: int = 1
    has_ratio: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """One question, and the columns that answer it; rows are sorted by the first column."""

    key: str
    title: str
    meaning: str
    columns: tuple[Column, ...]
    more_is_better: bool = False


_CPU: Final = Column("cpu_us", "CPU us", 2, has_ratio=True)

_ALL: Final = (
    Measure(
        "fanout",
        "Fan-out",
        "CPU of the server per client and tick, the tick included; the time from the tick until a client has read its "
        "snapshot; snapshots that a client gets per second, of ten.",
        (
            _CPU,
            Column("p50_ms", "p50 ms", 2, has_ratio=True),
            Column("p99_ms", "p99 ms", 2, has_ratio=True),
            Column("rate", "snapshots/s", 2),
        ),
    ),
    Measure(
        "rest",
        "REST",
        "CPU of the server per request, requests per second over connections that send the next request once they have "
        "the answer, and the time until they have it. A conditional GET sends back the ETag of the last answer.",
        (
            _CPU,
            Column("rps", "requests/s", 0, has_ratio=True),
            Column("p50_ms", "p50 ms", 3),
            Column("p99_ms", "p99 ms", 3),
        ),
    ),
    Measure(
        "beside",
        "Requests beside the stream",
        "GET /api/metrics/current every 5 ms while every client reads every snapshot: the time until the answer, and "
        "its p99 without those clients. The client that asks shares a core with the load generator.",
        (
            Column("p99_ms", "p99 ms", 2, has_ratio=True),
            Column("p50_ms", "p50 ms", 2, has_ratio=True),
            Column("max_ms", "longest ms", 1),
            Column("alone_ms", "p99 ms alone", 2),
        ),
    ),
    Measure(
        "memory",
        "Memory",
        "Resident memory of the server without clients, and what each WebSocket client that reads adds to it.",
        (Column("client_kb", "KB per client", 2), Column("base_mb", "base MB", 1)),
    ),
    Measure(
        "slow",
        "Slow readers",
        "What clients that read notice of clients that never do: the p99 from tick to client without them and beside "
        "them, snapshots that readers missed, memory that the server gained, and stalled clients that it cut off.",
        (
            Column("beside_ms", "p99 ms beside", 2, has_ratio=True),
            Column("alone_ms", "p99 ms alone", 2),
            Column("rate", "snapshots/s", 2),
            Column("missed", "missed", 0),
            Column("grown_mb", "grown MB", 1),
            Column("cut_off", "cut off", 0),
        ),
    ),
    Measure(
        "workers",
        "Workers",
        "The same clients on one process, and on a hub with workers: CPU of all processes per client and tick, of the "
        "hub and of the busiest worker in per cent of a core, and memory with shared pages counted once.",
        (
            _CPU,
            Column("hub_percent", "hub %", 1),
            Column("worker_percent", "worker %", 1),
            Column("p50_ms", "p50 ms", 2),
            Column("p99_ms", "p99 ms", 2, has_ratio=True),
            Column("rate", "snapshots/s", 2),
            Column("memory_mb", "MB", 0),
        ),
    ),
    Measure(
        "storm",
        "Reconnect storm",
        "All clients connect at once: CPU of the server per handshake, the time until every one is connected and until "
        "every one has a snapshot, the longest time between two ticks meanwhile, and clients that failed. Then all "
        "leave at once: CPU of the server per client, the ticks meanwhile included, and the longest time between two.",
        (
            _CPU,
            Column("connected_s", "connected s", 2),
            Column("snapshot_s", "snapshot s", 2),
            Column("gap_ms", "longest gap ms", 0),
            Column("failed", "failed", 0),
            Column("parting_us", "leaving: CPU us", 1),
            Column("parting_gap_ms", "longest gap ms", 0),
        ),
    ),
    Measure(
        "compression",
        "Compression",
        "The same clients without permessage-deflate and with it: CPU of the server per client and tick, and bytes on "
        "the wire.",
        (
            Column("deflate_us", "CPU us deflate", 2),
            Column("plain_us", "CPU us plain", 2),
            Column("deflate_bytes", "bytes deflate", 0),
            Column("plain_bytes", "bytes plain", 0),
            Column("p99_ms", "p99 ms deflate", 2),
        ),
    ),
)

MEASURES: Final = {measure.key: measure for measure in _ALL}
"""By key, in the order of the tables."""
