"""The hub's ends of the RPC sockets to its workers: one answerer per worker, which the supervisor replaces with it."""

from __future__ import annotations

import asyncio
from typing import Final

from observability.processes.child import ChildContext
from observability.processes.control import RpcSocket, RpcSocketReceiver
from observability.processes.rpc import Answerer, RpcHandler

DRAIN_SECONDS: Final = 5.0


class Answerers:
    """Answers the calls of all workers of a host by one function."""

    def __init__(self, context: ChildContext, answer: RpcHandler, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._answer = answer
        self._loop = loop
        self._by_slot: dict[int, Answerer] = {}
        self._rpc_sockets = RpcSocketReceiver(context.control, self._open, loop)

    async def start(self) -> None:
        """Begins to answer the workers that are alive, and later ones as they come."""
        self._rpc_sockets.start()
        for rpc_socket in self._context.rpc_sockets:
            await self._open(rpc_socket)

    async def stop(self) -> None:
        """Answers the calls that have come, and closes the connections."""
        for answerer in self._by_slot.values():
            await answerer.drain(DRAIN_SECONDS)
            answerer.close()
        self._rpc_sockets.stop()

    async def _open(self, rpc_socket: RpcSocket) -> None:
        answerer = Answerer(rpc_socket.generation, self._answer)
        before = self._by_slot.get(rpc_socket.slot)
        if before is not None:
            before.close()
        self._by_slot[rpc_socket.slot] = answerer
        await self._loop.create_unix_connection(lambda: answerer, sock=rpc_socket.sock)
