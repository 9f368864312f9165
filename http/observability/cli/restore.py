"""`observability restore`: a backup becomes the store of a data directory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from observability.cli.backup import copy_parser, run_copy
from observability.store.backup import restore as restore_store

_DESCRIPTION: Final = """\
Makes a backup the store of a data directory in which no server runs. The file is checked first: that it is a backup,
of this or an earlier version, and that every page of it can be read. The store is there whole or not at all, however
the command ends. The next start of the server continues from the moment of the backup.

A directory that is not empty is refused. With --force the store in it is replaced; it stays until the backup is in its
place. The exit code is 0 if the backup is restored, 1 if not, 130 after Ctrl-C."""

_EPILOG: Final = """\
examples:
  observability restore /backup/desk.db --data-dir /var/lib/observability-new
  systemctl stop observability && observability restore /backup/desk.db --data-dir /var/lib/observability --force"""


def restore(arguments: Sequence[str]) -> int:
    """Restores a backup; returns the exit code."""
    parsed = parser().parse_args(arguments)
    return run_copy(
        "restore", "restored", parsed,
        lambda directory, on_progress: restore_store(parsed.file, directory, on_progress, may_replace=parsed.force),
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = copy_parser("restore", _DESCRIPTION, _EPILOG, "a file that `observability backup` has written")
    parsing.add_argument("--force", action="store_true", help="replace the store that is in the directory")
    return parsing
