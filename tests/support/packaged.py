"""Programs that packages of PyPI bring, which need not be on the PATH."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path


def program(package: str, name: str) -> Path:
    """Returns where a package has put a program."""
    return next(Path(str(file.locate())) for file in distribution(package).files or () if file.name == name)
