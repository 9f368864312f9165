"""The notifier: makes a notice of each transition of an alert for each route that takes it, and delivers it.

Delivery is at least once: a process that is killed between a delivery and its record delivers again, under the same
key. A channel that fails is tried again after growing, random pauses (full jitter); meanwhile the failure is an alert
of its own, for the other routes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_DAY, NS_PER_S, iso_or_none
from observability.events import Alert
from observability.memory.counters import Counters
from observability.metrics.alerts.book import SEVERITIES, Action, AlertBook, Stage, alert_id
from observability.notify.channels import open_channel
from observability.notify.delivery import Channel, DeliveryFailed
from observability.notify.notice import SCHEDULED, Kind, Message, Notice, State
from observability.notify.outbox import Outbox
from observability.notify.route import FAULT_PREFIX, Route
from observability.notify.silences import Silence, Silences

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 300.0
# How many attempts in a row fail before that is an alert.
FAULT_AFTER: Final = 3
# A service may answer byte by byte, so a channel's own limits do not end every attempt.
MAX_SEND_SECONDS: Final = 60.0
# Attempts of one route that have not ended although they failed by that; with more, it waits for them.
MAX_HANGING: Final = 10
GIVE_UP_NS: Final = NS_PER_DAY
# The host's clock may be set, so no wait is longer.
MAX_WAIT_SECONDS: Final = 30.0
MAX_SHOWN: Final = 50

Write = Callable[[Notice], None]


class Notifier:
    """The routes of one hub. Everything but a channel's `send` runs on the event loop."""

    def __init__(
        self,
        routes: Sequence[Route],
        alerts: AlertBook,
        host_clock: Clock,
        event_clock: Clock,
        counters: Counters,
        write: Write = lambda _: None,
        open_channel: Callable[[Route], Channel] = open_channel,
        silences: Silences | None = None,
    ) -> None:
        """`write` stores a notice, and again each time that its state changes."""
        self._silences = Silences() if silences is None else silences
        self._alerts = alerts
        self._host_clock = host_clock
        self._event_clock = event_clock
        self._write = write
        self._outboxes = {route.name: Outbox(route, open_channel(route), counters) for route in routes}
        self._tasks: list[asyncio.Task[None]] = []
        # By alert: occurrence, stage and severity after its last transition.
        self._stages: dict[str, tuple[int, Stage, str]] = {}
        self._done: list[Notice] = []

    def restore(self, pending: Sequence[Notice], told: Sequence[tuple[str, str, int]]) -> None:
        """Continues with the notices that an earlier process has not delivered. `told` are the routes, alerts and
        occurrences of all that say that an alert is there, oldest first."""
        now_ns = self._host_clock.time_ns()
        for state in self._alerts.all():
            self._stages[state.alert_id] = state.occurrence, state.stage, state.severity
        for name, ident, occurrence in told:
            if name in self._outboxes and self._alerts.is_raised(ident):
                self._outboxes[name].told[ident] = occurrence
        for notice in pending:
            outbox = self._outboxes.get(notice.route)
            if outbox is None:
                self._finish(notice, "dropped", "there is no such route any more")
                continue
            if notice.kind not in SCHEDULED:
                # The clock may have been set back meanwhile.
                notice.due_ns = min(notice.due_ns, now_ns)
            outbox.add(notice)

    def start(self) -> None:
        known = {FAULT_PREFIX + name for name in self._outboxes}
        for state in self._alerts.all():
            if state.key.startswith(FAULT_PREFIX) and state.key not in known:
                self._tell_fault(state.key.removeprefix(FAULT_PREFIX), "", "")
        self._tasks = [asyncio.create_task(self._run(outbox)) for outbox in self._outboxes.values()]

    async def stop(self) -> None:
        """Ends at once; what is not delivered is stored."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def on_transition(self, seq: int, alert: Mapping[str, Any], action: Action) -> None:
        """Makes the notices of one transition; call it within the transition's commit, and `on_committed` after it."""
        if not self._is_news(alert, action):
            return
        now_ns = self._host_clock.time_ns()
        for outbox in self._outboxes.values():
            route, ident = outbox.route, alert["alert_id"]
            if action == "resolved" or not outbox.channel.repeat_ns:
                self._drop(outbox, outbox.scheduled(ident), action)
            if action == "resolved":
                # Whoever was told of an alert is told of its end, whatever its severity is by then.
                is_taken = outbox.told.pop(ident, None) == alert["occurrence"]
            else:
                is_taken = route.takes(alert)
            if not is_taken or action not in route.on:
                continue
            silent_ns = self._silences.end_ns(alert, now_ns) if action == "raised" else None
            if silent_ns is not None:
                due_ns = max(silent_ns, now_ns + route.escalate_after_ns)
                self._add(outbox, self._notice(outbox, seq, "unsilenced", alert, due_ns))
                continue
            if action == "raised" and route.escalate_after_ns:
                self._add(outbox, self._notice(outbox, seq, "escalated", alert, now_ns + route.escalate_after_ns))
                continue
            if action == "raised":
                outbox.told[ident] = alert["occurrence"]
            outbox.uncommitted.add(seq)
            self._add(outbox, self._notice(outbox, seq, action, alert, now_ns))

    def on_committed(self, seq: int) -> None:
        """Lets the notices of a transition go."""
        for outbox in self._outboxes.values():
            outbox.uncommitted.discard(seq)
            outbox.wake.set()

    def add_silence(self, silence: Silence) -> bool:
        """Adds a silence; returns False if there are too many. Notices that wait already are delivered."""
        return self._silences.add(silence, self._host_clock.time_ns())

    def end_silence(self, silence_id: str) -> Silence | None:
        """Ends a silence now, and delivers what it has held back; returns None if there is none of that id."""
        now_ns = self._host_clock.time_ns()
        ended = self._silences.end(silence_id, now_ns)
        for outbox in self._outboxes.values():
            for notice in outbox.pending:
                if notice.kind == "unsilenced" and self._silences.end_ns(notice.document, now_ns) is None:
                    notice.due_ns = min(notice.due_ns, now_ns)
                    self._write(notice)
            outbox.wake.set()
        return ended

    def silences_json(self) -> dict[str, Any]:
        """Returns the silences that have not ended, the newest first."""
        silences = self._silences.to_json(self._host_clock.time_ns())
        return {"silences": silences, "count": len(silences)}

    def to_json(self) -> dict[str, Any]:
        """Returns each route, and the notices that were done with last, newest first."""
        return {
            "routes": [outbox.to_json() for outbox in self._outboxes.values()],
            "count": len(self._outboxes),
            "recent": [
                {
                    "route": notice.route,
                    "action": notice.kind,
                    "alert_id": notice.alert_id,
                    "title": notice.document["title"],
                    "outcome": notice.state,
                    "attempts": notice.attempts,
                    "error": notice.error or None,
                    "timestamp": iso_or_none(notice.done_ns),
                }
                for notice in reversed(self._done)
            ],
        }

    def _is_news(self, alert: Mapping[str, Any], action: Action) -> bool:
        """Returns whether a transition is more than another event about an alert that is active already."""
        before = self._stages.get(alert["alert_id"])
        occurrence, severity = alert["occurrence"], alert["severity"]
        if action == "resolved":
            self._stages.pop(alert["alert_id"], None)
            return True
        self._stages[alert["alert_id"]] = occurrence, alert["state"], severity
        if action != "raised" or before is None or before[:2] != (occurrence, "active"):
            return True
        return SEVERITIES.index(severity) > SEVERITIES.index(before[2])

    def _notice(self, outbox: Outbox, seq: int, kind: Kind, alert: Mapping[str, Any], due_ns: int) -> Notice:
        now_ns = self._host_clock.time_ns()
        name = outbox.route.name
        return Notice(
            f"{seq}/{name}/{kind}/{due_ns if kind == 'repeated' else ''}", seq, name, kind, alert["alert_id"],
            alert["occurrence"], now_ns, due_ns, dict(alert),
        )  # fmt: skip

    def _add(self, outbox: Outbox, notice: Notice) -> None:
        self._write(notice)
        dropped = outbox.add(notice)
        if dropped is not None:
            self._finish(dropped, "dropped", "too many are waiting")
        outbox.show_pending()

    async def _run(self, outbox: Outbox) -> None:
        while True:
            outbox.wake.clear()
            now_ns = self._host_clock.time_ns()
            ready = self._still_wanted(outbox, outbox.ready(now_ns))
            if ready:
                await self._deliver(outbox, ready)
                continue
            next_ns = outbox.next_ns(now_ns)
            seconds = MAX_WAIT_SECONDS if next_ns is None else min((next_ns - now_ns) / NS_PER_S, MAX_WAIT_SECONDS)
            # Not `wait_for`, which before Python 3.12 loses a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await outbox.wake.wait()

    def _still_wanted(self, outbox: Outbox, ready: Sequence[Notice]) -> list[Notice]:
        """Drops escalations and repetitions of alerts that somebody has acknowledged, or that are over."""
        wanted = []
        for notice in ready:
            if notice.kind in SCHEDULED:
                state = self._alerts.get(notice.alert_id)
                is_over = state is None or state.occurrence != notice.occurrence or state.resolved_ns is not None
                if is_over or (state is not None and state.stage == "acknowledged" and not outbox.channel.repeat_ns):
                    self._drop(outbox, [notice], "resolved" if is_over else "acknowledged")
                    continue
                silent_ns = self._silences.end_ns(notice.document, self._host_clock.time_ns())
                if silent_ns is not None:
                    # Another silence has begun meanwhile.
                    notice.due_ns = silent_ns
                    self._write(notice)
                    continue
                outbox.told[notice.alert_id] = notice.occurrence
            wanted.append(notice)
        return wanted

    async def _deliver(self, outbox: Outbox, notices: Sequence[Notice]) -> None:
        outbox.sending = notices
        try:
            outbox.threads = [thread for thread in outbox.threads if thread.is_alive()]
            if len(outbox.threads) >= MAX_HANGING:
                raise DeliveryFailed(f"{MAX_HANGING} earlier attempts have not ended")
            async with asyncio.timeout(MAX_SEND_SECONDS):
                await _in_thread(outbox.channel.send, Message(outbox.route.name, notices), outbox.threads)
        except DeliveryFailed as failure:
            self._note_failure(outbox, notices, failure)
        except TimeoutError:
            self._note_failure(outbox, notices, DeliveryFailed(f"no answer within {MAX_SEND_SECONDS:g} s"))
        except Exception as error:
            logger.exception(
                "the channel of route %s failed", outbox.route.name, extra={"ids": {"route": outbox.route.name}}
            )
            self._note_failure(outbox, notices, DeliveryFailed(repr(error)))
        else:
            self._note_success(outbox, notices)
        finally:
            outbox.sending = ()
        outbox.show_pending()

    def _note_success(self, outbox: Outbox, notices: Sequence[Notice]) -> None:
        now_ns = self._host_clock.time_ns()
        outbox.remove(notices)
        if outbox.failures:
            logger.info("route %s delivers again", outbox.route.name, extra={"ids": {"route": outbox.route.name}})
        outbox.failures, outbox.retry_ns, outbox.error = 0, 0, ""
        outbox.delivered_ns = now_ns
        for notice in notices:
            notice.attempts += 1
            self._finish(notice, "delivered", "")
        self._tell_fault(outbox.route.name, outbox.channel.place, "")
        for notice in notices:
            self._repeat(outbox, notice, now_ns)

    def _repeat(self, outbox: Outbox, notice: Notice, now_ns: int) -> None:
        """Schedules the next notice about an alert that is still there."""
        pause_ns = outbox.route.repeat_ns or outbox.channel.repeat_ns
        state = self._alerts.get(notice.alert_id)
        if not pause_ns or notice.kind == "resolved" or state is None or state.occurrence != notice.occurrence:
            return
        is_wanted = state.resolved_ns is None if outbox.channel.repeat_ns else state.stage == "active"
        is_scheduled = any(each.alert_id == notice.alert_id for each in outbox.pending)
        if is_wanted and not is_scheduled:
            alert = {**notice.document, **state.to_json()}
            self._add(outbox, self._notice(outbox, notice.seq, "repeated", alert, now_ns + pause_ns))

    def _note_failure(self, outbox: Outbox, notices: Sequence[Notice], failure: DeliveryFailed) -> None:
        now_ns = self._host_clock.time_ns()
        name = outbox.route.name
        outbox.fail(str(failure))
        ceiling = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(outbox.failures - 1, 16))
        pause = max(random.uniform(0, ceiling), failure.retry_after_seconds)
        outbox.retry_ns = now_ns + round(pause * NS_PER_S)
        given_up = []
        for notice in notices:
            notice.attempts += 1
            notice.error = str(failure)
            if failure.is_final or now_ns - notice.ts_ns > GIVE_UP_NS:
                given_up.append(notice)
            else:
                self._write(notice)
        if outbox.failures == 1 or given_up:
            logger.warning(
                "route %s did not deliver %r to %s, %s: %s",
                name, notices[0].heading(), outbox.channel.place,
                "and never will" if given_up else "and tries again", failure,
                extra={"ids": {"route": name, "alert_id": notices[0].alert_id}},
            )  # fmt: skip
        outbox.remove(given_up)
        for notice in given_up:
            self._finish(notice, "failed", str(failure))
        if given_up or outbox.failures >= FAULT_AFTER:
            self._tell_fault(name, outbox.channel.place, str(failure))

    def _tell_fault(self, name: str, place: str, why: str) -> None:
        """Raises the alert that a route does not deliver, or without a reason resolves it."""
        now_ns = self._event_clock.time_ns()
        event = Alert(
            "critical",
            f"Notifications are not delivered: route {name}",
            f"{place}: {why}",
            FAULT_PREFIX + name,
            "raised" if why else "resolved",
            ts=now_ns,
            ts_init=now_ns,
        )
        if bool(why) != self._alerts.is_raised(alert_id(event)):
            self._alerts.note(event)

    def _drop(self, outbox: Outbox, notices: Sequence[Notice], why: str) -> None:
        outbox.remove(notices)
        for notice in notices:
            self._finish(notice, "dropped", why)

    def _finish(self, notice: Notice, outcome: State, why: str) -> None:
        notice.state, notice.error = outcome, why
        notice.done_ns = self._host_clock.time_ns()
        self._write(notice)
        self._done = [*self._done[1 - MAX_SHOWN :], notice]
        outbox = self._outboxes.get(notice.route)
        if outbox is not None:
            outbox.count(outcome)


async def _in_thread(send: Callable[[Message], None], message: Message, threads: list[threading.Thread]) -> None:
    """Calls `send` in a thread that does not keep the process alive, and adds it to `threads`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            send(message)
        except BaseException as raised:
            error = raised
        # The loop may have been closed while the service was waited for.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, error)

    thread = threading.Thread(target=run, name="notify", daemon=True)
    thread.start()
    threads.append(thread)
    await done
