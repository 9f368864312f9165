"""The memory of answers: it keeps the newest by key, within its number of bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from observability.ingest.answers import AnswerMemory, IngestAnswer, Remembered

SOURCE_ROOTS: Final = [Path(__file__).parents[2] / name for name in ("core", "http")]


def remembered(size: int) -> Remembered:
    return Remembered(b"print", IngestAnswer(200, b"x" * size), 0)


def test_the_oldest_answers_are_dropped_for_new_ones() -> None:
    memory = AnswerMemory(max_bytes=10_000)
    for number in range(100):
        memory.put(f"k{number}", remembered(600))
    assert len(memory) == 9
    assert memory.get("k90") is None
    assert memory.get("k91") is not None


def test_an_answer_larger_than_the_memory_is_not_kept() -> None:
    memory = AnswerMemory(max_bytes=1_000)
    memory.put("k", remembered(2_000))
    memory.put("l", remembered(10))
    assert memory.get("k") is None
    assert memory.get("l") is not None


# Prints how many bytes the process has grown by, for each byte of the bound.
GROWTH = """
from hashlib import blake2b
from observability.ingest.answers import AnswerMemory, BatchOutcome, Remembered

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

MAX_BYTES = 8 * 1024 * 1024
memory, before = AnswerMemory(MAX_BYTES), resident()
for number in range(40_000):
    outcome = BatchOutcome(accepted=1)
    for index in range({faults}):
        outcome.reject(index, "conflict: a fill of this key has other content")
    fingerprint = blake2b(b"%d" % number, digest_size=16).digest()
    memory.put(f"key-{{number}}-" + "z" * {key_size}, Remembered(fingerprint, outcome.answer(), number + 1_000_000))
assert len(memory) < 40_000
print((resident() - before) / MAX_BYTES)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(("key_size", "faults"), [(1, 0), (200, 0), (1, 3)])
def test_the_bytes_of_the_memory_are_what_the_process_takes(key_size: int, faults: int) -> None:
    script = GROWTH.format(key_size=key_size, faults=faults)
    path = os.pathsep.join(map(str, SOURCE_ROOTS))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert float(done.stdout) < 1.5
