"""The sources of events that a configuration asks for."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from observability.bus import Bus
from observability.clocks.clock import Clock, EventClock
from observability.clocks.timestamps import iso_or_none
from observability.config.config import Config
from observability.config.kinds import MAX_SPEED
from observability.metrics.assembly import Collectors
from observability.snapshot.hub import Hub
from observability.sources import PaperConfig, PaperEngine, ProgressBar, Replay, Simulator

logger = logging.getLogger(__name__)


class ConfiguredSources:
    """A replay, a simulator, the paper strategy, or none of them.

    Create it before the first tick: from then on the event clock stands at the first event of a replay. Raises
    SourceError if a recording cannot be read.
    """

    def __init__(self, config: Config, hub: Hub, collectors: Collectors, host_clock: Clock) -> None:
        self._hub = hub
        self._collectors = collectors
        self._bus = hub.bus
        self._host_clock = host_clock
        self._is_demo = config.demo
        self._progress = ProgressBar()
        self.replay = self._make_replay(config, hub.bus, hub.event_clock) if config.replay else None
        if self.replay is not None:
            collectors.system.show_replay(partial(replay_document, self.replay))

    def start(self) -> None:
        """Adds the sources to the hub, which runs them."""
        if self._is_demo:
            # A recording that is replayed again repeats its times; the ids of its orders must be new all the same.
            PaperEngine(self._bus, PaperConfig(id_prefix=f"P{self._hub.frames.epoch}-")).start()
        if self.replay is not None:
            self._hub.add_source("replay", partial(self._run_replay, self.replay))
        elif self._is_demo:
            simulator = Simulator(publish=partial(self._bus.publish_all, source="simulator"), clock=self._host_clock)
            self._hub.add_source("simulator", simulator.run)
        else:
            logger.info("no source is configured: --demo shows a simulator, --replay plays a recording")

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

    async def _run_replay(self, replay: Replay) -> None:
        try:
            with self._progress:
                await replay.run()
        finally:
            self._hub.source_failures.extend(str(error) for error in replay.errors.values())
            # The time in which later prints could belong to the last minute may never come.
            self._collectors.market.finish_bars()
            self._collectors.system.show_replay(partial(replay_document, replay))


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
