"""Kills a process that writes to a store, at a random moment, and checks what it left. To run it by itself:

PYTHONPATH=tests/support python -m storms.store_killing 200
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from observability.memory.counters import Counters
from observability.store.file import DATABASE_NAME, open_database
from observability.store.limits import StoreLimits
from observability.store.schema import INSERT_FILL
from observability.store.store import Store
from stored import fill_row

ROOT = Path(__file__).parents[3]

MAX_BURST_ROWS = 200
# Small, so that each burst has many groups, and a kill falls between two of them.
GROUP_ROWS = 50
MAX_LIFE_SECONDS = 0.2
SOON = 30.0


async def write(directory: Path, first_seq: int) -> None:
    """Puts fills in bursts of random length, and prints the last durable seq after each commit, until it is killed."""
    store = Store.open(directory, StoreLimits(group_rows=GROUP_ROWS), Counters())
    # One system call per line, and only after the commit.
    store.add_commit_listener(lambda position: _report(first_seq + position - 1))
    store.start(asyncio.get_running_loop())
    seq = first_seq
    while True:
        for _ in range(random.randrange(1, MAX_BURST_ROWS)):
            store.put(INSERT_FILL, fill_row(seq))
            seq += 1
        assert await store.durable(store.position, SOON)


def kill_once(directory: Path, first_seq: int) -> int:
    """Starts a writer and kills it at a random moment; returns the last seq that it reported as durable."""
    command = [sys.executable, __file__, "--write", str(directory), str(first_seq)]
    python_path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "tests/support")))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": python_path}, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        reported = writer.stdout.readline()
        killing = threading.Timer(random.uniform(0, MAX_LIFE_SECONDS), writer.kill)
        killing.start()
        # Reading prevents the pipe from filling up and blocking the writer.
        reported += writer.stdout.read()
        killing.join()
    whole_lines = reported[: reported.rfind(b"\n") + 1].split()
    assert whole_lines, "the writer ended before anything was durable"
    return int(whole_lines[-1])


def check(directory: Path, durable_seq: int) -> int:
    """Raises AssertionError unless everything up to `durable_seq` is there, in order; returns the last seq."""
    with closing(open_database(directory / DATABASE_NAME)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        seqs = [seq for (seq,) in connection.execute("SELECT seq FROM fills ORDER BY seq")]
    assert verdict == "ok", verdict
    assert seqs == list(range(1, len(seqs) + 1)), "a row is missing before one that is there"
    assert len(seqs) >= durable_seq, f"{durable_seq} was reported durable, {len(seqs)} is the last one there"
    return len(seqs)


def kill_often(directory: Path, kills: int) -> int:
    """Kills writers in turn, each of which continues after the previous one; returns how many rows they left."""
    newest = 0
    for _ in range(kills):
        newest = check(directory, kill_once(directory, newest + 1))
    return newest


def _report(seq: int) -> None:
    os.write(1, b"%d\n" % seq)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--write", nargs=2, metavar=("DIRECTORY", "SEQ"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        asyncio.run(write(Path(arguments.write[0]), int(arguments.write[1])))
        return
    with tempfile.TemporaryDirectory() as directory:
        rows = kill_often(Path(directory), arguments.kills)
    sys.stdout.write(f"{arguments.kills} kills, {rows} rows: all durable rows are there, in order\n")


if __name__ == "__main__":
    main()
