"""Reports of painted frames: what is counted of them, how sure it is, and what no client can make of it."""

from __future__ import annotations

from typing import Any

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_S
from observability.memory.counters import BucketHistogram, Counters
from observability.snapshot.frames import NO_INDEX, FrameRing
from observability.stream.painted import EVENT_TO_EYE, TICK_TO_EYE, PaintedFrames
from observability.stream.subscriptions import ClientMessage, SubscriptionError, parse_message

PAYLOAD = b'{"type":"metrics_update","age_ms":{"market_data":%b,"strategy":250.0,"execution":null,"system":0.5}}'


class Desk:
    """A ring with one frame, whose newest event came 40 ms before the tick, and the reports of it."""

    def __init__(self, market_age: bytes = b"40.0") -> None:
        self.clock = FakeClock()
        self.frames = FrameRing("e")
        self.frame = self.frames.publish(PAYLOAD % market_age, NO_INDEX, self.clock.time_ns(), self.clock.mono_ns(), {})
        self.counters = Counters()
        self.painted = PaintedFrames(self.frames, self.counters, self.clock)

    def report(self, after_ms: float, last_ns: int | None = None, **changes: Any) -> dict[str, Any]:
        self.clock.advance(after_ms / 1000)
        fields = {"epoch": "e", "seq": self.frame.seq, "paint_ms": 3.0, "rtt_ms": 8.0, **changes}
        return self.painted.take(ClientMessage(type="painted", **fields), last_ns)

    def count(self, name: str) -> int:
        histogram = self.counters.histogram(name, "")
        assert isinstance(histogram, BucketHistogram)
        return sum(histogram.counts)


def test_the_way_back_is_half_the_round_trip_and_the_other_half_the_uncertainty() -> None:
    desk = Desk()
    answer = desk.report(after_ms=20)
    assert answer == {
        "type": "painted",
        "seq": desk.frame.seq,
        "tick_to_eye_ms": 16.0,
        "event_to_eye_ms": 56.0,
        "uncertainty_ms": 4.0,
    }
    assert (desk.count(TICK_TO_EYE), desk.count(EVENT_TO_EYE)) == (1, 1)


def test_a_round_trip_longer_than_the_frame_took_is_cut_to_what_can_be() -> None:
    assert Desk().report(after_ms=20, rtt_ms=1000.0)["tick_to_eye_ms"] == 20 - (20 - 3) / 2


def test_a_report_without_a_round_trip_counts_for_nothing() -> None:
    desk = Desk()
    assert desk.report(after_ms=20, rtt_ms=None)["tick_to_eye_ms"] is None
    assert desk.count(TICK_TO_EYE) == 0


@pytest.mark.parametrize("changes", [{"seq": 7}, {"epoch": "f"}])
def test_a_frame_that_is_not_kept_counts_for_nothing(changes: dict[str, Any]) -> None:
    desk = Desk()
    assert desk.report(after_ms=20, **changes)["tick_to_eye_ms"] is None
    assert desk.count(TICK_TO_EYE) == 0


def test_a_recorded_frame_counts_for_nothing() -> None:
    desk = Desk()
    desk.frame.mono_ns = 0
    answer = desk.report(after_ms=20)
    assert (answer["tick_to_eye_ms"], answer["event_to_eye_ms"]) == (None, None)
    assert (desk.count(TICK_TO_EYE), desk.count(EVENT_TO_EYE)) == (0, 0)


@pytest.mark.parametrize(
    "changes", [{"paint_ms": 21.0}, {"paint_ms": None}, {"seq": None}], ids=["before the frame", "no time", "no frame"]
)
def test_a_report_that_cannot_be_true_is_refused(changes: dict[str, Any]) -> None:
    desk = Desk()
    with pytest.raises(SubscriptionError):
        desk.report(after_ms=20, **changes)
    assert desk.count(TICK_TO_EYE) == 0


def test_a_client_has_no_more_than_two_reports_a_second() -> None:
    desk = Desk()
    last_ns = desk.clock.mono_ns()
    with pytest.raises(SubscriptionError, match="two reports"):
        desk.report(after_ms=499, last_ns=last_ns)
    desk.report(after_ms=1, last_ns=last_ns)
    assert desk.count(TICK_TO_EYE) == 1


def test_the_age_of_an_event_in_a_replay_says_nothing_of_here() -> None:
    desk = Desk()
    desk.frame = desk.frames.publish(PAYLOAD % b"40.0", NO_INDEX, NS_PER_S, desk.clock.mono_ns(), {})
    answer = desk.report(after_ms=20)
    assert (answer["tick_to_eye_ms"], answer["event_to_eye_ms"]) == (16.0, None)
    assert (desk.count(TICK_TO_EYE), desk.count(EVENT_TO_EYE)) == (1, 0)


def test_a_snapshot_without_market_data_has_the_age_of_its_newest_fill() -> None:
    assert Desk(market_age=b"null").report(after_ms=20)["event_to_eye_ms"] == 250 + 16


@pytest.mark.parametrize("value", ["-1", "1e300", "60001", '"x"', "NaN"])
def test_a_time_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(SubscriptionError):
        parse_message(b'{"type":"painted","epoch":"e","seq":1,"paint_ms":%b}' % value.encode())
