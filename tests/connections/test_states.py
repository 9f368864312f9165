"""The table of states, walked cell by cell by a real connection over a transport without a peer."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

import pytest

from http_application import HELLO, HttpApplication, get, upgrade
from observability.access.limits import Limits
from observability.clocks.timestamps import NS_PER_S
from observability.connections import states
from observability.connections.connection import HttpConnection
from observability.connections.states import TRANSITIONS, ConnectionEvent, ConnectionState, allowed_ns
from observability.connections.turn import Turn
from observability.http11.refusals import Refusal

SLOW = get(b"/slow")
LAST = get(b"/hello", b"Connection: close")
UPGRADE = upgrade(b"/ws")
POST_BEGUN = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"
POST_REST = b"cde"
WAITING = (ConnectionState.HEAD, ConnectionState.BODY, ConnectionState.IDLE, ConnectionState.BUSY)

# The state that each event leads to, from every state in which it changes anything.
AFTERWARDS = {
    ConnectionEvent.HEAD_DUE: ConnectionState.HEAD,
    ConnectionEvent.BODY_DUE: ConnectionState.BODY,
    ConnectionEvent.ANSWER_DUE: ConnectionState.BUSY,
    ConnectionEvent.ANSWERED: ConnectionState.IDLE,
    ConnectionEvent.PAUSED: ConnectionState.STALLED,
    ConnectionEvent.RESUMED: ConnectionState.BUSY,
    ConnectionEvent.ENDED: ConnectionState.LINGER,
    ConnectionEvent.PEER_ENDED: ConnectionState.LINGER,
    ConnectionEvent.UPGRADED: ConnectionState.DONE,
    ConnectionEvent.LOST: ConnectionState.DONE,
}


class Wire(asyncio.Transport):
    """A transport without a peer. Its buffer is full after the next write if the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.is_full = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # other buffers are not written
        if self.is_full:
            self.is_full = False
            self.protocol.pause_writing()

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def write_eof(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Registry:
    """Admits every connection."""

    def admit(self, connection: Any, peer: str) -> Refusal | None:
        return None

    def begin_handshake(self, connection: Any, peer: str) -> None: ...

    def connection_failed(self, peer: str, reason: str) -> None: ...

    def release(self, connection: Any, peer: str) -> None: ...


class WatchedConnection(HttpConnection):
    """A connection that records its transitions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.walked: list[tuple[ConnectionState, ConnectionEvent, ConnectionState]] = []

    def _on(self, event: ConnectionEvent) -> bool:
        before = self._state
        has_moved = super()._on(event)
        if has_moved:
            self.walked.append((before, event, self._state))
        return has_moved


class Walk:
    """Leads one connection into a state, then makes an event happen."""

    def __init__(self, clock: Any) -> None:
        self.served = HttpApplication(clock)
        self.wire = Wire()
        loop = asyncio.get_running_loop()
        application = self.served.application
        allowed = allowed_ns(application.limits)
        self.connection = WatchedConnection(application, Registry(), Turn(loop), loop, allowed)
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)

    async def reach(self, state: ConnectionState) -> None:
        match state:
            case ConnectionState.BODY:
                self.connection.data_received(POST_BEGUN)
            case ConnectionState.IDLE:
                self.connection.data_received(HELLO)
            case ConnectionState.BUSY:
                self.connection.data_received(SLOW)
            case ConnectionState.STALLED:
                self.wire.is_full = True
                self.connection.data_received(HELLO + SLOW)
            case ConnectionState.LINGER:
                self.connection.data_received(LAST)
            case ConnectionState.DONE:
                self.connection.connection_lost(None)
        await asyncio.sleep(0)
        assert self.connection._state is state

    async def provoke(self, state: ConnectionState, event: ConnectionEvent) -> None:
        match event:
            case ConnectionEvent.HEAD_DUE:
                await self.continue_with(state, HELLO + b"G")
            case ConnectionEvent.BODY_DUE:
                await self.continue_with(state, POST_BEGUN)
            case ConnectionEvent.ANSWER_DUE:
                await self.continue_with(state, SLOW)
            case ConnectionEvent.ANSWERED:
                await self.continue_with(state, HELLO)
            case ConnectionEvent.PAUSED if state in WAITING:
                self.wire.is_full = True
                await self.continue_with(state, HELLO)
            case ConnectionEvent.PAUSED:
                self.connection.pause_writing()
            case ConnectionEvent.RESUMED:
                self.connection.resume_writing()
            case ConnectionEvent.ENDED if state is ConnectionState.STALLED:
                self.connection.drain()
                await self.finish_slow()
            case ConnectionEvent.ENDED:
                await self.continue_with(state, LAST)
            case ConnectionEvent.PEER_ENDED:
                self.connection.eof_received()
            case ConnectionEvent.UPGRADED:
                await self.continue_with(state, UPGRADE)
            case ConnectionEvent.LOST:
                self.connection.connection_lost(None)

    async def continue_with(self, state: ConnectionState, data: bytes) -> None:
        """Completes what `state` waits for, and sends `data` after it."""
        self.connection.data_received((POST_REST if state is ConnectionState.BODY else b"") + data)
        if state is ConnectionState.BUSY:
            await self.finish_slow()
        await asyncio.sleep(0)

    async def finish_slow(self) -> None:
        self.served.gates[0].set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.mark.parametrize("event", ConnectionEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
def test_each_event_leads_where_the_table_says(clock: Any, state: ConnectionState, event: ConnectionEvent) -> None:
    async def walk() -> None:
        walk = Walk(clock)
        if (state, event) == (ConnectionState.STALLED, ConnectionEvent.UPGRADED):
            # An upgrade writes the answers before it, which may show that the peer has stalled.
            walk.wire.is_full = True
            walk.connection.data_received(HELLO + UPGRADE)
        else:
            await walk.reach(state)
            await walk.provoke(state, event)
        if event in TRANSITIONS[state]:
            assert (state, event, AFTERWARDS[event]) in walk.connection.walked
        else:
            assert walk.connection._state is state

    asyncio.run(walk())


def test_a_stalled_connection_ends_after_the_answer_that_is_due(clock: Any) -> None:
    async def walk() -> None:
        walk = Walk(clock)
        await walk.reach(ConnectionState.STALLED)
        await walk.provoke(ConnectionState.STALLED, ConnectionEvent.ENDED)
        assert walk.connection._state is ConnectionState.LINGER

    asyncio.run(walk())


def test_a_connection_that_has_ended_never_serves_again() -> None:
    assert set(TRANSITIONS[ConnectionState.LINGER].values()) == {ConnectionState.LINGER, ConnectionState.DONE}
    assert TRANSITIONS[ConnectionState.DONE] == {}


def test_the_deadlines_are_those_that_the_description_names() -> None:
    limits = Limits(**{field.name: number for number, field in enumerate(fields(Limits), 1)})
    named = {words[0]: words for line in (states.__doc__ or "").splitlines() if (words := line.split())}
    for state, allowed in allowed_ns(limits).items():
        limit = next((word for word in named[state.name] if word.endswith("_seconds")), None)
        assert allowed == (None if limit is None else getattr(limits, limit) * NS_PER_S), state.name
