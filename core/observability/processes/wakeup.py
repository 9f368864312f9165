"""A wake-up pipe: one byte means that the mapping holds something new, and a byte that is lost costs nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

_DRAIN_BYTES: Final = 4096


class WakeUp:
    """A pipe that is created before the fork and outlives the processes on both sides."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)

    def fileno(self) -> int:
        """Returns the descriptor that becomes readable."""
        return self._read_fd

    def wake(self) -> None:
        """Wakes the reader. A full pipe has woken it already."""
        # hot: once per tick and worker
        with suppress(BlockingIOError):
            os.write(self._write_fd, b"\0")

    def drain(self) -> None:
        """Discards the bytes that have arrived."""
        with suppress(BlockingIOError):
            while len(os.read(self._read_fd, _DRAIN_BYTES)) == _DRAIN_BYTES:
                pass
