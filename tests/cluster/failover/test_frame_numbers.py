"""The numbers with which a hub begins, by what the servers and its checkpoint say of the hub before it."""

from __future__ import annotations

import pytest

from fake_clock import FakeClock
from observability.cluster.failover.frame_numbers import FrameNumbers
from observability.errors import CheckpointError
from observability.snapshot.frames import FrameRing


def begun_after(published: int, *, kept: int | None = None, seconds: float = 0.0, shown: int = 0) -> int:
    """Returns the number before the first one of a hub, so many seconds after the checkpoint with the number `kept`."""
    clock = FakeClock()
    frames = FrameRing("b", shown)
    numbers = FrameNumbers(frames, 1.0, clock.time_ns)
    if kept is not None:
        before = FrameNumbers(FrameRing("a", kept), 0.1, clock.time_ns)
        numbers.load(before.save())
    clock.advance(seconds)
    numbers.continue_after(published)
    return frames.latest_seq


def test_the_first_hub_of_a_desk_begins_with_1() -> None:
    assert begun_after(0) == 0


def test_a_hub_leaves_one_number_free_after_the_newest_published_one() -> None:
    assert begun_after(7) == begun_after(7, kept=7, seconds=60) == begun_after(7, kept=3, seconds=60) == 8


@pytest.mark.parametrize("published", [0, 99])
def test_lost_frames_are_counted_by_the_time_since_the_checkpoint(published: int) -> None:
    # Ten frames in a second, two to spare, one free.
    assert begun_after(published, kept=100, seconds=60) == 100 + 600 + 2 + 1


def test_a_clock_that_was_set_back_counts_as_no_time() -> None:
    assert begun_after(0, kept=100, seconds=-60) == 103


def test_a_checkpoint_before_the_first_frame_counts_too() -> None:
    assert begun_after(0, kept=0, seconds=60) == 603


def test_a_higher_number_that_workers_have_shown_stays() -> None:
    assert begun_after(7, shown=50) == begun_after(0, kept=3, shown=50) == 50


def test_a_state_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(CheckpointError):
        FrameNumbers(FrameRing("b", 0), 1.0, FakeClock().time_ns).load(b"x")
