"""The heartbeat of many clients: who is pinged when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from observability.websocket.heartbeat import PING_GROUPS, PINGS_PER_TURN, ClientPinger


class Client:
    """A client that counts its pings, and never answers."""

    peer = "192.0.2.1"

    def __init__(self, number: int) -> None:
        self.number = number
        self.silent_heartbeats = 0
        self.pings = 0
        self.closed_with: int | None = None

    def log_ids(self) -> dict[str, Any]:
        return {"peer": self.peer}

    def send_ping(self) -> None:
        self.pings += 1

    def close(self, code: int, _reason: str) -> None:
        self.closed_with = code


class Handle:
    """A callback that may be cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """A loop that runs the next turn, or passes the next pause, when a test says so."""

    def __init__(self) -> None:
        self.due: deque[Handle] = deque()
        self.timers: deque[Handle] = deque()

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        self.due.append(Handle(callback))
        return self.due[-1]

    def call_later(self, _seconds: float, callback: Callable[[], None]) -> Handle:
        self.timers.append(Handle(callback))
        return self.timers[-1]

    def run_one(self, queue: deque[Handle]) -> None:
        handle = queue.popleft()
        if not handle.is_cancelled:
            handle.callback()

    def pass_pause(self) -> None:
        self.run_one(self.timers)
        while self.due:
            self.run_one(self.due)


class Scene:
    """A pinger that has started, and its clients."""

    def __init__(self, count: int) -> None:
        self.loop = Loop()
        self.clients = [Client(number) for number in range(1, count + 1)]
        self.pinger = ClientPinger(15.0, cast(Any, self.loop))
        for client in self.clients:
            self.pinger.add(cast(Any, client))

    @property
    def pings(self) -> int:
        return sum(client.pings for client in self.clients)


def test_every_client_is_pinged_once_per_interval() -> None:
    scene = Scene(3 * PING_GROUPS + 1)
    for _ in range(PING_GROUPS):
        scene.loop.pass_pause()
    assert {client.pings for client in scene.clients} == {1}


def test_a_client_that_sends_nothing_is_closed_at_the_third_heartbeat() -> None:
    scene = Scene(PING_GROUPS)
    for _ in range(3 * PING_GROUPS):
        scene.loop.pass_pause()
    assert {(client.pings, client.closed_with) for client in scene.clients} == {(2, 1001)}


def test_the_loop_runs_between_the_pings_of_many_clients() -> None:
    scene = Scene(2 * PINGS_PER_TURN * PING_GROUPS)
    scene.loop.run_one(scene.loop.timers)
    assert scene.pings == PINGS_PER_TURN and not scene.loop.timers
    scene.loop.run_one(scene.loop.due)
    assert scene.pings == 2 * PINGS_PER_TURN
    assert len(scene.loop.timers) == 1 and not scene.loop.due


def test_a_pinger_that_is_stopped_between_two_pings_sends_no_more() -> None:
    scene = Scene(2 * PINGS_PER_TURN * PING_GROUPS)
    scene.loop.run_one(scene.loop.timers)
    scene.pinger.stop()
    scene.loop.run_one(scene.loop.due)
    assert scene.pings == PINGS_PER_TURN and not scene.loop.timers


def test_a_pinger_without_clients_waits_for_the_next_one() -> None:
    scene = Scene(1)
    (client,) = scene.clients
    for _ in range(2):
        scene.pinger.discard(cast(Any, client))
    scene.loop.pass_pause()
    assert not scene.loop.timers
    for number in (2, 3):
        scene.pinger.add(cast(Any, Client(number)))
    assert len(scene.loop.timers) == 1


def test_a_client_that_has_gone_is_not_pinged() -> None:
    scene = Scene(2 * PING_GROUPS)
    for client in scene.clients[::2]:
        scene.pinger.discard(cast(Any, client))
    for _ in range(PING_GROUPS):
        scene.loop.pass_pause()
    assert [client.pings for client in scene.clients] == [0, 1] * PING_GROUPS
