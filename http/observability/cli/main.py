"""The command `observability`: it dispatches to its subcommands, one module each.

exit code  0   stopped as asked
           1   could not start, or failed
           2   the command line or the configuration has faults
         130   a second SIGINT or SIGTERM ended it at once
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, cast

from observability.processes.surroundings import settle
from observability.version import VERSION

Command = Callable[[Sequence[str]], int]

COMMANDS: Final = ("serve", "bench")
"""Each is a function of its name in the module of its name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    # Before the imports of a command, which take longer than a signal may have to wait.
    settle()
    parser = argparse.ArgumentParser(
        prog="observability", description="Real-time observability for algorithmic trading.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"observability {VERSION}")
    parser.add_argument(
        "command",
        choices=COMMANDS,
        help="serve: run the server; bench: measure it beside others; `observability serve --help` says more",
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the command's own arguments")
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    command = cast(Command, getattr(import_module(f"observability.cli.{given.command}"), given.command))
    return command(given.arguments)
