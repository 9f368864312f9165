"""The player of the past: when it reads and sends, beside a live stream and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_MS
from observability.memory.counters import Counters
from observability.past.player import Player
from observability.past.reader import RecordingReader
from recorded import Market


class Kicked(Player):
    """A player of a stream of 10 Hz that notes when it would read and send."""

    def __init__(self, directory: Path, clock: FakeClock) -> None:
        live = SimpleNamespace(settings=SimpleNamespace(interval_seconds=0.1), host_clock=clock)
        reader = RecordingReader(directory, is_recorded=True)
        loop = cast(asyncio.AbstractEventLoop, SimpleNamespace())
        super().__init__(cast(Any, live), reader, Counters(), loop, asyncio.Lock())
        self.clock = clock
        self.kicks: list[int] = []
        self._viewers = {cast(Any, object())}

    def kick(self) -> None:
        self.kicks.append(self.clock.now_ns)


@pytest.fixture
def player(tmp_path: Path) -> Kicked:
    return Kicked(tmp_path, FakeClock())


def test_the_past_is_read_after_a_live_frame_and_not_when_the_next_is_due(player: Kicked) -> None:
    (frame,) = Market(symbols=1).ticks(1)
    began_ns = player.clock.now_ns
    for _ in range(3):
        player.on_sent(frame, 0)
        for _ in range(9):
            player.clock.now_ns += 11 * NS_PER_MS
            player._on_beat()
    assert player.kicks == [began_ns + at * 99 * NS_PER_MS for at in range(3)]


def test_the_past_is_read_at_its_own_pace_without_live_frames(player: Kicked) -> None:
    (frame,) = Market(symbols=1).ticks(1)
    player.on_sent(frame, 0)
    for _ in range(3):
        player.clock.now_ns += 100 * NS_PER_MS
        player._on_beat()
    assert len(player.kicks) == 3


def test_nothing_is_read_for_nobody(player: Kicked) -> None:
    (frame,) = Market(symbols=1).ticks(1)
    player._viewers.clear()
    player.on_sent(frame, 0)
    assert player.kicks == []
