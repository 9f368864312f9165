"""`observability open`: shows a bundle in the page, on any machine, after its chain of hashes was checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from observability.config.access import MAX_PORT
from observability.config.config import Config
from observability.errors import EXIT_FAILED, EXIT_USAGE, ConfigError, ObservabilityError
from observability.logs.setup import configure_logging
from observability.offline.bundle_process import BundleProcess
from observability.recorder.bundle import BundleError, Chain, described, extract, verify
from observability.server.process import run_process

_DESCRIPTION: Final = """\
Shows a bundle that `observability bundle` has made: the page as it was, with every tick, and orders, fills and alerts.
Nothing else is needed, and nothing is changed. First every link of the chain of hashes is checked; a bundle of which a
part is not what it was is not shown, and the first such part is named. The exit code is then 1."""

_EXAMPLES: Final = """\
examples:
  observability open incident.bundle                        and look at http://localhost:8000/
  observability open incident.bundle --verify               only check it, and print the head of its chain"""


def open(arguments: Sequence[str]) -> int:  # noqa: A001  # a command has the name of its function
    """Checks a bundle and shows it until a signal ends it; returns the exit code."""
    parsed = parser().parse_args(arguments)
    try:
        chain = verify(parsed.file)
    except BundleError as error:
        return _fail(error, EXIT_FAILED)
    print(f"{parsed.file}: {described(chain)}, all unchanged")
    print(f"head of the chain: {chain.head}", flush=True)
    if parsed.verify:
        return 0
    try:
        config = Config(host=parsed.host, port=parsed.port, local_writes="off")
    except ConfigError as error:
        return _fail(error, EXIT_USAGE)
    configure_logging(config)
    with TemporaryDirectory(prefix="observability-") as name:
        try:
            extract(parsed.file, Path(name))
            run_process(lambda: BundleProcess(config, Path(name), chain, _announce))
        except (ObservabilityError, OSError, ValueError) as error:
            return _fail(error, EXIT_FAILED)
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = argparse.ArgumentParser(
        prog="observability open",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument("file", type=Path, metavar="FILE", help="the bundle")
    parsing.add_argument("--verify", action="store_true", help="only check the chain")
    parsing.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    parsing.add_argument("--port", type=int, default=8000, metavar="N", help=f"port, 0 to {MAX_PORT} [8000]")
    return parsing


def _announce(port: int, chain: Chain) -> None:
    print(f"showing {chain.start_time} to {chain.end_time} on http://localhost:{port}/; Ctrl-C stops", flush=True)


def _fail(error: object, code: int) -> int:
    print(f"observability open: {error}", file=sys.stderr)
    return code
