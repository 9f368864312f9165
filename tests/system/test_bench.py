"""`observability bench` for real, in a few seconds: what it measures, prints and writes, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from observability.bench.measures import MEASURES
from observability.bench.results import Results
from server_process import ROOT

TIMEOUT_SECONDS = 120
SHORT = ("--quick", "--seconds", "0.3", "--rounds", "1", "--clients", "10", "--bytes", "2000")


def start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "observability", "bench", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(arguments: Sequence[str], folder: Path) -> tuple[int, str, str]:
    process = start(arguments, folder)
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output, errors


def test_every_server_that_can_run_here_streams(tmp_path: Path) -> None:
    code, output, errors = run(["--only", "fanout", *SHORT], tmp_path)
    assert code == 0, errors
    results = Results.read(tmp_path / "observability-bench" / "results.json")
    assert results.notes == [note for note in results.notes if note.startswith("Other programs")], results.notes
    measured = {sample.contender for sample in results.samples}
    assert {"floor", "websockets", "picows"} <= measured
    assert any(key.startswith("ours") for key in measured)
    for key, why in results.left_out.items():
        assert "; run: " in why or key == "ours-uring", f"{key}: {why}"
    assert "Fan-out: 10 clients, 2 KB" in output
    for sample in results.samples:
        assert sample.values["cpu_us"] > 0, sample
        assert 0 < sample.values["p50_ms"] < 60_000, sample


def test_our_server_is_measured_by_every_measure(tmp_path: Path) -> None:
    code, output, errors = run(["--servers", "ours-picows", *SHORT], tmp_path)
    assert code == 0, errors
    for measure in MEASURES.values():
        assert f"{measure.title}: " in output
    folder = tmp_path / "observability-bench"
    assert ElementTree.parse(folder / "chart.svg").getroot().tag.endswith("svg")
    tables = (folder / "tables.md").read_text()
    assert "conditional GET /api/metrics/current" in tables
    assert "(`observability bench --only storm --clients 10 --bytes 2000`)" in tables
    assert run(["--show", str(folder / "results.json")], tmp_path)[1] in output


def test_without_a_compiler_the_load_is_made_in_python_and_a_note_says_so(tmp_path: Path) -> None:
    code, output, errors = run(["--no-compiler", "--only", "fanout", "--servers", "ours-picows", *SHORT], tmp_path)
    assert code == 0, errors
    assert "load generator: Python" in output
    assert "There is no floor" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_shows_what_was_measured(tmp_path: Path, number: int) -> None:
    process = start(["--only", "fanout", "--servers", "floor", *SHORT, "--rounds", "25"], tmp_path)
    assert process.stderr is not None
    seen: dict[int, psutil.Process] = {}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline and "round 2" not in process.stderr.readline():
        seen |= {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
    while not (now := psutil.Process(process.pid).children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.01)
    seen |= {child.pid: child for child in now}
    # It comes during the start of the next server, as soon as there is a process of it.
    process.send_signal(number)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130
    assert "Interrupted: not everything was measured." in output
    assert "Fan-out: 10 clients, 2 KB" in output
    assert psutil.wait_procs(list(seen.values()), timeout=TIMEOUT_SECONDS)[1] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--only", "speed"], "no measure 'speed'"),
        (["--servers", "apache"], "no server 'apache'"),
        (["--clients", "0"], "expected a number from 1 to 50000"),
        (["--seconds", "soon"], "expected a number from 0.2 to 60"),
    ],
)
def test_a_wrong_argument_is_a_usage_error_in_one_line(tmp_path: Path, arguments: list[str], expected: str) -> None:
    code, _, errors = run(arguments, tmp_path)
    assert code == 2
    assert expected in errors


def test_the_help_explains_the_measures_and_how_to_read_them(tmp_path: Path) -> None:
    code, output, _ = run(["--help"], tmp_path)
    assert code == 0
    for part in ("How to read the tables", "fanout", "storm", "examples:", "--quick", "pip install"):
        assert part in output
