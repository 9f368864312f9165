"""What a rule makes of its metric's values over time before it compares: a window per rule, a measure per member.

increase_over    how much a counter has grown within the window
change_over      the value less that of one window ago; or in per cent of that
deviation_over   how many standard deviations the value is from the mean of its own history
burn_over        how many times as fast as an objective allows its budget is spent (SRE Workbook, chapter 5)
absent_for       seconds since there was a value, or an event of a `metric`
unchanged_for    seconds since the value changed

A measure that does not know enough yet has no value, and says for what it waits. All are of bounded size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, ClassVar, Final, Protocol
from zlib import crc32

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from observability.config.toml_tables import format_duration
from observability.metrics.alerts.comparison import Comparison, Value, is_beyond

# The resolution of a window: it may be longer than asked for by up to one part in this many.
WINDOW_SLOTS: Final = 60
# With fewer samples of its history, a value has no deviation.
MIN_SAMPLES: Final = 30
# Likewise with the same time of fewer days.
MIN_DAYS: Final = 3
# Of a long window, as the SRE Workbook recommends: a problem that is over is seen to be over.
SHORT_PART: Final = 12


class Measure(Protocol):
    """A window's value for one member."""

    waiting: str
    """Why there is no value; empty if there is one."""
    is_whole: bool
    """Whether the value speaks for the whole window, so that it may resolve an alert."""

    def observe(self, value: Value | None, beside: float | None, now_ns: int) -> float | None:
        """Applies the metric's newest value, and what the window wants to know beside it; returns the value to
        compare."""


@dataclass(frozen=True, slots=True)
class Window(ABC):
    """The window of a rule, as defined in its file."""

    window_ns: int
    """How far back it looks; of an absence, how long it is to last."""
    is_news: ClassVar[bool] = False
    """Whether the measure is about values that do not come: it exists for members that are gone, and is told the time
    of a `metric` event."""
    is_dated: ClassVar[bool] = False
    """Whether times of day matter, so that durations go by the event clock whatever the metric."""

    @property
    def beside(self) -> str | None:
        """The field beside the metric that a measure wants to know; None for none."""
        return None

    @abstractmethod
    def open(self, member: str) -> Measure:
        """Returns the measure of a member."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Returns the keys of the rule."""


# -- increase


@dataclass(frozen=True, slots=True)
class IncreaseOver(Window):
    """The increase of a counter. One that falls has been reset to zero."""

    needs_all: bool = False
    """Whether a part of the window says nothing: a small increase may be that of a short time."""

    def open(self, member: str) -> Increase:
        return Increase(self.window_ns, self.needs_all)

    def to_json(self) -> dict[str, Any]:
        return {"increase_over": format_duration(self.window_ns)}


@dataclass(slots=True)
class Increase:
    window_ns: int
    needs_all: bool = False
    waiting: str = ""
    is_whole: bool = False
    _last: float | None = None
    _total: float = 0.0
    _points: deque[tuple[int, float]] = field(default_factory=deque)
    """Time and total, at least a slot apart; the first is the newest one before the window."""

    def observe(self, value: Value | None, beside: float | None, now_ns: int) -> float | None:
        if value is None:
            return None
        assert not isinstance(value, str)
        points = self._points
        if points and now_ns < points[-1][0]:
            points.clear()
        if self._last is not None:
            self._total += value - self._last if value >= self._last else value
        self._last = value
        _append(points, now_ns, self._total, self.window_ns)
        self.waiting = _missing(now_ns - points[0][0], self.window_ns)
        self.is_whole = not self.waiting
        if self.needs_all and self.waiting:
            return None
        return self._total - points[0][1]


# -- change


@dataclass(frozen=True, slots=True)
class ChangeOver(Window):
    """The value less that of one window ago."""

    is_percent: bool = False

    def open(self, member: str) -> Change:
        return Change(self.window_ns, self.is_percent)

    def to_json(self) -> dict[str, Any]:
        return {"change_over": format_duration(self.window_ns), "change_in": "percent" if self.is_percent else "value"}


@dataclass(slots=True)
class Change:
    window_ns: int
    is_percent: bool
    waiting: str = ""
    is_whole: bool = True
    _points: deque[tuple[int, float]] = field(default_factory=deque)

    def observe(self, value: Value | None, beside: float | None, now_ns: int) -> float | None:
        points = self._points
        if value is None or (points and now_ns < points[-1][0]):
            points.clear()
        if value is None:
            self.waiting = "the metric has no value"
            return None
        assert not isinstance(value, str)
        _append(points, now_ns, value, self.window_ns)
        before_ns, before = points[0]
        self.waiting = _missing(now_ns - before_ns, self.window_ns)
        if self.waiting:
            return None
        if not self.is_percent:
            return value - before
        if not before:
            self.waiting = f"the value of {format_duration(self.window_ns)} ago is 0"
            return None
        return (value - before) / abs(before) * 100


def _append(points: deque[tuple[int, float]], now_ns: int, value: float, window_ns: int) -> None:
    """Appends a point if a slot has passed since the last, and drops those before the window but the newest."""
    if not points or now_ns - points[-1][0] >= window_ns // WINDOW_SLOTS:
        points.append((now_ns, value))
    while len(points) > 1 and points[1][0] <= now_ns - window_ns:
        points.popleft()


# -- deviation


@dataclass(frozen=True, slots=True)
class DeviationOver(Window):
    """The distance of a value from the mean of its history, in standard deviations of that history."""

    time_of_day_ns: int | None = None
    """The history is that of the same time of earlier days, in UTC: of the interval of this length."""
    is_dated: ClassVar[bool] = True

    def open(self, member: str) -> Deviation:
        return Deviation(self.window_ns, self.time_of_day_ns, crc32(member.encode()))

    def to_json(self) -> dict[str, Any]:
        time_of_day = None if self.time_of_day_ns is None else format_duration(self.time_of_day_ns)
        return {"deviation_over": format_duration(self.window_ns), "time_of_day": time_of_day}


class Deviation:
    """The history as samples, one a minute or more often in a short window, added up in slots of time."""

    __slots__ = (
        "_counts", "_deviation", "_due_ns", "_ids", "_mean", "_means", "_per_day", "_phase_ns", "_squares",
        "interval_ns", "is_whole", "slot_ns", "waiting", "window_ns",
    )  # fmt: skip

    def __init__(self, window_ns: int, time_of_day_ns: int | None, phase: int = 0) -> None:
        """Members of one rule differ in `phase`, so that not all take a sample at the same moment."""
        self.window_ns = window_ns
        self.slot_ns = window_ns // WINDOW_SLOTS if time_of_day_ns is None else time_of_day_ns
        self.interval_ns = max(NS_PER_S, min(NS_PER_MINUTE, window_ns // WINDOW_SLOTS))
        self.waiting = ""
        self.is_whole = True
        self._per_day = None if time_of_day_ns is None else NS_PER_DAY // time_of_day_ns
        slots = window_ns // self.slot_ns + 1
        # Of each slot: its number since 1970, how many samples, their mean, and the sum of squared distances from it.
        self._ids = array("q", [-1]) * slots
        self._counts = array("q", [0]) * slots
        self._means = array("d", [0.0]) * slots
        self._squares = array("d", [0.0]) * slots
        self._phase_ns = phase % self.interval_ns
        self._due_ns = 0
        self._mean = self._deviation = 0.0
        self._wait(0, 0)

    def add_past(self, samples: Iterable[tuple[int, float]], now_ns: int) -> None:
        """Adds samples from before `now_ns`, oldest first, each with its time."""
        due_ns = 0
        for ts_ns, value in samples:
            number = ts_ns // self.slot_ns
            # What it has seen itself meanwhile may have taken the place of the oldest slot.
            is_over = self._ids[number % len(self._ids)] > number
            if value == value and due_ns <= ts_ns < now_ns and not is_over:
                self._add(ts_ns, value)
                due_ns = ts_ns + self.interval_ns
        self._sum_up(now_ns)

    def observe(self, value: Value | None, beside: float | None, now_ns: int) -> float | None:
        # hot: once per member per second (benchmarks/bench_tick.py)
        if value is None:
            return None
        assert not isinstance(value, str)
        found = None if self.waiting else (value - self._mean) / self._deviation
        # A clock that went back is before the last sample.
        if not self._due_ns - self.interval_ns <= now_ns < self._due_ns:
            self._due_ns = now_ns - (now_ns - self._phase_ns) % self.interval_ns + self.interval_ns
            self._add(now_ns, value)
            self._sum_up(now_ns)
        return found

    def _add(self, ts_ns: int, value: float) -> None:
        number = ts_ns // self.slot_ns
        slot = number % len(self._ids)
        if self._ids[slot] != number:
            self._ids[slot], self._counts[slot], self._means[slot], self._squares[slot] = number, 0, 0.0, 0.0
        self._counts[slot] += 1
        distance = value - self._means[slot]
        self._means[slot] += distance / self._counts[slot]
        self._squares[slot] += distance * (value - self._means[slot])

    def _sum_up(self, now_ns: int) -> None:
        """Computes mean and deviation of the slots that count at `now_ns`."""
        newest, ids = now_ns // self.slot_ns, self._ids
        oldest = newest - len(ids) + 1
        if self._per_day is None:
            slots = [slot for slot, number in enumerate(ids) if oldest <= number <= newest]
        else:
            # Not today's own: it is what is judged.
            wanted = range(newest - self._per_day, oldest - 1, -self._per_day)
            slots = [number % len(ids) for number in wanted if ids[number % len(ids)] == number]
        count, mean, squares = 0, 0.0, 0.0
        for slot in slots:
            added = self._counts[slot]
            distance = self._means[slot] - mean
            mean += distance * added / (count + added)
            squares += self._squares[slot] + distance * distance * count * added / (count + added)
            count += added
        self._mean = mean
        self._deviation = sqrt(squares / (count - 1)) if count > 1 else 0.0
        self._wait(count, len(slots))

    def _wait(self, count: int, days: int) -> None:
        self.waiting = ""
        if self._per_day is not None and days < MIN_DAYS:
            self.waiting = f"this time of {days} earlier days is known, of {MIN_DAYS} needed"
        elif count < MIN_SAMPLES:
            self.waiting = (
                f"{count} of {MIN_SAMPLES} samples of its history, one per {format_duration(self.interval_ns)}"
            )
        elif self._deviation <= abs(self._mean) * 1e-12:
            self.waiting = "its history is constant, so there is no deviation"


# -- burn rate


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnOver(Window):
    """How fast the budget of an objective is spent: 1 spends it exactly by the end of the objective's period."""

    objective_percent: float
    comparison: Comparison | None = None
    """Which values are bad; None if the metric counts the bad ones itself."""
    threshold: Value = 0
    total: str | None = None
    """The field beside the metric that counts all, good and bad."""

    @property
    def beside(self) -> str | None:
        return self.total

    @property
    def max_rate(self) -> float:
        """The burn rate if everything is bad."""
        return 100 / (100 - self.objective_percent)

    def open(self, member: str) -> BurnRate:
        return BurnRate(self)

    def to_json(self) -> dict[str, Any]:
        bad = {} if self.comparison is None else {"bad": {self.comparison: self.threshold}}
        return {
            "objective": self.objective_percent,
            "burn_over": format_duration(self.window_ns),
            **bad,
            "total": self.total,
        }


class BurnRate:
    """The lesser of the burn rates of the window and of a twelfth of it: it rises once the problem has lasted, and
    falls soon after it ends. What was before the first value counts as good."""

    __slots__ = ("_bad", "_began_ns", "_last", "_rule", "_slots", "is_whole", "waiting")

    def __init__(self, rule: BurnOver) -> None:
        self.waiting = ""
        self.is_whole = True
        self._rule = rule
        self._began_ns: int | None = None
        self._last: tuple[float, float] | None = None
        # Start, bad and all, oldest first.
        self._slots: deque[list[float]] = deque()

    def count(self, value: Value | None, beside: float | None, now_ns: int) -> None:
        """Counts one value, or how much the counters have grown."""
        # hot: once per tick for a figure of the server (benchmarks/bench_tick.py)
        rule = self._rule
        if self._began_ns is None or (self._slots and now_ns < self._slots[-1][0]):
            self._slots.clear()
            self._began_ns = now_ns
        if value is None:
            return
        if rule.comparison is not None:
            bad, total = float(is_beyond(rule.comparison, value, rule.threshold)), 1.0
        elif beside is None or isinstance(value, str):
            return
        else:
            last, self._last = self._last, (value, beside)
            if last is None:
                return
            bad, total = (now - before if now >= before else now for now, before in zip(self._last, last, strict=True))
        slots = self._slots
        if not slots or now_ns - slots[-1][0] >= rule.window_ns // WINDOW_SLOTS:
            slots.append([now_ns, 0.0, 0.0])
            while slots[0][0] <= now_ns - rule.window_ns:
                slots.popleft()
        slots[-1][1] += bad
        slots[-1][2] += total

    def observe(self, value: Value | None, beside: float | None, now_ns: int) -> float | None:
        self.count(value, beside, now_ns)
        assert self._began_ns is not None
        window_ns = self._rule.window_ns
        short_ns = window_ns // SHORT_PART
        seen_ns = now_ns - self._began_ns
        self.waiting = _missing(seen_ns, short_ns)
        if self.waiting:
            return None
        short = self._rate(now_ns - short_ns)
        if short is None:
            self.waiting = f"nothing was counted for {format_duration(short_ns)}"
            return None
        long = self._rate(now_ns - window_ns) or 0.0
        return min(short, long * min(1.0, seen_ns / window_ns))

    def _rate(self, since_ns: int) -> float | None:
        bad = total = 0.0
        for start_ns, slot_bad, slot_total in reversed(self._slots):
            if start_ns <= since_ns:
                break
            bad += slot_bad
            total += slot_total
        return min(1.0, bad / total) * self._rule.max_rate if total else None


# -- absence


@dataclass(frozen=True, slots=True)
class AbsentFor(Window):
    """The seconds since there was a value; of a `metric`, since its last event."""

    is_news: ClassVar[bool] = True

    def open(self, member: str) -> Absence:
        return Absence(is_change_wanted=False)

    def to_json(self) -> dict[str, Any]:
        return {"absent_for": format_duration(self.window_ns)}


@dataclass(frozen=True, slots=True)
class UnchangedFor(Window):
    """The seconds since the value changed."""

    def open(self, member: str) -> Absence:
        return Absence(is_change_wanted=True)

    def to_json(self) -> dict[str, Any]:
        return {"unchanged_for": format_duration(self.window_ns)}


@dataclass(slots=True)
class Absence:
    is_change_wanted: bool
    waiting: str = ""
    is_whole: bool = False
    """Whether there was news since it was made: an alert of an earlier process is not over before that."""
    _since_ns: int | None = None
    _value: Value | None = None

    def observe(self, value: Value | None, beside: float | None, now_ns: int) -> float | None:
        if self._since_ns is None or now_ns < self._since_ns:
            self._since_ns = now_ns
        if value is not None:
            if not self.is_change_wanted:
                self._since_ns = now_ns if beside is None else min(now_ns, round(beside))
                self.is_whole = True
            elif value != self._value:
                if self._value is not None:
                    self.is_whole = True
                self._value, self._since_ns = value, now_ns
        return (now_ns - self._since_ns) / NS_PER_S


def _missing(seen_ns: int, wanted_ns: int) -> str:
    """Returns how much of a window has not been seen; empty if it has been seen whole."""
    if seen_ns >= wanted_ns:
        return ""
    return f"{format_duration(seen_ns - seen_ns % NS_PER_S)} of {format_duration(wanted_ns)} seen"
