"""The labels and links of a rule's alerts: templates in the rule, filled in for each member.

A link leads to what helps the person who is woken: a runbook, a dashboard of this symbol. What is filled into a link is
quoted, so a symbol such as BTC/USD stays one part of its path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Final
from urllib.parse import quote

from observability.events import LINK
from observability.metrics.alerts.metric_paths import EVERY, MetricPath

MAX_LABELS: Final = 16
MAX_LINKS: Final = 8

FIELDS: Final = ("member", "symbol", "strategy", "metric", "rule", "severity")

# A name of a label as Prometheus and Alertmanager know it.
LABEL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# What Alertmanager is told of every alert.
RESERVED: Final = frozenset({"alertname", "alert_id", "member", "severity"})

_SIDES: Final = (":long", ":short")
_ACCOUNTS: Final = "strategies."
_POSITIONS: Final = "positions."

Templates = tuple[tuple[str, str], ...]
"""Names and their templates."""


def subject_of(metric: MetricPath, member: str) -> dict[str, str]:
    """Returns the symbol and the strategy that an alert is about, as far as the metric has any."""
    place = metric.place
    if metric.section == "market_data":
        return {"symbol": member or place}
    if metric.section != "strategy":
        return {}
    if place.startswith(_ACCOUNTS):
        return {"strategy": member or place.removeprefix(_ACCOUNTS)}
    if place.startswith(_POSITIONS):
        strategy, _, symbol = (member or place.removeprefix(_POSITIONS)).partition("/")
        for side in _SIDES:
            symbol = symbol.removesuffix(side)
        return {"strategy": strategy, "symbol": symbol}
    return {}


def fields_of(rule: str, metric: MetricPath, severity: str, member: str) -> dict[str, str]:
    """Returns the values of the fields of templates."""
    fields = {"member": member, "metric": str(metric), "rule": rule, "severity": severity}
    return fields | subject_of(metric, member)


def fill(templates: Templates, fields: Mapping[str, str]) -> dict[str, str]:
    return {name: template.format_map(fields) for name, template in templates}


def fill_links(templates: Templates, fields: Mapping[str, str]) -> dict[str, str]:
    """Fills in links; the values are quoted."""
    return fill(templates, {name: quote(value, safe="") for name, value in fields.items()})


def find_fault(template: str, metric: MetricPath, check: Callable[[str], bool]) -> str | None:
    """Returns what is wrong with a template; None if it is valid, and what it becomes passes the check."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return str(error)
    known = fields_of("rule", metric, "warning", EVERY if metric.is_many else "")
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS or spec or conversion:
            return f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
        if name not in known:
            return f"{{{name}}}, which {metric} does not have"
    # A link must not depend on a member for its host.
    return None if check(template.format_map(dict.fromkeys(FIELDS, ""))) else template


def is_link(text: str) -> bool:
    return LINK.fullmatch(text) is not None
