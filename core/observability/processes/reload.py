"""`--reload`: a parent process that runs the server as a child and restarts it when a source file changes.

The server is not reloaded within its process, so nothing of the old code or state can be left over.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import observability

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
FLAG: Final = "--reload"


def run_reloading(arguments: Sequence[str]) -> int:
    """Runs `observability` with `arguments`, less `--reload`, until a signal ends it; returns the child's exit code."""
    command = [sys.executable, "-m", "observability", *(word for word in arguments if word != FLAG)]
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    while True:
        before = _source_state()
        # In a session of its own the child does not get the terminal's Ctrl-C; the parent does, and stops the child.
        child = subprocess.Popen(command, start_new_session=True)
        while child.poll() is None and not stopping.wait(POLL_SECONDS) and _source_state() == before:
            pass
        if child.poll() is None:
            child.terminate()
        code = child.wait()
        if stopping.is_set():
            return code
        if _source_state() == before:
            logger.warning("the server ended with exit code %d; it is restarted when a source file changes", code)
            while not stopping.wait(POLL_SECONDS) and _source_state() == before:
                pass
            if stopping.is_set():
                return code
        logger.info("a source file has changed; restarting the server")


def _source_state() -> tuple[int, int]:
    """Returns the number of source files and the newest time of change, in nanoseconds. An edit alters one of them."""
    roots = [Path(path) for path in observability.__path__]
    times = [file.stat().st_mtime_ns for root in roots for file in root.rglob("*.py")]
    return len(times), max(times)
