"""The command `observability`: it dispatches to its subcommands, one module each.

exit code  0   stopped as asked
           1   could not start, or failed
           2   the command line or the configuration has faults
         130   SIGINT before it had begun, or a second SIGINT or SIGTERM, ended it at once
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Final, cast

from observability.errors import EXIT_INTERRUPTED, EXIT_USAGE
from observability.processes.surroundings import settle
from observability.version import VERSION

Command = Callable[[Sequence[str]], int]

COMMANDS: Final = {
    "serve": "run the server",
    "top": "show the live state of a server in the terminal",
    "check": "say whether it could start, and what is wrong",
    "config": "print the settings in force, and where each value comes from",
    "send": "send events from standard input to a server",
    "replay": "send recordings to a server, as if they happened now",
    "notify": "list the routes of alerts, and test one",
    "backup": "copy the store into a file, while the server runs",
    "restore": "make a backup the store of a data directory",
    "store": "check a store, while the server runs: `store check`",
    "bundle": "put a stretch of the past into one file",
    "open": "show such a file in the page, and check that it is unchanged",
    "bench": "measure the server beside others",
    "version": "print the versions of this program and of what it runs on",
    "completion": "print a script that completes these commands in bash or zsh",
}
"""Each is a function of its name in the module of its name."""
_ELSEWHERE: Final = {"bundle": "offline", "open": "offline"}
"""The packages of those that are not in this one."""

_EPILOG: Final = """\
start with:
  observability serve --demo        a live dashboard on http://localhost:8000/, with no other service
  observability COMMAND --help      what a command takes, with examples"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    # Before the imports of a command, which take longer than a signal may have to wait.
    words = sys.argv[1:] if argv is None else argv
    settle(is_server="serve" in words[:1])
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {meaning}" for name, meaning in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="observability",
        description=f"Real-time observability for algorithmic trading.\n\ncommands:\n{listed}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"observability {VERSION}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the above")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the command's own arguments")
    given = parser.parse_args(words)
    if given.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    if given.command not in COMMANDS:
        near = get_close_matches(given.command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "`observability --help` lists the commands"
        print(f"observability: there is no command {given.command!r}; {hint}", file=sys.stderr)
        return EXIT_USAGE
    try:
        command = cast(Command, getattr(module_of(given.command), given.command))
        return command(given.arguments)
    except KeyboardInterrupt:
        # Before the command handles the signal itself, mostly while its modules are imported.
        return EXIT_INTERRUPTED


def module_of(command: str) -> ModuleType:
    """Returns the module of a command."""
    # Imports leave next to no garbage, and looking for it takes a tenth of their time.
    gc.disable()
    try:
        return import_module(f"observability.{_ELSEWHERE.get(command, 'cli')}.{command}")
    finally:
        gc.enable()
