"""Rules evaluated over real collectors: which alerts are raised, when, by which clock, and after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_MS
from observability.clocks.timestamps import NS_PER_S as S
from observability.config.config import Config
from observability.errors import StoreError
from observability.events import Event, Fill, Metric, Order, Print, Quote
from observability.history.aggregates import LAST, Block, Column
from observability.history.series import Series
from observability.metrics.alerts.book import Action, AlertState
from observability.metrics.alerts.metric_paths import Figure, MetricSources
from observability.metrics.alerts.rule_book import RuleBook, RuleWatch
from observability.metrics.alerts.rule_file import load_rules, parse_rules
from observability.metrics.assembly import make_collectors, make_history
from observability.snapshot.frames import NO_INDEX, FrameRing

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z


class System:
    """Collectors and rules, with an event clock and a host's clock that tests advance."""

    def __init__(
        self, rules: str, figures: Mapping[str, Figure] | None = None, custom: Mapping[str, bytes] | None = None
    ) -> None:
        self.bus = Bus()
        self.history = make_history(8)
        self.collectors = make_collectors(Config(max_symbols=8), self.bus, EventClock(HostClock()), self.history)
        for section in self.collectors.sections:
            for kind, handler in section._handlers().items():
                self.bus.subscribe(kind, handler)
        system = self.collectors.system
        self.alerts = system.alert_book
        self.transitions: list[tuple[str, str]] = []
        self.alerts.add_transition_listener(self._on_transition)
        sources = MetricSources(
            self.collectors.sections, system.user_metrics, figures or {}, custom or {}, self.history
        )
        self.rules = RuleBook(parse_rules(rules, "") if rules else load_rules(None), sources, self.alerts)
        self._frames = FrameRing("")

    def change_rules(self, rules: str, minutes: Any = None) -> None:
        """Continues with other rules, as after a restart with another file."""
        metrics = self.collectors.system.user_metrics
        sources = MetricSources(self.collectors.sections, metrics, {}, {}, self.history, minutes)
        self.rules = RuleBook(parse_rules(rules, ""), sources, self.alerts)

    def _on_transition(self, state: AlertState, action: Action) -> None:
        self.transitions.append((state.key, action))

    def tick(self, seconds: float, host_seconds: float | None = None) -> None:
        """Ticks `seconds` after noon by the event clock, and by the host's clock unless `host_seconds` is given."""
        now_ns = NOON + round(seconds * S)
        mono_ns = round((seconds if host_seconds is None else host_seconds) * S)
        for section in self.collectors.sections:
            section.refresh(now_ns)
        self.rules.on_frame(self._frames.publish(b"", NO_INDEX, now_ns, mono_ns, {}))

    def publish(self, *events: Event) -> None:
        for event in events:
            event.ts = event.ts_init = event.ts_init or NOON
        self.bus.publish_all(events)

    def drain(self) -> list[tuple[str, str]]:
        transitions, self.transitions = self.transitions, []
        return transitions

    def rule(self, name: str) -> dict[str, Any]:
        (rule,) = (rule for rule in self.rules.to_json() if rule["rule"] == name)
        return rule


def quote(symbol: str, ask: float = 100.02, seconds: float = 0.0) -> Quote:
    return Quote(symbol, 100.0, ask, ts_init=NOON + round(seconds * S))


def trade(symbol: str, price: float, seconds: float) -> Print:
    return Print(symbol, price, 1.0, ts_init=NOON + round(seconds * S))


SPREAD = """
[spread]
metric = "market_data.*.spread_bps"
above = 10
clear = 5
for = "2s"
title = "{member}: {value:.0f} bps"
"""


def test_each_member_has_its_own_alert() -> None:
    system = System(SPREAD)
    system.publish(quote("AAPL", 101), quote("AMZN", 102), quote("MSFT"))
    for seconds in range(4):
        system.tick(seconds)
    assert system.drain() == [("spread/AAPL", "raised"), ("spread/AMZN", "raised")]
    assert [state.title for state in system.alerts.all()] == ["AMZN: 198 bps", "AAPL: 100 bps"]
    system.publish(quote("AAPL"))
    system.tick(4)
    assert system.drain() == [("spread/AAPL", "resolved")]


def test_rules_are_evaluated_once_per_second_of_the_host() -> None:
    system = System(SPREAD.replace("2s", "0s"))
    system.publish(quote("AAPL"))
    system.tick(0)
    system.publish(quote("AAPL", 101, 60))
    system.tick(60, host_seconds=0.9)
    assert system.drain() == []
    system.tick(61, host_seconds=1.0)
    assert system.drain() == [("spread/AAPL", "raised")]


def test_a_rule_whose_metric_did_not_change_is_not_evaluated_again_unless_it_is_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = System('[fills]\nmetric = "execution.fills_today"\nabove = 0\nfor = "3s"')
    observed: list[float] = []
    observe = RuleWatch.observe
    monkeypatch.setattr(
        RuleWatch, "observe", lambda self, *args: (observed.append(args[1] / S), observe(self, *args))[0]
    )
    for seconds in range(4):
        system.tick(seconds)
    assert len(observed) == 1
    observed.clear()
    system.publish(Fill("1", "AAPL", "buy", Decimal(1), Decimal(1), ts_init=NOON + 4 * S))
    for seconds in range(4, 9):
        system.tick(seconds)
    assert len(observed) == 5
    assert system.drain() == [("fills", "raised")]


def test_durations_of_event_metrics_go_by_the_event_clock() -> None:
    system = System(SPREAD.replace("2s", "60s"))
    system.publish(quote("AAPL", 101))
    system.tick(0, host_seconds=0)
    system.publish(quote("AAPL", 101, 60))
    system.tick(60, host_seconds=1)
    assert system.drain() == [("spread/AAPL", "raised")]


def test_durations_of_host_metrics_go_by_the_hosts_clock() -> None:
    rules = '[ticks]\nmetric = "server.ticks_late"\nabove = 0\nfor = "60s"\n'
    system = System(rules, {"ticks_late": lambda: 1})
    system.tick(0, host_seconds=0)
    system.tick(1_000, host_seconds=59)
    assert system.drain() == []
    system.tick(1_001, host_seconds=60)
    assert system.drain() == [("ticks", "raised")]


def test_a_metric_with_too_few_samples_does_not_raise() -> None:
    system = System("")
    orders = [Order(f"o{n}", "AAPL", "buy", Decimal(1), "rejected") for n in range(20)]
    system.publish(*orders[:19])
    for seconds in range(0, 30, 5):
        system.tick(seconds)
    assert system.rule("reject_rate")["value"] is None
    system.publish(orders[19])
    for seconds in range(30, 60, 5):
        system.tick(seconds)
    assert ("reject_rate", "raised") in system.drain()
    assert system.rule("reject_rate")["value"] == 1.0


def test_a_rule_can_watch_the_increase_of_a_counter() -> None:
    lost = 100
    rules = '[lost]\nmetric = "server.lost"\nincrease_over = "1m"\nabove = 20\nclear = 5\ntitle = "{value:g}"\n'
    system = System(rules, {"lost": lambda: lost})
    system.tick(0)
    lost = 120
    system.tick(1)
    assert system.drain() == []
    lost = 121
    system.tick(2)
    system.tick(60)
    assert system.drain() == [("lost", "raised")]
    assert system.alerts.all()[0].title == "21"
    system.tick(63)
    assert system.drain() == [("lost", "resolved")]


def test_a_user_metric_has_one_alert_per_set_of_labels() -> None:
    system = System('[depth]\nmetric = "metric.queue.depth"\nabove = 5\n')
    system.publish(Metric("queue.depth", 9.0, {"venue": "X"}), Metric("queue.depth", 1.0), Metric("other", 9.0))
    system.tick(0)
    assert system.drain() == [('depth/venue="X"', "raised")]


@pytest.mark.parametrize("document", [b"null", b"[]", b'{"depth":"9"}', b'{"depth":9,"n":"many"}', b'{"depth":[9]}'])
def test_any_document_of_a_custom_collector_can_be_evaluated(document: bytes) -> None:
    rules = '[depth]\nmetric = "queue.depth"\nabove = 5\nsamples = "n"\nmin_samples = 1\n'
    system = System(rules, custom={"queue": document})
    system.tick(0)
    assert system.drain() == []
    assert system.rule("depth")["value"] is None


def test_a_rule_can_watch_a_custom_collector() -> None:
    system = System('[depth]\nmetric = "queue.depth"\nabove = 5\n', custom={"queue": b'{"depth":9}'})
    system.tick(0)
    assert system.drain() == [("depth", "raised")]


def test_the_alert_of_a_member_that_is_gone_is_resolved() -> None:
    system = System('[big]\nmetric = "strategy.positions.*.quantity"\nabove = 50\nclear_for = "2s"\n')

    def fill(n: int, side: Any) -> Fill:
        return Fill(f"t{n}", "AAPL", side, Decimal(100), Decimal(10), "o", strategy="alpha")

    system.publish(fill(1, "buy"))
    system.tick(0)
    assert system.drain() == [("big/alpha/AAPL", "raised")]
    system.publish(fill(2, "sell"))
    system.tick(1)
    system.tick(2)
    assert system.drain() == []
    system.tick(3)
    assert system.drain() == [("big/alpha/AAPL", "resolved")]
    assert system.rule("big")["members"] == []


def test_an_acknowledged_alert_is_resolved_but_not_raised_again() -> None:
    value = 1.0
    system = System('[x]\nmetric = "server.x"\nabove = 0\n', {"x": lambda: value})
    system.tick(0)
    system.alerts.acknowledge(system.alerts.all()[0].alert_id, NOON)
    system.tick(1)
    value = 0.0
    system.tick(2)
    value = 1.0
    system.tick(3)
    assert [action for _, action in system.drain()] == ["raised", "acknowledged", "resolved", "raised"]
    assert system.alerts.all()[0].occurrence == 2


def test_a_persisting_problem_updates_the_alert_without_a_transition() -> None:
    system = System('[x]\nmetric = "server.x"\nabove = 0\n', {"x": lambda: 1})
    for seconds in range(5):
        system.tick(seconds)
    assert system.drain() == [("x", "raised")]
    assert system.alerts.all()[0].last_seen_ns == NOON + 4 * S


def test_null_neither_raises_nor_resolves() -> None:
    value: float | None = None
    system = System('[x]\nmetric = "server.x"\nbelow = 1\n', {"x": lambda: value})
    system.tick(0)
    assert system.drain() == []
    value = 0.0
    system.tick(1)
    value = None
    system.tick(2)
    assert system.drain() == [("x", "raised")]
    assert system.rule("x")["state"] == "raised"


def test_a_missing_metric_can_raise() -> None:
    rules = '[price]\nmetric = "market_data.AAPL.bid"\nbelow = 0\nabsent = "raise"\nfor = "5s"\ntitle = "{value}"\n'
    system = System(rules)
    system.tick(0)
    system.tick(5)
    assert system.drain() == [("price", "raised")]
    assert system.alerts.all()[0].title == "undefined"
    system.publish(quote("AAPL", seconds=6))
    system.tick(6)
    assert system.drain() == [("price", "resolved")]


def test_a_metric_that_does_not_exist_is_logged_once_with_similar_ones(caplog: pytest.LogCaptureFixture) -> None:
    rules = """
[a]
metric = "strategy.drawdwn"
above = 1
[b]
metric = "stratgy.drawdown"
above = 1
[c]
metric = "execution.reject_rate"
above = 1
samples = "order_today"
min_samples = 2
[d]
metric = "market_data.*.bit"
above = 1
[e]
metric = "market_data.NONE.bid"
above = 1
[f]
metric = "metric.none"
above = 1
[g]
metric = "system.health"
above = 1
"""
    system = System(rules)
    with caplog.at_level(logging.WARNING):
        for seconds in range(3):
            system.tick(seconds)
        system.publish(quote("AAPL"), Order("o", "AAPL", "buy", Decimal(1), "rejected"))
        system.collectors.system.fields.offer({"health": "healthy"})
        system.rules.evaluate(NOON, 0)
        for seconds in range(3, 6):
            system.tick(seconds)
    messages = {message.split("'")[1]: message for message in map(logging.LogRecord.getMessage, caplog.records)}
    assert len(caplog.records) == len(messages) == 5
    assert "there is no metric strategy.drawdwn; did you mean strategy.drawdown" in messages["a"]
    assert "there is no metric stratgy.drawdown; did you mean strategy.drawdown?" in messages["b"]
    assert "there is no metric execution.order_today; did you mean execution.orders_today" in messages["c"]
    assert "there is no metric market_data.*.bit; did you mean market_data.*.bid" in messages["d"]
    assert "system.health is 'healthy', not a number" in messages["g"]


def test_the_metric_of_every_built_in_rule_exists(caplog: pytest.LogCaptureFixture) -> None:
    names = (
        "websocket_disconnects",
        "ticks_missed",
        "tick_ms",
        "events_ahead",
        "clock_set_back_seconds",
        "store_fault",
    )
    figures: dict[str, Figure] = {name: lambda: 0 for name in names}
    system = System("", figures)
    system.publish(quote("AAPL"), Order("o", "AAPL", "buy", Decimal(1), "rejected"))
    system.tick(0)
    assert caplog.records == []


def restarted(before: System, rules: str) -> System:
    system = System(rules)
    system.collectors.system.load(before.collectors.system.save())
    system.publish(quote("AAPL", 101))
    return system


def test_an_alert_raised_before_a_restart_is_only_resolved_after_it() -> None:
    before = System(SPREAD)
    before.publish(quote("AAPL", 101))
    before.tick(0)
    before.tick(2)
    system = restarted(before, SPREAD)
    for seconds in range(3, 9):
        system.tick(seconds)
    assert system.drain() == []
    assert system.rule("spread")["state"] == "raised"
    system.publish(quote("AAPL", seconds=9))
    system.tick(9)
    assert system.drain() == [("spread/AAPL", "resolved")]


def test_a_pending_duration_starts_again_after_a_restart() -> None:
    before = System(SPREAD)
    before.publish(quote("AAPL", 101))
    before.tick(0)
    before.tick(1)
    system = restarted(before, SPREAD)
    system.tick(2)
    system.tick(3)
    assert system.drain() == []
    system.tick(4)
    assert system.drain() == [("spread/AAPL", "raised")]


def test_the_alert_of_a_rule_that_is_gone_is_resolved() -> None:
    before = System(SPREAD)
    before.publish(quote("AAPL", 101))
    before.tick(0)
    before.tick(2)
    system = restarted(before, SPREAD.replace("[spread]", "[other]").replace("above = 10", "above = 1000"))
    system.tick(3)
    assert system.drain() == [("spread/AAPL", "resolved")]


def test_a_rule_shows_its_settings_state_and_members() -> None:
    system = System(SPREAD)
    system.publish(quote("AAPL", 101), quote("MSFT"))
    system.tick(0)
    value = system.rule("spread")["members"][0]["value"]
    assert system.rule("spread") == {
        "rule": "spread",
        "metric": "market_data.*.spread_bps",
        "above": 10,
        "clear": 5,
        "for": "2s",
        "clear_for": "0s",
        "increase_over": None,
        "samples": None,
        "min_samples": None,
        "severity": "warning",
        "absent": "ignore",
        "state": "pending",
        "value": None,
        "waiting": None,
        "n_members": 2,
        "members": [{"member": "AAPL", "state": "pending", "value": value}],
    }
    assert value == pytest.approx(99.5, abs=0.01)


def test_a_stale_feed_raises_by_the_built_in_rules() -> None:
    system = System("")
    system.publish(quote("AAPL"), quote("AMZN"))
    for tenths in range(0, 700, 5):
        system.publish(quote("AMZN", seconds=tenths / 10))
        system.tick(tenths / 10)
    assert system.drain() == [("stale_feed/AAPL", "raised")]
    assert system.alerts.all()[0].title == "AAPL is stale"
    raised_ns = system.alerts.all()[0].first_seen_ns
    assert 0 < raised_ns - NOON - 65 * S <= S + 500 * NS_PER_MS


def test_the_built_in_rules_watch_each_live_source() -> None:
    system = System("")
    sources = {name: {"state": "connected", "gaps": 7} for name in ("zmq://a:1", "zmq://b:1")}
    system.collectors.system.show_sources(lambda: sources)

    def tick(seconds: int) -> list[tuple[str, str]]:
        # Without a started collector only an input makes the section new.
        system.publish(Metric("m", 1.0))
        system.tick(seconds)
        return [(key, action) for key, action in system.drain() if key.startswith("source_")]

    assert tick(0) == []
    sources["zmq://a:1"]["state"] = "silent"
    sources["zmq://b:1"].update(state="failed", gaps=9)
    assert tick(1) == [("source_silent/zmq://a:1", "raised"), ("source_gaps/zmq://b:1", "raised")]
    assert [event for seconds in range(2, 31) for event in tick(seconds)] == []
    assert tick(31) == [("source_disconnected/zmq://b:1", "raised")]
    assert [state.title for state in system.alerts.all() if state.rule == "source_silent"] == [
        "zmq://a:1 is connected but silent"
    ]
    for source in sources.values():
        source["state"] = "connected"
    resolved = [event for seconds in range(32, 400) for event in tick(seconds)]
    assert sorted(resolved) == [
        ("source_disconnected/zmq://b:1", "resolved"),
        ("source_gaps/zmq://b:1", "resolved"),
        ("source_silent/zmq://a:1", "resolved"),
    ]


# -- rules that look back


def test_a_value_far_from_its_own_history_raises_although_the_rule_is_new() -> None:
    rules = '[odd]\nmetric = "market_data.*.last_price"\ndeviation_over = "6h"\nabove = 4\n'
    system = System('[none]\nmetric = "server.x"\nabove = 1\n')
    for minute in range(120):
        system.publish(trade("AAPL", 100 + minute % 3, 60 * minute))
        system.tick(60 * minute)
    system.change_rules(rules)
    system.publish(trade("AAPL", 101, 7_200))
    system.tick(7_200)
    system.tick(7_201)
    assert system.rule("odd")["waiting"] is None
    assert system.drain() == []
    system.publish(trade("AAPL", 120, 7_202))
    system.tick(7_202)
    assert system.drain() == [("odd/AAPL", "raised")]
    (alert,) = system.alerts.all()
    assert isinstance(alert.value, float) and alert.value > 20
    assert alert.title.startswith("odd: market_data.*.last_price is 120, 2")


def test_a_value_without_enough_history_does_not_raise_and_says_why() -> None:
    system = System('[odd]\nmetric = "metric.x"\ndeviation_over = "6h"\nabove = 4\n')
    for minute in range(20):
        system.publish(Metric("x", float(minute % 2)))
        system.tick(60 * minute)
    system.publish(Metric("x", 1e9))
    system.tick(1200)
    assert system.drain() == []
    assert system.rule("odd")["waiting"] == "21 of 30 samples of its history, one per 1m (1 of 1)"


def test_an_alert_outlives_a_restart_after_which_its_history_is_not_known() -> None:
    rules = '[fall]\nmetric = "metric.x"\nchange_over = "5m"\nbelow = -10\n'
    system = System(rules)
    for seconds in range(301):
        system.publish(Metric("x", 100.0 if seconds < 300 else 80.0))
        system.tick(seconds)
    assert system.drain() == [("fall", "raised")]
    after = restarted(system, rules)
    for seconds in range(302, 500):
        after.publish(Metric("x", 80.0))
        after.tick(seconds)
    assert after.drain() == []
    assert after.rule("fall")["state"] == "raised"
    assert after.rule("fall")["waiting"] == "197s of 5m seen (1 of 1)"
    for seconds in range(500, 620):
        after.tick(seconds)
    assert after.drain() == [("fall", "resolved")]


def test_every_tick_counts_for_an_objective_of_the_server() -> None:
    took_ms = 10.0
    rules = """
[slow]
metric = "server.tick_ms"
above = 50
objective = 99
burn_rate = 10
burn_over = "12m"
"""
    system = System(rules, {"tick_ms": lambda: took_ms})
    # Every tenth tick is slow, and never one with which rules are evaluated.
    for n in range(1_200):
        took_ms = 60.0 if n % 10 == 5 else 10.0
        system.tick(n / 10)
    assert system.drain() == []
    assert system.rule("slow")["value"] == pytest.approx(10 * 120 / 720, rel=0.05)
    for n in range(1_200, 9_000):
        took_ms = 60.0 if n % 5 == 3 else 10.0
        system.tick(n / 10)
    assert system.drain() == [("slow", "raised")]
    for n in range(9_000, 9_700):
        took_ms = 10.0
        system.tick(n / 10)
    assert system.drain() == [("slow", "resolved")]


def test_an_objective_can_be_about_two_counters() -> None:
    rules = """
[rejects]
metric = "execution.rejected"
total = "orders_today"
objective = 90
burn_rate = 2.5
burn_over = "2m"
"""
    system = System(rules)

    def send(start: int, end: int, is_rejected: Callable[[int], bool]) -> None:
        for n in range(start, end):
            status: Any = "rejected" if is_rejected(n) else "new"
            system.publish(Order(f"o{n}", "AAPL", "buy", Decimal(1), status, ts_init=NOON + n * S))
            system.tick(n)

    send(0, 120, lambda n: n % 10 == 0)
    assert system.drain() == []
    send(120, 180, lambda n: n % 2 == 0)
    assert system.drain() == [("rejects", "raised")]
    system.tick(195)
    assert system.rule("rejects")["waiting"] == "nothing was counted for 10s"
    assert system.drain() == []
    send(196, 200, lambda _: False)
    assert system.drain() == [("rejects", "resolved")]


@pytest.mark.parametrize("metric", ["metric.beat", "metric.other"])
def test_a_metric_that_no_longer_comes_or_never_came_raises(metric: str) -> None:
    system = System(f'[quiet]\nmetric = "{metric}"\nabsent_for = "1m"\n')
    system.publish(Metric("beat", 1.0, ts_init=NOON))
    for seconds in range(60):
        system.tick(seconds)
    assert system.drain() == []
    system.tick(60)
    assert system.drain() == [("quiet", "raised")]
    assert system.alerts.all()[0].title == f"quiet: nothing from {metric} for 60 s"
    system.publish(Metric(metric.removeprefix("metric."), 1.0, ts_init=NOON + 61 * S))
    system.tick(61)
    assert system.drain() == [("quiet", "resolved")]


def test_a_value_that_stands_still_raises_and_the_same_value_again_is_no_change() -> None:
    system = System('[stuck]\nmetric = "metric.x"\nunchanged_for = "30s"\n')
    for seconds in range(31):
        system.publish(Metric("x", 5.0, ts_init=NOON + seconds * S))
        system.tick(seconds)
    assert system.drain() == [("stuck", "raised")]
    system.publish(Metric("x", 6.0, ts_init=NOON + 31 * S))
    system.tick(31)
    assert system.drain() == [("stuck", "resolved")]


def test_measures_of_members_that_are_gone_are_not_kept() -> None:
    system = System('[big]\nmetric = "strategy.positions.*.quantity"\nchange_over = "1m"\nabove = 5\n')
    for n in range(50):
        for side in ("buy", "sell"):
            system.publish(
                Fill(f"{side}{n}", f"S{n % 8}", side, Decimal(1), Decimal(10), f"o{n}", strategy=f"s{n}")  # type: ignore[arg-type]
            )
            system.tick(2 * n + (side == "sell"))
    assert len(system.rules._watches["big"]._measures) <= 1


def test_an_alert_about_what_is_not_known_yet_after_a_restart_is_not_over_before_an_hour() -> None:
    before = System(SPREAD)
    before.publish(quote("MSFT", 101))
    before.tick(0)
    before.tick(2)
    for seconds, is_raised in ((3_600, True), (3_604, False)):
        after = restarted(before, SPREAD)
        after.tick(3)
        after.tick(seconds)
        raised = [each["member"] for each in after.rule("spread")["members"]]
        assert ("MSFT" in raised) is is_raised
    after = restarted(before, SPREAD)
    after.tick(3)
    after.publish(quote("MSFT", seconds=4))
    after.tick(4)
    assert after.drain() == [("spread/MSFT", "resolved")]


def test_an_alert_about_what_does_not_come_is_over_after_a_restart_only_when_it_comes() -> None:
    rules = '[quiet]\nmetric = "market_data.*.bid"\nabsent_for = "1m"\n'
    before = System(rules)
    before.publish(trade("MSFT", 100.0, 0))
    before.tick(0)
    before.tick(60)
    assert before.drain() == [("quiet/MSFT", "raised")]
    after = restarted(before, rules)
    for seconds in (61, 3_700, 7_300):
        after.publish(quote("AAPL", seconds=seconds))
        after.tick(seconds)
    assert after.drain() == []
    after.publish(quote("MSFT", seconds=7_301))
    after.tick(7_301)
    assert after.drain() == [("quiet/MSFT", "resolved")]


def test_a_metric_that_is_a_text_is_not_absent() -> None:
    system = System('[phase]\nmetric = "market_data.*.updated"\nabsent_for = "10s"\n')
    system.publish(quote("AAPL"))
    for seconds in range(12):
        system.tick(seconds)
    assert system.drain() == []


def test_an_alert_about_a_position_that_is_gone_is_over_after_a_restart() -> None:
    rules = '[big]\nmetric = "strategy.positions.*.quantity"\nabove = 50\n'
    before = System(rules)
    before.publish(Fill("t1", "AAPL", "buy", Decimal(100), Decimal(10), "o", strategy="alpha"))
    before.tick(0)
    assert before.drain() == [("big/alpha/AAPL", "raised")]
    after = restarted(before, rules)
    after.tick(1)
    assert after.drain() == [("big/alpha/AAPL", "resolved")]


class Minutes:
    """A store in miniature: the minutes of five days, of which each noon is busy. It cannot be read at times."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_readable = True

    async def read(
        self, series: Series, columns: Sequence[Column], start_ns: int, end_ns: int, spacing_ns: int
    ) -> Block:
        self.asked.append(series.key)
        await asyncio.sleep(0)
        if not self.is_readable:
            raise StoreError("the disk is gone")
        block = Block.empty(1)
        for minute in range(-5 * 24 * 60, 0):
            is_noon = minute // 60 % 24 == 0
            block.times.append(NOON + minute * 60 * S)
            block.columns[0].append((1_000 if is_noon else 0) + minute % 3)
        assert (end_ns - start_ns, spacing_ns) == (7 * 24 * 3_600 * S, 60 * S)
        assert columns == [Column(0, LAST)]
        return block


OF_NOON = """
[odd]
metric = "market_data.*.last_price"
deviation_over = "168h"
time_of_day = "1h"
below = -4
"""


def test_the_history_of_earlier_days_is_read_from_the_store_for_one_member_after_the_other() -> None:
    async def scenario() -> None:
        system, minutes = System('[none]\nmetric = "server.x"\nabove = 1\n'), Minutes()
        system.change_rules(OF_NOON, minutes)
        system.publish(trade("AAPL", 1_001, 0), trade("MSFT", 1, 0))
        for seconds in range(4):
            system.tick(seconds)
            await asyncio.sleep(0)
            assert len(minutes.asked) <= seconds
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert sorted(minutes.asked) == ["AAPL", "MSFT"]
        system.tick(4)
        # It is noon, at which a price of 1 is odd and one of 1001 is not.
        assert system.drain() == [("odd/MSFT", "raised")]
        assert system.rule("odd")["waiting"] is None
        await system.rules.stop()

    asyncio.run(scenario())


def test_a_store_that_cannot_be_read_costs_the_history_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        system, minutes = System('[none]\nmetric = "server.x"\nabove = 1\n'), Minutes()
        minutes.is_readable = False
        system.change_rules(OF_NOON, minutes)
        system.publish(trade("AAPL", 1_001, 0))
        for seconds in range(3):
            system.tick(seconds)
            for _ in range(3):
                await asyncio.sleep(0)
        assert system.rule("odd")["waiting"] == "this time of 0 earlier days is known, of 3 needed (1 of 1)"
        await system.rules.stop()

    asyncio.run(scenario())
    assert "the history of AAPL is not known: the disk is gone" in caplog.text


def test_a_small_increase_does_not_raise_before_its_window_was_seen() -> None:
    rules = '[idle]\nmetric = "server.events"\nincrease_over = "1m"\nat_most = 0\n'
    system = System(rules, {"events": lambda: 7})
    for seconds in range(60):
        system.tick(seconds)
    assert system.drain() == []
    assert system.rule("idle")["waiting"] == "59s of 1m seen"
    system.tick(60)
    assert system.drain() == [("idle", "raised")]


def test_an_increase_that_raised_before_a_restart_is_over_once_its_window_was_seen() -> None:
    rules = '[lost]\nmetric = "server.lost"\nincrease_over = "1m"\nabove = 5\n'
    lost = 0
    before = System(rules, {"lost": lambda: lost})
    before.tick(0)
    lost = 9
    before.tick(1)
    assert before.drain() == [("lost", "raised")]
    after = System(rules, {"lost": lambda: 0})
    after.collectors.system.load(before.collectors.system.save())
    for seconds in range(2, 62):
        after.tick(seconds)
    assert after.drain() == []
    after.tick(62)
    assert after.drain() == [("lost", "resolved")]
