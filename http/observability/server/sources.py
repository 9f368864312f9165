"""The sources of events that a configuration asks for."""

from __future__ import annotations

import logging
from functools import partial

from observability.bus import Bus
from observability.clocks.clock import Clock, EventClock
from observability.config.config import Config
from observability.config.kinds import MAX_SPEED
from observability.snapshot.hub import Hub
from observability.sources import PaperConfig, PaperEngine, ProgressBar, Replay, Simulator

logger = logging.getLogger(__name__)


class ConfiguredSources:
    """A replay, a simulator, the paper strategy, or none of them.

    Create it before the first tick: from then on the event clock stands at the first event of a replay. Raises
    SourceError if a recording cannot be read.
    """

    def __init__(self, config: Config, hub: Hub, host_clock: Clock) -> None:
        self._hub = hub
        self._bus = hub.bus
        self._host_clock = host_clock
        self._is_demo = config.demo
        self._progress = ProgressBar()
        self._replay = self._make_replay(config, hub.bus, hub.event_clock) if config.replay else None

    def start(self) -> None:
        """Adds the sources to the hub, which runs them."""
        if self._is_demo:
            # A recording that is replayed again repeats its times; the ids of its orders must be new all the same.
            PaperEngine(self._bus, PaperConfig(id_prefix=f"P{self._hub.frames.epoch}-")).start()
        if self._replay is not None:
            self._hub.add_source("replay", partial(self._run_replay, self._replay))
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
        with self._progress:
            await replay.run()
        self._hub.source_failures.extend(str(error) for error in replay.errors.values())
