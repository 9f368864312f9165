"""Calls from a worker to the hub: each is answered or fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from observability.errors import HubUnavailable
from observability.processes.rpc import MAX_CALLS, Answerer, Caller, RpcHandler
from server_process import TIMEOUT_SECONDS


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(main, TIMEOUT_SECONDS))


async def connect(answer: RpcHandler, generations: tuple[int, int] = (1, 1)) -> tuple[Caller, Answerer]:
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    caller, answerer = Caller(generations[0]), Answerer(generations[1], answer)
    await loop.create_unix_connection(lambda: caller, sock=here)
    await loop.create_unix_connection(lambda: answerer, sock=there)
    return caller, answerer


async def close(caller: Caller, answerer: Answerer) -> None:
    caller.close()
    answerer.close()
    await asyncio.sleep(0)


def test_each_call_gets_its_own_answer_in_any_order() -> None:
    async def main() -> None:
        gates = {b"a": asyncio.Event(), b"b": asyncio.Event()}

        async def answer(body: bytes) -> bytes:
            await gates[body].wait()
            return body.upper()

        caller, answerer = await connect(answer)
        first, second = (asyncio.ensure_future(caller.call(body)) for body in (b"a", b"b"))
        await asyncio.sleep(0)
        gates[b"b"].set()
        assert await second == b"B"
        assert not first.done()
        gates[b"a"].set()
        assert await first == b"A"
        await close(caller, answerer)

    run(main())


def test_a_message_of_any_size_arrives_whole() -> None:
    async def answer(body: bytes) -> bytes:
        return body[::-1]

    async def main() -> None:
        caller, answerer = await connect(answer)
        for size in (0, 1, 70_000, 5_000_000):
            body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            assert await caller.call(body) == body[::-1]
        await close(caller, answerer)

    run(main())


def test_a_waiting_call_fails_when_the_hub_dies() -> None:
    async def never(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def main() -> None:
        caller, answerer = await connect(never)
        waiting = asyncio.ensure_future(caller.call(b"x"))
        await asyncio.sleep(0)
        answerer.close()
        with pytest.raises(HubUnavailable, match="ended before it answered"):
            await waiting
        with pytest.raises(HubUnavailable, match="started again"):
            await caller.call(b"x")

    run(main())


def test_calls_above_the_limit_are_refused_at_once() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def answer(body: bytes) -> bytes:
            await gate.wait()
            return body

        caller, answerer = await connect(answer)
        waiting = [asyncio.ensure_future(caller.call(b"x")) for _ in range(MAX_CALLS)]
        await asyncio.sleep(0)
        with pytest.raises(HubUnavailable, match="busy"):
            await caller.call(b"one more")
        gate.set()
        assert await asyncio.gather(*waiting) == [b"x"] * MAX_CALLS
        assert await caller.call(b"room again") == b"room again"
        await close(caller, answerer)

    run(main())


def test_a_failing_handler_closes_the_connection_and_not_the_hub() -> None:
    async def fail(body: bytes) -> bytes:
        raise RuntimeError("a defect")

    async def main() -> None:
        caller, _ = await connect(fail)
        with pytest.raises(HubUnavailable):
            await caller.call(b"x")

    run(main())


def test_a_message_of_another_generation_is_refused() -> None:
    async def answer(body: bytes) -> bytes:
        return body

    async def main() -> None:
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        caller, _ = await connect(answer, generations=(1, 2))
        with pytest.raises(HubUnavailable):
            await caller.call(b"x")
        assert "generation 1, not 2" in str(problems[0]["exception"])

    run(main())


def test_draining_waits_until_every_call_is_answered() -> None:
    async def main() -> None:
        gate, asked = asyncio.Event(), asyncio.Event()

        async def answer(body: bytes) -> bytes:
            asked.set()
            await gate.wait()
            return body

        caller, answerer = await connect(answer)
        waiting = asyncio.ensure_future(caller.call(b"x"))
        await asked.wait()
        draining = asyncio.ensure_future(answerer.drain(5))
        await asyncio.sleep(0)
        assert not draining.done()
        gate.set()
        await draining
        assert await waiting == b"x"
        await close(caller, answerer)

    run(main())
