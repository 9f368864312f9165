"""What becomes of the transitions of alerts: one notice for each route that takes them, in order, and tried again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from queue import Queue
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from event_loops import in_loop
from fake_clock import START_NS, FakeClock
from observability.events import Alert
from observability.memory.counters import Counters
from observability.metrics.alerts.book import Action, AlertBook, AlertState, transition_document
from observability.notify.delivery import DeliveryFailed
from observability.notify.notice import Message, Notice
from observability.notify.notifier import Notifier
from observability.notify.outbox import Outbox
from observability.notify.route import FAULT_PREFIX, QuietHours, Route
from observability.notify.silences import Silence

MINUTE_NS = 60 * 10**9
TIMEOUT_SECONDS = 60


class Channel:
    """Takes messages, or fails as a test says."""

    place = "test://"
    is_batched = False

    def __init__(self, repeat_ns: int = 0) -> None:
        self.repeat_ns = repeat_ns
        self.taken: Queue[Message] = Queue()
        self.failures: list[DeliveryFailed] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def send(self, message: Message) -> None:
        assert self.may_go.wait(TIMEOUT_SECONDS)
        if self.failures:
            raise self.failures.pop(0)
        self.taken.put(message)


class Desk:
    """An alert book and a notifier, with a journal in between that commits at once or when told."""

    def __init__(self, *routes: Route, repeat_ns: int = 0) -> None:
        self.clock = FakeClock()
        self.book = AlertBook(100)
        self.channels = {route.name: Channel(repeat_ns) for route in routes}
        self.written: list[Notice] = []
        self.rows: dict[str, tuple[str, int]] = {}
        self.notifier = Notifier(
            routes, self.book, self.clock, self.clock, Counters(), self._write, lambda route: self.channels[route.name]
        )
        self.commits = True
        self.seq = 0
        self.book.add_transition_listener(self._on_transition)

    def _write(self, notice: Notice) -> None:
        self.rows[notice.key] = notice.state, notice.attempts

    def _on_transition(self, state: AlertState, action: Action) -> None:
        self.seq += 1
        self.notifier.on_transition(self.seq, transition_document(state, action), action)
        if self.commits:
            self.notifier.on_committed(self.seq)

    def event(self, key: str = "k", state: str = "raised", severity: str = "critical") -> None:
        now_ns = self.clock.now_ns
        self.book.note(Alert(severity, f"title {key}", "", key, state, ts=now_ns, ts_init=now_ns))

    def acknowledge(self) -> None:
        for state in self.book.active():
            self.book.acknowledge(state.alert_id, self.clock.now_ns)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.notifier.on_committed(0)

    async def take(self, route: str = "r") -> list[tuple[str, str]]:
        """Waits for the next message; returns kind and key of each notice."""
        message = await asyncio.to_thread(self.channels[route].taken.get, timeout=TIMEOUT_SECONDS)
        return [(notice.kind, notice.document["key"]) for notice in message.notices]

    async def until(self, condition: Callable[[], bool], step_seconds: float = 0.0) -> None:
        """Waits until a condition is true, and lets the clock go on by steps meanwhile, if they have a length."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                if step_seconds:
                    self.pass_time(step_seconds)
                # No event tells.
                await asyncio.sleep(0.001)

    def due_ns(self) -> int:
        """Returns when the first notice that waits is due."""
        return self.notifier._outboxes["r"].pending[0].due_ns

    def would_send_in(self, seconds: int) -> bool:
        """Returns whether the first route has something to send so much later."""
        return bool(self.notifier._outboxes["r"].ready(self.clock.now_ns + seconds * 10**9))

    def route(self, name: str = "r") -> dict[str, Any]:
        routes: list[dict[str, Any]] = self.notifier.to_json()["routes"]
        return next(each for each in routes if each["route"] == name)


@asynccontextmanager
async def running(*routes: Route, repeat_ns: int = 0) -> AsyncIterator[Desk]:
    desk = Desk(*routes, repeat_ns=repeat_ns)
    desk.notifier.start()
    try:
        yield desk
    finally:
        await desk.notifier.stop()


def route(name: str = "r", **fields: Any) -> Route:
    return Route(name=name, to="test://", **fields)


@in_loop
async def test_an_alert_and_its_end_are_delivered_in_order() -> None:
    async with running(route()) as desk:
        desk.event()
        desk.event(state="resolved")
        assert await desk.take() == [("raised", "k")]
        assert await desk.take() == [("resolved", "k")]


@in_loop
async def test_further_events_of_an_active_alert_are_no_news() -> None:
    async with running(route()) as desk:
        desk.event(severity="warning")
        desk.event(severity="warning")
        desk.event(severity="critical")
        desk.event("other")
        taken = [(await desk.take())[0] for _ in range(3)]
        assert taken == [("raised", "k"), ("raised", "k"), ("raised", "other")]


@in_loop
async def test_an_alert_that_comes_again_after_its_acknowledgement_is_news() -> None:
    async with running(route()) as desk:
        desk.event()
        assert await desk.take() == [("raised", "k")]
        desk.acknowledge()
        # The same event sent again, of the same time, would be no news.
        desk.pass_time(1)
        desk.event()
        assert await desk.take() == [("raised", "k")]


@in_loop
async def test_nothing_is_delivered_before_its_transition_is_on_disk() -> None:
    async with running(route()) as desk:
        desk.commits = False
        desk.event("first")
        desk.commits = True
        desk.event("second")
        assert await desk.take() == [("raised", "second")]
        desk.notifier.on_committed(1)
        assert await desk.take() == [("raised", "first")]


@in_loop
async def test_the_end_of_an_alert_goes_to_those_who_were_told_of_it() -> None:
    async with running(route("all"), route("critical", severity="critical")) as desk:
        desk.event(severity="warning")
        desk.event(severity="warning", state="resolved")
        desk.event("late")
        assert [(await desk.take("all"))[0] for _ in range(3)] == [
            ("raised", "k"), ("resolved", "k"), ("raised", "late")
        ]  # fmt: skip
        assert await desk.take("critical") == [("raised", "late")]


@in_loop
async def test_a_failed_delivery_is_tried_again_and_what_comes_after_it_waits() -> None:
    async with running(route()) as desk:
        desk.channels["r"].failures = [DeliveryFailed("no network")] * 2
        desk.event()
        await desk.until(lambda: desk.route()["last_error"] is not None)
        desk.event(state="resolved")
        await desk.until(lambda: not desk.channels["r"].failures, step_seconds=400)
        desk.pass_time(400)
        assert await desk.take() == [("raised", "k")]
        assert await desk.take() == [("resolved", "k")]
        await desk.until(lambda: desk.route()["state"] == "ok")
        assert sorted(desk.rows.values()) == [("delivered", 1), ("delivered", 3)]


@in_loop
async def test_a_pause_is_as_long_as_the_service_asks_for() -> None:
    async with running(route()) as desk:
        desk.channels["r"].failures = [DeliveryFailed("slow down", retry_after_seconds=1000)]
        desk.event()
        await desk.until(lambda: desk.route()["last_error"] is not None)
        assert not desk.would_send_in(999)
        desk.pass_time(1000)
        assert await desk.take() == [("raised", "k")]


@in_loop
async def test_a_dead_channel_is_an_alert_on_the_others_until_it_delivers() -> None:
    async with running(route("dead"), route("alive")) as desk:
        desk.channels["dead"].failures = [DeliveryFailed("gone")] * 3
        desk.event()
        assert await desk.take("alive") == [("raised", "k")]
        await desk.until(lambda: not desk.channels["dead"].failures, step_seconds=400)
        assert await desk.take("alive") == [("raised", "observability/notify/dead")]
        desk.pass_time(400)
        assert await desk.take("dead") == [("raised", "k")]
        assert await desk.take("alive") == [("resolved", "observability/notify/dead")]


@in_loop
async def test_a_message_that_is_never_taken_has_failed_and_is_not_sent_again() -> None:
    async with running(route()) as desk:
        desk.channels["r"].failures = [DeliveryFailed("HTTP 404", is_final=True)]
        desk.event()
        await desk.until(lambda: desk.route()["failed"] == 1)
        desk.pass_time(400)
        desk.event("next")
        assert await desk.take() == [("raised", "next")]


@in_loop
async def test_what_cannot_be_delivered_for_a_day_is_given_up() -> None:
    async with running(route()) as desk:
        desk.channels["r"].failures = [DeliveryFailed("gone")] * 2
        desk.event()
        await desk.until(lambda: desk.route()["last_error"] is not None)
        desk.pass_time(25 * 3600)
        await desk.until(lambda: desk.route()["failed"] == 1)
        assert desk.route()["pending"] == 0


@in_loop
async def test_an_alert_is_repeated_until_somebody_acknowledges_it() -> None:
    async with running(route(repeat_ns=MINUTE_NS)) as desk:
        desk.event()
        assert await desk.take() == [("raised", "k")]
        for _ in range(2):
            await desk.until(lambda: desk.route()["pending"] == 1)
            desk.pass_time(60)
            assert await desk.take() == [("repeated", "k")]
        await desk.until(lambda: desk.route()["pending"] == 1)
        desk.acknowledge()
        assert desk.route()["pending"] == 0
        desk.pass_time(60)
        desk.event("next")
        assert await desk.take() == [("raised", "next")]


@in_loop
async def test_a_repetition_that_is_scheduled_does_not_hold_back_the_end() -> None:
    async with running(route(repeat_ns=60 * MINUTE_NS)) as desk:
        desk.event()
        assert await desk.take() == [("raised", "k")]
        await desk.until(lambda: desk.route()["pending"] == 1)
        desk.event(state="resolved")
        assert await desk.take() == [("resolved", "k")]


@in_loop
async def test_a_channel_that_forgets_alerts_is_told_again_even_when_acknowledged() -> None:
    async with running(route(), repeat_ns=MINUTE_NS) as desk:
        desk.event()
        assert await desk.take() == [("raised", "k")]
        await desk.until(lambda: desk.route()["pending"] == 1)
        desk.acknowledge()
        desk.pass_time(60)
        assert await desk.take() == [("repeated", "k")]


@in_loop
async def test_an_escalation_comes_only_if_nobody_acknowledges() -> None:
    async with running(route(escalate_after_ns=15 * MINUTE_NS)) as desk:
        desk.event("seen")
        desk.acknowledge()
        desk.event("unseen")
        desk.event("over")
        desk.event("over", state="resolved")
        desk.pass_time(15 * 60)
        assert await desk.take() == [("escalated", "unseen")]
        desk.event("unseen", state="resolved")
        assert await desk.take() == [("resolved", "unseen")]


@in_loop
async def test_alerts_that_come_together_are_one_message_of_a_group() -> None:
    async with running(route(group_ns=MINUTE_NS)) as desk:
        desk.event("a")
        desk.pass_time(30)
        desk.event("b")
        desk.pass_time(30)
        assert await desk.take() == [("raised", "a"), ("raised", "b")]


@in_loop
async def test_a_restart_delivers_what_is_pending_and_the_end_of_what_was_told() -> None:
    before = Desk(route(), route("gone"))
    before.event("pending")
    before.event("told")
    pending = [notice for outbox in before.notifier._outboxes.values() for notice in outbox.pending[:1]]
    async with running(route()) as desk:
        desk.book.load_state(before.book.to_state())
        told = [("r", state.alert_id, state.occurrence) for state in before.book.all()]
        desk.notifier.restore(pending, told)
        desk.pass_time(0)
        assert await desk.take() == [("raised", "pending")]
        desk.event("told", state="resolved")
        assert await desk.take() == [("resolved", "told")]
    assert [state for state, _ in desk.rows.values()].count("dropped") == 1


@in_loop
async def test_a_channel_that_hangs_holds_back_no_other_route() -> None:
    async with running(route("hangs"), route("works")) as desk:
        desk.channels["hangs"].may_go.clear()
        desk.event()
        assert await desk.take("works") == [("raised", "k")]
        desk.channels["hangs"].may_go.set()


@in_loop
async def test_an_attempt_that_never_ends_has_failed_and_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.notify.notifier.MAX_SEND_SECONDS", 0.01)
    async with running(route()) as desk:
        desk.channels["r"].may_go.clear()
        desk.event()
        await desk.until(lambda: desk.route()["last_error"] is not None)
        assert desk.route()["last_error"].startswith("no answer within")
        monkeypatch.setattr("observability.notify.notifier.MAX_SEND_SECONDS", TIMEOUT_SECONDS)
        desk.channels["r"].may_go.set()
        desk.pass_time(60)
        await desk.until(lambda: desk.route()["delivered"] == 1)


@in_loop
async def test_attempts_that_never_end_are_not_made_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.notify.notifier.MAX_SEND_SECONDS", 0.01)
    monkeypatch.setattr("observability.notify.notifier.MAX_HANGING", 1)
    async with running(route()) as desk:
        desk.channels["r"].may_go.clear()
        desk.event()
        await desk.until(lambda: desk.route()["last_error"] is not None)
        desk.pass_time(60)
        await desk.until(lambda: desk.route()["last_error"] == "1 earlier attempts have not ended")
        desk.channels["r"].may_go.set()


@in_loop
async def test_what_is_pending_does_not_wait_for_a_clock_that_was_set_back() -> None:
    desk = Desk(route())
    document = transition_document(AlertState("a", "k", "critical", "t", "", START_NS, START_NS), "raised")
    due_ns = START_NS + 60 * MINUTE_NS
    desk.notifier.restore([Notice("1/r/raised/", 1, "r", "raised", "a", 1, due_ns, due_ns, document)], [])
    desk.notifier.start()
    try:
        assert await desk.take() == [("raised", "k")]
    finally:
        await desk.notifier.stop()


@in_loop
async def test_what_gathers_in_a_night_is_delivered_in_the_morning() -> None:
    now = datetime.fromtimestamp(START_NS // 10**9, UTC)
    quiet = QuietHours(now.time(), (now + timedelta(hours=1)).time(), ZoneInfo("UTC"))
    async with running(route(quiet=quiet)) as desk:
        desk.event("waits", severity="warning")
        desk.event("cannot wait")
        assert await desk.take() == [("raised", "cannot wait")]
        desk.pass_time(3599)
        desk.event("neither", severity="critical")
        assert await desk.take() == [("raised", "neither")]
        desk.pass_time(1)
        assert await desk.take() == [("raised", "waits")]


def test_a_night_is_asked_for_once_however_many_notices_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def end_ns(_: QuietHours, now_ns: int) -> int:
        asked.append(now_ns)
        return START_NS + MINUTE_NS

    monkeypatch.setattr(QuietHours, "end_ns", end_ns)
    outbox = Outbox(route(quiet=QuietHours(time(22), time(7), ZoneInfo("UTC"))), Channel(), Counters())
    document = transition_document(AlertState("a", "k", "warning", "t", "", START_NS, START_NS), "raised")
    for n in range(1000):
        outbox.add(Notice(f"{n}", n, "r", "raised", f"a{n}", 1, START_NS - n, START_NS - n, document))
    assert outbox.ready(START_NS) == []
    assert outbox.next_ns(START_NS) == START_NS + MINUTE_NS
    assert asked == [START_NS, START_NS]


@in_loop
async def test_the_fault_of_a_route_that_was_removed_is_over() -> None:
    desk = Desk(route("new"))
    for name in ("old", "new"):
        desk.event(FAULT_PREFIX + name)
    desk.notifier.start()
    await desk.notifier.stop()
    assert [state.key for state in desk.book.active()] == [FAULT_PREFIX + "new"]


def silence(seconds: float, **patterns: Any) -> Silence:
    return Silence("s1", START_NS, START_NS + round(seconds * 10**9), "ana", **patterns)


@in_loop
async def test_a_silence_holds_back_what_it_matches_until_it_ends() -> None:
    async with running(route()) as desk:
        desk.notifier.add_silence(silence(600, rules=("quiet*",)))
        desk.event("quiet")
        desk.event("quiet-and-over")
        desk.event("quiet-and-over", state="resolved")
        desk.event("loud")
        assert await desk.take() == [("raised", "loud")]
        desk.pass_time(600)
        assert await desk.take() == [("unsilenced", "quiet")]
        desk.event("quiet", state="resolved")
        assert await desk.take() == [("resolved", "quiet")]


@in_loop
async def test_ending_a_silence_delivers_what_it_has_held_back() -> None:
    async with running(route()) as desk:
        desk.notifier.add_silence(silence(6000))
        desk.event()
        ended = desk.notifier.end_silence("s1")
        assert ended is not None
        assert await desk.take() == [("unsilenced", "k")]
        assert desk.notifier.silences_json() == {"silences": [], "count": 0}
        assert desk.notifier.end_silence("s1") is None


@in_loop
async def test_what_somebody_acknowledges_during_a_silence_is_not_delivered_after_it() -> None:
    async with running(route()) as desk:
        desk.notifier.add_silence(silence(60))
        desk.event()
        desk.acknowledge()
        desk.pass_time(60)
        desk.event("next")
        assert await desk.take() == [("raised", "next")]


@in_loop
async def test_a_later_silence_prolongs_an_earlier_one() -> None:
    async with running(route()) as desk:
        desk.notifier.add_silence(silence(60))
        desk.event()
        desk.notifier.add_silence(msgspec.structs.replace(silence(120), silence_id="s2"))
        desk.pass_time(60)
        desk.event("x", "resolved")
        await desk.until(lambda: desk.due_ns() == START_NS + 120 * 10**9)
        desk.pass_time(60)
        assert await desk.take() == [("unsilenced", "k")]


@pytest.mark.parametrize("severity", ["info", "critical"])
@in_loop
async def test_the_heading_says_how_bad_it_is(severity: str) -> None:
    async with running(route()) as desk:
        desk.event(severity=severity)
        message = await asyncio.to_thread(desk.channels["r"].taken.get, timeout=TIMEOUT_SECONDS)
        assert message.title() == f"[{severity.upper()}] title k"
        assert f"since {desk.book.all()[0].to_json()['first_seen']}" in message.text()
