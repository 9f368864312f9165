"""The system section: measured figures, alerts, components and the engine's log."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.events import Alert, Heartbeat, Log
from observability.history.history import History
from observability.history.layout import Budget
from observability.memory.counters import Counters
from observability.metrics import SystemCollector
from observability.metrics.system.host_sampler import HostSample, HostSampler
from observability.metrics.system_collector import SERIES_FIELDS, SystemSettings
from observability.snapshot.hub import Hub
from server_process import TIMEOUT_SECONDS

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000

FAST = SystemSettings(sample_interval_seconds=0.01)

FIGURES = (
    "cpu_percent", "memory_percent", "memory_limit_bytes", "disk_percent", "process_rss_bytes", "process_cpu_percent",
    "num_fds", "threads",
)  # fmt: skip


class FailingSampler(HostSampler):
    """A sampler that fails after the first sample."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.calls = 0

    def sample(self) -> HostSample:
        self.calls += 1
        if self.calls > 1:
            raise OSError("the host does not answer")
        return super().sample()


def idle(clock: FakeClock | None = None, **settings: Any) -> tuple[Bus, SystemCollector]:
    """A collector that receives events but was never started, so that nothing is sampled."""
    bus = Bus()
    collector = SystemCollector(bus=bus, clock=clock or FakeClock(NOON), **settings)
    for kind, handler in collector._handlers().items():
        bus.subscribe(kind, handler)
    return bus, collector


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, TIMEOUT_SECONDS))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the condition becomes true in a thread, which sets no event
        await asyncio.sleep(0.005)


def shown(collector: SystemCollector, now_ns: int = NOON) -> dict[str, Any]:
    collector.refresh(now_ns)
    return collector.fields.to_json()


def alert(title: str = "Feed lost", **changes: Any) -> Alert:
    fields: dict[str, Any] = {"severity": "warning", "ts": NOON, "ts_init": NOON}
    return Alert(title=title, **(fields | changes))


def test_the_figures_are_none_before_the_first_sample() -> None:
    _, collector = idle()
    metrics = shown(collector)
    assert [metrics[name] for name in (*FIGURES, "event_loop_lag_ms", "uptime_seconds", "health")] == [None] * 11
    assert collector.last_input_ns is None


def test_a_started_collector_has_every_figure(tmp_path: Path) -> None:
    async def main() -> None:
        collector = SystemCollector(bus=Bus(), settings=SystemSettings(data_dir=tmp_path))
        await collector.start()
        metrics = await collector.get_current_metrics()
        await collector.stop()
        assert all(isinstance(metrics[name], int | float) for name in FIGURES)
        assert metrics["uptime_seconds"] == 0
        assert metrics["health"] in ("healthy", "degraded", "unhealthy")
        assert orjson.loads(orjson.dumps(metrics)) == metrics

    run(main())


def test_sampling_ends_with_the_stop_and_leaves_no_thread() -> None:
    async def main() -> None:
        collector = SystemCollector(bus=Bus(), settings=FAST)
        await collector.start()
        shown(collector)
        first = collector.sample
        await until(lambda: shown(collector) and collector.sample is not first)
        await collector.stop()

    others = set(threading.enumerate())
    run(main())
    # The stop does not wait for a sample in progress, after which the thread ends by itself.
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith("host-sampler"):
            thread.join(60)
            assert not thread.is_alive()


def test_sampling_does_not_block_the_loop() -> None:
    released = threading.Event()

    class WaitingSampler(HostSampler):
        def sample(self) -> HostSample:
            assert released.wait(60), "the loop did not run while the sample was taken"
            return super().sample()

    async def main() -> None:
        collector = SystemCollector(bus=Bus(), sampler=WaitingSampler(Path(".")))
        asyncio.get_running_loop().call_later(0.01, released.set)
        await collector.start()
        await collector.stop()
        assert collector.sample_failures == 0

    run(main())


def test_a_blocked_loop_shows_as_lag() -> None:
    async def main() -> None:
        clock = HostClock()
        collector = SystemCollector(bus=Bus(), clock=clock, settings=FAST)
        hub = Hub(0.01, Bus(), clock, EventClock(clock), [collector], {}, Counters())
        collector.measure_lag(hub.take_lag_ms)
        lags = [0.0]
        hub.add_frame_listener(lambda _: lags.append(collector.fields.to_json()["event_loop_lag_ms"] or 0.0))
        await hub.start()
        time.sleep(0.2)  # noqa: ASYNC251 - the test blocks the loop on purpose
        await until(lambda: max(lags) >= 100)
        await hub.stop()
        assert max(lags) < 5_000

    run(main())


def test_the_last_lag_stays_while_nothing_is_measured() -> None:
    async def main() -> None:
        collector = SystemCollector(bus=Bus(), settings=FAST)
        lags = [12.3456, None]
        collector.measure_lag(lambda: lags.pop(0) if lags else None)
        await collector.start()
        assert shown(collector)["event_loop_lag_ms"] == 12.346
        first = collector.sample
        await until(lambda: shown(collector) and collector.sample is not first)
        assert shown(collector)["event_loop_lag_ms"] == 12.346
        await collector.stop()

    run(main())


def test_failing_samples_keep_the_last_figures_and_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        sampler = FailingSampler(Path("."))
        collector = SystemCollector(bus=Bus(), sampler=sampler, settings=FAST)
        await collector.start()
        await until(lambda: collector.sample_failures >= 3)
        assert shown(collector)["process_rss_bytes"] > 0
        await collector.stop()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert len(caplog.records) == 1


def test_uptime_changes_the_section_only_once_per_second() -> None:
    async def main() -> None:
        clock = FakeClock(NOON)
        collector = SystemCollector(bus=Bus(), clock=clock, settings=SystemSettings(sample_interval_seconds=3600))
        await collector.start()
        versions = []
        for elapsed_ns in (0, S // 2, S, 3 * S // 2):
            clock.now_ns = NOON + elapsed_ns
            shown(collector, clock.now_ns)
            versions.append(collector.fields.version)
        await collector.stop()
        assert versions[0] == versions[1] != versions[2] == versions[3]
        assert collector.fields.to_json()["uptime_seconds"] == 1

    run(main())


def test_alerts_of_one_key_are_one_alert() -> None:
    bus, collector = idle()
    bus.publish_all([alert(key="feed"), alert("Feed lost again", key="feed", severity="critical"), alert("Other")])
    metrics = shown(collector)
    assert (metrics["active_alerts"], metrics["critical_alerts"]) == (2, 1)
    other, feed = (state.to_json() for state in collector.alert_book.active())
    assert (feed["title"], feed["severity"], feed["count"], other["key"]) == ("Feed lost again", "critical", 2, "Other")


def test_an_acknowledged_alert_is_active_again_after_another_event() -> None:
    bus, collector = idle()
    bus.publish(alert())
    (state,) = collector.alert_book.active()
    assert collector.alert_book.acknowledge(state.alert_id, NOON + S) is state
    assert shown(collector)["active_alerts"] == 0
    assert collector.alert_book.acknowledge(state.alert_id, NOON + 9 * S) is state
    assert state.to_json()["acknowledged"] == "2012-06-21T12:00:01.000Z"
    assert [known.alert_id for known in collector.alert_book.all()] == [state.alert_id]
    bus.publish(alert())
    assert shown(collector)["active_alerts"] == 0
    bus.publish(alert(ts=NOON + 2 * S))
    assert shown(collector)["active_alerts"] == 1


def test_an_unknown_alert_cannot_be_acknowledged() -> None:
    _, collector = idle()
    assert collector.alert_book.acknowledge("0123456789abcdef", NOON) is None


def test_alerts_are_bounded_and_acknowledged_ones_are_dropped_first(caplog: pytest.LogCaptureFixture) -> None:
    bus, collector = idle(settings=SystemSettings(max_alerts=2))
    bus.publish_all([alert("a"), alert("b")])
    collector.alert_book.acknowledge(collector.alert_book.active()[0].alert_id, NOON)
    bus.publish(alert("c"))
    assert [state.title for state in collector.alert_book.all()] == ["c", "a"]
    assert caplog.records == []
    bus.publish(alert("d"))
    assert [state.title for state in collector.alert_book.all()] == ["d", "c"]
    assert len(caplog.records) == 1


def test_a_component_with_an_overdue_heartbeat_is_silent() -> None:
    async def main() -> None:
        clock = FakeClock(NOON)
        bus = Bus()
        collector = SystemCollector(bus=bus, clock=clock, settings=SystemSettings(component_silent_after_seconds=30.0))
        await collector.start()
        bus.publish(Heartbeat("feed", "ok", "3 streams", ts=NOON, ts_init=NOON))
        assert "component feed is silent" not in shown(collector, NOON + 30 * S)["health_reasons"]
        clock.now_ns = NOON + 31 * S
        assert "component feed is silent" in shown(collector, clock.now_ns)["health_reasons"]
        assert collector.components(clock.now_ns) == {
            "feed": {
                "status": "silent",
                "detail": "3 streams",
                "last_seen": "2012-06-21T12:00:00.000Z",
                "age_seconds": 31.0,
                "reason": "no heartbeat for more than 30 s",
            }
        }
        await collector.stop()

    run(main())


def test_a_component_beyond_the_limit_replaces_the_longest_silent_one() -> None:
    bus, collector = idle(settings=SystemSettings(max_components=2))
    for name in ("a", "b", "a", "c"):
        bus.publish(Heartbeat(name, ts=NOON, ts_init=NOON))
    assert list(collector.components(NOON)) == ["a", "c"]


def test_a_degraded_component_has_a_reason() -> None:
    bus, collector = idle()
    bus.publish(Heartbeat("feed", "ok", "3 streams", ts=NOON, ts_init=NOON))
    bus.publish(Heartbeat("risk", "degraded", "limits unknown", ts=NOON, ts_init=NOON))
    bus.publish(Heartbeat("gateway", "down", ts=NOON, ts_init=NOON))
    reasons = {name: component["reason"] for name, component in collector.components(NOON).items()}
    assert reasons == {"feed": None, "gateway": "its heartbeat says down", "risk": "limits unknown"}


def test_a_fault_of_a_part_degrades_the_health() -> None:
    _, collector = idle()
    fault: list[str] = []
    collector.add_health_reason("store", lambda: fault[0] if fault else None)
    assert shown(collector)["health_reasons"] == []
    fault.append("disk full")
    collector.on_log(Log("info", "hello", ts=NOON, ts_init=NOON))
    assert shown(collector)["health_reasons"] == ["store: disk full"]
    assert (collector.health_reason("store"), collector.health_reason("other")) == ("disk full", None)


def test_a_heartbeat_does_not_count_as_an_input() -> None:
    bus, collector = idle()
    bus.publish(Heartbeat("feed", ts=NOON, ts_init=NOON))
    assert collector.last_input_ns is None
    bus.publish(Log("info", "hello", ts=NOON, ts_init=NOON))
    assert collector.last_input_ns == NOON


def test_the_engines_log_lines_keep_their_times_and_fields() -> None:
    bus, collector = idle()
    bus.publish(Log("critical", "no route", "engine", {"n": 4}, ts=NOON + 4 * S, ts_init=NOON))
    (line,) = collector.engine_log.newest()
    assert orjson.loads(b"{%b}" % line.members) == {
        "timestamp": "2012-06-21T12:00:04.000Z",
        "received": "2012-06-21T12:00:00.000Z",
        "level": "CRITICAL",
        "logger": "engine",
        "message": "no route",
        "fields": {"n": 4},
    }


def test_each_tick_records_one_row() -> None:
    async def main() -> None:
        history = History(Budget({len(SERIES_FIELDS): 1}, {}))
        collector = SystemCollector(bus=Bus(), history=history)
        collector.measure_lag(lambda: 0.5)
        collector.refresh(NOON)
        await collector.start()
        collector.refresh(NOON + S)
        await collector.stop()
        first, then = history.series()[0].rings[0].copy_rows(0, NOON + 2 * S)
        assert all(math.isnan(value) for value in first.payload)
        assert not any(math.isnan(value) for value in then.payload)

    run(main())


def test_a_stopped_collector_can_be_started_again() -> None:
    async def main() -> None:
        bus = Bus()
        collector = SystemCollector(bus=bus, clock=HostClock())
        for expected in (1, 2):
            await collector.start()
            bus.publish(alert(str(expected)))
            await collector.stop()
            bus.publish(alert("after the stop"))
            assert len(collector.alert_book.all()) == expected

    run(main())
