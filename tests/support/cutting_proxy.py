"""A TCP proxy between a client and a server, that cuts connections and holds bytes back when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

CHUNK_BYTES = 65536


class CuttingProxy:
    """Forwards every connection to `port` of this machine. `target` may change: a server that restarts has another
    port."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.resume()
            self.cut()
            await asyncio.gather(*self._forwarding)

    def cut(self) -> None:
        """Resets all connections, whatever is under way."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Forwards nothing until `resume`."""
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    async def disturb(self, seed: int, times: int) -> None:
        """Cuts and stalls all connections at random moments."""
        choose = random.Random(seed)
        for _ in range(times):
            await asyncio.sleep(choose.uniform(0.02, 0.3))
            if choose.random() < 0.5:
                self.cut()
            else:
                self.stall()
                await asyncio.sleep(choose.uniform(0.02, 0.2))
                self.resume()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= pair
            for one in pair:
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
