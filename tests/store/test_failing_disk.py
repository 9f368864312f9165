"""The writer on a disk with input/output errors: what it has acknowledged is there after a power cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from failing_disk import FailingDisk
from observability.store.file import DATABASE_NAME
from stored import select

ROOT = Path(__file__).parents[2]

# In a process of its own, which has the disk. No reader is connected, so that SQLite reads the log anew each time.
FAULTS_OF_SEVERAL_LENGTHS = """
import os, sys
from pathlib import Path
from test_writer import Disk, count_of

faults = [Path(os.environ["FAULTS"]) / call for call in sys.argv[2].split(",")]
disk = Disk(Path(sys.argv[1]))
disk.put(1)
disk.writer.start()
disk.wait_until(lambda: disk.durable == 1)
for tries, waiting in (1, 2), (2, 3):
    first = disk.durable + 1
    told = len(disk.faults)
    for fault in faults:
        fault.touch()
    disk.put(first)
    disk.wait_until(lambda: len(disk.faults) > told)
    tried = disk.connections + tries
    disk.wait_until(lambda: disk.connections >= tried)
    disk.put(*range(first + 1, first + waiting))
    assert disk.durable == first - 1
    for fault in faults:
        fault.unlink()
    disk.wait_until(lambda: disk.durable == first + waiting - 1)
    assert disk.faults[-1] is None
assert count_of(disk.counters, "store_rows_refused_total") == 0
os._exit(0)
"""


@pytest.mark.parametrize("calls", ["sync", "write", "read,sync", "read,write,sync"])
def test_rows_acknowledged_after_an_input_output_error_survive_a_power_cut(calls: str, tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    (tmp_path / "data").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS_OF_SEVERAL_LENGTHS, tmp_path / "data", calls],
        env={"PYTHONPATH": f"{ROOT}/core:{ROOT}/tests/support:{ROOT}/tests/store", **disk.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert select(disk.left / DATABASE_NAME, "SELECT seq FROM fills") == list(range(1, 7))
