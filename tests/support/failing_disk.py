"""A disk whose calls fail with EIO on demand, and what would be on it after a power cut: see `failing_disk.c`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class FailingDisk:
    """The disk of the processes that are started with `environment`, for the one store that they have open."""

    def __init__(self, directory: Path) -> None:
        """Skips the test without a C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler: cc makes the disk fail")
        self._faults, self.left = directory / "faults", directory / "left"
        self._faults.mkdir()
        self.left.mkdir()
        library = directory / "failing_disk.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(
            [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"],
            check=True,
        )
        self.environment = {"LD_PRELOAD": str(library), "FAULTS": str(self._faults), "DISK": str(self.left)}

    @contextmanager
    def failing(self, *calls: str) -> Iterator[None]:
        """Lets `read`, `write` and `sync` fail."""
        for call in calls:
            (self._faults / call).touch()
        yield
        for call in calls:
            (self._faults / call).unlink()
