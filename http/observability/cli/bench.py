"""`observability bench`: from the command line to tables, a chart and a file of results."""

from __future__ import annotations

import argparse
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

from observability.bench.chart import svg_chart
from observability.bench.measures import MEASURES
from observability.bench.plan import Options
from observability.bench.results import Results
from observability.bench.run import new_results, run_bench
from observability.bench.tables import text_tables, write_markdown
from observability.errors import EXIT_FAILED, EXIT_INTERRUPTED, ObservabilityError

OUTPUT: Final = Path("observability-bench")
SERVERS: Final = (
    "floor", "ours", "ours-picows", "ours-uring", "fastapi", "fastapi-shared", "websockets", "aiohttp", "granian",
    "picows", "node-ws", "bun", "nginx",
)  # fmt: skip
MAX_CLIENTS: Final = 50_000
MAX_BYTES: Final = 1_000_000

Number = TypeVar("Number", int, float)

_DESCRIPTION: Final = """\
Measures this server on this machine, beside other servers that do the same work: they send a snapshot of the same size
ten times a second to the same number of WebSocket clients, and answer the same requests. It starts every server and the
load itself, all on 127.0.0.1, one at a time, the server on a core of its own.

How to read the tables. A CPU time or a latency by itself says as much of the machine as of the server. So every run
also measures the floor: a C program that does nothing but call send() once for each client. "x floor" is the ratio to
it in the same round. Servers take turns (A, B, A, B, ...), and values are medians of the rounds.

measures:
"""

_EPILOG: Final = """\
examples:
  observability bench --quick                               everything once or twice, under two minutes
  observability bench                                       everything, three rounds, about half an hour
  observability bench --only fanout --clients 1000 --bytes 2000
  observability bench --only rest --servers floor,ours,nginx --seconds 5 --rounds 5
  observability bench --show observability-bench/results.json   the tables of an earlier run again

Peers that are not installed are left out, and the end of the output says which command installs them:
  pip install 'observability[bench]'     or, in a checkout, pip install -e '.[bench]'
  npm install ws bun                     into the current directory
Without a C compiler there is no floor, and the load generator is one in Python.

Close other programs first: the end of the output says how much of the machine they used. Ctrl-C ends every process and
prints what has been measured so far.
"""


def bench(arguments: Sequence[str]) -> int:
    """Measures, prints and writes; returns the exit code."""
    given = parser().parse_args(arguments)
    if given.show is not None:
        return _show(given)
    results = new_results(["observability", "bench", *arguments])
    options = Options(
        is_quick=given.quick,
        only=given.only,
        servers=given.servers,
        clients=given.clients,
        sizes=given.bytes,
        seconds=given.seconds,
        rounds=given.rounds,
        may_compile=not given.no_compiler,
    )
    # SIGINT too: a shell starts its background jobs with that ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    code = 0
    try:
        run_bench(options, sys.stderr, results)
    except KeyboardInterrupt:
        results.add_note("Interrupted: not everything was measured.")
        code = EXIT_INTERRUPTED
    except (ObservabilityError, OSError) as error:
        print(f"observability bench: {error}", file=sys.stderr)
        code = EXIT_FAILED
    if results.samples or code == 0:
        _write(results, given.output, given.markdown)
    return code


def _show(given: argparse.Namespace) -> int:
    try:
        results = Results.read(given.show)
    except ObservabilityError as error:
        print(f"observability bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(text_tables(results), end="")
    if given.markdown is not None:
        write_markdown(results, given.markdown)
    return 0


def _write(results: Results, output: Path, markdown: Path | None) -> None:
    print(text_tables(results), end="")
    output.mkdir(parents=True, exist_ok=True)
    results.write(output / "results.json")
    (output / "chart.svg").write_text(svg_chart(results), "utf-8")
    write_markdown(results, output / "tables.md")
    if markdown is not None:
        write_markdown(results, markdown)
    print(f"\nwritten: {output}/results.json, {output}/chart.svg, {output}/tables.md")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    measures = "\n".join(_described(measure.key, measure.meaning) for measure in MEASURES.values())
    parsing = argparse.ArgumentParser(
        prog="observability bench",
        description=_DESCRIPTION + measures,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument("--quick", action="store_true", help="short windows, few clients; under two minutes")
    parsing.add_argument(
        "--only", type=_names("measure", tuple(MEASURES)), default=(), metavar="MEASURE,...", help="these measures only"
    )
    parsing.add_argument(
        "--servers", type=_names("server", SERVERS), default=(), metavar="SERVER,...",
        help=f"these servers only: {', '.join(SERVERS)}",
    )  # fmt: skip
    parsing.add_argument(
        "--clients", type=_numbers(1, MAX_CLIENTS), default=(), metavar="N,...",
        help="WebSocket clients; several numbers for the fan-out (default 1000,5000)",
    )  # fmt: skip
    parsing.add_argument(
        "--bytes", type=_numbers(200, MAX_BYTES), default=(), metavar="N,...",
        help="about the size of the snapshot (default 1000,2000,8000; servers other than ours and the floor only 2000)",
    )  # fmt: skip
    parsing.add_argument(
        "--seconds", type=_number(0.2, 60, float), help="length of each window of measurement (default 3)"
    )
    parsing.add_argument("--rounds", type=_number(1, 25, int), help="how often each server has its turn (default 3)")
    parsing.add_argument(
        "--no-compiler", action="store_true", help="measure as without a C compiler: no floor, a slower load generator"
    )
    parsing.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="DIR",
        help=f"where results.json, chart.svg and tables.md are written (default {OUTPUT})",
    )  # fmt: skip
    parsing.add_argument(
        "--markdown", type=Path, metavar="FILE",
        help="also write the tables to FILE, between its markers <!-- bench --> and <!-- /bench --> if it has them",
    )  # fmt: skip
    parsing.add_argument(
        "--show", type=Path, metavar="FILE", help="print the tables of a results.json; measure nothing"
    )
    return parsing


def _described(name: str, meaning: str) -> str:
    return textwrap.fill(meaning, 116, initial_indent=f"  {name:<13}", subsequent_indent=" " * 15)


def _names(what: str, known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Returns a parser of names separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(filter(None, text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {what} {name!r}, expected some of {', '.join(known)}")
        return names

    return parse


def _numbers(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    """Returns a parser of whole numbers separated by commas."""
    parse_one = _number(low, high, int)
    return lambda text: tuple(parse_one(part) for part in text.split(","))


def _number(low: float, high: float, kind: Callable[[str], Number]) -> Callable[[str], Number]:
    """Returns a parser of a number within bounds."""

    def parse(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            number = kind("-1")
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r}, expected a number from {low:g} to {high:g}")
        return number

    return parse
