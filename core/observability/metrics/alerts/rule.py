r"""An alert rule, and the state machine that decides when it raises and when it resolves.

value      ^            .--.                     raised: the comparison with the threshold has held for `for`
threshold -|- - - - - -/- - \- - /\- - - - -     resolved: the comparison with `clear` has failed for `clear_for`
clear     -|- - - - - / - - -\- / -\- - - - -    between the two nothing changes, so that a value that flutters
           |  ------'         `'    `-----       around the threshold is one alert
           +------------|--------------|---->
                     raised        resolved
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Any, Final, Literal, TypeGuard

from observability.events import Severity
from observability.metrics.alerts.comparison import Comparison, Value, is_beyond
from observability.metrics.alerts.labels import Templates
from observability.metrics.alerts.metric_paths import MetricPath
from observability.metrics.alerts.windows import AbsentFor, BurnOver, UnchangedFor, Window

MAX_TITLE_CHARS: Final = 200
MAX_DETAIL_CHARS: Final = 4096

DEFAULT_TITLE: Final = "{rule}: {metric} is {value}"
TEMPLATE_FIELDS: Final = ("value", "current", "threshold", "clear", "member", "metric", "rule")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, as defined in its file."""

    name: str
    metric: MetricPath
    comparison: Comparison
    threshold: Value
    clear: float | None = None
    """The threshold for resolving; None means the one for raising."""
    for_ns: int = 0
    clear_for_ns: int = 0
    severity: Severity = "warning"
    title: str = DEFAULT_TITLE
    detail: str = ""
    samples: str | None = None
    """The field beside the metric that holds its sample count."""
    min_samples: int = 0
    """With fewer samples, the metric counts as null."""
    window: Window | None = None
    """What is made of the metric's values over time, to be compared with the threshold."""
    absent: Literal["ignore", "raise"] = "ignore"
    """Whether null raises."""
    labels: Templates = ()
    links: Templates = ()

    def raises(self, value: Value | None) -> bool:
        """Returns whether a value is beyond the threshold."""
        # hot: once per rule and member per second
        if value is None:
            return self.absent == "raise"
        return is_beyond(self.comparison, value, self.threshold)

    def clears(self, value: Value | None) -> bool:
        """Returns whether a value is back on the right side; None never is."""
        if value is None:
            return False
        return not is_beyond(self.comparison, value, self.threshold if self.clear is None else self.clear)

    def takes(self, value: object) -> TypeGuard[Value]:
        """Returns whether the rule can use a value of this type."""
        if isinstance(value, int | float):
            return True
        compared = self.window.comparison if isinstance(self.window, BurnOver) else self.comparison
        return isinstance(value, str) and (compared == "equals" or isinstance(self.window, AbsentFor | UnchangedFor))


@dataclass(slots=True)
class Trigger:
    """Whether one rule is raised for one member, and since when its values say otherwise."""

    is_raised: bool = False
    since_ns: int | None = None
    """Start of the current run of values that would change `is_raised`; None if the last value would not."""

    def observe(self, raises: bool, clears: bool, rule: Rule, now_ns: int) -> bool:
        """Applies the newest value, which `raises` or `clears`; returns whether `is_raised` has changed."""
        if not (clears if self.is_raised else raises):
            self.since_ns = None
            return False
        # If the clock went back, the run starts again.
        if self.since_ns is None or now_ns < self.since_ns:
            self.since_ns = now_ns
        if now_ns - self.since_ns < (rule.clear_for_ns if self.is_raised else rule.for_ns):
            return False
        self.is_raised = not self.is_raised
        self.since_ns = None
        return True


class Template(Formatter):
    """Fills in a rule's title or detail; a value that is None reads "undefined"."""

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
    """Returns what is wrong with a template; None if it is valid."""
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
        if name in ("value", "current", "threshold", "clear") and spec:
            try:
                format(1.5, spec)
            except ValueError as error:
                return f"{{{name}:{spec}}}: {error}"
    return None
