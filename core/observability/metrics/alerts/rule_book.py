"""The evaluation of alert rules: once per second each rule reads its metric and raises or resolves its alerts.

Durations of metrics that are computed from events (market data, strategies, execution, `metric` events) go by the event
clock, all others by the host's. So a drawdown of ten seconds of the market is the same alert in a replay at a hundred
times the speed, and a disk that is full for a minute is full for a minute of the host.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_HOUR, NS_PER_S
from observability.config.setting import shown
from observability.config.toml_tables import format_duration
from observability.errors import StoreError
from observability.metrics.alerts.book import AlertBook, AlertContent, rule_alert_id, rule_alert_key
from observability.metrics.alerts.comparison import Value
from observability.metrics.alerts.labels import fields_of, fill, fill_links
from observability.metrics.alerts.metric_paths import SERVER, UPDATED, USER, Fields, MetricPath, MetricSources
from observability.metrics.alerts.rule import MAX_DETAIL_CHARS, MAX_TITLE_CHARS, Rule, Template, Trigger
from observability.metrics.alerts.windows import BurnOver, BurnRate, Deviation, Measure
from observability.snapshot.frames import Frame

logger = logging.getLogger(__name__)

INTERVAL_NS: Final = NS_PER_S
# How many members are told of their own past in one evaluation: each takes about 0.1 ms.
PASTS_PER_EVALUATION: Final = 20
# After a restart a symbol or `metric` that had an alert is awaited for so long before it counts as gone.
AWAITED_NS: Final = NS_PER_HOUR
# Members that are gone, of a rule about what does not come.
MAX_GONE: Final = 1000
# Raised or pending members of a rule that are listed one by one.
MAX_MEMBERS_SHOWN: Final = 100

_NOT_STORED: Final = frozenset({"market_data", USER})

_template = Template()


class RuleBook:
    """All rules and their state. Raised alerts are kept in the alert book and survive a restart with it; the durations
    of pending ones start again."""

    def __init__(self, rules: Sequence[Rule], sources: MetricSources, alerts: AlertBook) -> None:
        self._sources = sources
        self._alerts = alerts
        self._watches = {rule.name: RuleWatch(rule, sources.own_fields(rule.metric)) for rule in rules}
        # Their objectives are about every tick.
        self._each_tick = [watch for watch in self._watches.values() if watch.is_each_tick]
        self._due_ns: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self.evaluations = 0

    def on_frame(self, frame: Frame) -> None:
        """Evaluates every rule if it is due. It listens after the listeners that send the frame."""
        # hot: once per tick (benchmarks/bench_tick.py)
        if self._due_ns is None:
            self._resume(frame.ts_ns)
        elif frame.mono_ns < self._due_ns:
            for watch in self._each_tick:
                watch.note(self._sources.server, frame.mono_ns)
            return
        self._due_ns = frame.mono_ns + INTERVAL_NS
        self.evaluate(frame.ts_ns, frame.mono_ns)

    def evaluate(self, now_ns: int, mono_ns: int) -> None:
        """Evaluates every rule; now_ns is by the event clock, mono_ns by the host's monotonic clock."""
        # hot: once per second (benchmarks/bench_tick.py)
        self.evaluations += 1
        for watch in self._each_tick:
            watch.count_noted()
        pasts_left = PASTS_PER_EVALUATION
        for watch in self._watches.values():
            if watch.is_settled:
                continue
            if watch.untold and pasts_left:
                pasts_left -= self._tell_past(watch, now_ns, pasts_left)
            readings = list(self._sources.read(watch.rule.metric))
            watch.observe(readings, now_ns if watch.goes_by_events else mono_ns, now_ns, self._alerts)
            if not watch.is_path_checked:
                self._check_path(watch, readings)

    def __len__(self) -> int:
        return len(self._watches)

    def to_json(self) -> list[dict[str, Any]]:
        """Returns every rule with its newest value and the members for which it is raised or pending."""
        return [watch.to_json() for watch in self._watches.values()]

    def _resume(self, now_ns: int) -> None:
        """Resumes the alerts that an earlier process raised; those of a rule that no longer exists are resolved."""
        for state in self._alerts.all():
            if state.rule is None or state.resolved_ns is not None:
                continue
            watch = self._watches.get(state.rule)
            if watch is None:
                self._alerts.resolve(state.alert_id, now_ns)
            else:
                watch.resume(state.member)

    def _tell_past(self, watch: RuleWatch, now_ns: int, most: int) -> int:
        """Tells up to `most` measures of the values that the history has; returns how many. What only the store has is
        read for one at a time, beside the evaluations."""
        assert watch.rule.window is not None
        metric, span_ns = watch.rule.metric, watch.rule.window.window_ns
        if self._sources.is_beyond_memory(span_ns):
            if self._reading is None or self._reading.done():
                member, measure = watch.untold.popitem()
                self._reading = asyncio.get_running_loop().create_task(
                    self._tell_stored_past(watch.rule, member, measure, now_ns)
                )
            return 0
        members = list(watch.untold)[:most]
        for member in members:
            past = self._sources.past(metric, member, now_ns - span_ns, now_ns)
            watch.untold.pop(member).add_past(past, now_ns)
        return len(members)

    async def _tell_stored_past(self, rule: Rule, member: str, measure: Deviation, now_ns: int) -> None:
        assert rule.window is not None
        start_ns = now_ns - rule.window.window_ns
        try:
            past = await self._sources.stored_past(rule.metric, member, start_ns, now_ns)
        except StoreError as error:
            logger.warning("alert rule %r: the history of %s is not known: %s", rule.name, member or rule.metric, error)
            past = self._sources.past(rule.metric, member, start_ns, now_ns)
        measure.add_past(past, now_ns)

    async def stop(self) -> None:
        """Reads no more of the past."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _check_path(self, watch: RuleWatch, readings: Sequence[tuple[str, Fields]]) -> None:
        """Warns once if a metric does not exist or cannot be compared; waits while members or values may still
        appear."""
        path = watch.rule.metric
        is_known_section = self._sources.is_known_section(path)
        # A part is empty before its first tick.
        if is_known_section and not any(fields for _, fields in readings):
            return
        values = [value for _, fields in readings if (value := fields.get(path.field)) is not None]
        if not values and any(path.field in fields for _, fields in readings):
            return
        watch.is_path_checked = True
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
    """One rule: its newest value, and the members for which it is raised or pending."""

    def __init__(self, rule: Rule, own_fields: Callable[[], Fields] | None = None) -> None:
        """`own_fields` returns the object that the field of the metric is in, if that is always the same one until a
        field changes."""
        self.rule = rule
        self._own_fields = own_fields if rule.window is None else None
        # The object after which there was nothing to wait for.
        self._settled_by: Fields | None = None
        self.triggers: dict[str, Trigger] = {}
        """By member; a member that is neither raised nor pending has none."""
        self.is_path_checked = False
        self.is_each_tick = isinstance(rule.window, BurnOver) and rule.metric.section == SERVER
        # Ticks between two evaluations: the time, and the figures that the rule looks at.
        self._noted: list[tuple[int, list[Value | None]]] = []
        names = (rule.metric.field, rule.samples, None if rule.window is None else rule.window.beside)
        self._names = tuple(name for name in names if name is not None)
        self.goes_by_events = rule.metric.is_of_events or (rule.window is not None and rule.window.is_dated)
        # Members with an alert of an earlier process that this one has not seen yet, and until when they are awaited.
        self._awaited: set[str] = set()
        self._awaited_until_ns: int | None = None
        self.untold: dict[str, Deviation] = {}
        """The measures, by member, that have not been told of the past yet."""
        self._measures: dict[str, Measure] = {}
        self._values: dict[str, Value | None] = {}
        """By member with a trigger; that of a metric without members is under the empty name."""
        self._n_members = 0

    def resume(self, member: str) -> None:
        """Continues with an alert that an earlier process raised. What that process knew of the market and of `metric`
        events is not stored, so a member that is not there may come again."""
        self.triggers[member] = Trigger(is_raised=True)
        window = self.rule.window
        if window is not None and window.is_news:
            # That it is not there is what the alert says.
            self._measures[member] = window.open(member)
        elif self.rule.metric.section in _NOT_STORED:
            self._awaited.add(member)

    @property
    def is_settled(self) -> bool:
        """Whether the metric is what it was when it was last observed, and nothing was raised or pending then."""
        return self._own_fields is not None and self._own_fields() is self._settled_by

    def observe(self, readings: Sequence[tuple[str, Fields]], clock_ns: int, now_ns: int, alerts: AlertBook) -> None:
        """Applies the newest readings; durations are measured by clock_ns, alerts are stamped with now_ns."""
        rule, triggers = self.rule, self.triggers
        self._values = {}
        self._n_members = len(readings)
        for member, current, value in self._newest(readings, clock_ns):
            raises = rule.raises(value)
            trigger = triggers.get(member)
            if trigger is None:
                if not rule.metric.is_many:
                    self._values[member] = value
                if not raises:
                    continue
                trigger = triggers[member] = Trigger()
            self._values[member] = value
            clears = rule.clears(value) and (rule.window is None or self._measures[member].is_whole)
            self._advance(member, trigger, raises, clears, clock_ns)
            if trigger.is_raised:
                self._raise(member, current, value, now_ns, alerts, is_wrong=raises)
            else:
                alerts.resolve(rule_alert_id(rule.name, member), now_ns)
        if rule.metric.is_many and not triggers.keys() <= self._values.keys():
            self._clear_gone(clock_ns, now_ns, alerts)
        if self._own_fields is not None:
            self._settled_by = None if triggers else readings[0][1]

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
            "increase_over": None,
            **({} if rule.window is None else rule.window.to_json()),
            "samples": rule.samples,
            "min_samples": rule.min_samples or None,
            "severity": rule.severity,
            "absent": rule.absent,
            "state": "raised" if is_raised else "pending" if members else "quiet",
            "value": None if rule.metric.is_many else self._values.get(""),
            "waiting": self._waiting(),
            "n_members": self._n_members,
            "members": members[:MAX_MEMBERS_SHOWN] if rule.metric.is_many else [],
        }

    def _waiting(self) -> str | None:
        """Returns why the rule has no value to compare; for many members, that of one and of how many."""
        reasons = [measure.waiting for measure in self._measures.values() if measure.waiting]
        if not reasons:
            return None
        return f"{reasons[0]} ({len(reasons)} of {len(self._measures)})" if self.rule.metric.is_many else reasons[0]

    def note(self, figures: Fields, mono_ns: int) -> None:
        """Notes a tick between two evaluations, which the next one counts; `figures` are those of the server."""
        # hot: once per tick (benchmarks/bench_tick.py)
        self._noted.append((mono_ns, [figures.get(name) for name in self._names]))

    def count_noted(self) -> None:
        """Counts the ticks noted since the last evaluation."""
        noted, self._noted = self._noted, []
        measure = self._measures.get("")
        if isinstance(measure, BurnRate):
            for mono_ns, values in noted:
                figures = dict(zip(self._names, values, strict=True))
                measure.count(self._value(figures), self._beside(figures), mono_ns)

    def _newest(
        self, readings: Sequence[tuple[str, Fields]], clock_ns: int
    ) -> Iterator[tuple[str, Value | None, Value | None]]:
        """Yields each member, the value of its metric, and the value to be compared."""
        rule, window = self.rule, self.rule.window
        if not readings and (not rule.metric.is_many or (window is not None and window.is_news)):
            readings = [("", {})]
        if window is None:
            for member, fields in readings:
                value = self._value(fields)
                yield member, value, value
            return
        for member, fields in readings:
            measure = self._measures.get(member)
            if measure is None:
                measure = self._measures[member] = window.open(member)
                if isinstance(measure, Deviation):
                    self.untold[member] = measure
            value = self._value(fields)
            yield member, value, measure.observe(value, self._beside(fields), clock_ns)
        if len(self._measures) > len(readings):
            gone = self._measures.keys() - {member for member, _ in readings}
            if window.is_news:
                # What has never been there is there now.
                for member in gone - {""}:
                    yield member, None, self._measures[member].observe(None, None, clock_ns)
                oldest = [member for member in self._measures if member in gone][: max(0, len(gone) - MAX_GONE)]
                gone = {*oldest, ""} & gone
            for member in gone - self.triggers.keys():
                del self._measures[member]
                self.untold.pop(member, None)

    def _value(self, fields: Fields) -> Value | None:
        value = fields.get(self.rule.metric.field)
        return value if self.rule.takes(value) and self._has_samples(fields) else None

    def _beside(self, fields: Fields) -> float | None:
        """Returns the value beside the metric that the rule's window wants to know."""
        window = self.rule.window
        assert window is not None
        name = window.beside
        if name is None and window.is_news and self.rule.metric.section == USER:
            name = UPDATED
        value = None if name is None else fields.get(name)
        return value if isinstance(value, int | float) else None

    def _has_samples(self, fields: Fields) -> bool:
        if self.rule.samples is None:
            return True
        samples = fields.get(self.rule.samples)
        return isinstance(samples, int | float) and samples >= self.rule.min_samples

    def _advance(self, member: str, trigger: Trigger, raises: bool, clears: bool, clock_ns: int) -> None:
        trigger.observe(raises, clears, self.rule, clock_ns)
        if not trigger.is_raised and trigger.since_ns is None:
            del self.triggers[member]

    def _raise(
        self, member: str, current: Value | None, value: Value | None, now_ns: int, alerts: AlertBook, *, is_wrong: bool
    ) -> None:
        rule = self.rule
        ident = rule_alert_id(rule.name, member)
        if alerts.is_raised(ident):
            if is_wrong:
                alerts.see_again(ident, now_ns)
            return
        fields = {
            "value": value,
            "current": current,
            "threshold": rule.threshold,
            "clear": rule.threshold if rule.clear is None else rule.clear,
            "member": member,
            "metric": str(rule.metric),
            "rule": rule.name,
        }
        title = _template.fill(rule.title, fields)[:MAX_TITLE_CHARS]
        detail = _template.fill(rule.detail, fields)[:MAX_DETAIL_CHARS]
        key = rule_alert_key(rule.name, member)
        named = fields_of(rule.name, rule.metric, rule.severity, member)
        content = AlertContent(
            key,
            rule.severity,
            title,
            detail,
            rule.name,
            member,
            value,
            rule.threshold,
            fill(rule.labels, named),
            fill_links(rule.links, named),
        )
        alerts.raise_rule(content, now_ns)

    def _clear_gone(self, clock_ns: int, now_ns: int, alerts: AlertBook) -> None:
        """Clears members that no longer exist, such as a position that was closed."""
        if self._awaited:
            self._awaited -= self._values.keys()
            if self._awaited_until_ns is None:
                self._awaited_until_ns = clock_ns + AWAITED_NS
            elif clock_ns >= self._awaited_until_ns:
                self._awaited.clear()
        for member in [
            member for member in self.triggers if member not in self._values and member not in self._awaited
        ]:
            self._advance(member, self.triggers[member], False, True, clock_ns)
            if member not in self.triggers:
                alerts.resolve(rule_alert_id(self.rule.name, member), now_ns)
