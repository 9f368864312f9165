"""Replay: order, pacing, laps, errors and cancellation, on a clock that only the replay's own sleeps advance."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.errors import ConfigError, SourceError
from observability.events import Event, Print, Quote
from observability.sources.recordings.replay import Replay, ReplayProgress

DATA = Path(__file__).parents[3] / "../shared/data"
START_NS = 1_700_000_000 * 10**9
MS_NS = 10**6
S_NS = 10**9


def discard(events: Sequence[Event]) -> None:
    """Publishes to no subscriber."""


class ManualClock:
    """Stands still except during `sleep`."""

    def __init__(self) -> None:
        self.now_ns = 5 * S_NS

    def time_ns(self) -> int:
        return START_NS + self.now_ns

    def mono_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * S_NS)


class Published:
    """Keeps the published batches, when each was published, and the event clock's time then."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.event_clock = EventClock(clock)
        self.batches: list[tuple[int, list[Event]]] = []
        self.event_times: list[int] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.batches.append((self.clock.now_ns - 5 * S_NS, list(events)))
        self.event_times.append(self.event_clock.time_ns())

    @property
    def events(self) -> list[Event]:
        return [event for _, batch in self.batches for event in batch]

    @property
    def delays_ns(self) -> list[int]:
        return [at_ns for at_ns, batch in self.batches for _ in batch]


def write_quotes(path: Path, offsets_ns: Sequence[int], symbol: str = "X") -> Path:
    lines = [
        json.dumps({"type": "quote", "symbol": symbol, "bid": 1, "ask": 2, "ts": START_NS + offset})
        for offset in offsets_ns
    ]
    path.write_text("\n".join(lines))
    return path


def replay(paths: Sequence[Path], speed: float | None = None, loop: bool = False) -> tuple[Replay, Published]:
    clock = ManualClock()
    published = Published(clock)
    made = Replay(
        paths, publish=published, event_clock=published.event_clock, speed=speed, loop=loop, host_clock=clock,
        sleep=clock.sleep,
    )  # fmt: skip
    return made, published


@given(
    first=st.lists(st.integers(0, 1000), min_size=1).map(sorted),
    second=st.lists(st.integers(0, 1000), min_size=1).map(sorted),
    speed=st.sampled_from([None, 1.0, 1000.0]),
)
def test_recordings_are_merged_in_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int], speed: float | None
) -> None:
    directory = tmp_path_factory.mktemp("replay")
    paths = [write_quotes(directory / "a", first, "A"), write_quotes(directory / "b", second, "B")]
    made, published = replay(paths, speed)
    asyncio.run(made.run())
    expected = sorted([(offset, "A") for offset in first] + [(offset, "B") for offset in second])
    assert [(event.ts_init - START_NS, event.symbol) for event in published.events] == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("speed", [0.5, 1.0, 20.0])
def test_events_are_paced_and_never_early(tmp_path: Path, speed: float) -> None:
    offsets = [0, 100 * MS_NS, 101 * MS_NS, 900 * MS_NS, 4000 * MS_NS]
    made, published = replay([write_quotes(tmp_path / "a", offsets)], speed)
    asyncio.run(made.run())
    for offset, delay in zip(offsets, published.delays_ns, strict=True):
        assert 0 <= delay - offset / speed <= 5 * MS_NS


def test_events_that_are_due_together_are_one_batch(tmp_path: Path) -> None:
    made, published = replay([write_quotes(tmp_path / "a", [0, *range(S_NS, S_NS + 50 * MS_NS, MS_NS // 10)])], 1.0)
    asyncio.run(made.run())
    assert len(published.events) == 501
    assert len(published.batches) < 20


def test_an_idle_gap_is_shortened_to_five_seconds(tmp_path: Path) -> None:
    year_ns = 365 * 86_400 * S_NS
    made, published = replay([write_quotes(tmp_path / "a", [0, year_ns, year_ns + S_NS])], 1.0)
    asyncio.run(made.run())
    assert published.delays_ns == [0, 5 * S_NS, 6 * S_NS]
    assert published.events[1].ts_init == START_NS + year_ns


def test_a_suspended_replay_continues_from_where_it_was(tmp_path: Path) -> None:
    made, published = replay([write_quotes(tmp_path / "a", [0, S_NS, 2 * S_NS])], 1.0)

    async def suspended(seconds: float) -> None:
        await ManualClock.sleep(published.clock, seconds + (3600 if not published.events[1:] else 0))

    made._sleep = suspended
    asyncio.run(made.run())
    assert published.delays_ns == [0, 3601 * S_NS, 3602 * S_NS]


@pytest.mark.parametrize("speed", [None, 1.0])
def test_the_event_clock_stands_at_the_newest_event_published(tmp_path: Path, speed: float | None) -> None:
    made, published = replay([write_quotes(tmp_path / "a", range(0, 1000 * MS_NS, MS_NS))], speed)
    asyncio.run(made.run())
    assert published.event_times == [batch[-1].ts_init for _, batch in published.batches]


@pytest.mark.parametrize("loop", [False, True])
def test_a_replay_that_is_prepared_holds_the_clock_at_its_first_event(tmp_path: Path, loop: bool) -> None:
    first, second = write_quotes(tmp_path / "a", [5, 7]), write_quotes(tmp_path / "b", [6, 8])
    made, published = replay([second, first], loop=loop)
    made.prepare()
    assert published.event_clock.time_ns() == START_NS + 5
    assert published.event_clock.is_waiting
    if not loop:
        asyncio.run(made.run())
        assert [event.ts_init - START_NS for event in published.events] == [5, 6, 7, 8]
        assert not published.event_clock.is_waiting


def test_a_looping_replay_runs_until_it_is_cancelled(tmp_path: Path) -> None:
    made, published = replay([write_quotes(tmp_path / "a", [0, MS_NS])], 1.0, loop=True)

    async def run() -> None:
        task = asyncio.ensure_future(made.run())
        made._sleep = lambda seconds: asyncio.sleep(0, published.clock.sleep(seconds).close())
        while len(published.events) < 7:
            published.clock.now_ns += S_NS
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    times = [event.ts_init for event in published.events]
    assert len(set(times)) == len(times) and times == sorted(times)
    assert made.progress().lap >= 3


def test_a_replay_flat_out_lets_other_tasks_run(tmp_path: Path) -> None:
    path = write_quotes(tmp_path / "a", range(2000))
    steps = 0

    async def run() -> None:
        nonlocal steps

        def slow(events: Sequence[Event]) -> None:
            began = time.perf_counter_ns()
            while time.perf_counter_ns() - began < 2 * MS_NS:
                pass

        task = asyncio.ensure_future(Replay([path], publish=slow, event_clock=EventClock(HostClock())).run())
        while not task.done():
            steps += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    assert steps >= 4


def open_files(*paths: Path) -> int:
    """How many descriptors of this process are of one of the paths."""
    wanted = {path.stat().st_ino for path in paths}
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.fstat(int(descriptor)).st_ino in wanted
    return count


def test_a_recording_is_opened_when_its_first_event_is_due(tmp_path: Path) -> None:
    days = [write_quotes(tmp_path / f"{day:02}", [day * 10 * S_NS, (day * 10 + 9) * S_NS]) for day in range(20)]
    opened: list[int] = []
    made = Replay(
        [tmp_path], publish=lambda _: opened.append(open_files(*days)), event_clock=EventClock(HostClock()), speed=1e6
    )
    asyncio.run(made.run())
    assert made.events == 40
    assert max(opened) <= 2
    assert open_files(*days) == 0


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6).map(sorted), min_size=1, max_size=6))
def test_any_number_of_recordings_is_merged_like_one_sort(
    tmp_path_factory: pytest.TempPathFactory, recordings: list[list[int]]
) -> None:
    directory = tmp_path_factory.mktemp("merged")
    for number, offsets in enumerate(recordings):
        write_quotes(directory / str(number), offsets, str(number))
    made, published = replay([directory])
    asyncio.run(made.run())
    expected = sorted((offset, number) for number, offsets in enumerate(recordings) for offset in offsets)
    assert [(event.ts_init - START_NS, int(event.symbol)) for event in published.events] == expected  # type: ignore[attr-defined]


def test_lines_before_the_first_event_are_counted_once(tmp_path: Path) -> None:
    for name in "ab":
        path = write_quotes(tmp_path / name, [0, 1])
        path.write_text("{\n" + path.read_text())
    made, _ = replay([tmp_path])
    asyncio.run(made.run())
    assert [recording.counts.bad_lines for recording in made.recordings] == [1, 1]
    assert [recording.counts.events[Quote] for recording in made.recordings] == [2, 2]
    assert made.progress().bytes_read == made.progress().bytes_total


def test_cancellation_closes_the_files(tmp_path: Path) -> None:
    # An unclosed file is a ResourceWarning, and warnings are errors here.
    path = write_quotes(tmp_path / "a", range(0, 100_000 * S_NS, S_NS))

    async def run() -> None:
        made = Replay([path, path], publish=discard, event_clock=EventClock(HostClock()), speed=1.0)
        task = asyncio.ensure_future(made.run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert open_files(path) == 0

    asyncio.run(run())


def test_a_truncated_recording_loses_only_its_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_quotes(tmp_path / "whole", range(20_000), "A")
    cut = tmp_path / "cut"
    cut.write_bytes(gzip.compress(write_quotes(tmp_path / "b", range(20_000), "B").read_bytes())[:-2000])
    made, published = replay([whole, cut])
    asyncio.run(made.run())
    delivered = {symbol: sum(e.symbol == symbol for e in published.events) for symbol in "AB"}  # type: ignore[attr-defined]
    assert delivered["A"] == 20_000
    assert 0 < delivered["B"] < 20_000
    assert list(made.errors) == [cut]
    assert "ends too early" in caplog.text


def test_the_last_progress_covers_everything(tmp_path: Path) -> None:
    seen: list[ReplayProgress] = []
    clock = ManualClock()
    path = write_quotes(tmp_path / "a", range(0, 10 * S_NS, S_NS))
    made = Replay(
        [path], publish=discard, event_clock=EventClock(clock), speed=1.0, host_clock=clock,
        on_progress=seen.append, sleep=clock.sleep,
    )  # fmt: skip
    asyncio.run(made.run())
    last = seen[-1]
    assert (last.bytes_read, last.events, last.lap) == (last.bytes_total, 10, 1)
    assert last.event_time_ns == START_NS + 9 * S_NS
    assert last.events_span_ns == last.elapsed_ns == 9 * S_NS


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_an_invalid_speed_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(ConfigError, match="speed"):
        replay([write_quotes(tmp_path / "a", [0])], speed)


def test_a_missing_recording_is_refused_before_anything_is_published(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="missing"):
        replay([write_quotes(tmp_path / "a", [0]), tmp_path / "missing"])


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside the checkout")
def test_a_whole_recorded_day_is_published_on_the_bus() -> None:
    bus = Bus()
    counts = {Print: 0, Quote: 0}

    def count(event: Event) -> None:
        counts[type(event)] += 1

    bus.subscribe(Print, count)
    bus.subscribe(Quote, count)
    made = Replay(
        sorted((DATA / "lobster").glob("*_message_1.csv.gz")), publish=bus.publish_all,
        event_clock=EventClock(HostClock()),
    )  # fmt: skip
    asyncio.run(made.run())
    assert counts == {Print: 34_990 + 11_419, Quote: 107_165 + 55_071}
    assert made.events == sum(counts.values())
