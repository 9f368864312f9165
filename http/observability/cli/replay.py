"""`observability replay`: recordings to a running server, at the pace at which they were made."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from observability.cli.send import DEFAULT_URL, SILENCE_SECONDS, Delivery
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S, format_iso_ms
from observability.config.kinds import Speed
from observability.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, SourceError
from observability.events import Event, Order
from observability.logs.status_line import REFRESH_SECONDS, StatusLine, bar, remaining
from observability.sources.recordings.progress import unused_lines
from observability.sources.recordings.replay import Replay, ReplayProgress

# After Ctrl-C, answers to what is under way may take this long.
SETTLE_SECONDS: Final = 5.0
# How soon the next look is taken whether the server has answered.
POLL_SECONDS: Final = 0.01
_SPEED: Final = Speed(1_000_000)

_DESCRIPTION: Final = f"""\
Sends recordings to a running server as if they happened now: at their own pace, and with every time moved to the
present, so that sessions, bars and ages are those of today. Every kind that `observability serve --replay` plays is
read, plain or compressed; a directory stands for all recordings in it, and several are merged in the order of arrival.

Every event is acknowledged. While the server is away the replay waits, and leaves nothing out; without any answer for
{SILENCE_SECONDS:.0f} s it ends. Refused events are printed with their reason. Ctrl-C ends the replay after the
answers to what is under way. Fills that the server has already, from an earlier replay, change nothing.

The server's token, if it wants one, is taken from the variable OBSERVABILITY_TOKEN. The exit code is 0 if the server
has taken every event, 1 if an event was refused or not answered for or a recording is damaged, 2 for wrong arguments,
130 after Ctrl-C."""

_EPILOG: Final = """\
examples:
  observability replay day.jsonl                                to http://localhost:8000, at the pace of the recording
  observability replay recordings/ --to https://desk.example:8000 --speed 10
  observability replay missed.jsonl --speed max --as-recorded   what a server has missed, with its own times"""


def replay(arguments: Sequence[str]) -> int:
    """Sends recordings; returns the exit code."""
    parsing = parser()
    parsed = parsing.parse_args(arguments)
    line = StatusLine(is_quiet=parsed.quiet)
    try:
        delivery = Delivery(parsed.url, line)
    except ValueError as error:
        parsing.error(f"--to: {error}")
    try:
        run = _Run(parsed.files, parsed.speed, delivery, line, is_as_recorded=parsed.as_recorded)
    except SourceError as error:
        print(f"observability replay: {error}", file=sys.stderr)
        return EXIT_USAGE
    return asyncio.run(run.run())


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = argparse.ArgumentParser(
        prog="observability replay",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parsing.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a recording, or a directory of recordings"
    )
    parsing.add_argument("--to", dest="url", default=DEFAULT_URL, metavar="URL", help=f"the server [{DEFAULT_URL}]")
    parsing.add_argument(
        "--speed", type=_speed, default=1.0, metavar=Speed.metavar,
        help="a factor of the recorded pace, or `max` for as fast as the server takes them [1]",
    )  # fmt: skip
    parsing.add_argument(
        "--as-recorded", action="store_true",
        help="leave the times as they are; what is older than today then counts in its own day and minute",
    )  # fmt: skip
    parsing.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parsing


def _speed(text: str) -> float | None:
    try:
        speed = _SPEED.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected {_SPEED.expected}") from None
    return speed if isinstance(speed, float) else None


class _Undeliverable(Exception):
    """The server takes nothing more."""


class _Run:
    """One replay to a server. Raises SourceError for a path that is no recording."""

    def __init__(
        self, files: Sequence[Path], speed: float | None, delivery: Delivery, line: StatusLine, *, is_as_recorded: bool
    ) -> None:
        self._delivery = delivery
        self._line = line
        self._dates = None if is_as_recorded else PresentDates(speed)
        clock = HostClock()
        self._replay = Replay(
            files,
            publish=self._send,
            event_clock=EventClock(clock),
            speed=speed,
            host_clock=clock,
            sleep=self._sleep,
        )
        self._encode = msgspec.json.Encoder().encode

    async def run(self) -> int:
        """Returns the exit code."""
        task = asyncio.ensure_future(self._deliver())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        fault = None
        try:
            await task
        except asyncio.CancelledError:
            fault = "interrupted"
            # A second Ctrl-C ends the wait.
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            with contextlib.suppress(KeyboardInterrupt):
                self._delivery.settle(SETTLE_SECONDS)
        except _Undeliverable as undeliverable:
            fault = str(undeliverable)
        self._line.print(_summary(self._replay.progress()))
        is_whole = self._delivery.close(fault)
        if fault == "interrupted":
            return EXIT_INTERRUPTED
        return 0 if is_whole and not self._replay.errors else EXIT_FAILED

    async def _deliver(self) -> None:
        """Sends everything, and waits for the answers. Raises _Undeliverable."""
        await self._replay.run()
        while not self._delivery.is_settled:
            await self._sleep(POLL_SECONDS)

    def _send(self, events: Sequence[Event]) -> None:
        if self._dates is not None:
            self._dates.move(events, time.time_ns())
        for event in events:
            self._delivery.send(self._encode(event))

    async def _sleep(self, seconds: float) -> None:
        """Pauses the replay, for longer while too much is under way."""
        end = time.monotonic() + seconds
        while True:
            if self._delivery.fault is not None:
                raise _Undeliverable(self._delivery.fault)
            if self._line.is_due:
                self._line.show(_progress_line(self._replay.progress(), self._delivery.answered))
            left = end - time.monotonic()
            if left <= 0 and self._delivery.has_room:
                break
            await asyncio.sleep(min(max(left, POLL_SECONDS), REFRESH_SECONDS))
        await asyncio.sleep(0)


class PresentDates:
    """Moves the times of events to the present. The newest of a batch arrives now and the others before it, as far
    apart as the speed makes them; no event arrives before an earlier one, and how long before its arrival it happened
    stays the same."""

    def __init__(self, speed: float | None) -> None:
        """`speed` is a factor of the recorded pace; with None the events of a batch all arrive now."""
        self._speed = speed
        self._newest_ns = 0

    def move(self, events: Sequence[Event], now_ns: int) -> None:
        last_ns = events[-1].ts_init
        for event in events:
            before_ns = 0 if self._speed is None else int((last_ns - event.ts_init) / self._speed)
            self._newest_ns = max(self._newest_ns, now_ns - before_ns)
            shift_ns = self._newest_ns - event.ts_init
            event.ts_init += shift_ns
            if isinstance(event.ts, int):
                event.ts += shift_ns
            if isinstance(event, Order) and isinstance(event.decision_ts, int):
                event.decision_ts += shift_ns


def _progress_line(progress: ReplayProgress, answered: int) -> str:
    seconds = progress.elapsed_ns / NS_PER_S
    words = [
        bar(progress.share),
        f"{answered:,} events answered",
        f"{answered / seconds if seconds else 0:,.0f}/s",
        f"ETA {remaining(progress.share, seconds)}",
    ]
    if progress.event_time_ns is not None:
        words.append(f"at {format_iso_ms(progress.event_time_ns)}")
    return "  ".join(words)


def _summary(progress: ReplayProgress) -> str:
    seconds = progress.elapsed_ns / NS_PER_S
    return ", ".join([f"{progress.events:,} events replayed in {seconds:.1f} s", *unused_lines(progress)])
