"""The progress line on a terminal, and its absence elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from observability.sources.recordings.progress import ProgressBar, describe
from observability.sources.recordings.replay import ReplayProgress

HALF = ReplayProgress(
    bytes_read=500, bytes_total=1000, events=1_234_567, lap=2, event_time_ns=1_340_285_400_000_000_000,
    events_span_ns=7_200_000_000_000, elapsed_ns=2_000_000_000,
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_says_how_far_how_fast_and_when() -> None:
    line = describe(HALF)
    for part in (" 50%", "1,234,567 events", "617,284/s", "2012-06-21T13:30:00.000Z", "x3,600.0", "lap 2"):
        assert part in line


def test_a_terminal_shows_each_update_in_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar.update(HALF)
    bar.update(HALF)
    shown = terminal.getvalue()
    assert "\n" not in shown
    assert [len(line) for line in shown.split("\r\x1b[K")] == [0, 39, 39]


def test_an_interrupted_replay_leaves_the_terminal_clean() -> None:
    terminal = Terminal()

    def interrupted() -> None:
        with ProgressBar(terminal) as bar:
            bar.update(HALF)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_elsewhere_there_is_one_log_line_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with caplog.at_level(logging.INFO), ProgressBar(stream) as bar:
        bar.update(HALF)
        bar.update(HALF)
        bar.finish()
    assert stream.getvalue() == ""
    assert [record.message for record in caplog.records] == [
        "replayed 1234567 events in 2.00 s (617,284 events/s), lap 2, up to 2012-06-21T13:30:00.000Z"
    ]
