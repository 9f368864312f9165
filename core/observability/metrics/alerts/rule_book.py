"""The alert rules at work: once per second every rule looks at its metric, and raises or resolves its alerts.

No thresholds here (see `alert_rules.py`), no life of an alert (see `alerts.py`), and nothing is measured or encoded.

Durations of what is made of events (market data, strategies, execution, `metric` events) go by the events' clock, all
others by the host's: a drawdown that stood for ten seconds of the market is the same alert in a replay at a hundred
times the speed, and a disk that was full for a minute was full for a minute of this host.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_S
from observability.config.setting import shown
from observability.metrics.alerts.book import AlertBook, Raise, rule_alert_id
from observability.metrics.alerts.metric_paths import Fields, MetricPath, MetricSources
from observability.metrics.alerts.rule import (
    MAX_DETAIL_CHARS,
    MAX_TITLE_CHARS,
    Increase,
    Rule,
    Template,
    Trigger,
    Value,
)
from observability.metrics.alerts.rule_file import format_duration
from observability.snapshot.frames import Frame

logger = logging.getLogger(__name__)

INTERVAL_NS: Final = NS_PER_S
# Members of a rule that are shown one by one: those that are raised, or about to be.
MAX_MEMBERS_SHOWN: Final = 100

_template = Template()


class RuleBook:
    """Every rule, and where each of them stands. What is raised is in the book of alerts, and survives with it; what is
    about to be raised begins anew after a restart."""

    def __init__(self, rules: Sequence[Rule], sources: MetricSources, alerts: AlertBook) -> None:
        self._sources = sources
        self._alerts = alerts
        self._watches = {rule.name: RuleWatch(rule) for rule in rules}
        self._due_ns: int | None = None
        self.evaluations = 0

    def on_frame(self, frame: Frame) -> None:
        """Evaluates every rule if it is time; to be called behind whoever sends the frame."""
        # hot: once per tick (benchmarks/bench_tick.py)
        if self._due_ns is None:
            self._take_over(frame.ts_ns)
        elif frame.mono_ns < self._due_ns:
            return
        self._due_ns = frame.mono_ns + INTERVAL_NS
        self.evaluate(frame.ts_ns, frame.mono_ns)

    def evaluate(self, now_ns: int, mono_ns: int) -> None:
        """Looks at every metric; now_ns is the events' time, mono_ns the host's monotonic clock."""
        # hot: once per second (benchmarks/bench_tick.py)
        self.evaluations += 1
        for watch in self._watches.values():
            readings = list(self._sources.read(watch.rule.metric))
            watch.observe(readings, now_ns if watch.rule.metric.is_of_events else mono_ns, now_ns, self._alerts)
            if not watch.is_path_judged:
                self._judge_path(watch, readings)

    def __len__(self) -> int:
        return len(self._watches)

    def to_json(self) -> list[dict[str, Any]]:
        """Returns every rule, its newest value, and the members for which it is raised or about to be."""
        return [watch.to_json() for watch in self._watches.values()]

    def _take_over(self, now_ns: int) -> None:
        """Goes on with what an earlier process raised; a rule that is gone cannot say that its alert is over."""
        for state in self._alerts.all():
            if state.rule is None or state.resolved_ns is not None:
                continue
            watch = self._watches.get(state.rule)
            if watch is None:
                self._alerts.resolve(state.alert_id, now_ns)
            else:
                watch.triggers[state.member] = Trigger(is_raised=True)

    def _judge_path(self, watch: RuleWatch, readings: Sequence[tuple[str, Fields]]) -> None:
        """Warns, once, of a metric that does not exist or cannot be compared; members and values may yet come."""
        path = watch.rule.metric
        is_known_section = self._sources.is_known_section(path)
        # A part that was not brought up to a tick yet is empty.
        if is_known_section and not any(fields for _, fields in readings):
            return
        values = [value for _, fields in readings if (value := fields.get(path.field)) is not None]
        if not values and any(path.field in fields for _, fields in readings):
            return
        watch.is_path_judged = True
        if values and not watch.rule.takes(values[0]):
            logger.warning("alert rule %r: %s is %s, not a number", watch.rule.name, path, shown(values[0]))
        names = [path.field] if watch.rule.samples is None else [path.field, watch.rule.samples]
        for name in names:
            if is_known_section and any(name in fields for _, fields in readings):
                continue
            missing = MetricPath(path.section, path.place, name)
            near = self._sources.near_misses(missing)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            logger.warning("alert rule %r: there is no metric %s%s", watch.rule.name, missing, hint)


class RuleWatch:
    """One rule: its newest value, and the members for which it is raised or about to be."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.triggers: dict[str, Trigger] = {}
        """By member; whoever is neither raised nor about to be has none."""
        self.is_path_judged = False
        self._increases: dict[str, Increase] = {}
        self._values: dict[str, Value | None] = {}
        """Of those with a trigger, and of a metric that has no members."""
        self._n_members = 0

    def observe(self, readings: Sequence[tuple[str, Fields]], clock_ns: int, now_ns: int, alerts: AlertBook) -> None:
        """Takes the newest readings; durations are by clock_ns, alerts carry now_ns."""
        rule, triggers = self.rule, self.triggers
        self._values = {}
        self._n_members = len(readings)
        for member, value in self._newest(readings, clock_ns):
            raises = rule.raises(value)
            trigger = triggers.get(member)
            if trigger is None:
                if not rule.metric.is_many:
                    self._values[member] = value
                if not raises:
                    continue
                trigger = triggers[member] = Trigger()
            self._values[member] = value
            self._advance(member, trigger, raises, rule.clears(value), clock_ns)
            if trigger.is_raised:
                self._raise(member, value, now_ns, alerts, is_wrong=raises)
            else:
                alerts.resolve(rule_alert_id(rule.name, member), now_ns)
        if rule.metric.is_many and len(triggers) > len(self._values):
            self._close_gone(clock_ns, now_ns, alerts)

    def to_json(self) -> dict[str, Any]:
        rule = self.rule
        members = [
            {"member": member, "state": "raised" if trigger.is_raised else "pending", "value": self._values.get(member)}
            for member, trigger in self.triggers.items()
        ]
        is_raised = any(trigger.is_raised for trigger in self.triggers.values())
        return {
            "rule": rule.name,
            "metric": str(rule.metric),
            rule.comparison: rule.threshold,
            "clear": rule.clear,
            "for": format_duration(rule.for_ns),
            "clear_for": format_duration(rule.clear_for_ns),
            "increase_over": None if rule.increase_over_ns is None else format_duration(rule.increase_over_ns),
            "samples": rule.samples,
            "min_samples": rule.min_samples or None,
            "severity": rule.severity,
            "absent": rule.absent,
            "state": "raised" if is_raised else "pending" if members else "quiet",
            "value": None if rule.metric.is_many else self._values.get(""),
            "n_members": self._n_members,
            "members": members[:MAX_MEMBERS_SHOWN] if rule.metric.is_many else [],
        }

    def _newest(self, readings: Sequence[tuple[str, Fields]], clock_ns: int) -> Iterator[tuple[str, Value | None]]:
        """Yields the value of each member."""
        rule = self.rule
        if not readings and not rule.metric.is_many:
            yield "", None
        for member, fields in readings:
            value = fields.get(rule.metric.field)
            if not rule.takes(value) or not self._has_samples(fields):
                value = None
            elif rule.increase_over_ns is not None:
                increase = self._increases.get(member)
                if increase is None:
                    increase = self._increases[member] = Increase(rule.increase_over_ns)
                assert not isinstance(value, str)
                value = increase.observe(value, clock_ns)
            yield member, value

    def _has_samples(self, fields: Fields) -> bool:
        if self.rule.samples is None:
            return True
        samples = fields.get(self.rule.samples)
        return isinstance(samples, int | float) and samples >= self.rule.min_samples

    def _advance(self, member: str, trigger: Trigger, raises: bool, clears: bool, clock_ns: int) -> None:
        trigger.observe(raises, clears, self.rule, clock_ns)
        if not trigger.is_raised and trigger.since_ns is None:
            del self.triggers[member]

    def _raise(self, member: str, value: Value | None, now_ns: int, alerts: AlertBook, *, is_wrong: bool) -> None:
        rule = self.rule
        ident = rule_alert_id(rule.name, member)
        if alerts.is_raised(ident):
            if is_wrong:
                alerts.see_again(ident, now_ns)
            return
        fields = {
            "value": value,
            "threshold": rule.threshold,
            "clear": rule.threshold if rule.clear is None else rule.clear,
            "member": member,
            "metric": str(rule.metric),
            "rule": rule.name,
        }
        title = _template.fill(rule.title, fields)[:MAX_TITLE_CHARS]
        detail = _template.fill(rule.detail, fields)[:MAX_DETAIL_CHARS]
        alerts.raise_rule(Raise(rule.name, member, rule.severity, title, detail), now_ns)

    def _close_gone(self, clock_ns: int, now_ns: int, alerts: AlertBook) -> None:
        """Members that are gone (a position that was closed) have nothing wrong with them any more."""
        for member in [member for member in self.triggers if member not in self._values]:
            self._increases.pop(member, None)
            self._advance(member, self.triggers[member], False, True, clock_ns)
            if member not in self.triggers:
                alerts.resolve(rule_alert_id(self.rule.name, member), now_ns)
