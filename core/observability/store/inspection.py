"""The inspection of a store: whether it is sound, what is in it, and which numbers of its sequence are missing.

Nothing is written, and a server that runs in the directory is not disturbed. Long reads are made in pieces, so that its
log does not grow because of them; the check of the pages is one read. Where none runs, none can start meanwhile: the
file is read without its locks.
"""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from observability.clocks.timestamps import format_iso_ms
from observability.errors import StoreError
from observability.store.checkpoint import UNWRITTEN_NUMBERS
from observability.store.file import DATABASE_NAME, check_database, check_schema, explained, open_reader, read_seal
from observability.store.lock import is_locked
from observability.store.origin import Origin, read_origin
from observability.store.schema import MIGRATIONS, NUMBERED, SELECT_SEAL_PAGE, SEQUENCED, read_version
from observability.store.write_ahead_log import log_of, size_of

MAX_FAULTS: Final = 10
MAX_RANGES: Final = 100
_NUMBERS_PER_READ: Final = 20_000
# Of these, the lane of the same records.
LANES: Final = {
    "fills": "trades", "bookings": "bookings", "order_reports": "orders", "alert_transitions": "alerts"
}  # fmt: skip
# When the rows of a table came.
_ARRIVALS: Final = {
    **{table: "ts_init_ns" for table in SEQUENCED if table != "alert_transitions"}, "alert_transitions": "ts_ns"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What is in one table."""

    rows: int
    first: int | None
    last: int | None
    """The lowest and the highest number; None without rows."""
    lane: str | None
    """The lane that its rows are sent over."""
    newest_ns: int | None
    """When the newest one came; None if the rows have no such time."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The numbers of the records, from the first of which none is pruned to the newest."""

    first: int
    last: int
    missing: int
    """Numbers that no row has. Those of rows that were dropped because the disk took no more are among them."""
    ranges: list[tuple[int, int]]
    """The first of these, each as its first and last number."""
    skipped: int
    """Numbers that a start has left out, because the process before it was killed and may have shown them."""
    doubled: int
    """Numbers that two rows have, which must not be."""


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """The checkpoint that a start would load."""

    seq: int
    ts_ns: int
    bytes: int
    later_records: int
    """How many records a start would replay."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found. The store is sound if there are no `faults`."""

    path: Path
    bytes: int
    log_bytes: int
    is_in_use: bool
    version: int
    newest_version: int
    commit: str | None
    """The seal of the last commit; None in a store from before there were seals."""
    origin: Origin | None
    tables: dict[str, TableFacts]
    sequence: Sequence | None
    """None without a record."""
    checkpoint: CheckpointFacts | None
    """None before the first one; a start then replays every record."""
    faults: list[str]
    seconds: float


def inspect(directory: Path, *, is_quick: bool = False) -> Inspection:
    """Inspects the store of a directory. With `is_quick` indexes are not compared with their tables. Raises StoreError
    if there is no store, or none that can be read."""
    path = directory / DATABASE_NAME
    if not path.exists():
        raise StoreError(f"{path}: there is no such store")
    began = time.monotonic()
    faults: list[str] = []
    with is_locked(directory) as is_in_use:
        if not is_in_use and size_of(log_of(path)):
            # Of a server that runs, the log is its own matter.
            with explained(path):
                check_database(path)
        with explained(path), closing(_connect(path, is_in_use=is_in_use)) as connection:
            check_schema(connection, path)
            version = read_version(connection)
            pragma = "quick_check" if is_quick else "integrity_check"
            found = [row for (row,) in connection.execute(f"PRAGMA {pragma}({MAX_FAULTS})")]
            faults += [] if found == ["ok"] else [" ".join(fault.split()) for fault in found]
            present = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            tables = {
                name: _table(connection, name, key)
                for names, key in ((SEQUENCED, "seq"), (NUMBERED, "id"))
                for name in names
                if name in present
            }
            sequence = _sequence(connection, {name: facts for name, facts in tables.items() if name in SEQUENCED})
            if sequence is not None and sequence.doubled:
                faults.append(f"{sequence.doubled} numbers of the sequence are those of two records")
            checkpoint = _checkpoint(connection, tables)
            if checkpoint is not None and sequence is not None and checkpoint.seq > sequence.last + UNWRITTEN_NUMBERS:
                faults.append(f"the checkpoint is of record {checkpoint.seq}, the newest one is {sequence.last}")
            has_seal = connection.execute(SELECT_SEAL_PAGE).fetchone() is not None
            return Inspection(
                path,
                path.stat().st_size,
                size_of(log_of(path)),
                is_in_use,
                version,
                len(MIGRATIONS),
                str(read_seal(connection)) if has_seal else None,
                read_origin(connection) if "origin" in present else None,
                tables,
                sequence,
                checkpoint,
                faults,
                time.monotonic() - began,
            )


def _connect(path: Path, *, is_in_use: bool) -> sqlite3.Connection:
    """Returns a reader. Without a server and a log it makes no files beside the database, as SQLite else does."""
    if is_in_use or size_of(log_of(path)):
        return open_reader(path)
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)


def _table(connection: sqlite3.Connection, name: str, key: str) -> TableFacts:
    rows, first, last = connection.execute(f"SELECT count(*), min({key}), max({key}) FROM {name}").fetchone()
    arrival = _ARRIVALS.get(name)
    newest_ns = None
    if arrival is not None and last is not None:
        (newest_ns,) = connection.execute(f"SELECT {arrival} FROM {name} WHERE {key} = ?", (last,)).fetchone() or (
            None,
        )
    return TableFacts(rows, first, last, LANES.get(name), newest_ns)


def _sequence(connection: sqlite3.Connection, tables: dict[str, TableFacts]) -> Sequence | None:
    """Walks over the numbers of all records."""
    first, last = _first(tables), max((facts.last or 0 for facts in tables.values()), default=0)
    if not last:
        return None
    missing = skipped = doubled = 0
    ranges: list[tuple[int, int]] = []
    before = first - 1
    for number in heapq.merge(*(_numbers(connection, name, first, last) for name in tables)):
        gap = number - before - 1
        if gap < 0:
            doubled += 1
        elif gap >= UNWRITTEN_NUMBERS:
            skipped += gap
        elif gap:
            missing += gap
            if len(ranges) < MAX_RANGES:
                ranges.append((before + 1, number - 1))
        before = number
    return Sequence(first, last, missing, ranges, skipped, doubled)


def _first(tables: dict[str, TableFacts]) -> int:
    """Returns the number from which on nothing is pruned."""
    # The newest row of each table is never pruned, so that a single one, such as a deposit, says nothing.
    single = sorted(facts.first for facts in tables.values() if facts.first is not None and facts.rows == 1)
    firsts = [facts.first for facts in tables.values() if facts.first is not None and facts.rows > 1] or single
    if not firsts:
        return 1
    begin = 1
    while begin in single:
        begin += 1
    # Tables are pruned one after the other, so that before the first number of one of them others may be gone too.
    return 1 if min(firsts) <= begin else max(firsts)


def _numbers(connection: sqlite3.Connection, table: str, first: int, last: int) -> Iterator[int]:
    """Yields the numbers of a table, a short read at a time."""
    after = first - 1
    while True:
        rows = connection.execute(
            f"SELECT seq FROM {table} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, last, _NUMBERS_PER_READ)
        ).fetchall()
        if not rows:
            return
        for (after,) in rows:
            yield after


def _checkpoint(connection: sqlite3.Connection, tables: dict[str, TableFacts]) -> CheckpointFacts | None:
    row = connection.execute("SELECT seq, ts_ns, length(state) FROM checkpoints").fetchone()
    if row is None:
        return None
    seq, ts_ns, size = row
    later = sum(
        connection.execute(f"SELECT count(*) FROM {name} WHERE seq > ?", (seq,)).fetchone()[0]
        for name in SEQUENCED
        if name in tables
    )
    return CheckpointFacts(seq, ts_ns, size, later)


def to_json(inspection: Inspection) -> dict[str, Any]:
    """Returns the inspection as a document."""
    origin, checkpoint, sequence = inspection.origin, inspection.checkpoint, inspection.sequence
    return {
        "path": str(inspection.path),
        "sound": not inspection.faults,
        "faults": inspection.faults,
        "bytes": inspection.bytes,
        "log_bytes": inspection.log_bytes,
        "in_use": inspection.is_in_use,
        "schema": {"version": inspection.version, "newest": inspection.newest_version},
        "commit": inspection.commit,
        "origin": None
        if origin is None
        else {"kind": origin.kind, "what": origin.what, "begun": format_iso_ms(origin.ts_ns)},
        "tables": {
            name: {
                "rows": facts.rows,
                "first": facts.first,
                "last": facts.last,
                "lane": facts.lane,
                "newest": None if facts.newest_ns is None else format_iso_ms(facts.newest_ns),
            }
            for name, facts in inspection.tables.items()
        },
        "sequence": None
        if sequence is None
        else {
            "first": sequence.first,
            "last": sequence.last,
            "missing": sequence.missing,
            "ranges": sequence.ranges,
            "skipped": sequence.skipped,
            "doubled": sequence.doubled,
        },
        "checkpoint": None
        if checkpoint is None
        else {
            "seq": checkpoint.seq,
            "timestamp": format_iso_ms(checkpoint.ts_ns),
            "bytes": checkpoint.bytes,
            "later_records": checkpoint.later_records,
        },
        "seconds": round(inspection.seconds, 3),
    }
