"""The way back from an upgrade: a copy of the store, made before its tables are migrated.

    observability.db --copy--> observability.db-version-11       the store as it was, complete by itself
                     --migrate--> version 14                     in one transaction

`observability restore` of the earlier version takes the copy. One copy is kept, for `KEPT_DAYS`.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from observability.clocks.timestamps import NS_PER_DAY
from observability.errors import StoreError
from observability.store.lock import FILE_MODE
from observability.store.schema import MIGRATIONS, read_version
from observability.store.write_ahead_log import log_of, size_of

logger = logging.getLogger(__name__)

KEPT_DAYS: Final = 7
# For a while nothing else uses the disk; a step is what an interrupt waits for.
STEP_PAGES: Final = 4096


def copy_before_migration(path: Path, connection: sqlite3.Connection) -> None:
    """Copies a store whose tables are of an earlier version, and removes the copies of earlier upgrades. Raises
    StoreError if the disk has no room for the copy and the migration, sqlite3.Error, OSError; no copy is left then."""
    version = read_version(connection)
    if not 0 < version < len(MIGRATIONS):
        return
    target = copy_of(path, version)
    part = target.with_name(f"{target.name}.part")
    # A start that was killed while it copied has left one, which takes the room of this one.
    _remove_leftovers(part)
    size = path.stat().st_size + size_of(log_of(path))
    free = shutil.disk_usage(path.parent).free
    # The migration may write every page again, into the log.
    needed = 2 * size
    if free < needed:
        raise StoreError(
            f"{path}: an upgrade from version {version} to {len(MIGRATIONS)} needs {_megabytes(needed)} of free disk, "
            f"half of it for a copy of the store as it is, and {_megabytes(free)} are free; free some, or make a "
            "backup elsewhere and set STORE_UPGRADE_COPY=false"
        )
    began = time.monotonic()
    logger.info(
        "copying the store (%s) to %s before it is migrated from version %d to %d",
        _megabytes(size), target.name, version, len(MIGRATIONS),
    )  # fmt: skip
    try:
        _copy(connection, part)
        part.rename(target)
    finally:
        _remove_leftovers(part)
    for other in copies_of(path):
        if other != target:
            other.unlink()
    logger.info(
        "the store of version %d is kept in %s for %d days, copied in %.1f s: to go back, start the earlier version "
        "after `observability restore %s --force` with it",
        version, target, KEPT_DAYS, time.monotonic() - began, target.name,
    )  # fmt: skip


def copy_of(path: Path, version: int) -> Path:
    """Returns the path of the copy of a store of a version."""
    return path.with_name(f"{path.name}-version-{version}")


def copies_of(path: Path) -> Iterator[Path]:
    """Yields the copies that lie beside a store."""
    yield from path.parent.glob(f"{path.name}-version-*[0-9]")


def remove_old_copies(path: Path, now_ns: int) -> None:
    """Removes copies that are older than `KEPT_DAYS`."""
    for copy in copies_of(path):
        try:
            if now_ns - copy.stat().st_mtime_ns > KEPT_DAYS * NS_PER_DAY:
                copy.unlink()
                logger.info("removed %s: the upgrade was more than %d days ago", copy, KEPT_DAYS)
        except OSError as error:
            logger.warning("%s cannot be removed: %s", copy, error.strerror)


def _copy(connection: sqlite3.Connection, part: Path) -> None:
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    part.chmod(FILE_MODE)
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        connection.backup(copy, pages=STEP_PAGES)
        # No log belongs to the file, so that it is complete by itself.
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(part: Path) -> None:
    for leftover in (part, part.with_name(f"{part.name}-journal"), log_of(part)):
        leftover.unlink(missing_ok=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
