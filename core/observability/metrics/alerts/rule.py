r"""An alert rule, and the machine that decides when it raises and when it resolves.

No files (see `rule_file.py`), no metrics (see `metric_paths.py`) and no alerts (see `rule_book.py`) here.

    value      ^            .--.                     raises: the comparison with the threshold has held for `for`
    threshold -|- - - - - -/- - \- - /\- - - - -     clears: the comparison with `clear` has failed for `clear_for`
    clear     -|- - - - - / - - -\- / -\- - - - -    between the two nothing changes: a value that flutters around
               |  ------'         `'    `-----       the threshold is one alert
               +------------|--------------|---->
                         raised        resolved
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, Final, Literal, TypeGuard, get_args

from observability.events import Severity
from observability.metrics.alerts.metric_paths import MetricPath

Comparison = Literal["above", "at_least", "below", "at_most", "equals"]
COMPARISONS: Final[tuple[Comparison, ...]] = get_args(Comparison)

Value = float | int | bool | str
"""What a metric can be; None is no value."""

MAX_TITLE_CHARS: Final = 200
MAX_DETAIL_CHARS: Final = 4096

TEMPLATE_FIELDS: Final = ("value", "threshold", "clear", "member", "metric", "rule")

# How finely an increase over a window is measured: the window is up to this part of itself too long.
INCREASE_SLOTS: Final = 60

_OPERATORS: Final[dict[Comparison, Callable[[Any, Any], bool]]] = {
    "above": operator.gt,
    "at_least": operator.ge,
    "below": operator.lt,
    "at_most": operator.le,
    "equals": operator.eq,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, as its file has it."""

    name: str
    metric: MetricPath
    comparison: Comparison
    threshold: Value
    clear: float | None = None
    """The threshold of resolving; None for the same as that of raising."""
    for_ns: int = 0
    clear_for_ns: int = 0
    severity: Severity = "warning"
    title: str = "{rule}: {metric} is {value}"
    detail: str = ""
    samples: str | None = None
    """The field beside the metric's that counts what the metric was made of."""
    min_samples: int = 0
    """With fewer the metric says nothing."""
    increase_over_ns: int | None = None
    """The metric is a counter: what counts is its increase over this time."""
    absent: Literal["ignore", "raise"] = "ignore"
    """What null means: nothing, or that something is wrong."""

    def raises(self, value: Value | None) -> bool:
        """Whether a value is beyond the threshold."""
        # hot: once per rule and member per second
        if value is None:
            return self.absent == "raise"
        return _OPERATORS[self.comparison](value, self.threshold)

    def clears(self, value: Value | None) -> bool:
        """Whether a value is back on the right side; None never is."""
        if value is None:
            return False
        return not _OPERATORS[self.comparison](value, self.threshold if self.clear is None else self.clear)

    def takes(self, value: object) -> TypeGuard[Value]:
        """Whether the comparison means something for a value of this type."""
        return isinstance(value, int | float) or (self.comparison == "equals" and isinstance(value, str))


@dataclass(slots=True)
class Trigger:
    """Whether one rule is raised for one member, and since when the opposite seems to be true."""

    is_raised: bool = False
    since_ns: int | None = None
    """When the values that would change `is_raised` began, without a break; None if the last one would not."""

    def observe(self, raises: bool, clears: bool, rule: Rule, now_ns: int) -> bool:
        """Takes what the newest value means; returns whether `is_raised` has changed."""
        if not (clears if self.is_raised else raises):
            self.since_ns = None
            return False
        # A clock that went back has measured nothing.
        if self.since_ns is None or now_ns < self.since_ns:
            self.since_ns = now_ns
        if now_ns - self.since_ns < (rule.clear_for_ns if self.is_raised else rule.for_ns):
            return False
        self.is_raised = not self.is_raised
        self.since_ns = None
        return True


@dataclass(slots=True)
class Increase:
    """How much a counter has grown over a window; a counter that falls has begun anew, from zero."""

    window_ns: int
    _last: float | None = None
    _total: float = 0.0
    _points: deque[tuple[int, float]] = field(default_factory=deque)
    """Time and total, at least a slot apart; the first one is the newest that is not inside the window."""

    def observe(self, value: float, now_ns: int) -> float:
        """Takes the counter's newest value; returns its increase over the window, or since it is watched."""
        points = self._points
        if points and now_ns < points[-1][0]:
            points.clear()
        if self._last is not None:
            self._total += value - self._last if value >= self._last else value
        self._last = value
        if not points or now_ns - points[-1][0] >= self.window_ns // INCREASE_SLOTS:
            points.append((now_ns, self._total))
        while len(points) > 1 and points[1][0] <= now_ns - self.window_ns:
            points.popleft()
        return self._total - points[0][1]


class Template(Formatter):
    """Fills a rule's title or detail; what is undefined says so."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return "undefined"
        try:
            return format(value, format_spec)
        except (ValueError, TypeError):
            return str(value)

    def fill(self, template: str, fields: dict[str, Any]) -> str:
        return self.vformat(template, (), fields)


def template_faults(template: str) -> str | None:
    """Returns what is wrong with a template; None if nothing is."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return str(error)
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in TEMPLATE_FIELDS:
            return f"{{{name}}}"
        if conversion or "{" in (spec or ""):
            return f"{{{name}}} with a conversion or a nested field"
        if name in ("value", "threshold", "clear") and spec:
            try:
                format(1.5, spec)
            except ValueError as error:
                return f"{{{name}:{spec}}}: {error}"
    return None
