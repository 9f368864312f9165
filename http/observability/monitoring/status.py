"""The state of the server itself, as `/health` and `/api/system` show it. Every number in it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import orjson

from observability.clocks.timestamps import NS_PER_S
from observability.encoding import encode_json
from observability.events import TYPE_NAMES
from observability.metrics.alerts.book import alert_documents
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.assembly import Collectors
from observability.metrics.system_collector import SystemCollector
from observability.monitoring.path_latency import PERCENTS, PathLatency
from observability.monitoring.serving import Serving
from observability.monitoring.worker_status import HubState
from observability.snapshot.frames import Frame, Stamp
from observability.snapshot.hub import Hub
from observability.snapshot.sections import JsonPart, Section
from observability.sources import Replay

_USAGES: Final = ("cpu", "memory", "disk")
MAX_RECORDINGS_SHOWN: Final = 100
# Counters of what goes to disk, by the names under which `/api/system/stats` has them.
_WRITTEN: Final = {
    "store": {
        "bytes": "store_bytes",
        "rows": "store_rows_total",
        "rows_pruned": "store_rows_pruned_total",
        "rows_lost": "store_rows_lost_total",
        "errors": "store_errors_total",
    },
    "recorder": {
        "bytes": "recorder_size_bytes",
        "frames": "recorder_frames_total",
        "frames_dropped": "recorder_frames_dropped_total",
        "frames_failed": "recorder_frames_failed_total",
    },
}


class ServerStatus(Protocol):
    """Answers `/health`: for the hub's process, or for the whole host as a worker sees it."""

    def not_ready(self) -> list[str]:
        """Names what keeps the server from being ready."""

    def live(self) -> dict[str, Any]:
        """Returns `GET /health/live`."""

    def stored(self) -> Stamp:
        """Returns the newest tick of which queries of trades see everything."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The sections whose state is shown."""

    inputs: Sequence[Section]
    """Those that events go into. The system section is left out: the newest input it reports is its own sample."""
    system: SystemCollector
    fields: JsonPart
    """What the snapshot shows as `system`."""
    count_symbols: Callable[[], dict[str, Any]]
    """Returns the symbols, and what became of prints, for `/api/system/stats`."""

    @classmethod
    def of(cls, collectors: Collectors) -> Watched:
        """Returns the sections of a hub."""
        market, system = collectors.market, collectors.system

        def count_symbols() -> dict[str, Any]:
            return {
                "symbols": {
                    "tracked": len(market.symbols),
                    "max": market.settings.max_symbols,
                    "refused": market.symbols_refused,
                },
                "late_prints": market.late_prints,
                "repeated_prints": market.repeated_prints,
            }

        return cls((market, collectors.strategy, collectors.execution), system, system.fields, count_symbols)


class Status:
    """The status as the hub's process knows it. `queues` returns the depth of each queue by name."""

    def __init__(
        self,
        hub: Hub,
        watched: Watched,
        serving: Serving,
        rules: RuleBook,
        queues: Mapping[str, Callable[[], int]],
        stored: Callable[[], Stamp],
        replay: Replay | None = None,
    ) -> None:
        """`stored` returns the newest tick of which everything can be queried."""
        self._hub = hub
        self.stored = stored
        self._replay = replay
        self._watched = watched
        self._serving = serving
        self._rate = _Rate()
        self._rules = rules
        self._encoded_alerts = _Encoded()
        self._encoded_rules = _Encoded()
        self._queues = dict(queues)
        self._latency = PathLatency(hub, watched.inputs, serving.fanout, lambda: serving.counted)
        serving.add_sent_listener(self._latency.on_sent)
        self._measured: dict[str, Any] = {}
        self._measured_second = -1
        self._written: dict[str, Any] = {}
        self._written_second = -1

    def on_frame(self, frame: Frame) -> None:
        """Measures one tick; called before its frame is sent."""
        self._latency.on_frame(frame)

    def documents(self) -> dict[str, Callable[[], Any]]:
        """Returns the documents that the hub encodes with each tick, by name."""
        return {
            "system_health": self.health,
            "system_performance": self.performance,
            "system_components": self.components,
            "system_stats": self.stats,
            "system_alerts": self.alerts,
            "alert_rules": self.rules,
        }

    def not_ready(self) -> list[str]:
        return [*self._hub.not_ready(), *self._serving.not_ready()]

    def hub_state(self) -> HubState:
        """Returns the document from which workers answer `/health`."""
        return HubState(self.not_ready(), self._system()["uptime_seconds"], self.stored())

    def live(self) -> dict[str, Any]:
        return {
            "alive": True,
            "websocket_connections": self._serving.websocket_clients,
            "uptime_seconds": self._system()["uptime_seconds"],
        }

    def health(self) -> dict[str, Any]:
        """Returns `GET /api/system/health`."""
        system = self._system()
        reasons = [*system["health_reasons"], *self._hub.source_failures]
        sample = self._watched.system.sample
        return {
            "status": "degraded" if system["health"] == "healthy" and reasons else system["health"],
            "reasons": reasons,
            "components": {usage: _usage_status(usage, reasons) for usage in _USAGES} | self._collector_states(),
            "resources": None if sample is None else asdict(sample),
            "connections": self._connections(),
            "alerts": {"active": system["active_alerts"], "critical": system["critical_alerts"]},
            # Each host of a desk answers with the desk as it sees it.
            "desk": None,
        }

    def performance(self) -> dict[str, Any]:
        """Returns `GET /api/system/performance`. Latencies are from the tick to the last byte handed to the kernel,
        over all snapshots since the start; null until a snapshot is sent."""
        hub, serving = self._hub, self._serving
        system = self._system()
        latencies = {f"latency_p{percent}": serving.fanout.percentile_ms(percent) for percent in PERCENTS}
        latencies["latency_max"] = serving.fanout.max_ms
        return {
            **{f"{name}_ms": value for name, value in latencies.items()},
            **latencies,
            "n_latency": serving.fanout.count,
            "throughput_per_sec": self._rate.per_second(serving.messages_sent, hub.event_clock.mono_ns()),
            "process_cpu_percent": system["process_cpu_percent"],
            "process_rss_bytes": system["process_rss_bytes"],
            "cpu_usage": system["process_cpu_percent"],
            "memory_usage": system["process_rss_bytes"],
            "event_loop_lag_ms": system["event_loop_lag_ms"],
            "queue_depth": serving.clients_behind,
            "frames_skipped": serving.frames_skipped,
            "ticks": hub.frames.latest_seq,
            "ticks_missed": hub.ticks_missed,
            **self._measure(),
        }

    def components(self) -> dict[str, Any]:
        """Returns `GET /api/system/components`: collectors, processes, and what sends heartbeats."""
        engine = self._watched.system.components(self._hub.event_clock.time_ns())
        return {
            "components": {**self._collector_states(), **self._serving.processes(), **engine},
        }

    def stats(self) -> dict[str, Any]:
        """Returns `GET /api/system/stats`: counts since the start."""
        hub = self._hub
        return {
            "epoch": hub.frames.epoch,
            "uptime_seconds": self._system()["uptime_seconds"],
            "ticks": hub.frames.latest_seq,
            "snapshots_encoded": hub.serializer.snapshots_encoded,
            "events": {
                source: {TYPE_NAMES[kind]: count for kind, count in published.items() if count}
                for source, published in hub.bus.published.items()
            },
            **self._watched.count_symbols(),
            "http_requests": self._serving.http_requests,
            "connections": self._connections(),
            **self._count_written(),
            "replay": None if self._replay is None else _replay_counts(self._replay),
        }

    def alerts(self) -> dict[str, Any]:
        """Returns `GET /api/system/alerts`; the alerts are encoded again only after a change."""
        book = self._watched.system.alert_book
        fragment = self._encoded_alerts.get(book.version, lambda: alert_documents(book.all()))
        return {"alerts": fragment, "count": len(book.all())}

    def rules(self) -> dict[str, Any]:
        """Returns `GET /api/system/alerts/rules`."""
        fragment = self._encoded_rules.get(self._rules.evaluations, self._rules.to_json)
        return {"rules": fragment, "count": len(self._rules)}

    def _system(self) -> dict[str, Any]:
        return self._watched.fields.to_json()

    def _measure(self) -> dict[str, Any]:
        """Returns latencies and queue depths, read once per second: percentiles cost more than a tick may."""
        second = self._hub.event_clock.mono_ns() // NS_PER_S
        if second != self._measured_second:
            self._measured_second = second
            queues = {name: depth() for name, depth in self._queues.items()}
            self._measured = {"path": self._latency.to_json(), "queues": queues}
        return self._measured

    def _count_written(self) -> dict[str, Any]:
        """Returns what the store and the recorder have written, read once per second; None of one that there is not."""
        second = self._hub.event_clock.mono_ns() // NS_PER_S
        if second != self._written_second:
            self._written_second = second
            counted = self._serving.counted
            known = {family.name for family in counted.families()}
            self._written = {
                part: {name: counted.total(counter) for name, counter in counters.items()}
                if not known.isdisjoint(counters.values())
                else None
                for part, counters in _WRITTEN.items()
            }
        return self._written

    def _connections(self) -> dict[str, int]:
        return {
            "websocket": self._serving.websocket_clients,
            "http": self._serving.http_connections,
        }

    def _collector_states(self) -> dict[str, dict[str, Any]]:
        now_ns = self._hub.event_clock.time_ns()
        states: dict[str, dict[str, Any]] = {}
        for section in self._hub.collectors:
            age_ns = None if section.last_input_ns is None else max(0, now_ns - section.last_input_ns)
            states[section.name] = {
                "status": "ok" if section.is_running else "down",
                "reason": None if section.is_running else "stopped",
                "metrics_collected": section.metrics_collected,
                "input_age_seconds": None if age_ns is None else age_ns / NS_PER_S,
            }
        for name, collector in self._hub.custom.collectors.items():
            running = "ok" if collector.is_running else "down"
            failure = self._hub.custom.failing.get(name)
            states[name] = {
                "status": running if failure is None else "degraded",
                "reason": failure,
                "metrics_collected": collector.metrics_collected,
            }
        return states


def _replay_counts(replay: Replay) -> dict[str, Any]:
    """Returns what became of the lines of each recording, over all laps."""
    files = []
    for recording in replay.recordings[:MAX_RECORDINGS_SHOWN]:
        counts, error = recording.counts, replay.errors.get(recording.path)
        files.append(
            {
                "file": recording.path.name,
                "kind": recording.kind,
                "events": {TYPE_NAMES[kind]: count for kind, count in counts.events.items() if count},
                "skipped_lines": dict(counts.skipped),
                "bad_lines": counts.bad_lines,
                "error": None if error is None else str(error),
            }
        )
    progress = replay.progress()
    return {
        "state": progress.state,
        "lap": progress.lap,
        "events": progress.events,
        "skipped_lines": progress.skipped_lines,
        "bad_lines": progress.bad_lines,
        "recordings": len(replay.recordings),
        "files": files,
    }


class _Encoded:
    """Part of a document, encoded again only when its version changes."""

    def __init__(self) -> None:
        self._version = -1
        self._fragment = orjson.Fragment(b"null")

    def get(self, version: int, make: Callable[[], Any]) -> orjson.Fragment:
        if version != self._version:
            self._version = version
            self._fragment = orjson.Fragment(encode_json(make()))
        return self._fragment


class _Rate:
    """A rate per second, measured over a second or a little more."""

    def __init__(self) -> None:
        self._since_ns: int | None = None
        self._count = 0
        self._value: float | None = None

    def per_second(self, count: int, now_ns: int) -> float | None:
        if self._since_ns is None:
            self._since_ns, self._count = now_ns, count
        elapsed_ns = now_ns - self._since_ns
        if elapsed_ns >= NS_PER_S:
            self._value = round((count - self._count) * NS_PER_S / elapsed_ns, 1)
            self._since_ns, self._count = now_ns, count
        return self._value


def _usage_status(usage: str, reasons: list[str]) -> dict[str, str]:
    reason = next((reason for reason in reasons if reason.startswith(usage + "_percent")), None)
    return {"status": "ok"} if reason is None else {"status": "degraded", "detail": reason}
