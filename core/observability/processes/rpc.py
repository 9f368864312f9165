"""Calls from a worker to the hub: bounded and non-blocking, and failing at once when the hub has died.

    message   | LENGTH u32 | MessagePack of (generation, id, body) |

A worker calls with an id of its own and the hub answers with the same id. Each generation of the hub has its own socket
to each worker, so that a death in mid-message cannot desynchronize the next hub; the generation in each message proves
it. What the bodies hold is up to the callers.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, cast

import msgspec

from observability.errors import HubUnavailable

logger = logging.getLogger(__name__)

# Larger than any request body, and than any answer.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
MAX_CALLS: Final = 256
# Unsent bytes of a worker above which further calls are refused.
MAX_UNSENT_BYTES: Final = 16 * 1024 * 1024

_LENGTH: Final = struct.Struct("<I")

RpcHandler = Callable[[bytes], Awaitable[bytes]]


class _Message(msgspec.Struct, array_like=True):
    generation: int
    id: int
    body: bytes


_decode = msgspec.msgpack.Decoder(_Message).decode


class _RpcEnd(asyncio.Protocol):
    """One end of an RPC socket: parses bytes into messages, and writes messages as bytes."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, ident: int, body: bytes) -> None:
        assert self._transport is not None
        data = msgspec.msgpack.encode(_Message(self.generation, ident, body))
        self._transport.write(_LENGTH.pack(len(data)))
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @abstractmethod
    def on_message(self, ident: int, body: bytes) -> None:
        """Handles one complete message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            assert length <= MAX_MESSAGE_BYTES, f"a message of {length} bytes"
            end = _LENGTH.size + length
            if len(buffer) < end:
                return
            message = _decode(memoryview(buffer)[_LENGTH.size : end])
            del buffer[:end]
            assert message.generation == self.generation, f"generation {message.generation}, not {self.generation}"
            self.on_message(message.id, message.body)


class Caller(_RpcEnd):
    """A worker's end: calls, and waits for the answer."""

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._is_lost = False

    async def call(self, body: bytes) -> bytes:
        """Returns the hub's answer.

        Raises HubUnavailable if the hub is down, too busy, or dies before it has answered; in the last case it may or
        may not have done what the call asked for.
        """
        if self._is_lost or self._transport is None:
            raise HubUnavailable("it is being started again")
        if len(self._waiting) >= MAX_CALLS or self.unsent_bytes > MAX_UNSENT_BYTES:
            raise HubUnavailable("it is busy")
        ident = next(self._ids)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = future
        try:
            self.send(ident, body)
            return await future
        finally:
            del self._waiting[ident]

    def on_message(self, ident: int, body: bytes) -> None:
        future = self._waiting.get(ident)
        if future is not None and not future.done():
            future.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(HubUnavailable("it has ended before it answered"))


class Answerer(_RpcEnd):
    """The hub's end: answers each message in a task of its own. An exception from `answer` is a defect, and closes the
    socket."""

    def __init__(self, generation: int, answer: RpcHandler) -> None:
        super().__init__(generation)
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    def on_message(self, ident: int, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._reply(ident, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        # The calls that have begun are completed nevertheless, so that no batch is ingested by half.
        self._transport = None

    async def drain(self, timeout_seconds: float) -> None:
        """Waits until every call received so far has been answered."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)

    async def _reply(self, ident: int, body: bytes) -> None:
        try:
            answer = await self._answer(body)
        except Exception:
            logger.exception("a call from a worker failed; its connection to the hub is closed")
            self.close()
            return
        if self._transport is not None:
            self.send(ident, answer)
