"""The lock of a data directory, and who may read what is in it.

    the directory itself   flock: the lock that counts, because its inode stays when files in it are removed
    lock                   flock, for versions that know only this one; contains the pid of its holder
    observability.db       flock: the same file may have other names, in other directories

The kernel releases all three however the process ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from observability.errors import StoreError

logger = logging.getLogger(__name__)

LOCK_NAME: Final = "lock"
# What is in the files is for the server's user alone.
DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600


class DirectoryLock:
    """Admits one process at a time. A fork shares the lock, so only the process that writes may create one."""

    def __init__(self, directory: Path) -> None:
        """Creates the directory if it is missing, and takes the lock. Raises StoreError."""
        self._directory = directory
        self._descriptors: list[int] = []
        try:
            directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            self._take(os.open(directory, os.O_RDONLY | os.O_DIRECTORY), is_needed=False)
            descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, FILE_MODE)
            self._take(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            self.release()
            raise StoreError(f"data directory {str(directory)!r} cannot be written: {error.strerror}") from None
        except StoreError:
            self.release()
            raise
        mode = directory.stat().st_mode
        # In a sticky directory, such as /tmp, only the owner of a file replaces it.
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            logger.warning("other users may replace the files in %s: its mode lets them write", directory)

    def hold(self, path: Path) -> bool:
        """Locks a file of the directory too, unless it is missing; returns whether it is there. Raises StoreError.

        Closing any descriptor of a database ends the locks of SQLite (fcntl(2)), so it stays open until `release`, and
        no connection may be open when this is called.
        """
        # What else is wrong with the file, SQLite will say.
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return False
        self._take(descriptor, is_needed=False)
        return True

    def release(self) -> None:
        """Releases the lock, once no connection is open."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _take(self, descriptor: int, *, is_needed: bool = True) -> None:
        """Locks an open file. Without `is_needed`, a file system that has no such locks is none of the errors."""
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"data directory {str(self._directory)!r} is in use by process {self._holder()}; expected one at a time"
            ) from None
        except OSError:
            if is_needed:
                raise

    def _holder(self) -> str:
        try:
            return (self._directory / LOCK_NAME).read_text(encoding="ascii", errors="replace").strip() or "unknown"
        except OSError:
            return "unknown"


@contextmanager
def is_locked(directory: Path) -> Iterator[bool]:
    """Says whether a process has the lock of a directory, without writing anything; if none has, none takes it
    meanwhile. Raises StoreError."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StoreError(f"data directory {str(directory)!r} cannot be read: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield True
        else:
            yield False
    finally:
        os.close(descriptor)


def narrow(paths: Iterable[Path]) -> None:
    """Takes away what others than the owner may do with files; logs what was taken away, and what cannot be."""
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & ~FILE_MODE:
                path.chmod(mode & FILE_MODE)
                logger.warning("%s was open to other users (mode %03o); now it is not", path, mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("%s may be open to other users: %s", path, error.strerror)
