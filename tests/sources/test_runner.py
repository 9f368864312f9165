"""The runner of a source: what it publishes, when it acknowledges, and where it goes on after a loss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import pytest

from ingest_desk import HEARTBEAT, QUOTE, Desk, fill, turns
from observability.clocks.clock import HostClock
from observability.errors import SourceError
from observability.events import Fill, Heartbeat, Quote
from observability.logs.line_budget import LINES_PER_MINUTE
from observability.sources import runner as runner_module
from observability.sources.runner import SourceRunner
from observability.sources.source import Batch
from scripted_source import ScriptedSource

NAME = "script:test"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "LAST_PAUSE_SECONDS", 0.01)


def line(*events: object) -> bytes:
    return b"\n".join(map(orjson.dumps, events))


class Scene:
    def __init__(self, cursor: str | None = None, *, is_prompt: bool = True) -> None:
        self.desk = Desk(is_prompt=is_prompt)
        self.log = self.desk.log
        self.source = ScriptedSource(NAME)
        self.runner = SourceRunner(self.source, self.desk.gate, HostClock(), cursor)
        self.health = self.runner.health


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[None]:
    task = asyncio.create_task(scene.runner.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(play())


def test_events_and_bytes_are_published_in_their_order_under_the_name() -> None:
    async def play() -> None:
        scene = Scene()
        async with running(scene):
            scene.source.put(
                Batch(events=(Quote("A", 1.0, 2.0), line(fill(1), HEARTBEAT), Quote("B", 1.0, 2.0)), messages=3)
            )
            await scene.source.until(lambda: "acknowledge" in scene.source.calls)
        assert [type(event) for event in scene.desk.events] == [Quote, Fill, Heartbeat, Quote]
        assert scene.desk.bus.published[NAME][Fill] == 1
        assert (scene.health.messages, scene.health.events) == (3, 4)

    run(play)


def test_an_event_that_no_sender_could_send_is_rejected_alone() -> None:
    wrong = (
        Quote("A", float("nan"), 2.0),
        Quote("A" * 200, 1.0, 2.0),
        Heartbeat("engine", ts="yesterday"),
        Heartbeat("engine", ts=5),
        b"{",
        line({"type": "x"}),
    )

    async def play() -> None:
        scene = Scene()
        async with running(scene):
            scene.source.put(Batch(events=(*wrong, Quote("A", 1.0, 2.0)), messages=7))
            await scene.source.until(lambda: "acknowledge" in scene.source.calls)
        assert [event.bid for event in scene.desk.events if isinstance(event, Quote)] == [1.0]
        assert (scene.health.events, scene.health.rejected) == (1, len(wrong))

    run(play)


def test_a_batch_is_acknowledged_only_once_it_is_on_disk() -> None:
    async def play() -> None:
        scene = Scene(is_prompt=False)
        async with running(scene):
            scene.source.put(Batch(events=(line(fill(1)),), messages=1))
            await scene.source.until(lambda: scene.log.position == 1)
            scene.source.put(Batch(events=(line(QUOTE),), messages=1))
            await scene.source.until(lambda: scene.source.calls.count("read") == 2)
            assert "acknowledge" not in scene.source.calls
            scene.log.commit()
            await scene.source.until(lambda: "acknowledge" in scene.source.calls)

    run(play)


def test_a_batch_is_not_acknowledged_with_the_one_before_it_while_it_is_published() -> None:
    async def play() -> None:
        scene = Scene(is_prompt=False)
        async with running(scene):
            scene.source.put(Batch(events=(line(fill(1)),), messages=1))
            await scene.source.until(lambda: scene.log.position == 1)
            scene.log.unreadable_fills = {"t2"}
            scene.source.put(Batch(events=(line(fill(2)),), messages=1))
            await scene.source.until(lambda: scene.source.calls.count("read") == 2 and scene.health.is_held)
            scene.log.commit()
            await turns()
            scene.log.unreadable_fills = set()
            await scene.source.until(lambda: scene.log.position == 2)
            assert "acknowledge" not in scene.source.calls
            scene.log.commit()
            await scene.source.until(lambda: "acknowledge" in scene.source.calls)

    run(play)


def test_reading_pauses_while_too_many_events_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MAX_UNSETTLED", 2)

    async def play() -> None:
        scene = Scene(is_prompt=False)
        async with running(scene):
            scene.source.put(*(Batch(events=(line(fill(n)),), messages=1) for n in range(4)))
            await scene.source.until(lambda: scene.health.is_held)
            assert scene.log.fills == ["t0", "t1"]
            scene.log.commit()
            await scene.source.until(lambda: scene.log.fills == ["t0", "t1", "t2", "t3"])

    run(play)


def test_a_lost_connection_continues_after_the_newest_cursor() -> None:
    async def play() -> None:
        scene = Scene("start")
        async with running(scene):
            scene.source.put(Batch(events=(line(fill(1)),), cursor="one", messages=1), EOFError())
            await scene.source.until(lambda: len(scene.source.cursors) == 2)
            await scene.source.until(lambda: scene.health.is_connected)
        assert scene.source.cursors == ["start", "one"]
        assert scene.log.cursors == {NAME: "one"}
        assert scene.health.reconnects == 1

    run(play)


def test_a_batch_that_the_store_has_dropped_is_read_again() -> None:
    async def play() -> None:
        scene = Scene("start")

        def drop(event: object) -> None:
            scene.log.lost += 1

        async with running(scene):
            stop = scene.desk.bus.subscribe(Fill, drop)
            scene.source.put(Batch(events=(line(fill(1)),), cursor="one", messages=1))
            await scene.source.until(lambda: len(scene.source.cursors) == 2)
            stop()
        assert scene.source.cursors == ["start", "start"]
        assert scene.log.cursors == {}
        assert "acknowledge" not in scene.source.calls

    run(play)


def test_a_batch_that_the_store_has_dropped_is_not_acknowledged_with_the_one_before_it() -> None:
    async def play() -> None:
        scene = Scene("start", is_prompt=False)

        def drop(event: object) -> None:
            scene.log.lost += 1
            asyncio.get_running_loop().call_soon(scene.log.commit)

        async with running(scene):
            scene.source.put(Batch(events=(line(fill(1)),), cursor="one", messages=1))
            await scene.source.until(lambda: "t1" in scene.log.fills)
            scene.desk.bus.subscribe(Fill, drop)
            scene.source.put(Batch(events=(line(fill(2)),), cursor="two", messages=1))
            await scene.source.until(lambda: len(scene.source.cursors) == 2)
            assert "acknowledge" not in scene.source.calls

    run(play)


def test_events_wait_while_the_store_cannot_tell_whether_it_knows_them() -> None:
    async def play() -> None:
        scene = Scene()
        scene.log.unreadable_fills = {"t2"}
        async with running(scene):
            scene.source.put(Batch(events=(line(fill(1), fill(2), fill(3)),), messages=1))
            await scene.source.until(lambda: scene.log.fills == ["t1"])
            scene.log.unreadable_fills = set()
            await scene.source.until(lambda: "acknowledge" in scene.source.calls)
        assert scene.log.fills == ["t1", "t2", "t3"]
        assert (scene.health.events, scene.desk.count("ingest_duplicates_total")) == (3, 0)

    run(play)


def test_the_end_acknowledges_what_reaches_the_disk_in_time() -> None:
    async def play() -> None:
        scene = Scene(is_prompt=False)
        task = asyncio.create_task(scene.runner.run())
        scene.source.put(Batch(events=(line(fill(1)),), messages=1))
        await scene.source.until(lambda: scene.log.position == 1)
        task.cancel()
        asyncio.get_running_loop().call_soon(scene.log.commit)
        await asyncio.gather(task, return_exceptions=True)
        assert scene.source.calls == ["connect", "read", "acknowledge", "close"]

    run(play)


def test_one_line_is_logged_per_change_of_state(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        scene = Scene()
        scene.source.refusals.extend([SourceError("no such stream")] * 5)
        async with running(scene):
            await scene.source.until(lambda: scene.health.is_connected)

    with caplog.at_level(logging.INFO, runner_module.__name__):
        run(play)
    assert [record.getMessage() for record in caplog.records] == [
        f"source {NAME} cannot be connected to: no such stream; trying again",
        f"source {NAME} is connected",
    ]


def test_a_source_that_flaps_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        scene = Scene()
        async with running(scene):
            scene.source.put(*[EOFError()] * 50)
            await scene.source.until(lambda: scene.health.reconnects == 50)

    with caplog.at_level(logging.INFO, runner_module.__name__):
        run(play)
    # A minute may end meanwhile.
    assert 2 <= len(caplog.records) <= 2 * LINES_PER_MINUTE


def test_an_unexpected_error_is_logged_whole_once_and_the_source_is_connected_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        scene = Scene()
        async with running(scene):
            scene.source.put(ZeroDivisionError("made up"), ZeroDivisionError("made up"))
            await scene.source.until(lambda: scene.health.reconnects == 2)
            assert scene.health.is_connected

    run(play)
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.parametrize("refusal", [None, ConnectionRefusedError("made up")], ids=["connects", "is_refused"])
def test_a_source_ends_though_its_library_swallows_the_cancellation(refusal: Exception | None) -> None:
    async def play() -> None:
        scene = Scene()
        connecting, went_on = asyncio.Event(), asyncio.Event()

        async def connect(cursor: str | None) -> None:
            connecting.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if refusal is not None:
                raise refusal

        async def go_on(*_: object) -> None:
            went_on.set()
            await asyncio.Event().wait()

        scene.source.connect = connect  # type: ignore[method-assign]
        scene.source.read = go_on  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(scene.runner.run())
        await connecting.wait()
        scene.source.connect = go_on  # type: ignore[method-assign]
        task.cancel()
        other = asyncio.create_task(went_on.wait())
        await asyncio.wait([task, other], return_when=asyncio.FIRST_COMPLETED)
        assert not went_on.is_set()
        assert task.cancelled()
        other.cancel()
        assert scene.source.calls == ["close"]

    run(play)
