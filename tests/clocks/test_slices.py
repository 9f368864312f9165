"""Slices: long work never occupies the loop for longer than a slice, however much of it there is."""

from __future__ import annotations

import asyncio
import time

import pytest

from observability.clocks.slices import SLICE_NS, Slice, Steps, at_once, in_slices


def work(slices: float) -> None:
    end_ns = time.monotonic_ns() + int(slices * SLICE_NS)
    while time.monotonic_ns() < end_ns:
        pass


def test_work_within_a_slice_is_not_interrupted() -> None:
    async def main() -> None:
        others: list[str] = []
        async with Slice(asyncio.Lock()) as turn:
            asyncio.get_running_loop().call_soon(others.append, "other")
            await turn.offer()
            assert others == []

    asyncio.run(main())


def test_the_loop_has_its_turn_after_each_slice() -> None:
    async def main() -> None:
        others: list[str] = []
        async with Slice(asyncio.Lock()) as turn:
            asyncio.get_running_loop().call_soon(others.append, "other")
            work(1)
            await turn.offer()
            assert others == ["other"]

    asyncio.run(main())


def test_each_turn_of_the_loop_has_one_slice_of_all_users_together() -> None:
    async def main() -> None:
        lock = asyncio.Lock()
        slices: list[int] = []
        turns = 0

        def count_turn() -> None:
            nonlocal turns
            turns += 1
            if not all(task.done() for task in tasks):
                loop.call_soon(count_turn)

        async def job(name: int) -> None:
            async with Slice(lock) as turn:
                for _ in range(5):
                    slices.append(turns)
                    work(1)
                    await turn.offer()

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(job(name)) for name in range(4)]
        loop.call_soon(count_turn)
        await asyncio.gather(*tasks)
        assert len(slices) == len(set(slices)) == 20

    asyncio.run(main())


def test_a_user_that_enters_again_at_once_continues_its_slice() -> None:
    async def main() -> None:
        others: list[str] = []
        turn = Slice(asyncio.Lock())
        asyncio.get_running_loop().call_soon(others.append, "other")
        async with turn:
            work(1)
        async with turn:
            await turn.offer()
        assert others == ["other"]

    asyncio.run(main())


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_user_cancelled_while_waiting_does_not_block_the_others(has_begun: bool) -> None:
    async def main() -> None:
        lock = asyncio.Lock()
        turn = Slice(lock)

        async def job() -> None:
            async with turn:
                work(1)
                await turn.offer()

        async def other() -> None:
            async with Slice(lock):
                await forever.wait()

        forever = asyncio.Event()
        tasks = [asyncio.create_task(each()) for each in ((job, other) if has_begun else (other, job))]
        for _ in range(5):
            await asyncio.sleep(0)
        waiting, working = tasks if has_begun else tasks[::-1]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert lock.locked()
        forever.set()
        await working
        assert not lock.locked()

    asyncio.run(main())


def steps(count: int, slices: float) -> Steps[str]:
    for _ in range(count):
        work(slices)
        yield
    return "done"


def test_steps_yield_their_result_in_slices_or_at_once() -> None:
    async def main() -> None:
        turns: list[str] = []
        asyncio.get_running_loop().call_soon(turns.append, "turn")
        assert at_once(steps(3, 1)) == "done"
        assert turns == []
        assert await in_slices(steps(3, 1), asyncio.Lock()) == "done"
        assert turns == ["turn"]

    asyncio.run(main())
