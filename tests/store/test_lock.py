"""The lock of a data directory: one process at a time, whatever happens to the files in it; and their modes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from observability.errors import StoreError
from observability.store.lock import LOCK_NAME, DirectoryLock

ROOT = Path(__file__).parents[2]


def test_a_missing_directory_is_created(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_directory_in_use_is_refused_with_the_pid_of_its_owner(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(StoreError, match=rf"in use by process {os.getpid()}; expected one at a time"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from observability.store.lock import DirectoryLock\n"
        "lock = DirectoryLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        env={"PYTHONPATH": str(ROOT / "core")},
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {holder.pid}"):
            DirectoryLock(tmp_path)
        holder.kill()
    DirectoryLock(tmp_path).release()


def test_a_directory_that_cannot_be_created_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        DirectoryLock(tmp_path / "file" / "data")


def test_an_unwritable_directory_is_refused_with_the_reason() -> None:
    # No process can create files there, not even root's.
    with pytest.raises(StoreError, match="'/proc/self' cannot be written: "):
        DirectoryLock(Path("/proc/self"))
