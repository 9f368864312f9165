"""The system section: the host and this process, event loop lag, health, alerts, components, the engine's log and the
users' own metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from observability.bus import Bus, EventHandler, Remark
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import MAX_NS, NS_PER_S
from observability.events import Alert, Event, Heartbeat, Log, Metric, event_time_ns
from observability.history.history import History
from observability.history.standing import StandingSeries
from observability.logs.log_ring import LogRing
from observability.metrics.alerts.book import Action, AlertBook, AlertBookState, AlertState
from observability.metrics.alerts.losses import Loss, Losses
from observability.metrics.arithmetic.decimals import nan_if_none
from observability.metrics.collectors import BusCollector
from observability.metrics.system.components import ComponentBook
from observability.metrics.system.health import assess
from observability.metrics.system.host_sampler import HostSample, HostSampler
from observability.metrics.system.sampling import SamplingThread
from observability.metrics.system.user_metrics import UserMetrics, UserMetricState
from observability.snapshot.sections import Group, JsonPart
from observability.store.checkpoint import pack, unpack

SERIES_FIELDS = ("cpu_percent", "memory_percent", "event_loop_lag_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSettings:
    """The intervals of the system section, and the most that it keeps in memory."""

    data_dir: Path | str | None = None
    """Its disk is the one that is monitored. Without it nothing is written, and the working directory's disk is."""
    sample_interval_seconds: float = 1.0
    component_silent_after_seconds: float = 30.0
    max_alerts: int = 1000
    max_components: int = 256
    max_user_metrics: int = 256


class SystemState(msgspec.Struct):
    """The section in a checkpoint. The engine's log is not in it: like the server's own, it is kept in memory only."""

    alerts: AlertBookState = msgspec.field(default_factory=AlertBookState)
    heartbeats: list[Heartbeat] = []
    metrics: list[UserMetricState] = []
    last_input_ns: int | None = None
    losses: dict[str, int] = {}


class SystemCollector(BusCollector):
    """Samples host and process once per `sample_interval_seconds`, in a thread of its own, and shows the last sample.
    The figures are None before the first."""

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        sampler: HostSampler | None = None,
        engine_log: LogRing | None = None,
        settings: SystemSettings | None = None,
    ) -> None:
        super().__init__("system", bus)
        self.settings = SystemSettings() if settings is None else settings
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.fields = JsonPart()
        self.user_metrics = UserMetrics(self.settings.max_user_metrics)
        self.groups: tuple[Group, ...] = (
            Group("metrics", self.user_metrics.series, touched=self.user_metrics.touched),
        )
        self.last_input_ns: int | None = None
        self.is_touched = True
        self._sampler = sampler
        self._sampling: SamplingThread | None = None
        self.sample: HostSample | None = None
        """The sample of host and process that the section shows."""
        self.alert_book = AlertBook(self.settings.max_alerts)
        self.alert_book.add_transition_listener(self._on_transition)
        self.losses = Losses(self.alert_book)
        """What the collectors could not take. Whoever makes the collectors adds them."""
        self._components = ComponentBook(
            self.settings.max_components, round(self.settings.component_silent_after_seconds * NS_PER_S)
        )
        self.losses.add(
            Loss(
                "metric_series",
                lambda: self.user_metrics.refused,
                "Metric events are refused",
                "{count} so far: all series are in use. Use fewer names and labels.",
            ),
            Loss(
                "components",
                lambda: self._components.dropped,
                "Components are no longer watched",
                "{count} so far were dropped for new ones, the one silent for longest first.",
            ),
            Loss(
                "alerts",
                lambda: self.alert_book.evicted,
                "Active alerts were dropped",
                "{count} so far, the oldest first: there were too many.",
            ),
        )
        self._health_reasons: dict[str, Callable[[], str | None]] = {}
        self._replay: Callable[[], dict[str, Any]] | None = None
        self._is_demo = False
        self._sources: Callable[[], dict[str, Any]] = dict
        self.engine_log = LogRing() if engine_log is None else engine_log
        """The lines of the engine's `log` events."""
        self._take_lag_ms: Callable[[], float | None] | None = None
        self._lag_ms: float | None = None
        self._started_ns: int | None = None
        self._uptime_seconds: int | None = None
        # When the next second of the uptime is over, by the host's monotonic clock.
        self._second_end_ns = MAX_NS
        self._has_input = True
        self._row = (nan_if_none(None),) * len(SERIES_FIELDS)
        self._series: StandingSeries | None = None
        if history is not None:
            self._series = history.open_standing(self.name, "", SERIES_FIELDS)

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return {**self.fields.to_json(), "metrics": self.user_metrics.to_json()}

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        sampling = self._sampling
        if (
            self._has_input
            or (sampling is not None and sampling.newest is not self.sample)
            or self.clock.mono_ns() >= self._second_end_ns
        ):
            self._update(now_ns)
        if self._series is not None:
            self._series.follow(now_ns, self._row)

    def on_alert(self, event: Alert) -> None:
        evicted = self.alert_book.evicted
        self.alert_book.note(event)
        if self.alert_book.evicted != evicted:
            self._tell(event, "key", f"the oldest active alert was dropped: there are {self.settings.max_alerts}")
        self._note_input(event)

    def on_metric(self, event: Metric) -> None:
        self.user_metrics.note(event)
        self._note_input(event)

    def on_log(self, event: Log) -> None:
        self.engine_log.write_received(
            event_time_ns(event), event.ts_init, event.level, event.logger, event.message, event.fields
        )
        self._note_input(event)

    def on_heartbeat(self, event: Heartbeat) -> None:
        """Applies one heartbeat. It does not count as an input: no figure becomes newer by it."""
        dropped = self._components.note(event)
        if dropped is not None:
            self._tell(event, "component", f"component {dropped} is no longer watched: there are too many")
        self._has_input = True

    def add_health_reason(self, name: str, reason: Callable[[], str | None]) -> None:
        """Degrades the health while `reason` returns a text; it is called once per second and after each input."""
        self._health_reasons[name] = reason

    def show_demo(self) -> None:
        """Shows that the orders are those of a paper strategy."""
        self._is_demo = True

    def show_replay(self, document: Callable[[], dict[str, Any]]) -> None:
        """Shows what `document` returns as `replay`: on the next tick, then once per second and after each input."""
        self._replay = document
        self._has_input = True

    def show_sources(self, document: Callable[[], dict[str, Any]]) -> None:
        """Shows what `document` returns as `sources`, by name: once per second and after each input."""
        self._sources = document

    def measure_lag(self, take_lag_ms: Callable[[], float | None]) -> None:
        """Shows what `take_lag_ms` returns as the lag of the event loop; it is called with each sample of the host, and
        returns None if nothing was measured since."""
        self._take_lag_ms = take_lag_ms

    @property
    def sample_failures(self) -> int:
        """How often the host could not be sampled since the start."""
        return 0 if self._sampling is None else self._sampling.failures

    def health_reason(self, name: str) -> str | None:
        """Returns why the part added under `name` degrades the health; None while it does not."""
        reason = self._health_reasons.get(name)
        return None if reason is None else reason()

    def components(self, now_ns: int) -> dict[str, dict[str, Any]]:
        """Returns status, detail and last heartbeat of each component."""
        return self._components.to_json(now_ns)

    def save(self) -> bytes:
        """Returns the packed state that events have produced in this section."""
        return pack(
            SystemState(
                self.alert_book.to_state(),
                self._components.to_state(),
                self.user_metrics.to_state(),
                self.last_input_ns,
                self.losses.to_state(),
            )
        )

    def load(self, data: bytes) -> None:
        """Restores the state that `save` returned. Raises CheckpointError for data that it cannot read."""
        state = unpack(data, SystemState)
        self.alert_book.load_state(state.alerts)
        self._components.load_state(state.heartbeats)
        self.user_metrics.load_state(state.metrics)
        self.last_input_ns = state.last_input_ns
        self.losses.load_state(state.losses)
        self._has_input = True

    def _handlers(self) -> dict[type[Event], EventHandler]:
        return {Alert: self.on_alert, Log: self.on_log, Heartbeat: self.on_heartbeat, Metric: self.on_metric}

    async def _start_impl(self) -> None:
        await super()._start_impl()
        self._started_ns = self._second_end_ns = self.clock.mono_ns()
        self._sampling = SamplingThread(self._make_sampler, self.settings.sample_interval_seconds)
        await self._sampling.start()

    async def _stop_impl(self) -> None:
        await super()._stop_impl()
        if self._sampling is not None:
            self._sampling.stop()

    def _make_sampler(self) -> HostSampler:
        return HostSampler(Path(self.settings.data_dir or ".")) if self._sampler is None else self._sampler

    def _on_transition(self, state: AlertState, action: Action) -> None:
        self._has_input = True

    def _note_input(self, event: Event) -> None:
        self.last_input_ns = max(event.ts_init, self.last_input_ns or 0)
        self._has_input = True

    def _tell(self, event: Event, field: str, text: str) -> None:
        self.bus.remark = Remark(event, field, text)

    def _update(self, now_ns: int) -> None:
        if self._started_ns is not None:
            passed_seconds = (self.clock.mono_ns() - self._started_ns) // NS_PER_S
            # At least once per second, because a component becomes silent without any input.
            self._has_input |= passed_seconds != self._uptime_seconds
            self._uptime_seconds = passed_seconds
            self._second_end_ns = self._started_ns + (passed_seconds + 1) * NS_PER_S
        self.user_metrics.refresh()
        sample = None if self._sampling is None else self._sampling.newest
        if sample is not self.sample:
            self.sample = sample
            self.last_input_ns = max(now_ns, self.last_input_ns or 0)
            self._has_input = True
            lag_ms = None if self._take_lag_ms is None else self._take_lag_ms()
            if lag_ms is not None:
                self._lag_ms = lag_ms
            self._row = (
                nan_if_none(None if sample is None else sample.cpu_percent),
                nan_if_none(None if sample is None else sample.memory_percent),
                nan_if_none(self._lag_ms),
            )
        if self._has_input:
            self._has_input = False
            self.is_touched = True
            self.losses.check(now_ns)
            self._derive(now_ns)

    def _derive(self, now_ns: int) -> None:
        sample = self.sample
        lag_ms = None if self._lag_ms is None else round(self._lag_ms, 3)
        active = self.alert_book.active()
        critical = sum(1 for alert in active if alert.severity == "critical")
        figures = {
            "cpu_percent": None if sample is None else sample.cpu_percent,
            "memory_percent": None if sample is None else sample.memory_percent,
            "disk_percent": None if sample is None else sample.disk_percent,
            "event_loop_lag_ms": lag_ms,
        }
        faults = [f"{name}: {why}" for name in self._health_reasons if (why := self.health_reason(name)) is not None]
        faults += self.losses.reasons()
        health, reasons = assess(figures, self._components.statuses(now_ns), critical, faults)
        self.fields.offer(
            {
                **figures,
                "memory_limit_bytes": None if sample is None else sample.memory_limit_bytes,
                "process_rss_bytes": None if sample is None else sample.process_rss_bytes,
                "process_cpu_percent": None if sample is None else sample.process_cpu_percent,
                "num_fds": None if sample is None else sample.num_fds,
                "threads": None if sample is None else sample.threads,
                "uptime_seconds": self._uptime_seconds,
                "health": None if sample is None else health,
                "health_reasons": reasons,
                "active_alerts": len(active),
                "critical_alerts": critical,
                "replay": None if self._replay is None else self._replay(),
                "demo": self._is_demo,
                "sources": self._sources(),
            }
        )
