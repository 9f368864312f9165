"""The sources of events that a configuration asks for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from observability.bus import Bus
from observability.clocks.clock import Clock, EventClock
from observability.clocks.timestamps import iso_or_none
from observability.config.config import Config
from observability.config.kinds import MAX_SPEED
from observability.ingest.gate import IngestGate
from observability.metrics.assembly import Collectors
from observability.metrics.durability.persistence import Persistence
from observability.snapshot.hub import Hub
from observability.sources import PaperConfig, PaperEngine, ProgressBar, Replay, Simulator
from observability.sources.feeds.feed import Feed
from observability.sources.health import SourceHealth
from observability.sources.runner import SourceRunner
from observability.sources.schemes import open_sources
from observability.store.origin import Origin

logger = logging.getLogger(__name__)


class ConfiguredSources:
    """A replay, a simulator, the paper strategy, live sources, or none of them.

    Create it before the first tick: from then on the event clock stands at the first event of a replay. Raises
    SourceError if a recording cannot be read, ConfigError for the URL of a source, and StoreError if the events must
    not be added to what the store holds.
    """

    def __init__(
        self,
        config: Config,
        hub: Hub,
        collectors: Collectors,
        persistence: Persistence,
        gate: IngestGate,
        host_clock: Clock,
        run_id: str,
        earlier_ns: int = 0,
    ) -> None:
        """The events of live sources go through the gate. `run_id` is that of the server's run, and `earlier_ns` the
        event time of the last hub in that run, if there was one."""
        self._hub = hub
        self._collectors = collectors
        self._bus = hub.bus
        self._persistence = persistence
        self._host_clock = host_clock
        self._is_demo = config.demo
        self._interval_seconds = config.metric_collection_interval
        if config.demo:
            collectors.system.show_demo()
        self._progress = ProgressBar()
        self.replay: Replay | None = None
        names = ", ".join(path.name for path in config.replay)
        self._origin = Origin("replay" if config.replay else "live", run_id, names)
        earlier = persistence.check_origin(self._origin)
        self._is_continued = bool(config.replay and earlier)
        if config.replay and earlier is not None:
            self._continue(earlier, earlier_ns)
        elif config.replay:
            self.replay = self._make_replay(config, hub.bus, hub.event_clock)
            collectors.system.show_replay(partial(replay_document, self.replay))
        self._runners = self._make_runners(config, gate)
        self.live = tuple(runner.health for runner in self._runners)
        """How each live source is doing."""

    def start(self) -> None:
        """Adds the sources to the hub, which runs them."""
        if self._is_continued:
            return
        self._persistence.claim(self._origin)
        if self._is_demo:
            # A recording that is replayed again repeats its times; the ids of its orders must be new all the same.
            PaperEngine(self._bus, PaperConfig(id_prefix=f"P{self._hub.frames.epoch}-")).start()
        if self.replay is not None:
            self._hub.add_source("replay", partial(self._run_replay, self.replay))
        elif self._is_demo:
            simulator = Simulator(
                publish=partial(self._bus.publish_all, source="simulator"),
                clock=self._host_clock,
                longest_step_seconds=max(1.0, 2 * self._interval_seconds),
            )
            self._hub.add_polled_source("simulator", simulator.poll)
        for runner in self._runners:
            self._hub.add_source(runner.source.name, runner.run)
        if not (self._runners or self._is_demo or self.replay):
            logger.info(
                "no source is configured: --source connects to one, --demo shows a simulator, --replay plays a "
                "recording"
            )

    def _continue(self, earlier: Origin, earlier_ns: int) -> None:
        """Takes the place of a hub that has died: what its replay had published is in the store already."""
        state = "ended" if earlier.has_ended else "interrupted"
        if not earlier.has_ended:
            self._hub.source_failures.append("replay: interrupted, because the hub died")
            logger.error("the replay is not continued after the death of the hub: its events would count twice")
        if earlier_ns:
            self._hub.event_clock.advance(earlier_ns)
            self._hub.event_clock.follow_host()
        document = dict.fromkeys(("event_time", "progress", "lap", "events", "skipped_lines", "bad_lines"))
        self._collectors.system.show_replay(lambda: {"state": state, **document})

    def _make_replay(self, config: Config, bus: Bus, event_clock: EventClock) -> Replay:
        replay = Replay(
            config.replay,
            publish=partial(bus.publish_all, source="replay"),
            event_clock=event_clock,
            speed=None if config.speed == MAX_SPEED else float(config.speed),
            loop=config.loop,
            host_clock=self._host_clock,
            on_progress=self._progress.update,
        )
        replay.prepare()
        return replay

    def _make_runners(self, config: Config, gate: IngestGate) -> tuple[SourceRunner, ...]:
        if not config.sources:
            return ()
        cursors = self._persistence.source_cursors()
        runners = []
        for source in open_sources(config.sources):
            self._persistence.expect_repeats_of(source.name)
            on_lost = None
            if isinstance(source, Feed):
                on_lost = partial(self._collectors.market.lose_venue, source.venue, source.names)
            runner = SourceRunner(source, gate, self._host_clock, cursors.get(source.name), on_lost)
            self._collectors.system.add_health_reason(f"source {source.name}", partial(_trouble, runner.health))
            runners.append(runner)
        self._collectors.system.show_sources(partial(sources_document, [runner.health for runner in runners]))
        return tuple(runners)

    async def _run_replay(self, replay: Replay) -> None:
        try:
            with self._progress:
                await replay.run()
            self._persistence.end_replay(self._origin)
        finally:
            self._hub.source_failures.extend(str(error) for error in replay.errors.values())
            # The time in which later prints could belong to the last minute may never come.
            self._collectors.market.finish_bars()
            self._collectors.system.show_replay(partial(replay_document, replay))


def sources_document(live: Sequence[SourceHealth]) -> dict[str, Any]:
    """Returns what the snapshot says of the live sources, by name."""
    return {health.name: health.to_json() for health in live}


def _trouble(health: SourceHealth) -> str | None:
    """Returns why a source degrades the health."""
    health.refresh()
    return f"{health.state}: {health.error or 'connected, but no messages come'}" if health.is_troubled else None


def replay_document(replay: Replay) -> dict[str, Any]:
    """Returns what the snapshot says of a replay."""
    progress = replay.progress()
    return {
        "state": progress.state,
        "event_time": iso_or_none(progress.event_time_ns),
        "progress": round(progress.share, 3),
        "lap": progress.lap,
        "events": progress.events,
        "skipped_lines": progress.skipped_lines,
        "bad_lines": progress.bad_lines,
    }
