"""`observability store check`: whether a store is sound, and what is in it."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from observability.cli.backup import data_directory
from observability.clocks.timestamps import format_iso_ms
from observability.encoding import encode_json
from observability.errors import EXIT_FAILED, EXIT_USAGE, StoreError
from observability.store.inspection import Inspection, inspect, to_json

_DESCRIPTION: Final = """\
Reads a store, whether or not a server runs in the directory, and writes nothing. Says whether every page and index is
sound, of which version the tables are, how many rows each has, which numbers of the sequence of records no row has, and
what the next start would load and replay. Where no server runs, none can start until the check is over. The exit code
is 0 if the store is sound, 1 if it is damaged or there is none, 2 without a directory."""

_EPILOG: Final = """\
examples:
  observability store check --data-dir /var/lib/observability
  observability store check --data-dir /var/lib/observability --json | jq .sequence.missing"""

MAX_RANGES_SHOWN: Final = 5


def store(arguments: Sequence[str]) -> int:
    """Checks a store; returns the exit code."""
    parsed = parser().parse_args(arguments)
    directory = data_directory("store", parsed)
    if directory is None:
        return EXIT_USAGE
    try:
        found = inspect(directory, is_quick=parsed.quick)
    except (StoreError, OSError, sqlite3.Error) as error:
        if parsed.json:
            print(encode_json({"sound": False, "faults": [str(error)]}).decode())
        print(f"observability store: {error}", file=sys.stderr)
        return EXIT_FAILED
    if parsed.json:
        print(encode_json(to_json(found)).decode())
    else:
        _print(found)
    return EXIT_FAILED if found.faults else 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = argparse.ArgumentParser(
        prog="observability store",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument("what", choices=["check"], help="what to do with the store")
    parsing.add_argument("--data-dir", type=Path, metavar="DIR", help="the data directory [DATA_DIR]")
    parsing.add_argument("--quick", action="store_true", help="do not compare indexes with their tables")
    parsing.add_argument("--json", action="store_true", help="print one JSON object")
    return parsing


def _print(found: Inspection) -> None:
    use = "a server runs in the directory" if found.is_in_use else "no server runs in the directory"
    lines = {"store": f"{found.path}, {_megabytes(found.bytes)} and {_megabytes(found.log_bytes)} of log; {use}"}
    older = "" if found.version == found.newest_version else f", the next start brings it to {found.newest_version}"
    lines["schema"] = f"version {found.version}{older}"
    lines["integrity"] = "; ".join(f"FAULT: {fault}" for fault in found.faults) or "sound"
    if found.origin is not None:
        what = f" of {found.origin.what}" if found.origin.what else ""
        lines["events"] = f"{found.origin.kind}{what}, begun {format_iso_ms(found.origin.ts_ns)}"
    checkpoint, sequence = found.checkpoint, found.sequence
    lines["checkpoint"] = (
        "none: a start replays every record"
        if checkpoint is None
        else f"as of record {checkpoint.seq}, written {format_iso_ms(checkpoint.ts_ns)}, "
        f"{_megabytes(checkpoint.bytes)}; a start replays {checkpoint.later_records} later records"
    )
    if sequence is not None:
        ranges = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in sequence.ranges[:MAX_RANGES_SHOWN])
        more = ", ..." if len(sequence.ranges) > MAX_RANGES_SHOWN else ""
        gaps = f"{sequence.missing} are missing ({ranges}{more})" if sequence.missing else "none is missing"
        skipped = f", {sequence.skipped} were skipped after kills" if sequence.skipped else ""
        lines["records"] = f"{sequence.first} to {sequence.last}, {gaps}{skipped}"
    for name, facts in found.tables.items():
        if not facts.rows:
            lines[name] = "no rows"
            continue
        newest = "" if facts.newest_ns is None else f", the newest of {format_iso_ms(facts.newest_ns)}"
        lane = f" (lane {facts.lane})" if facts.lane else ""
        lines[name] = f"{facts.rows} rows, {facts.first} to {facts.last}{newest}{lane}"
    width = max(map(len, lines)) + 1
    print("\n".join(f"{f'{name}:':{width}} {text}" for name, text in lines.items()))
    print(f"read in {found.seconds:.1f} s")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
