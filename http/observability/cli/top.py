"""`observability top`: the live state of a server in a terminal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from observability.cli.send import DEFAULT_URL, TOKEN_VARIABLE
from observability.clients import Refused, Rest, RestError, Stream
from observability.errors import EXIT_FAILED, EXIT_INTERRUPTED
from observability.terminal.layout import plain_snapshot

# How long `--once` waits for a snapshot.
ONCE_SECONDS: Final = 10.0

_DESCRIPTION: Final = f"""\
Shows the live state of a server: market, positions, strategies, execution, latencies, system and sources, with the
state of the connection. What is not live is dimmed, and its age stands in the first line. A narrow terminal shows one
table at a time, a wide one all of them.

keys:
  Tab, Shift-Tab, 1 to 6   another table
  arrows, PgUp, PgDn       scroll
  s, r                     sort by the next column, reverse
  /                        filter by symbol, strategy or source; Esc ends it
  q                        quit

With --once the newest snapshot is printed as text, with its state: for scripts, and where there is no terminal.
NO_COLOR=1 leaves out the colours. The server's token, if it wants one, is taken from the variable OBSERVABILITY_TOKEN.
The exit code is 1 if the server refuses to be read or, with --once, sends nothing within {ONCE_SECONDS:.0f} s."""

_EPILOG: Final = """\
examples:
  observability top
  observability top --url https://desk.example:8000
  observability top --once | grep -A 20 Positions"""


def top(arguments: Sequence[str]) -> int:
    """Shows a server until the user quits; returns the exit code."""
    parsing = parser()
    parsed = parsing.parse_args(arguments)
    # The stream's warnings would be written over the screen; what they say is shown in its place.
    logging.getLogger("observability").addHandler(logging.NullHandler())
    # The screen is written to standard error.
    is_once = parsed.once or not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    try:
        return asyncio.run(_print_once(parsed.url)) if is_once else _show(parsed.url)
    except ValueError as error:
        parsing.error(f"--url: {error}")
    except Refused as refusal:
        print(f"observability top: {parsed.url} cannot be read: {refusal}", file=sys.stderr)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_FAILED


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = argparse.ArgumentParser(
        prog="observability top",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument("--url", default=DEFAULT_URL, help=f"the server [default {DEFAULT_URL}]")
    parsing.add_argument(
        "--once", action="store_true", help="print one snapshot as text, and end; so without a terminal, too"
    )
    return parsing


def _stream(url: str) -> Stream:
    """Returns a stream of snapshots. Raises ValueError."""
    return Stream(url, mode="delta", token=os.environ.get(TOKEN_VARIABLE))


def _ask_desk(url: str) -> Any:
    """Returns the hosts of the server's desk, None if it is alone. Raises RestError, ValueError."""
    rest = Rest(url, token=os.environ.get(TOKEN_VARIABLE), timeout=ONCE_SECONDS)
    return rest.get("/api/system/health").get("desk")


def _show(url: str) -> int:
    """Shows the screen. Raises Refused, ValueError."""
    try:
        from observability.terminal.screen import Top
    except ImportError as error:
        print(
            f"observability top: {error.name} is not installed: pip install 'observability[top]'; --once needs nothing",
            file=sys.stderr,
        )
        return EXIT_FAILED

    # A stream belongs to the loop in which it is made.
    async def run() -> Top:
        app = Top(_stream(url), url, partial(_ask_desk, url))
        await app.run_async()
        return app

    app = asyncio.run(run())
    if app.refusal is not None:
        raise app.refusal
    return app.return_code or 0


async def _print_once(url: str) -> int:
    """Prints one snapshot. Raises Refused, ValueError."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    async with _stream(url) as stream:
        try:
            snapshot = await asyncio.wait_for(anext(stream), ONCE_SECONDS)
        except TimeoutError:
            why = "" if stream.fault is None else f": {stream.fault}"
            print(f"observability top: {url} has sent nothing for {ONCE_SECONDS:.0f} s{why}", file=sys.stderr)
            return EXIT_FAILED
        try:
            desk = await asyncio.to_thread(_ask_desk, url)
        except RestError as error:
            print(f"observability top: the hosts of the desk are not known: {error}", file=sys.stderr)
            desk = None
        print(plain_snapshot(snapshot, stream.state.upper(), columns, desk))
    return 0
