"""Reads of the recording, outside the event loop by one thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from observability.config.config import Config
from observability.http11.refusals import Unavailable
from observability.recorder.layout import DIRECTORY_NAME
from observability.recorder.recording import Recording

logger = logging.getLogger(__name__)

# Each is a request, or the next frames of all viewers of a worker.
MAX_WAITING: Final = 200
STOP_SECONDS: Final = 5.0
AT_EDGES: Final = "it is an edge, and the hub plays the past; GET /api/metrics/at answers here, too"

P = ParamSpec("P")
T = TypeVar("T")

_Task = tuple["asyncio.Future[Any]", Callable[[Recording], Any]]


class RecordingReader:
    """Reads the recording in a directory, if there is one; used from one event loop."""

    def __init__(
        self,
        directory: Path | None,
        *,
        is_recorded: bool,
        is_live: bool = True,
        why_absent: str = "it runs without DATA_DIR",
    ) -> None:
        """`is_recorded` says whether this server records, `is_live` whether it shows the present, too; `why_absent` why
        it has no directory, if it has none."""
        self.why_absent = why_absent
        self.is_recorded = is_recorded
        self.is_live = is_live
        self._recording = None if directory is None else Recording(directory)
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def exists(self) -> bool:
        """Whether there can be a recording: this server has a data directory."""
        return self._recording is not None

    async def run(self, function: Callable[Concatenate[Recording, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `function(recording, ...)` in the reader's thread and returns its result. Raises what it raises, and
        Unavailable if the recording cannot be read, if too many reads wait, or without a data directory."""
        if self._recording is None:
            raise Unavailable(f"this server has no recording: {self.why_absent}")
        if self._tasks.qsize() >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} reads of the recording are waiting already")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._recording,), name="recording", daemon=True)
            self._thread.start()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tasks.put((answer, lambda recording: function(recording, *args, **kwargs)))
        try:
            result: T = await answer
        except (OSError, ValueError) as error:
            logger.warning("the recording cannot be read: %s", error)
            raise Unavailable("the recording cannot be read now; the log says why") from None
        return result

    async def stop(self) -> None:
        """Finishes the waiting reads and ends the thread; abandons the thread if the disk does not answer."""
        if self._thread is not None:
            self._tasks.put(None)
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)
            self._thread = None

    def _run(self, recording: Recording) -> None:
        while (task := self._tasks.get()) is not None:
            answer, function = task
            if answer.cancelled():
                continue
            result: Any = None
            failure: BaseException | None = None
            try:
                recording.refresh()
                result = function(recording)
            except BaseException as error:
                failure = error
            # The loop may have been closed while the read was waiting.
            with suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(_settle, answer, result, failure)


def recording_reader(config: Config) -> RecordingReader:
    """Returns the reader of a server's recording, which may be one of earlier runs."""
    directory = config.data_dir
    path = None if directory is None else directory / DIRECTORY_NAME
    is_recorded = directory is not None and config.record
    if config.is_edge:
        return RecordingReader(path, is_recorded=is_recorded, why_absent=AT_EDGES)
    return RecordingReader(path, is_recorded=is_recorded)


def _settle(answer: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)
