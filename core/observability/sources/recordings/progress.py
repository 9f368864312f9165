"""A replay's progress: on a terminal one line that is rewritten in place, and one log line at the end."""

from __future__ import annotations

import logging
from typing import TextIO

from observability.clocks.timestamps import NS_PER_S, format_iso_ms
from observability.logs.status_line import StatusLine, bar
from observability.sources.recordings.replay import ReplayProgress

logger = logging.getLogger(__name__)


class ProgressBar:
    """Shows progress if the stream is a terminal; `finish` (also on Ctrl-C) erases the line and logs the totals."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._line = StatusLine(stream=stream)
        self._latest: ReplayProgress | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()

    def update(self, progress: ReplayProgress) -> None:
        """Shows `progress` in place of the previous one."""
        self._latest = progress
        if self._line.is_shown:
            self._line.show(progress_line(progress))

    def finish(self) -> None:
        """Erases the line and logs the totals; a second call does nothing."""
        if self._latest is None:
            return
        self._line.print()
        latest, self._latest = self._latest, None
        unused = unused_lines(latest)
        logger.log(
            logging.WARNING if unused else logging.INFO,
            "replayed %d events in %.2f s (%s events/s), lap %d, up to %s%s",
            latest.events, latest.elapsed_ns / NS_PER_S, _per_second(latest.events, latest.elapsed_ns), latest.lap,
            "-" if latest.event_time_ns is None else format_iso_ms(latest.event_time_ns),
            "".join(f", {words}" for words in unused),
        )  # fmt: skip


def progress_line(progress: ReplayProgress) -> str:
    """Returns one line: bar, percent of the bytes, events, events per second, event time, speed, lap, unused lines."""
    words = [
        bar(progress.share),
        f"{progress.events:,} events",
        f"{_per_second(progress.events, progress.elapsed_ns)}/s",
    ]
    if progress.event_time_ns is not None:
        words.append(format_iso_ms(progress.event_time_ns))
    if progress.elapsed_ns:
        words.append(f"x{progress.events_span_ns / progress.elapsed_ns:,.1f}")
    if progress.lap > 1:
        words.append(f"lap {progress.lap}")
    return "  ".join(words + unused_lines(progress))


def unused_lines(progress: ReplayProgress) -> list[str]:
    """Returns what could not be used, if there was any."""
    counts = ((progress.skipped_lines, "lines skipped"), (progress.bad_lines, "unreadable lines"))
    return [f"{count:,} {what}" for count, what in counts if count]


def _per_second(count: int, elapsed_ns: int) -> str:
    return f"{count * NS_PER_S / elapsed_ns:,.0f}" if elapsed_ns else "-"
