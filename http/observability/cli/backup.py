"""`observability backup`: the store of a data directory into one file, whether or not a server runs there."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from observability.clocks.timestamps import format_iso_ms
from observability.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, StoreError
from observability.logs.status_line import StatusLine, bar, remaining
from observability.store.backup import BackupFacts, Progress, back_up

_DESCRIPTION: Final = """\
Copies the store of a data directory into one new file: fills, orders, alerts, history and the state of every figure,
as of one moment. The server keeps running and writing meanwhile. Whatever it acknowledged before that moment is in the
file. Every page of the copy is checked before it gets its name; it is readable by its owner only, and no file is
overwritten. The exit code is 0 if the backup is complete, 1 if not, 130 after Ctrl-C, which leaves nothing behind."""

_EPILOG: Final = """\
examples:
  observability backup /backup/desk.db --data-dir /var/lib/observability
  DATA_DIR=/var/lib/observability observability backup "/backup/desk-$(date +%F).db"      from cron, a file a day
  observability restore /backup/desk.db --data-dir /var/lib/observability                 the way back"""


def backup(arguments: Sequence[str]) -> int:
    """Writes a backup; returns the exit code."""
    parsed = parser().parse_args(arguments)
    return run_copy(
        "backup", "backed up", parsed,
        lambda directory, on_progress: back_up(directory, parsed.file, on_progress),
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    return copy_parser("backup", _DESCRIPTION, _EPILOG, "the file to write")


def copy_parser(command: str, description: str, examples: str, file: str) -> argparse.ArgumentParser:
    """Returns a parser of what `backup` and `restore` both take."""
    parsing = argparse.ArgumentParser(
        prog=f"observability {command}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument("file", type=Path, metavar="FILE", help=file)
    parsing.add_argument("--data-dir", type=Path, metavar="DIR", help="the data directory [DATA_DIR]")
    parsing.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parsing


def data_directory(command: str, parsed: argparse.Namespace) -> Path | None:
    """Returns the directory that the command line or DATA_DIR names; prints that there is none, and returns None."""
    named = os.environ.get("DATA_DIR", "")
    directory: Path | None = parsed.data_dir or (Path(named).expanduser() if named else None)
    if directory is None:
        print(f"observability {command}: no data directory is given, expected --data-dir DIR", file=sys.stderr)
    return directory


def run_copy(command: str, done: str, parsed: argparse.Namespace, copy: Callable[[Path, Progress], BackupFacts]) -> int:
    """Runs a command that copies a store, and prints what it has copied; returns the exit code."""
    directory = data_directory(command, parsed)
    if directory is None:
        return EXIT_USAGE
    line = StatusLine(is_quiet=parsed.quiet)
    began = time.monotonic()

    def on_progress(share: float) -> None:
        if line.is_due or share >= 1:
            left = "checking every page" if share >= 1 else f"ETA {remaining(share, time.monotonic() - began)}"
            line.show(f"{bar(share)}  {left}")

    # A signal must not leave half a file behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        facts = copy(directory, on_progress)
    except KeyboardInterrupt:
        line.print("interrupted")
        return EXIT_INTERRUPTED
    except StoreError as error:
        line.print(f"observability {command}: {error}")
        return EXIT_FAILED
    line.print()
    newest = "" if facts.newest_ns is None else f", the newest of {format_iso_ms(facts.newest_ns)}"
    fills = f"{facts.fills} fill{'' if facts.fills == 1 else 's'}"
    orders = f"{facts.orders} order report{'' if facts.orders == 1 else 's'}"
    print(
        f"{done}: {fills} and {orders}{newest}; {facts.size_bytes / 1e6:.1f} MB "
        f"in {time.monotonic() - began:.1f} s, every page checked"
    )
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
