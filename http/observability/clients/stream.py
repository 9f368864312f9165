"""The stream of a server, for `asyncio` programs: snapshots that survive lost connections, and lanes without a gap.

    async with Stream("http://localhost:8000") as stream:
        async for snapshot in stream:
            print(snapshot["strategy"]["total_pnl"])

A lost connection is opened again after a random delay. The client then resumes: it asks for the frames that it has
missed (`since`) and for what the lanes brought meanwhile (`lane_since`), and drops what it already had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Final, Literal, Self, cast

from observability.clients.backoff import Backoff
from observability.clients.connection import Connection, ConnectionState, Refused, Unavailable, stream_url, with_query
from observability.clients.messages import Message
from observability.clients.snapshot import HeldSnapshot

logger = logging.getLogger(__name__)

LANES: Final = ("trades", "alerts", "bookings", "orders")
# Messages that wait for the program. More than these, and the connection is not read until it has caught up.
MAX_WAITING: Final = 1000
# Snapshots are late when this many should have come; below so many seconds it may be jitter.
LATE_FRAMES: Final = 5
MIN_STALE_SECONDS: Final = 1.0

_LANE_OF_TYPE: Final = {"trade": "trades", "alert": "alerts", "booking": "bookings", "order": "orders"}


class Stream:
    """A subscription that keeps itself alive. It iterates over the messages of the server: `metrics_update` with the
    whole snapshot, and `trade`, `alert`, `booking` and `order` if their lanes were asked for.

    By default a program that is slower than the ticks gets the newest snapshot next. Lanes lose nothing: every message
    comes once and in order, across lost connections and restarts of the server.
    """

    def __init__(
        self,
        url: str,
        *,
        channels: Collection[str] = ("metrics",),
        symbols: Collection[str] = (),
        mode: Literal["full", "delta"] = "full",
        every_frame: bool = False,
        lane_since: Mapping[str, int] | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        on_state: Callable[[ConnectionState], None] | None = None,
    ) -> None:
        """`url` is the address of the server. `channels` are sections, custom collectors, `metrics` for all of these,
        and the lanes `trades`, `alerts`, `bookings` and `orders`; `symbols` filters. With `mode="delta"` fewer bytes
        come, and the same snapshots. `every_frame` yields every snapshot that the server sends, and slows the server's
        sending down if the program is slower. `lane_since` resumes lanes after the `seq` that an earlier `lane_seqs`
        had. `on_state` is called in the loop with each change of `state`. Raises ValueError."""
        self._lanes = tuple(lane for lane in LANES if lane in channels)
        metrics = [channel for channel in channels if channel not in LANES]
        self._has_metrics = bool(metrics)
        query: dict[str, str] = {"mode": mode}
        # A URL cannot ask for no channel; the lanes alone are asked for by a message.
        if metrics and metrics != ["metrics"]:
            query["channels"] = ",".join(metrics)
        if symbols:
            query["symbols"] = ",".join(symbols)
        self._url = with_query(stream_url(url), query)
        self._every_frame = every_frame
        self._token = token
        self._tls = tls
        self._on_state = on_state

        self.state = ConnectionState.CONNECTING
        self.fault: str | None = None
        """Why the last attempt to connect has failed; None once one has succeeded."""
        self.skipped_frames = 0
        """Ticks whose snapshot has not come: the server conflated them, or they were lost with a connection."""
        self.lost_entries: dict[str, int] = dict.fromkeys(self._lanes, 0)
        """Per lane, how often the server could not return what came since the last entry: it is gone from its store."""
        self.connections = 0
        """Connections that have been opened."""
        self.is_subscribed = False
        """Whether the server has told where the lanes stand: entries that come from now on are not missed."""
        self.lane_seqs: dict[str, int] = dict(lane_since or {})
        """Per lane, the `seq` of the last message that the program has got: `lane_since` of a later run."""

        self._backoff = Backoff()
        self._connection: Connection | None = None
        self._held = HeldSnapshot()
        # What has come in per lane, of which the newest may still wait for the program.
        self._received: dict[str, int] = dict(self.lane_seqs)
        self._epoch = ""
        self._lane_epoch: str | None = None
        self._waiting: deque[Message] = deque()
        self._newest: Message | None = None
        self._is_paused = False
        self._arrival = asyncio.Event()
        self._failure: Refused | None = None
        self._task: asyncio.Task[None] | None = None
        self._stale_after = MIN_STALE_SECONDS
        self._stale_timer: asyncio.TimerHandle | None = None

    # -- use

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"stream {self._url}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection. An iteration that is under way ends."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._change_state(ConnectionState.CLOSED)
        self._arrival.set()

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """Returns the next message; waits through lost connections. Raises Refused."""
        while True:
            if self._waiting:
                message = self._waiting.popleft()
                lane = _LANE_OF_TYPE.get(message["type"])
                if lane is not None:
                    self.lane_seqs[lane] = message["seq"]
                if self._is_paused and len(self._waiting) < MAX_WAITING // 2:
                    self._resume_reading()
                return message
            if self._newest is not None:
                message, self._newest = self._newest, None
                return message
            if self._failure is not None:
                raise self._failure
            if self.state is ConnectionState.CLOSED:
                raise StopAsyncIteration
            self._arrival.clear()
            await self._arrival.wait()

    @property
    def snapshot(self) -> dict[str, Any] | None:
        """The newest snapshot, whether or not the program has got it from the iteration; None before the first."""
        return self._held.document

    # -- connections

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._connect_and_read()
                    delay = self._backoff.next_delay()
                except Unavailable as error:
                    self.fault = str(error)
                    delay = self._backoff.next_delay(error.retry_after)
                    logger.warning("%s cannot be read, next attempt in %.1f s: %s", self._url, delay, error)
                self._change_state(ConnectionState.LOST if self.connections else ConnectionState.CONNECTING)
                await asyncio.sleep(delay)
        except Refused as error:
            self._failure = error
            self._change_state(ConnectionState.LOST)
            self._arrival.set()

    async def _connect_and_read(self) -> None:
        url = self._url
        if self._held.position is not None:
            url = with_query(url, {"since": "{}:{}".format(*self._held.position)})
        connection = await Connection.open(url, self._on_message, token=self._token, tls=self._tls)
        self.connections += 1
        self._connection = connection
        self._is_paused = False
        self._subscribe_to_lanes(self._received)
        try:
            await connection.closed
        finally:
            self._connection = None
            self._set_stale_timer(None)
            await connection.close()

    def _subscribe_to_lanes(self, since: Mapping[str, int]) -> None:
        if self._lanes and self._connection is not None:
            self._connection.send({"type": "subscribe", "channels": self._lanes, "lane_since": dict(since)})
            if not self._has_metrics:
                self._connection.send({"type": "unsubscribe", "channels": ["metrics"]})

    def _resume_reading(self) -> None:
        self._is_paused = False
        if self._connection is not None:
            self._connection.resume_reading()

    # -- messages

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind in ("metrics_update", "metrics_delta"):
            self._on_snapshot(message)
        elif kind in _LANE_OF_TYPE:
            self._on_entry(_LANE_OF_TYPE[kind], message)
        elif kind == "connected":
            self._backoff.reset()
            self.fault = None
            self._epoch = message["epoch"]
            self._held.set_groups(message["groups"])
            self._stale_after = max(MIN_STALE_SECONDS, LATE_FRAMES / message["update_frequency_hz"])
            self._expect_snapshot()
        elif kind == "subscribed":
            self._on_lanes(message["lanes"])
        elif kind == "stale":
            self._change_state(ConnectionState.STALE)
        elif kind == "error":
            logger.warning("%s: the server answered %s: %s", self._url, message["code"], message["message"])

    def _on_snapshot(self, message: dict[str, Any]) -> None:
        if not self._has_metrics:
            return
        before = self._held.position
        snapshot = self._held.apply(message)
        if snapshot is None:
            return
        self._expect_snapshot()
        position = self._held.position
        if position == before:
            return
        if before is not None and position is not None and before[0] == position[0]:
            self.skipped_frames += position[1] - before[1] - 1
        if self._every_frame:
            self._append(cast(Message, snapshot))
        else:
            self._newest = cast(Message, snapshot)
            self._arrival.set()

    def _on_entry(self, lane: str, message: dict[str, Any]) -> None:
        last = self._received.get(lane)
        if last is not None and message["seq"] <= last:
            return
        if last is not None and message["prev"] > last:
            self.lost_entries[lane] += 1
            logger.error(
                "%s: entries of the lane %s after %d and up to %d are lost: the server does not keep them any more",
                *(self._url, lane, last, message["prev"]),
            )
        self._received[lane] = message["seq"]
        self._append(cast(Message, message))

    def _on_lanes(self, lanes: Mapping[str, Mapping[str, int]]) -> None:
        """Takes the position of each lane, so that what comes while the connection is lost is asked for."""
        self.is_subscribed = True
        has_restarted = self._lane_epoch not in (None, self._epoch)
        self._lane_epoch = self._epoch
        restarted = []
        for lane, state in lanes.items():
            if lane not in self._received:
                self._received[lane] = state["seq"]
            elif state["seq"] < self._received[lane] or (has_restarted and not state["stored"]):
                # A server without a store counts from 1 after a restart: all that it has is new.
                self._received[lane] = 0
                restarted.append(lane)
        if restarted and self._connection is not None:
            self._connection.send({"type": "unsubscribe", "channels": restarted})
            self._subscribe_to_lanes(self._received)

    def _append(self, message: Message) -> None:
        self._waiting.append(message)
        self._arrival.set()
        if len(self._waiting) >= MAX_WAITING and not self._is_paused and self._connection is not None:
            self._is_paused = True
            self._connection.pause_reading()

    # -- state

    def _expect_snapshot(self) -> None:
        """A snapshot is there; without the next one in time it is stale."""
        self._change_state(ConnectionState.LIVE)
        self._set_stale_timer(self._stale_after if self._has_metrics else None)

    def _set_stale_timer(self, seconds: float | None) -> None:
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._stale_timer = (
            None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._on_stale_timer)
        )

    def _on_stale_timer(self) -> None:
        # A program that is behind does not read, which is not the server's fault.
        if not self._is_paused:
            self._change_state(ConnectionState.STALE)

    def _change_state(self, state: ConnectionState) -> None:
        if state is self.state or self.state is ConnectionState.CLOSED:
            return
        self.state = state
        if self._on_state is not None:
            self._on_state(state)
