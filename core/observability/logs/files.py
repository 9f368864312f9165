"""Log files that others may move away or remove, such as logrotate, while the server writes to them."""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 10_000_000
BACKUP_FILES: Final = 5


class LogFileHandler(RotatingFileHandler):
    """Writes to the file of its name, whatever becomes of it: a file that was moved away or removed is made again, with
    its directory, before the next record. At `MAX_FILE_BYTES` the handler moves it away itself."""

    def __init__(self, path: Path) -> None:
        self._has_failed = False
        super().__init__(
            path, maxBytes=MAX_FILE_BYTES, backupCount=BACKUP_FILES, encoding="utf-8", errors="backslashreplace"
        )

    def emit(self, record: logging.LogRecord) -> None:
        # The lock is held.
        if not self._is_at_its_name():
            self._replace_stream()
        super().emit(record)

    def reopen(self) -> None:
        """Opens the file again, which makes it if it is gone."""
        self.acquire()
        try:
            self._replace_stream()
        finally:
            self.release()

    def _open(self) -> TextIOWrapper:
        os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
        return super()._open()

    def _is_at_its_name(self) -> bool:
        if self.stream is None:
            return False
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(self.stream.fileno()))
        except OSError:
            return False

    def _replace_stream(self) -> None:
        """Opens the file of the name, and closes the one before it; keeps that if there can be no other."""
        try:
            stream = self._open()
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                logger.error(
                    "the log file %s cannot be opened, the log goes to the file that had its name before: %s",
                    self.baseFilename, error.strerror,
                )  # fmt: skip
            return
        self._has_failed = False
        if self.stream is not None:
            self.stream.close()
        self.stream = stream
