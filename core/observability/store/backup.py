"""Backups of a store: one file, copied while the server runs, and put into a data directory again.

    back up    DIR/observability.db --pages--> .FILE.part --check, fsync--> FILE
    restore    FILE --check--> DIR/observability.db-restoring --rename--> DIR/observability.db

A backup is the store at one moment: a read transaction holds that state while the server writes on. What was
acknowledged before that moment is in it, and no half of a batch is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from observability.errors import StoreError
from observability.store.file import (
    DATABASE_NAME,
    check_database,
    check_schema,
    connect,
    explained,
    open_reader,
    read_seal,
    restoring_of,
    sync_directory,
)
from observability.store.lock import FILE_MODE, LOCK_NAME, DirectoryLock
from observability.store.schema import APPLICATION_ID, MIGRATIONS, SELECT_SEAL_PAGE, read_version
from observability.store.write_ahead_log import index_of, log_of

# A megabyte at a time, so that an interrupt is soon noticed.
STEP_PAGES: Final = 256
STEP_BYTES: Final = 1 << 20

Progress = Callable[[float], None]
"""Called with the share that is copied, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """What is in a backup."""

    size_bytes: int
    fills: int
    orders: int
    """Reports about orders."""
    newest_ns: int | None
    """When the newest fill or report arrived; None if there is none."""


def back_up(directory: Path, target: Path, on_progress: Progress) -> BackupFacts:
    """Copies the store of a directory into a new file, whether or not a server runs there. Raises StoreError, and then
    leaves nothing behind."""
    path = directory / DATABASE_NAME
    if not path.exists():
        raise StoreError(f"{path}: there is no such store")
    _refuse_to_overwrite(target)
    _check_if_idle(directory)
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    with _explained_copy(target):
        try:
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
            part.chmod(FILE_MODE)
            _copy_pages(path, part, _paced(on_progress))
            facts = check_backup(part)
            _sync(part)
            _refuse_to_overwrite(target)
            part.rename(target)
            sync_directory(target.absolute().parent)
        finally:
            for leftover in (part, _journal_of(part), log_of(part), index_of(part)):
                leftover.unlink(missing_ok=True)
    return facts


def _copy_pages(path: Path, part: Path, on_step: Callable[[int, int, int], None]) -> None:
    with explained(path), closing(open_reader(path)) as source:
        # In a transaction the pages stay those of one moment; without, each commit would begin the copy anew.
        source.execute("BEGIN")
        check_schema(source, path)
        try:
            with closing(connect(part, "rw")) as copy:
                source.backup(copy, pages=STEP_PAGES, progress=on_step)
                # No log belongs to the file, so that it is complete by itself.
                copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be copied: {error}") from None


def check_backup(path: Path) -> BackupFacts:
    """Reads every page of a backup. Raises StoreError for a file that is damaged, none of ours, or of a later
    version."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file")
    for beside in (log_of(path), _journal_of(path)):
        if beside.exists() and beside.stat().st_size:
            raise StoreError(
                f"{path}: a copy of a store in use, of which {beside.name} holds a part; expected a file that "
                "`observability backup` has written"
            )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            _check_kind(connection, path)
            faults = [fault for (fault,) in connection.execute("PRAGMA integrity_check(1)")]
            if faults != ["ok"]:
                raise StoreError(f"{path}: damaged ({' '.join(faults[0].split())})")
            (fills, newest_fill_ns), (orders, newest_order_ns) = (
                connection.execute(f"SELECT count(*), max(ts_init_ns) FROM {table}").fetchone()
                for table in ("fills", "order_reports")
            )
    except sqlite3.Error as error:
        raise StoreError(f"{path}: no backup, or a damaged one ({error})") from None
    newest_ns = max(newest_fill_ns or 0, newest_order_ns or 0)
    return BackupFacts(path.stat().st_size, fills, orders, newest_ns or None)


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for a database that is no store of ours, or one of a later version."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    version = read_version(connection)
    if application_id != APPLICATION_ID or not version:
        raise StoreError(f"{path}: a database, but no backup of a store")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a later version of this software (schema {version}, expected at most "
            f"{len(MIGRATIONS)}); restore it with that version"
        )
    if connection.execute(SELECT_SEAL_PAGE).fetchone() is not None:
        read_seal(connection)


def restore(source: Path, directory: Path, on_progress: Progress, *, may_replace: bool) -> BackupFacts:
    """Makes a backup the store of a directory, in which no server may run. Raises StoreError; the directory then has
    the store that it had, or none.

    With `may_replace` a store that is there is replaced. It stays until the backup is in its place.
    """
    facts = check_backup(source)
    if not may_replace and directory.exists() and any(one.name != LOCK_NAME for one in directory.iterdir()):
        raise StoreError(f"{directory}: not empty; expected a new directory, or --force to replace the store in it")
    lock = DirectoryLock(directory)
    try:
        lock.hold(directory / DATABASE_NAME)
        with _explained_copy(directory):
            _put_in_place(source, directory / DATABASE_NAME, on_progress)
    finally:
        lock.release()
    return facts


def _put_in_place(source: Path, path: Path, on_progress: Progress) -> None:
    """Replaces a store. Wherever this is interrupted, the next start finds the old store, the new one, or a file that
    tells it that neither is whole (`file.py`)."""
    new = restoring_of(path)
    new.unlink(missing_ok=True)
    try:
        _copy(source, new, on_progress)
    except BaseException:
        if path.exists():
            new.unlink(missing_ok=True)
        raise
    # Restored by root, for a server that runs as somebody else.
    owner = path.parent.stat()
    if os.geteuid() == 0:
        for one in (new, path.with_name(LOCK_NAME)):
            os.chown(one, owner.st_uid, owner.st_gid)
    sync_directory(path.parent)
    old = path.with_name(f"{path.name}-replaced")
    for one in (path, log_of(path)):
        with suppress(FileNotFoundError):
            one.rename(one.with_name(one.name.replace(path.name, old.name)))
    index_of(path).unlink(missing_ok=True)
    sync_directory(path.parent)
    new.rename(path)
    sync_directory(path.parent)
    for one in (old, log_of(old)):
        one.unlink(missing_ok=True)


def _copy(source: Path, target: Path, on_progress: Progress) -> None:
    total, done = source.stat().st_size, 0
    with source.open("rb") as reading, open(target, "xb", opener=_open_for_owner) as writing:
        while chunk := reading.read(STEP_BYTES):
            writing.write(chunk)
            done += len(chunk)
            on_progress(done / total)
        writing.flush()
        os.fsync(writing.fileno())


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _refuse_to_overwrite(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target}: exists already, and a backup overwrites nothing")


def _check_if_idle(directory: Path) -> None:
    """Checks a store of which no server makes sure that its log is whole. Raises StoreError."""
    try:
        lock = DirectoryLock(directory)
    except StoreError:
        return
    try:
        with explained(directory / DATABASE_NAME):
            check_database(directory / DATABASE_NAME)
    finally:
        lock.release()


def _paced(on_progress: Progress) -> Callable[[int, int, int], None]:
    """Returns a function for SQLite to call after each step. It rests as long as the step took, so that the server has
    at least half of the disk."""
    before = time.monotonic()

    def on_step(_: int, remaining: int, total: int) -> None:
        nonlocal before
        on_progress(1 - remaining / total if total else 1.0)
        time.sleep(time.monotonic() - before)
        before = time.monotonic()

    return on_step


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained_copy(path: Path) -> Iterator[None]:
    """Turns errors of the disk into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from None
