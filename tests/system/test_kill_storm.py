"""While processes are killed at random nobody misses anything (`storms/kill_storm.py`, which can rage for longer)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def storm(*arguments: str) -> str:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("core", "http", "tests/support"))
    result = subprocess.run(
        [sys.executable, "-m", "storms.kill_storm", "--seconds", "6", "--clients", "30", "--workers", "2", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": path,
        },
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_with_a_store_the_hub_may_be_killed_too(tmp_path: Path) -> None:
    said = storm("--kill-hub", "--data-dir", str(tmp_path), "--kill-every", "1.5", "--seed", "2")
    assert "'hub': " in said


def test_clients_of_workers_that_are_killed_get_every_trade_and_alert_once_and_no_counter_goes_back() -> None:
    assert "'worker': " in storm("--kill-every", "1")
