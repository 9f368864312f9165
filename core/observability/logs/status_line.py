"""A line on a terminal that is rewritten in place, and the lines that other output adds above it."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from typing import Final, TextIO

REFRESH_SECONDS: Final = 0.25
_BAR_CELLS: Final = 20
_ERASE_LINE: Final = "\r\x1b[K"  # ECMA-48: carriage return, erase to the end of the line


class StatusLine:
    """The line, on standard error. It shows nothing if that is no terminal, or if it is to be quiet."""

    def __init__(self, *, is_quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.is_shown = not is_quiet and self._stream.isatty()
        self._due = 0.0
        self._lock = threading.Lock()

    @property
    def is_due(self) -> bool:
        """Whether it is time to show the next state."""
        return self.is_shown and time.monotonic() >= self._due

    def show(self, text: str) -> None:
        """Replaces the line."""
        if not self.is_shown:
            return
        self._due = time.monotonic() + REFRESH_SECONDS
        # The last column stays free: a full line would wrap and could not be erased.
        columns = shutil.get_terminal_size().columns
        with self._lock:
            self._stream.write(_ERASE_LINE + text[: max(0, columns - 1)])
            self._stream.flush()

    def print(self, text: str = "") -> None:
        """Erases the line, and prints another one that stays. Any thread may call it."""
        with self._lock:
            if self.is_shown:
                self._stream.write(_ERASE_LINE)
            if text:
                self._stream.write(f"{text}\n")
            self._stream.flush()
        self._due = 0.0


class LineHandler(logging.Handler):
    """Prints log lines above a status line."""

    def __init__(self, line: StatusLine) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.print(self.format(record))


def bar(share: float) -> str:
    """Returns a bar, and its share in percent."""
    filled = int(share * _BAR_CELLS)
    return f"[{'#' * filled}{'.' * (_BAR_CELLS - filled)}] {share * 100:3.0f}%"


def remaining(share: float, elapsed_seconds: float) -> str:
    """Returns how long the rest will take at the pace so far, as `1:02:03` or `2:03`; `-` while that is unknown."""
    if share <= 0:
        return "-"
    minutes, seconds = divmod(round(elapsed_seconds * (1 - share) / share), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
