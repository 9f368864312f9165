"""The base of the server's processes: the order in which their parts are made, started, drained and stopped."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import uvloop

from observability.errors import EXIT_INTERRUPTED
from observability.logs.setup import reopen_log_files
from observability.processes.surroundings import leave


class ServerProcess(ABC):
    """One process of the server, from making its parts to stopping them. It is created within the running loop.

        __init__   makes the parts
        _wire      connects them
        _start     starts them, until there is something to serve
        _open      lets clients in
                   ... serves until a signal comes ...
        _drain     lets no further client in, and answers the requests that have come
        _stop      stops the parts, in the direction of the data

    A process that fails before it opens ends without stopping its parts: what must survive is on disk, and the next
    start recovers it.
    """

    def __init__(self, *, is_alone: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # Of all work in slices: each turn of the loop has one slice of it.
        self._slices = asyncio.Lock()
        self._is_alone = is_alone

    async def run(self) -> None:
        """Serves until a signal comes; returns once every part has stopped."""
        self._handle_signals()
        self._wire()
        await self._start()
        try:
            if not self._stopping.is_set():
                await self._open()
                await self._stopping.wait()
                await self._drain()
        finally:
            await self._stop()
            leave()

    @abstractmethod
    def _wire(self) -> None: ...

    @abstractmethod
    async def _start(self) -> None: ...

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    async def _drain(self) -> None: ...

    @abstractmethod
    async def _stop(self) -> None: ...

    def _handle_signals(self) -> None:
        """SIGTERM stops any process. A process that is alone is stopped by SIGINT too, and by a second signal at once.

        A process beside others ignores both of these: Ctrl-C and service managers signal every process of a host,
        after which the supervisor sends SIGTERM to each process in its turn.
        """
        self._loop.add_signal_handler(signal.SIGTERM, self._on_signal)
        self._loop.add_signal_handler(signal.SIGUSR1, reopen_log_files)
        if self._is_alone:
            self._loop.add_signal_handler(signal.SIGINT, self._on_signal)

    def _on_signal(self) -> None:
        if self._is_alone and self._stopping.is_set():
            os._exit(EXIT_INTERRUPTED)
        self._stopping.set()


# A generation of the garbage collector is searched after so many new objects, or searches of the one before it. Each
# client that connects makes objects that stay: by Python's defaults, (700, 10, 10), 10,000 clients at once cost 133 ms
# of CPU, 33 ms of them in one piece; with these it is 99 and 7 ms. Hardly any object of ours waits for the collector.
_GC_THRESHOLDS: Final = (2000, 10, 100)


def new_run_id() -> str:
    """Returns what no other run of a server has."""
    return secrets.token_hex(8)


def run_process(make: Callable[[], ServerProcess]) -> None:
    """Makes a process within a new event loop, and runs it there."""

    async def main() -> None:
        await make().run()

    # The garbage collector need not go through what the imports have made: not while the server runs, nor at its end.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    uvloop.run(main())
