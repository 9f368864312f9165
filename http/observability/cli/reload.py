"""`--reload`: a parent that runs the server as a child and starts it again when a source file changes.

No reloading inside a process: a fresh one has no leftovers.
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
    """Runs `observability` with `arguments` less `--reload` until a signal ends it; returns the child's exit code."""
    command = [sys.executable, "-m", "observability", *(word for word in arguments if word != FLAG)]
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    while True:
        before = _newest_change()
        # A session of its own: Ctrl-C on the terminal reaches the parent alone, which then stops the child.
        child = subprocess.Popen(command, start_new_session=True)
        while child.poll() is None and not stopping.wait(POLL_SECONDS) and _newest_change() == before:
            pass
        if child.poll() is None:
            child.terminate()
        code = child.wait()
        if stopping.is_set():
            return code
        if _newest_change() == before:
            logger.warning("the server ended with exit code %d; it starts again with the next change", code)
            while not stopping.wait(POLL_SECONDS) and _newest_change() == before:
                pass
            if stopping.is_set():
                return code
        logger.info("a source file changed, starting again")


def _newest_change() -> tuple[int, int]:
    """Returns what tells one state of the sources from another: their number, and the newest change in nanoseconds."""
    roots = [Path(path) for path in observability.__path__]
    times = [file.stat().st_mtime_ns for root in roots for file in root.rglob("*.py")]
    return len(times), max(times)
