"""Readers in other processes never return torn data, and the checker would notice it (`storms/ring_stress.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def stress(*arguments: str) -> list[dict[str, Any]]:
    result = subprocess.run(
        [sys.executable, "-m", "storms.ring_stress", "--seconds", "1.5", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "core"), str(ROOT / "tests/support")))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not result.stderr
    seen: list[dict[str, Any]] = json.loads(result.stdout)
    return seen


def test_no_reader_returns_torn_or_stale_data() -> None:
    for seen in stress("--readers", "2"):
        assert seen["wrong"] == {}
        assert min(seen["words"], seen["records"], seen["entries"], seen["rows"], seen["blocks"], seen["minutes"]) > 0


def test_the_checker_detects_words_stored_with_pack_into() -> None:
    (seen,) = stress("--words", "pack_into")
    assert seen["wrong"].keys() & {"torn word", "stale word"}


def test_the_checker_detects_records_and_rows_read_unchecked() -> None:
    (seen,) = stress("--unchecked")
    assert seen["wrong"].keys() >= {"record", "block", "minute"}
