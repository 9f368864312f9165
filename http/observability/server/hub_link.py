"""A worker's connection to the hub, which moves to the new hub when one replaces another."""

from __future__ import annotations

import asyncio

from observability.errors import HubUnavailable
from observability.processes.child import ChildContext
from observability.processes.control import RpcSocket, RpcSocketReceiver
from observability.processes.rpc import Caller


class HubLink:
    """Sends calls to the hub that is alive. When a new hub starts, the supervisor passes a new RPC socket."""

    def __init__(self, context: ChildContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop
        self._caller: Caller | None = None
        self._rpc_sockets = RpcSocketReceiver(context.control, self._open, loop)

    async def start(self) -> None:
        """Connects to the hub that is alive now, and to each later one as it comes."""
        self._rpc_sockets.start()
        for rpc_socket in self._context.rpc_sockets:
            await self._open(rpc_socket)

    async def call(self, message: bytes) -> bytes:
        """Returns the hub's answer. Raises HubUnavailable."""
        if self._caller is None:
            raise HubUnavailable("it is being started")
        return await self._caller.call(message)

    def close(self) -> None:
        self._rpc_sockets.stop()
        if self._caller is not None:
            self._caller.close()

    async def _open(self, rpc_socket: RpcSocket) -> None:
        caller = Caller(rpc_socket.generation)
        if self._caller is not None:
            self._caller.close()
        self._caller = caller
        await self._loop.create_unix_connection(lambda: caller, sock=rpc_socket.sock)
