"""Playing a recording: which frames come, and when."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.past.playback import Playback
from recorded import Market, opened, record

TICK_NS = 100 * NS_PER_MS


@pytest.mark.parametrize("ticks", [1, 20], ids=["every frame", "one of twenty"])
def test_playing_goes_on_where_the_clock_was_set_back(tmp_path: Path, ticks: int) -> None:
    market = Market()
    before = market.ticks(100)
    market.clock.now_ns -= 5 * NS_PER_S
    after = market.ticks(200)
    record(tmp_path, [*before, *after])
    recording = opened(tmp_path)
    playback = Playback(TICK_NS)
    now_ns = before[20].ts_ns
    seqs = [shown.frame.seq for shown in playback.seek(recording, now_ns).shown]
    skipped = []
    while True:
        now_ns += ticks * TICK_NS
        outcome = playback.play(recording, now_ns, is_every=ticks == 1)
        if outcome.is_end:
            break
        seqs += [shown.frame.seq for shown in outcome.shown]
        if outcome.skipped is not None:
            skipped.append(outcome.skipped)
            now_ns = outcome.shown[-1].frame.ts_ns
    assert skipped == [(before[-1].ts_ns, after[0].ts_ns)]
    assert seqs == sorted(seqs)
    if ticks == 1:
        assert seqs == [frame.seq for frame in [*before[20:], *after]]
    else:
        assert max(later - seq for seq, later in pairwise(seqs)) <= ticks
