"""The share of a turn of the loop that requests have, however many connections ask at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from http_application import HttpApplication, get
from observability.clocks.timestamps import NS_PER_MS
from observability.connections.turn import TIMED_EVERY, TURN_NS, Turn
from observability.http11.messages import Request, Response


def test_a_turn_is_over_once_its_time_is_spent_and_the_next_one_is_new() -> None:
    async def main() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.spend(TURN_NS - 1)
        assert not turn.is_over
        turn.spend(1)
        assert turn.is_over
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not turn.is_over

    asyncio.run(main())


def test_a_small_answer_that_is_timed_counts_for_those_that_are_not() -> None:
    async def main() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.spend_on_small(TURN_NS // TIMED_EVERY - 1)
        assert not turn.is_over and turn.untimed == TIMED_EVERY - 1
        turn.spend(TIMED_EVERY)
        assert turn.is_over and not turn.untimed

    asyncio.run(main())


def test_those_that_wait_proceed_in_order_as_far_as_the_time_of_each_turn_goes() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        turn = Turn(loop)
        turns = 0
        proceeded: list[tuple[int, int]] = []

        def count() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(count)

        def job(name: int) -> Callable[[], None]:
            def proceed() -> None:
                proceeded.append((turns, name))
                turn.spend(TURN_NS // 2)
                if name == 0 and len(proceeded) < 2:
                    turn.wait(job(0))

            return proceed

        for name in range(4):
            turn.wait(job(name))
        count()
        for _ in range(6):
            await asyncio.sleep(0)
        assert [name for _, name in proceeded] == [0, 1, 2, 3, 0]
        assert max(Counter(number for number, _ in proceeded).values()) == 2

    asyncio.run(main())


def test_expensive_answers_to_many_connections_are_spread_over_turns_of_the_loop(
    serve: Callable[..., Any], served: HttpApplication, clock: Any
) -> None:
    turns = 0
    answered: list[int] = []

    def expensive(request: Request) -> Response:
        answered.append(turns)
        clock.now_ns += TURN_NS + NS_PER_MS
        return Response(body=b"done")

    served.application.router.add("GET", "/expensive", expensive)
    server = serve(served.application)

    def count() -> None:
        nonlocal turns
        turns += 1
        if len(answered) < 80:
            server.loop.call_soon(count)

    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(20)]
        server.wait_until(lambda: server.listener.connection_count == 20)

        def ask() -> None:
            # Within one turn of the loop, so that all of them are ready in the next.
            for peer in peers:
                peer.sendall(get(b"/expensive") * 4)
            count()

        server.call(ask)
        for peer in peers:
            data = b""
            while data.count(b"done") < 4:
                data += peer.recv(65536)
    assert len(answered) == 80
    assert max(Counter(answered).values()) == 1
