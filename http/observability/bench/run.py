"""The run: starts one server after the other, in turn and in rounds, and takes every step of the plan on each."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final, TextIO

from observability.bench.compiler import compile_programs
from observability.bench.contenders import Contender, Launch, all_contenders
from observability.bench.load import LoadGenerator
from observability.bench.plan import Options, PlannedVisit, make_plan
from observability.bench.results import Results, Sample
from observability.bench.servers import Cores, Server, free_port, running
from observability.bench.snapshots import MAX_SYMBOLS, Snapshot, Traffic, fill, grow, take_snapshot
from observability.bench.steps import BUSY_SHARE, Visit
from observability.errors import BenchError
from observability.version import VERSION

# A server has ticked a few times before it is measured.
SETTLE_SECONDS: Final = 0.4
# Beyond this share of a core other programs disturb the measurement.
QUIET_CORES: Final = 0.1


class Progress:
    """One line that says what is being measured, rewritten in a terminal, and printed now and then elsewhere."""

    def __init__(self, output: TextIO, total_seconds: float, ends_at: float | None) -> None:
        self._output = output
        self._is_terminal = output.isatty()
        self._total = total_seconds
        self._ends_at = ends_at
        self._began = time.monotonic()

    @property
    def passed(self) -> float:
        return time.monotonic() - self._began

    def show(self, what: str, expected_seconds: float) -> None:
        """Shows `what`; `expected_seconds` is how long all that is done was expected to take."""
        pace = max(1.0, self.passed / expected_seconds) if expected_seconds > 5 else 1.0
        left = max(0.0, (self._total - expected_seconds) * pace)
        if self._ends_at is not None:
            left = min(left, max(0.0, self._ends_at - self.passed))
        line = f"{_clock(self.passed)} passed, about {_clock(left)} left: {what}"
        self._output.write(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
        self._output.flush()

    def clear(self) -> None:
        if self._is_terminal:
            self._output.write("\r\x1b[K")
            self._output.flush()


def run_bench(options: Options, output: TextIO, results: Results) -> None:
    """Measures everything, and shows the progress on `output`. What has been measured so far is in `results` at any
    time, also when an exception ends the run."""
    with tempfile.TemporaryDirectory(prefix="observability-bench-") as name:
        _Run(options, output, results, Path(name)).run()


class _Run:
    def __init__(self, options: Options, output: TextIO, results: Results, folder: Path) -> None:
        self._options = options
        self._output = output
        self._results = results
        self._folder = folder
        self._cores = Cores.choose()
        programs = compile_programs(folder, may_compile=options.may_compile)
        self._load = LoadGenerator(programs.load, self._cores.load)
        contenders = all_contenders(programs)
        for contender in contenders:
            if contender.missing:
                results.left_out[contender.key] = contender.missing
        self._contenders = [contender for contender in contenders if not contender.missing]
        if programs.load is None:
            results.add_note(
                f"There is no floor, and the load generator is the one in Python ({programs.why}). It is slower than "
                "the servers: latencies and requests per second are its own, CPU times hold."
            )
        self._busy: list[float] = []
        self._others: list[float] = []

    def run(self) -> None:
        plan = make_plan(self._options, self._contenders)
        if not plan:
            raise BenchError("nothing to measure: none of the chosen servers can run here, or serves what was chosen")
        self._pin()
        rounds = self._options.round_count
        total = rounds * sum(visit.seconds for visit in plan)
        budget = self._options.budget_seconds
        progress = Progress(self._output, total, budget)
        progress.show("making the snapshots", 0.0)
        self._results.machine |= _machine(self._cores, self._load)
        snapshots = self._make_snapshots(plan)
        done, took = 0.0, dict[tuple[int, str], float]()
        try:
            for round_ in range(1, rounds + 1):
                for number, visit in enumerate(plan):
                    snapshot = snapshots[visit.size, visit.symbols]
                    for contender in visit.contenders:
                        expected = took.get((number, contender.key), visit.seconds_on(contender))
                        if budget is not None and progress.passed + expected > budget:
                            self._results.add_note(
                                f"A quick run ends after {budget:.0f} s: this one was in round {round_} of {rounds}."
                            )
                            return
                        names = ", ".join(dict.fromkeys(step.case(snapshot).measure for step in visit.steps))
                        progress.show(f"round {round_} of {rounds}, {names}, {contender.label}", done)
                        began = time.monotonic()
                        self._visit(round_, visit, snapshot, contender)
                        took[number, contender.key] = time.monotonic() - began
                        done += visit.seconds_on(contender)
        finally:
            progress.clear()
            self._note_disturbance()

    def _make_snapshots(self, plan: Sequence[PlannedVisit]) -> dict[tuple[int | None, int | None], Snapshot]:
        ours = next((contender for contender in self._contenders if contender.is_ours), None)
        assert ours is not None
        snapshots: dict[tuple[int | None, int | None], Snapshot] = {}
        shown = {}
        sizes = sorted({visit.size for visit in plan if visit.size is not None})
        with self._started(ours, None) as server:
            symbols = 0
            for size in sizes:
                symbols = grow(server, symbols, size)
                snapshot = snapshots[size, None] = take_snapshot(server, size, symbols)
                shown[f"{size / 1000:g} KB"] = snapshot
        for count in {visit.symbols for visit in plan if visit.symbols is not None}:
            with self._started(ours, None) as server:
                fill(server, count)
                snapshots[None, count] = shown[f"{count} symbols"] = take_snapshot(server, None, count)
        self._results.machine["snapshots"] = "; ".join(
            f"{name}: {snapshot.size:,} bytes, {snapshot.symbols} symbols" for name, snapshot in shown.items()
        )
        return snapshots

    def _visit(self, round_: int, visit: PlannedVisit, snapshot: Snapshot, contender: Contender) -> None:
        try:
            with self._started(contender, snapshot) as server:
                if contender.is_ours:
                    fill(server, snapshot.symbols)
                time.sleep(SETTLE_SECONDS)
                symbols = snapshot.symbols if contender.is_ours else 0
                with Traffic(server, symbols):
                    here = Visit(contender, server, snapshot, self._load, self._busy, self._others)
                    for step in visit.steps:
                        if not step.applies_to(contender, snapshot):
                            continue
                        case = step.case(snapshot)
                        try:
                            values = step.take(here)
                        except BenchError as error:
                            self._results.add_note(f"{contender.label}, {case.measure} ({case.label}): {error}")
                            continue
                        self._results.samples.append(Sample(case, contender.key, contender.label, round_, values))
        except BenchError as error:
            self._results.left_out[contender.key] = str(error)

    @contextmanager
    def _started(self, contender: Contender, snapshot: Snapshot | None) -> Iterator[Server]:
        """A server of `contender`, in a folder of its own."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            copy = folder / "snapshot.json"
            copy.write_bytes(b"" if snapshot is None else snapshot.copy)
            symbols = MAX_SYMBOLS if snapshot is None else snapshot.symbols
            launch = Launch(free_port(), copy, symbols, self._options.most_clients, folder)
            cores = self._cores.for_processes(contender.processes)
            variables = contender.variables(launch)
            with running(contender.command(launch), launch.port, variables, cores, folder / "log") as server:
                yield server

    def _pin(self) -> None:
        """Keeps this process off the server's core."""
        if self._cores.load:
            os.sched_setaffinity(0, self._cores.load)

    def _note_disturbance(self) -> None:
        if self._busy and max(self._busy) > BUSY_SHARE and self._load.program is not None:
            self._results.add_note(
                f"The load generator used up to {max(self._busy):.0%} of its core: where it did, requests per second "
                "are those that it can ask for. CPU times hold."
            )
        if self._others:
            others = median(self._others)
            self._results.machine["other programs"] = f"{others:.2f} cores (median)"
            if others > QUIET_CORES:
                self._results.add_note(
                    f"Other programs used {others:.2f} of {os.cpu_count()} cores meanwhile: measure again on a quiet "
                    "machine."
                )


def _machine(cores: Cores, load: LoadGenerator) -> dict[str, str]:
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "pinning": str(cores),
        "load generator": load.name,
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def new_results(command: Sequence[str]) -> Results:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(VERSION, now, " ".join(command), {})
