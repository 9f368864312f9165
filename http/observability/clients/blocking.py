"""The stream of a server, for programs without `asyncio`: the same client, in a thread of its own.

with BlockingStream("http://localhost:8000") as stream:
    for snapshot in stream:
        print(snapshot["strategy"]["total_pnl"])
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Self, TypeVar

from observability.clients.connection import ConnectionState
from observability.clients.messages import Message
from observability.clients.stream import Stream

T = TypeVar("T")


class BlockingStream:
    """A `Stream` that is iterated without `await`. Takes the same arguments; `on_state` is called in its thread."""

    def __init__(self, url: str, **arguments: Any) -> None:
        """Raises ValueError."""
        self._stream = Stream(url, **arguments)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="observability stream", daemon=True)
        self._next: concurrent.futures.Future[Message | None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait_for(self._stream.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the thread. An iteration that another thread has under way ends."""
        if self._thread.is_alive():
            self._wait_for(self._stream.close())
            if self._next is not None:
                concurrent.futures.wait([self._next])
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        """Returns the next message; waits through lost connections. Raises Refused."""
        message = self.receive()
        if message is None:
            raise StopIteration
        return message

    def receive(self, timeout: float | None = None) -> Message | None:
        """Returns the next message; None if none comes within `timeout` seconds, or if the stream is closed. Raises
        Refused."""
        if not self._thread.is_alive():
            return None
        # What a wait that timed out was waiting for is the next wait's.
        if self._next is None:
            self._next = asyncio.run_coroutine_threadsafe(self._receive(), self._loop)
        done, _ = concurrent.futures.wait([self._next], timeout)
        if not done:
            return None
        received, self._next = self._next, None
        return received.result()

    @property
    def state(self) -> ConnectionState:
        """What the newest snapshot is worth."""
        return self._stream.state

    @property
    def snapshot(self) -> dict[str, Any] | None:
        """The newest snapshot; None before the first."""
        return self._stream.snapshot

    @property
    def lane_seqs(self) -> dict[str, int]:
        """Per lane, the `seq` of the last message that the program has got."""
        return dict(self._stream.lane_seqs)

    async def _receive(self) -> Message | None:
        return await anext(self._stream, None)

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
