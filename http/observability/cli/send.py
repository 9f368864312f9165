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
from observability.logs.status_line import LineHandler, StatusLine

DEFAULT_URL: Final = "http://localhost:8000"
TOKEN_VARIABLE: Final = "OBSERVABILITY_TOKEN"
# Reading waits while so many events are unanswered, so that a pipe of any length needs little memory.
MAX_UNANSWERED: Final = 20_000
# A server that answers nothing for this long is given up.
SILENCE_SECONDS: Final = 60.0
# What waits for answers looks this often whether it still should.
POLL_SECONDS: Final = 0.1

_DESCRIPTION: Final = """\
Sends events to a running server: one JSON object per line on standard input, of the types that `docs/sending-events.md`
describes. Ends when the input ends and the server has answered for every event. Each refused event is printed with its
reason on standard error. The exit code is 1 if an event was refused or not answered for.

The server's token, if it wants one, is taken from the variable OBSERVABILITY_TOKEN."""

_EPILOG: Final = """\
examples:
  echo '{"type": "equity", "value": "100000"}' | observability send
  observability send --url https://desk.example:8000 < events.jsonl
  tail -f engine.jsonl | observability send"""


class Delivery:
    """The events of a command, on their way to a server. Refused events are printed as they come."""

    def __init__(self, url: str, line: StatusLine) -> None:
        """Raises ValueError."""
        self._line = line
        # The sender's own warnings: that the server cannot be reached, and why.
        logging.basicConfig(handlers=[LineHandler(line)], format="%(message)s", level=logging.WARNING)
        self._sender = Sender(url, token=os.environ.get(TOKEN_VARIABLE), on_rejected=self._report)
        self._stats = self._sender.stats
        self._answered = 0
        self._silent_since = time.monotonic()

    def send(self, event: bytes) -> None:
        """Sends an encoded event. Returns at once."""
        if not self._sender.waiting:
            self._silent_since = time.monotonic()
        self._sender.send_encoded(event)

    @property
    def answered(self) -> int:
        """Events that the server has answered for."""
        return self._stats.accepted + self._stats.duplicates + self._stats.rejected

    @property
    def has_room(self) -> bool:
        """Whether few enough events are under way to send more."""
        return self._sender.waiting < MAX_UNANSWERED

    @property
    def is_settled(self) -> bool:
        """Whether the server has answered for every event."""
        return not self._sender.waiting

    @property
    def fault(self) -> str | None:
        """Why the server will answer for nothing more; None as long as it may."""
        if self._sender.refusal is not None:
            return f"the server takes nothing: {self._sender.refusal}"
        if self.answered != self._answered or not self._sender.waiting:
            self._answered = self.answered
            self._silent_since = time.monotonic()
        if time.monotonic() - self._silent_since > SILENCE_SECONDS:
            return f"the server has answered nothing for {SILENCE_SECONDS:.0f} s"
        return None

    def settle(self, seconds: float | None = None) -> None:
        """Waits for the answers: at most `seconds`, and as long as any can be expected."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._sender.flush(POLL_SECONDS):
            if self.fault is not None or (end is not None and time.monotonic() > end):
                break
            self.show_answered()

    def show_answered(self) -> None:
        if self._line.is_due:
            self._line.show(f"{self.answered:,} events answered")

    def close(self, fault: str | None) -> bool:
        """Prints what has become of the events, and why the command ended early; returns whether the server has taken
        them all."""
        fault, unanswered = fault or self.fault, self._sender.waiting
        self._sender.close(0.0)
        stats = self._stats
        self._line.print(f"{stats.accepted} accepted, {stats.duplicates} duplicates, {stats.rejected} refused")
        if unanswered:
            self._line.print(f"the server has not answered for {unanswered} events")
        if fault is not None:
            self._line.print(fault)
        return not (unanswered or stats.rejected or fault)

    def _report(self, event: bytes, reason: str) -> None:
        self._line.print(f"refused: {reason}: {event.decode(errors='replace')}")


def send(arguments: Sequence[str]) -> int:
    """Sends until the input ends; returns the exit code."""
    parsing = parser()
    parsed = parsing.parse_args(arguments)
    line = StatusLine(is_quiet=parsed.quiet)
    try:
        delivery = Delivery(parsed.url, line)
    except ValueError as error:
        parsing.error(f"--url: {error}")
    if sys.stdin.isatty():
        line.print("one event as JSON a line; Ctrl-D ends")
    try:
        _send_all(sys.stdin.buffer, delivery)
    except KeyboardInterrupt:
        delivery.close("interrupted")
        return EXIT_INTERRUPTED
    return 0 if delivery.close(None) else EXIT_FAILED


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = argparse.ArgumentParser(
        prog="observability send",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument("--url", default=DEFAULT_URL, help=f"the server [default {DEFAULT_URL}]")
    parsing.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parsing


def _send_all(lines: BinaryIO, delivery: Delivery) -> None:
    """Sends lines until they end, or the server takes nothing more."""
    for line in lines:
        if line.strip():
            delivery.send(line.strip())
        while not delivery.has_room or delivery.fault is not None:
            if delivery.fault is not None:
                return
            delivery.settle(POLL_SECONDS)
        delivery.show_answered()
    delivery.settle()
