"""A wake-up channel: one byte says that there is something new in the mapping, and a lost one costs nothing.

Nothing is told here but that; what there is lies in the mapping.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

_DRAIN_BYTES: Final = 4096


class WakeUp:
    """A pipe that is made before the fork and outlives its users on both sides."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)

    def fileno(self) -> int:
        """The side that becomes readable."""
        return self._read_fd

    def wake(self) -> None:
        """Wakes whoever waits; if the pipe is full, it has been woken often enough."""
        # hot: once per tick and worker
        with suppress(BlockingIOError):
            os.write(self._write_fd, b"\0")

    def drain(self) -> None:
        """Takes everything that has come."""
        with suppress(BlockingIOError):
            while len(os.read(self._read_fd, _DRAIN_BYTES)) == _DRAIN_BYTES:
                pass
