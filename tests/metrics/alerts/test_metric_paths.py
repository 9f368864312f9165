"""Metric paths: which texts are paths, and the values that they lead to."""

from __future__ import annotations

from typing import Any

import pytest

from observability.events import Metric
from observability.metrics.alerts.metric_paths import MetricPath, MetricSources
from observability.metrics.system.user_metrics import UserMetrics
from observability.snapshot.sections import Group, JsonPart


def part(**fields: Any) -> JsonPart:
    made = JsonPart()
    made.offer(fields)
    return made


class FakeSection:
    """A section as the serializer sees it."""

    def __init__(self, name: str, fields: JsonPart | None, *groups: Group) -> None:
        self.name = name
        self.fields = fields
        self.groups = groups
        self.last_input_ns: int | None = None

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


def make_sources() -> MetricSources:
    metrics = UserMetrics(10)
    metrics.note(Metric("queue.depth", 3.0))
    metrics.note(Metric("queue.depth", 4.0, {"venue": "X"}))
    market = FakeSection("market_data", None, Group(None, {"AAPL": part(bid=1.0), "BRK.B": part(bid=2.0)}))
    strategy = FakeSection(
        "strategy",
        part(total_pnl=7.0, legs={"ack": {"p99_ms": 1.5}, "fill": {"p99_ms": 2.5}}),
        Group("strategies", {"alpha": part(total_pnl=5.0)}),
        Group("positions", {"alpha/AAPL": part(quantity=1.0)}, as_list=True),
    )
    return MetricSources([market, strategy], metrics, {"ticks": lambda: 9}, {"queue": b'{"depth":3}', "off": b"null"})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("strategy.total_pnl", {"": 7.0}),
        ("strategy.legs.ack.p99_ms", {"": 1.5}),
        ("strategy.legs.*.p99_ms", {"ack": 1.5, "fill": 2.5}),
        ("strategy.strategies.alpha.total_pnl", {"": 5.0}),
        ("strategy.strategies.*.total_pnl", {"alpha": 5.0}),
        ("strategy.positions.alpha/AAPL.quantity", {"": 1.0}),
        ("strategy.positions.*.quantity", {"alpha/AAPL": 1.0}),
        ("market_data.AAPL.bid", {"": 1.0}),
        ("market_data.BRK.B.bid", {"": 2.0}),
        ("market_data.*.bid", {"AAPL": 1.0, "BRK.B": 2.0}),
        ("market_data.NONE.bid", {}),
        ("server.ticks", {"": 9}),
        ("metric.queue.depth", {"": 3.0, 'venue="X"': 4.0}),
        ("metric.none", {}),
        ("queue.depth", {"": 3}),
        ("off.depth", {}),
        ("nowhere.depth", {}),
    ],
)
def test_a_path_leads_to_its_values(text: str, values: dict[str, Any]) -> None:
    path = MetricPath.parse(text)
    assert {member: fields.get(path.field) for member, fields in make_sources().read(path)} == values
    assert str(path) == text


@pytest.mark.parametrize(
    "text", ["", "strategy", ".a", "a.", "*.a", "a.*", "a.b.*", "a.*.b.c", "a.x*.b", "metric.*", "metric.", "a b.c"]
)
def test_a_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        MetricPath.parse(text)


@pytest.mark.parametrize(
    ("text", "is_of_events"),
    [
        ("market_data.*.stale", True),
        ("strategy.drawdown", True),
        ("execution.reject_rate", True),
        ("metric.x", True),
        ("system.cpu_percent", False),
        ("server.ticks", False),
        ("queue.depth", False),
    ],
)
def test_metrics_of_events_go_by_the_event_clock(text: str, is_of_events: bool) -> None:
    assert MetricPath.parse(text).is_of_events is is_of_events


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("market_data.*.bit", ["market_data.*.bid"]),
        ("strategi.total_pnl", ["strategy.total_pnl"]),
        ("server.tick", ["server.ticks"]),
        ("market_data.*.nothing", []),
    ],
)
def test_similar_paths_are_suggested_for_one_that_leads_nowhere(text: str, near: list[str]) -> None:
    assert make_sources().near_misses(MetricPath.parse(text)) == near
