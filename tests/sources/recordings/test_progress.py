"""Progress is one line on a terminal, and one log line at the end everywhere."""

from __future__ import annotations

import dataclasses
import io
import logging

import pytest

from observability.sources.recordings.progress import ProgressBar, progress_line
from observability.sources.recordings.replay import ReplayProgress

HALF = ReplayProgress(
    state="running", bytes_read=500, bytes_total=1000, events=1_234_567, lap=2, event_time_ns=1_340_285_400_000_000_000,
    events_span_ns=7_200_000_000_000, elapsed_ns=2_000_000_000, skipped_lines=0, bad_lines=0,
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_has_share_rate_event_time_speed_and_lap() -> None:
    line = progress_line(HALF)
    for part in (" 50%", "1,234,567 events", "617,284/s", "2012-06-21T13:30:00.000Z", "x3,600.0", "lap 2"):
        assert part in line


def test_lines_that_could_not_be_used_are_in_the_line_and_make_the_log_line_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    progress = dataclasses.replace(HALF, skipped_lines=1_200, bad_lines=3)
    assert progress_line(progress).endswith("1,200 lines skipped  3 unreadable lines")
    with caplog.at_level(logging.INFO), ProgressBar(io.StringIO()) as bar:
        bar.update(progress)
    (record,) = caplog.records
    assert (record.levelname, record.message.endswith(", 1,200 lines skipped, 3 unreadable lines")) == ("WARNING", True)


def test_each_update_replaces_the_previous_one_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar.update(HALF)
    bar.update(HALF)
    shown = terminal.getvalue()
    assert "\n" not in shown
    assert [len(line) for line in shown.split("\r\x1b[K")] == [0, 39, 39]


def test_an_interrupted_replay_erases_its_line() -> None:
    terminal = Terminal()

    def interrupted() -> None:
        with ProgressBar(terminal) as bar:
            bar.update(HALF)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_stream_that_is_no_terminal_gets_nothing_but_the_log_line(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with caplog.at_level(logging.INFO), ProgressBar(stream) as bar:
        bar.update(HALF)
        bar.update(HALF)
        bar.finish()
    assert stream.getvalue() == ""
    assert [record.message for record in caplog.records] == [
        "replayed 1234567 events in 2.00 s (617,284 events/s), lap 2, up to 2012-06-21T13:30:00.000Z"
    ]
