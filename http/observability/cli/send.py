"""`observability send`: events from standard input to a running server, one JSON object per line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO, Final

from observability.clients.sender import Sender
from observability.errors import EXIT_FAILED, EXIT_INTERRUPTED

# Reading waits while so many events are unanswered, so that a pipe of any length needs little memory.
MAX_UNANSWERED: Final = 20_000
PROGRESS_SECONDS: Final = 1.0
# A server that answers nothing for this long is given up.
TIMEOUT_SECONDS: Final = 60.0
TOKEN_VARIABLE: Final = "OBSERVABILITY_TOKEN"

_DESCRIPTION: Final = """\
Sends events to a running server: one JSON object per line on standard input, of the types that `docs/sending-events.md`
describes. Ends when the input ends and the server has answered for every event. Each refused event is printed with its
reason on standard error. The exit code is 1 if an event was refused or not answered for."""

_EPILOG: Final = """\
examples:
  echo '{"type": "equity", "value": "100000"}' | observability send
  observability send --url https://desk.example:8000 < events.jsonl
  tail -f engine.jsonl | observability send"""


def send(arguments: Sequence[str]) -> int:
    """Sends until the input ends; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="observability send",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--url", default="http://localhost:8000", help="the server [default http://localhost:8000]")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parsed = parser.parse_args(arguments)
    # The sender's own warnings: that the server cannot be reached, and why.
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        sender = Sender(parsed.url, token=os.environ.get(TOKEN_VARIABLE), on_rejected=_report)
    except ValueError as error:
        parser.error(str(error))
    try:
        is_answered = _send_all(sys.stdin.buffer, sender, is_quiet=parsed.quiet or not sys.stderr.isatty())
    except KeyboardInterrupt:
        print(f"interrupted: {sender.waiting} events are not answered for", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        sender.close(0.0)
    stats = sender.stats
    print(f"{stats.accepted} accepted, {stats.duplicates} duplicates, {stats.rejected} refused", file=sys.stderr)
    if not is_answered:
        print(f"the server has not answered for {sender.waiting} events", file=sys.stderr)
    return 0 if is_answered and not stats.rejected else EXIT_FAILED


def _send_all(lines: BinaryIO, sender: Sender, *, is_quiet: bool) -> bool:
    """Returns whether the server has answered for every event."""
    shown = time.monotonic()
    for line in lines:
        if line.strip():
            sender.send_encoded(line.strip())
        if sender.waiting >= MAX_UNANSWERED and not sender.flush(TIMEOUT_SECONDS):
            return False
        if not is_quiet and time.monotonic() - shown >= PROGRESS_SECONDS:
            shown = time.monotonic()
            print(f"\\r{sender.stats.accepted} accepted ", end="", file=sys.stderr)
    return sender.flush(TIMEOUT_SECONDS)


def _report(event: bytes, reason: str) -> None:
    print(f"refused: {reason}: {event.decode(errors='replace')}", file=sys.stderr)
