"""The hub: one frame per tick, which neither a custom collector nor a source can delay."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import orjson

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.memory.counters import Counters
from observability.snapshot.custom_collectors import Collector
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub
from server_process import TIMEOUT_SECONDS


class Custom:
    """A custom collector whose metrics come from a coroutine function."""

    def __init__(self, name: str = "mine", answer: Any = None) -> None:
        self.name = name
        self.is_running = False
        self.metrics_collected = 0
        self._answer = answer

    async def start(self) -> None:
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False

    async def get_current_metrics(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self._answer()
        return answer


def make_hub(custom: Mapping[str, Collector] | None = None) -> Hub:
    host_clock = HostClock()
    return Hub(0.01, Bus(), host_clock, EventClock(host_clock), [], custom or {}, Counters())


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, TIMEOUT_SECONDS))


async def next_frame(hub: Hub) -> dict[str, Any]:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def on_frame(frame: Frame) -> None:
        if not future.done():
            future.set_result(frame.payload)

    hub.add_frame_listener(on_frame)
    document: dict[str, Any] = orjson.loads(await future)
    return document


def test_the_first_frame_exists_once_the_hub_has_started() -> None:
    async def main() -> None:
        hub = make_hub()
        await hub.start()
        assert hub.frames.latest_seq == 1
        await hub.stop()

    run(main())


def test_a_listener_that_fails_leaves_the_frame_to_the_others() -> None:
    async def main() -> None:
        hub = make_hub()

        def fail(frame: Frame) -> None:
            raise ValueError(frame.seq)

        hub.add_frame_listener(fail)
        await hub.start()
        assert (await next_frame(hub))["seq"] == 2
        assert hub.counters.total("listener_errors_total") == 2
        await hub.stop()

    run(main())


def test_every_frame_is_encoded_once() -> None:
    async def main() -> None:
        hub = make_hub()
        await hub.start()
        for _ in range(5):
            await next_frame(hub)
        assert hub.serializer.snapshots_encoded == hub.frames.latest_seq
        await hub.stop()

    run(main())


def test_a_stopped_hub_publishes_no_frame() -> None:
    async def main() -> None:
        hub = make_hub()
        await hub.start()
        await hub.stop()
        seq = hub.frames.latest_seq
        await asyncio.wait_for(asyncio.gather(asyncio.to_thread(lambda: None)), TIMEOUT_SECONDS)
        assert hub.frames.latest_seq == seq

    run(main())


def test_a_document_is_made_when_it_is_read_and_not_by_a_tick() -> None:
    async def main() -> None:
        hub = make_hub()
        made: list[int] = []
        hub.documents["ticks"] = lambda: made.append(hub.frames.latest_seq) or {"ticks": made[-1]}
        await hub.start()
        hub.tick()
        assert made == []
        documents = hub.frames.documents
        assert documents.seq == hub.frames.latest_seq
        for _ in range(2):
            document = orjson.loads(documents.by_name["ticks"] or b"")
            assert (document["seq"], document["ticks"]) == (documents.seq, documents.seq)
        hub.tick()
        assert orjson.loads(hub.frames.documents.by_name["ticks"] or b"")["seq"] == documents.seq + 1
        assert made == [documents.seq, documents.seq + 1]
        await hub.stop()

    run(main())


def test_a_custom_collector_appears_under_its_name() -> None:
    async def answer() -> dict[str, Any]:
        return {"depth": 3}

    async def main() -> None:
        hub = make_hub({"mine": Custom(answer=answer)})
        await hub.start()
        while (await next_frame(hub))["mine"] != {"depth": 3}:
            pass
        await hub.stop()

    run(main())


def test_a_custom_collector_that_never_answers_delays_no_tick() -> None:
    async def answer() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def main() -> None:
        hub = make_hub({"mine": Custom(answer=answer)})
        await hub.start()
        for _ in range(5):
            assert (await next_frame(hub))["mine"] is None
        await hub.stop()

    run(main())


def test_a_polled_source_is_asked_before_each_tick_until_it_fails() -> None:
    hub = make_hub()
    seen: list[int] = []

    def failing() -> None:
        raise OSError("the simulation is over")

    hub.add_polled_source("simulator", failing)
    hub.add_polled_source("other", lambda: seen.append(hub.frames.latest_seq))
    for _ in range(3):
        hub.tick()
    assert seen == [0, 1, 2]
    assert hub.source_failures == ["simulator: the simulation is over"]


def test_a_failing_source_ends_alone_and_is_reported() -> None:
    async def source() -> None:
        raise OSError("the disk is gone")

    async def main() -> None:
        hub = make_hub()
        await hub.start()
        hub.add_source("replay", source)
        while not hub.source_failures:
            await next_frame(hub)
        assert hub.source_failures == ["replay: the disk is gone"]
        await next_frame(hub)
        await hub.stop()

    run(main())


def test_a_collector_that_has_not_started_is_not_ready() -> None:
    async def main() -> None:
        hub = make_hub({"mine": Custom()})
        assert hub.not_ready() == ["mine"]

    run(main())
