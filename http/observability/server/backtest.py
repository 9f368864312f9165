"""A backtest of alert rules: recordings at full speed through the collectors and rules, without a port and a store.

What a server sees each second of the host, a backtest sees each second of the recording. Rules about the server itself,
its host or custom collectors are left out: a recording says nothing about these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, iso_or_none
from observability.config.config import Config
from observability.config.toml_tables import MAX_DURATION_DAYS
from observability.events import Event
from observability.ingest.gate import IngestGate
from observability.memory.counters import Counters
from observability.metrics.alerts.book import Action, AlertState
from observability.metrics.alerts.metric_paths import MetricSources
from observability.metrics.alerts.rule import Rule
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.persistence import Persistence
from observability.server.book_files import BookFiles
from observability.sources import PaperConfig, PaperEngine, Replay
from observability.sources.recordings.replay import ReplayProgress

# Without events for so long, only ages change: rules are evaluated once a minute.
IDLE_NS: Final = NS_PER_HOUR
# And after so long nothing changes any more: every window and the duration after it are over.
SETTLED_NS: Final = 2 * MAX_DURATION_DAYS * NS_PER_DAY
# Further ones are counted.
MAX_ALERTS: Final = 100_000

OnTransition = Callable[[AlertState, Action], None]


class Backtest:
    """One run of a configuration's recordings. Raises SourceError for a path that is no recording."""

    def __init__(
        self,
        config: Config,
        rules: Sequence[Rule],
        on_transition: OnTransition = lambda *_: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`on_transition` is called with each alert of a rule that is raised or resolved, `sleep` between batches."""
        # The store's directory is another server's.
        self._config = config = replace(config, data_dir=None)
        self.left_out = [rule.name for rule in rules if not rule.metric.is_of_events]
        """The rules that a recording says nothing about."""
        self.alerts: list[dict[str, Any]] = []
        """Each occurrence, as `GET /api/system/alerts` shows it at its end."""
        self.fired = 0
        self.evaluations = 0
        self._on_transition = on_transition
        # The place in `alerts` of each alert that is raised now.
        self._open: dict[str, int] = {}
        host_clock, counters = HostClock(), Counters()
        self._event_clock = EventClock(host_clock)
        self._bus = Bus()
        history = make_history(config.max_symbols, max_strategies=config.max_strategies)
        self._persistence = Persistence(config, self._bus, history, counters, host_clock, self._event_clock)
        self._collectors = collectors = make_collectors(
            config, self._bus, self._event_clock, history, self._persistence.sequence
        )
        self._journal = self._persistence.attach(collectors)
        self._book = collectors.system.alert_book
        self._book.add_transition_listener(self._note)
        self.rules = RuleBook(
            [rule for rule in rules if rule.metric.is_of_events],
            MetricSources(collectors.sections, collectors.system.user_metrics, {}, {}, history),
            self._book,
        )
        gate = IngestGate(self._bus, self._journal, self._event_clock, counters, prints=collectors.market)
        self._files = BookFiles(config, collectors.strategy.instruments, gate)
        # It moves by batches, and the collectors' clock by events and seconds.
        self._batch_clock = EventClock(host_clock)
        self._replay = Replay(
            config.replay, publish=self._publish, event_clock=self._batch_clock, host_clock=host_clock, sleep=sleep
        )
        self._start_ns: int | None = None
        self._due_ns = 0
        self._newest_ns = 0
        self._is_stopped = False

    async def run(self) -> None:
        """Runs to the end of the recordings, or until it is cancelled."""
        for collector in self._collectors.sections:
            await collector.start()
        try:
            self._persistence.start(asyncio.get_running_loop())
            if self._config.demo:
                PaperEngine(self._bus, PaperConfig()).start()
            self._replay.prepare()
            if self._batch_clock.is_replayed:
                # So that nothing is dated by the host.
                self._event_clock.hold(self._batch_clock.time_ns())
            await self._files.read()
            await self._replay.run()
            if self._start_ns is not None:
                self._collectors.market.finish_bars()
                self._evaluate(self._newest_ns)
        finally:
            for ident, place in self._open.items():
                state = self._book.get(ident)
                if state is not None:
                    self.alerts[place] = state.to_json()
            await self._persistence.stop()
            for collector in self._collectors.sections:
                await collector.stop()

    def stop(self) -> None:
        """Cancels the run from a handler of signals, also within a gap of the recordings, which is one step."""
        self._is_stopped = True

    @property
    def errors(self) -> list[str]:
        """Returns why recordings could not be read to their end."""
        return [str(error) for error in self._replay.errors.values()]

    def progress(self) -> ReplayProgress:
        return self._replay.progress()

    def to_json(self) -> dict[str, Any]:
        """Returns everything that was found."""
        progress = self.progress()
        rules = [
            {**rule, "fired": self._book.transitions.get((rule["rule"], "raised"), 0)} for rule in self.rules.to_json()
        ]
        return {
            "recordings": [str(recording.path) for recording in self._replay.recordings],
            "events": progress.events,
            "start_time": iso_or_none(self._start_ns),
            "end_time": iso_or_none(self._newest_ns or None),
            "evaluations": self.evaluations,
            "alerts": self.alerts,
            "count": self.fired,
            "rules": rules,
            "left_out": self.left_out,
            "errors": self.errors,
        }

    def _publish(self, events: Sequence[Event]) -> None:
        # hot: once per batch
        if self._start_ns is None:
            self._start_ns = self._newest_ns = events[0].ts_init
            self._due_ns = -(-self._start_ns // NS_PER_S) * NS_PER_S
        start = 0
        for place, event in enumerate(events):
            if event.ts_init > self._due_ns:
                self._publish_now(events[start:place])
                start = place
                while event.ts_init > self._due_ns:
                    if self._is_stopped:
                        raise asyncio.CancelledError
                    self._evaluate(self._due_ns)
                    self._due_ns = self._next_due_ns(event.ts_init)
            self._newest_ns = max(self._newest_ns, event.ts_init)
        self._publish_now(events[start:])

    def _next_due_ns(self, next_event_ns: int) -> int:
        idle_ns = self._due_ns - self._newest_ns
        if idle_ns >= SETTLED_NS:
            return max(self._due_ns + NS_PER_S, next_event_ns // NS_PER_S * NS_PER_S)
        return self._due_ns + (NS_PER_MINUTE if idle_ns >= IDLE_NS else NS_PER_S)

    def _publish_now(self, events: Sequence[Event]) -> None:
        if events:
            self._event_clock.advance(events[-1].ts_init)
            self._bus.publish_all(events, source="replay")

    def _evaluate(self, now_ns: int) -> None:
        self._event_clock.advance(now_ns)
        for collector in self._collectors.sections:
            collector.refresh(now_ns)
        self.rules.evaluate(now_ns, now_ns)
        self.evaluations += 1

    def _note(self, state: AlertState, action: Action) -> None:
        if state.rule is None:
            return
        if action == "raised":
            self.fired += 1
            if len(self.alerts) < MAX_ALERTS:
                self._open[state.alert_id] = len(self.alerts)
                self.alerts.append(state.to_json())
        elif action == "resolved":
            place = self._open.pop(state.alert_id, None)
            if place is not None:
                self.alerts[place] = state.to_json()
        self._on_transition(state, action)
