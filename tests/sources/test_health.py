"""The health of a source: what is normal for it, and what is silence."""

from __future__ import annotations

import random

from fake_clock import FakeClock
from observability.sources.health import MUTE_SECONDS, SourceHealth, State


class Watch:
    """The health of a source, second by second."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.changes: list[tuple[State, State]] = []
        self.health = SourceHealth("s", self.clock, lambda old, new: self.changes.append((old, new)))
        self.health.note_connected()

    def second(self, messages: int = 0) -> None:
        self.health.note_messages(messages)
        self.clock.advance(1)
        self.health.refresh()

    def silence(self, seconds: int) -> int:
        """Lets seconds pass without a message; returns after how many it was silent, 0 if it was not."""
        for second in range(1, seconds + 1):
            self.second()
            if self.health.state == "silent":
                return second
        return 0


def test_a_steady_source_is_silent_within_seconds() -> None:
    watch = Watch()
    for _ in range(900):
        watch.second(50)
    assert watch.health.to_json()["normal_rate"] == 50
    assert watch.silence(60) in range(5, 12)
    watch.second(1)
    assert watch.health.state == "connected"
    assert watch.changes == [("connecting", "connected"), ("connected", "silent"), ("silent", "connected")]


def test_a_burst_at_the_start_does_not_make_the_pause_after_it_silence() -> None:
    watch = Watch()
    for _ in range(10):
        watch.second(1000)
    assert watch.silence(3600) == 0


def test_less_than_a_minute_is_too_short_to_know_what_is_normal() -> None:
    watch = Watch()
    for _ in range(40):
        watch.second(1000)
    assert watch.silence(60) == 0
    assert watch.health.normal_rate is not None


def test_an_irregular_source_is_not_called_silent_by_chance() -> None:
    watch, generator = Watch(), random.Random(3)
    for _ in range(20_000):
        watch.second(int(generator.random() < 0.2))
    assert watch.changes == [("connecting", "connected")]
    assert watch.silence(300) in range(60, 130)


def test_silence_does_not_become_normal() -> None:
    watch = Watch()
    for _ in range(900):
        watch.second(5)
    watch.silence(10)
    normal = watch.health.normal_rate
    assert watch.silence(1) == 1
    for _ in range(7200):
        watch.second()
    assert (watch.health.state, watch.health.normal_rate) == ("silent", normal)


def test_a_connection_without_any_message_is_mute() -> None:
    assert Watch().silence(100) == MUTE_SECONDS + 1


def test_silence_is_not_its_own_while_nobody_reads_it() -> None:
    watch = Watch()
    for _ in range(900):
        watch.second(5)
    watch.health.is_held = True
    assert watch.silence(60) == 0


def test_time_without_a_connection_is_not_silence() -> None:
    watch = Watch()
    for _ in range(900):
        watch.second(5)
    normal = watch.health.normal_rate
    watch.health.note_lost("gone", is_failed=False)
    for _ in range(100):
        watch.second()
    assert watch.health.state == "connecting"
    watch.health.note_connected()
    assert watch.health.state == "connected"
    assert watch.health.normal_rate == normal
    assert watch.silence(60) in range(5, 12)


def test_a_failed_source_stays_failed_until_it_is_connected() -> None:
    watch = Watch()
    watch.health.note_lost("gone", is_failed=False)
    watch.health.note_lost("refused", is_failed=True)
    watch.health.note_lost("refused", is_failed=False)
    assert (watch.health.state, watch.health.error, watch.health.is_troubled) == ("failed", "refused", True)
    watch.health.note_connected()
    assert (watch.health.error, watch.health.reconnects) == (None, 1)


def test_the_rate_is_of_the_last_ten_seconds() -> None:
    watch = Watch()
    for messages in (100, *[10] * 10):
        watch.second(messages)
    assert watch.health.to_json()["rate"] == 10
