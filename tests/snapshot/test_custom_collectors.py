"""Custom collectors: each shows its newest metrics, or null while it fails, and every failure is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from observability.errors import ConfigError
from observability.memory.counters import Counters
from observability.snapshot.custom_collectors import NULL, CustomCollectors

TIMEOUT_SECONDS = 0.01


class Custom:
    """A custom collector whose metrics come from a coroutine function."""

    name = "mine"

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self.is_running = False
        self.metrics_collected = 0
        self._answer = answer

    async def start(self) -> None:
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False

    async def get_current_metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = await self._answer()
        return metrics


class Scene:
    """Runs one custom collector."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self.counters = Counters()
        self.custom = CustomCollectors({"mine": Custom(answer)}, 0.0, TIMEOUT_SECONDS, self.counters)

    @property
    def failures(self) -> int:
        return self.counters.total("collector_failures_total")

    def run(self, until: Callable[[], bool]) -> None:
        async def main() -> None:
            await self.custom.start()
            for _ in range(5000):
                if until():
                    break
                await asyncio.sleep(0.001)
            await self.custom.stop()
            assert until()

        asyncio.run(main())


async def hang() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise RuntimeError("no")


async def return_an_object() -> object:
    return object()


@pytest.mark.parametrize("answer", [hang, fail, return_an_object])
def test_a_slow_or_failing_collector_is_null_and_counted(answer: Callable[[], Awaitable[Any]]) -> None:
    scene = Scene(answer)
    scene.run(until=lambda: scene.failures > 1)
    assert scene.custom.encoded == {"mine": NULL}
    assert list(scene.custom.failing) == ["mine"]


def test_a_collector_that_begins_to_fail_is_null_from_then_on() -> None:
    shown: list[bytes] = []

    async def fail_later() -> dict[str, int]:
        shown.append(scene.custom.encoded["mine"])
        if len(shown) > 1:
            raise RuntimeError("no more")
        return {"depth": 3}

    scene = Scene(fail_later)
    scene.run(until=lambda: scene.failures > 0)
    assert shown[:2] == [NULL, b'{"depth":3}']
    assert scene.custom.encoded == {"mine": NULL}


def test_a_collector_that_recovers_shows_its_metrics_again() -> None:
    async def fail_first() -> dict[str, int]:
        if not scene.failures:
            raise RuntimeError("not yet")
        return {"depth": 3}

    scene = Scene(fail_first)
    scene.run(until=lambda: scene.custom.encoded["mine"] != NULL)
    assert scene.custom.encoded == {"mine": b'{"depth":3}'}
    assert (scene.failures, scene.custom.failing) == (1, {})


def test_a_collector_that_cannot_stop_holds_up_no_other() -> None:
    class Stuck(Custom):
        async def stop(self) -> None:
            await hang()

    async def main() -> None:
        stuck, other = Stuck(fail), Custom(fail)
        custom = CustomCollectors({"stuck": stuck, "other": other}, 0.0, TIMEOUT_SECONDS, Counters())
        other.is_running = True
        await asyncio.wait_for(custom.stop(), 10)
        assert not other.is_running

    asyncio.run(main())


def test_a_collector_may_not_have_the_name_of_a_field() -> None:
    with pytest.raises(ConfigError, match="seq"):
        CustomCollectors({"seq": Custom(fail)}, 0.0, TIMEOUT_SECONDS, Counters())
