"""Question: what does an order report or fill cost, from JSON until it is on disk and answered, beside another version?

Each tree of the source has a process of its own with a gate, a bus, the collectors, a journal and a store, and takes
EVENTS events at a time in batches of `--size`; the trees take turns, so that what else the machine does meets all of
them. Prints the CPU time of the loop's thread and of all threads in microseconds per event, the least and the median,
and the median of the ratios of the first tree to each, of the same turn.

    git worktree add ../before HEAD~1
    python benchmarks/bench_beside.py ../before . [--case fill] [--size 1000] [--turns 40]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson
import uvloop

EVENTS: Final = 2_000
IN_FLIGHT: Final = 8
# Until the logs and caches are as full as they stay, a fill costs less.
WARM_UP_TURNS: Final = 5
NOW_NS: Final = 1_700_000_000_000_000_000


def order(n: int) -> dict[str, object]:
    return {
        "type": "order", "order_id": f"o{n // 3}", "symbol": f"SYM{n // 3 % 20}", "side": "buy", "quantity": "100",
        "price": "585.25", "status": ("pending_new", "new", "filled")[n % 3], "strategy": "alpha",
        "ts": NOW_NS + n * 1000,
    }  # fmt: skip


def fill(n: int) -> dict[str, object]:
    return {
        "type": "fill", "trade_id": f"t{n}", "order_id": f"o{n}", "symbol": f"SYM{n % 20}",
        "side": ("buy", "sell")[n % 2], "quantity": "100", "price": "585.25", "commission": "0.1",
        "strategy": "alpha", "ts": NOW_NS + n,
    }  # fmt: skip


def closing_fill(n: int) -> dict[str, object]:
    """Opens and closes by turns, at prices that differ."""
    return fill(n) | {"symbol": f"SYM{n // 2 % 20}", "price": f"{585 + n % 97 / 100:.2f}"}


def quote(n: int) -> dict[str, object]:
    bid = 585.0 + n % 50 / 100
    return {"type": "quote", "symbol": f"SYM{n % 20}", "ts": NOW_NS + n, "bid": bid, "ask": bid + 0.02}


CASES: Final[dict[str, Callable[[int], dict[str, object]]]] = {
    "fill": fill, "closing": closing_fill, "order": order, "quote": quote
}  # fmt: skip


def serve(case: str, size: int, directory: Path) -> None:
    """Takes a turn for each line of the standard input, and prints what it has cost."""
    from bench_intake import Intake

    make = CASES[case]
    gc.freeze()
    # Those of the server.
    gc.set_threshold(2000, 10, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        intake: Any = Intake(directory)
        runner.run(intake.start())
        start = 0
        print("ready", flush=True)
        for _ in sys.stdin:
            batches = [
                orjson.dumps([make(n) for n in range(begin, begin + size)])
                for begin in range(start, start + EVENTS, size)
            ]
            start += EVENTS
            loop_ns, all_ns = time.thread_time_ns(), time.process_time_ns()
            for number in range(0, len(batches), IN_FLIGHT):
                runner.run(intake.take(batches[number : number + IN_FLIGHT], size))
            loop_ns, all_ns = time.thread_time_ns() - loop_ns, time.process_time_ns() - all_ns
            print(loop_ns / EVENTS / 1000, all_ns / EVENTS / 1000, flush=True)
        runner.run(intake.stop())


def compare(trees: list[Path], case: str, size: int, turns: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        processes = []
        for number, tree in enumerate(trees):
            path = os.pathsep.join(str(tree.resolve() / folder) for folder in ("core", "http", "benchmarks"))
            (Path(directory) / str(number)).mkdir()
            command = [sys.executable, __file__, "--serve", str(Path(directory) / str(number)), "--case", case]
            processes.append(
                subprocess.Popen(
                    [*command, "--size", str(size)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
                )
            )
        costs: list[list[tuple[float, float]]] = [[] for _ in trees]
        try:
            for process in processes:
                assert process.stdout is not None and process.stdout.readline() == "ready\n"
            for turn in range(WARM_UP_TURNS + turns):
                for process, found in zip(processes, costs, strict=True):
                    assert process.stdin is not None and process.stdout is not None
                    process.stdin.write("\n")
                    process.stdin.flush()
                    loop_us, all_us = map(float, process.stdout.readline().split())
                    if turn >= WARM_UP_TURNS:
                        found.append((loop_us, all_us))
        finally:
            for process in processes:
                if process.stdin is not None:
                    process.stdin.close()
                process.wait(60)
    for thread, name in enumerate(("loop", "all threads")):
        first = [each[thread] for each in costs[0]]
        for tree, found in zip(trees, costs, strict=True):
            us = [each[thread] for each in found]
            ratio = median([before / after for before, after in zip(first, us, strict=True)])
            row = f"{case:<8}{size:>6}  {name:<12}{tree.resolve().name:<20}"
            print(f"{row}{min(us):>8.1f} us{median(us):>8.1f} us{ratio:>7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, nargs="*")
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--size", type=int, action="append", help="events in a batch")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.case[0], arguments.size[0], arguments.serve)
        return
    print(f"{'case':<8}{'batch':>6}  {'CPU of':<12}{'tree':<20}{'least':>11}{'median':>11}{'ratio':>7}")
    for case in arguments.case or ("fill", "order"):
        for size in arguments.size or (1, 10, 1000):
            compare(arguments.trees, case, size, arguments.turns)


if __name__ == "__main__":
    main()
