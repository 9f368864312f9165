"""The recorder: every frame is on disk, within bounds; what is not whole is cut, and what is missing is told."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_DAY, NS_PER_S
from observability.memory.counters import Counters
from observability.recorder import recorder as recorder_module
from observability.recorder import recording as recording_module
from observability.recorder.codec import FrameDecoder
from observability.recorder.layout import (
    ENTRY_BYTES,
    HEADER_BYTES,
    Kind,
    index_path,
    read_entries,
    read_record,
    segment_numbers,
    segment_path,
)
from observability.recorder.recorder import Recorder, RecordLimits
from observability.recorder.recording import Cursor, Gap
from observability.recorder.segment import repair
from observability.snapshot.frames import Frame
from recorded import LIMITS, Market, described, every_frame, opened, record

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("core", "http", "tests/support")),
}
SMALL = RecordLimits(max_bytes=160_000, max_age_days=7)
SMALL_SEGMENTS = RecordLimits(max_bytes=1_600_000, max_age_days=7)

# The limit on the size of files stands for a disk that is full: a write takes a part, and the next one fails.
RECORD_ON_A_FULL_DISK = """
import resource
import sys
from pathlib import Path
from observability.memory.counters import Counters
from observability.recorder import recorder as module
from recorded import LIMITS, Market, every_frame

module.RETRY_NS = 0
directory = Path(sys.argv[1])
market, counters = Market(), Counters()
recorder = module.Recorder(directory, LIMITS, counters)
recorder.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
kept = []
while True:
    frame = market.tick()
    recorder.on_frame(frame, 0)
    recorder.wait()
    if recorder.trouble is not None:
        break
    kept.append(frame)
assert "too large" in recorder.trouble, recorder.trouble
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
later = market.ticks(5)
for frame in later:
    recorder.on_frame(frame, 0)
recorder.wait()
assert recorder.trouble is None, recorder.trouble
recorder.stop()
assert len(kept) > 3
assert counters.total("recorder_frames_failed_total") == 1
assert [each.payload for each in every_frame(directory)] == [each.payload for each in (*kept, *later)]
"""

RECORD_UNTIL_KILLED = """
import sys
from pathlib import Path
from recorded import LIMITS, Market
from observability.memory.counters import Counters
from observability.recorder.recorder import Recorder

recorder = Recorder(Path(sys.argv[1]), LIMITS, Counters())
recorder.start()
market = Market()
while True:
    recorder.on_frame(market.tick(), 0)
    recorder.wait()
    print(market.hub.frames.latest_seq, flush=True)
"""


def test_every_recorded_frame_is_read_back_with_its_index(tmp_path: Path) -> None:
    frames = Market().ticks(350)
    record(tmp_path, frames)
    assert [described(frame) for frame in every_frame(tmp_path)] == [described(frame) for frame in frames]


def test_a_frame_larger_than_the_window_of_zlib_is_read_back(tmp_path: Path) -> None:
    frames = Market(symbols=120).ticks(150)
    assert frames[-1].size > 2 * 32_768
    record(tmp_path, frames)
    assert [frame.payload for frame in every_frame(tmp_path)] == [frame.payload for frame in frames]


def test_random_places_give_the_bytes_that_were_shown(tmp_path: Path) -> None:
    frames = Market().ticks(1200)
    record(tmp_path, frames, SMALL_SEGMENTS)
    recording = opened(tmp_path)
    # Two that share what they decode.
    cursors = Cursor(recording), Cursor(recording)
    chance = random.Random(7)
    for _ in range(int(os.environ.get("RANDOM_TICKS", "300"))):
        frame = chance.choice(frames)
        place = recording.find(frame.ts_ns + chance.randrange(100_000_000))
        assert place is not None
        assert described(chance.choice(cursors).go(place)) == described(frame)


def test_two_cursors_that_go_the_same_way_decode_each_frame_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Market().ticks(150)
    record(tmp_path, frames)
    recording = opened(tmp_path)
    decoded, decode = [], FrameDecoder.decode
    monkeypatch.setattr(
        FrameDecoder, "decode", lambda self, body, *, is_full: [decoded.append(1), decode(self, body, is_full=is_full)]
    )
    cursors = Cursor(recording), Cursor(recording)
    place = recording.first_place()
    while place is not None:
        first, second = (cursor.go(place) for cursor in cursors)
        assert first is second
        place = recording.next_place(place)
    assert len(decoded) == len(frames)


def test_a_cursor_that_another_has_left_behind_goes_on_from_its_own_place(tmp_path: Path) -> None:
    frames = Market().ticks(20)
    record(tmp_path, frames)
    recording = opened(tmp_path)
    first, second = Cursor(recording), Cursor(recording)
    start = recording.first_place()
    assert start is not None
    for cursor, at in ((first, 5), (second, 5), (first, 9), (second, 7)):
        assert described(cursor.go(start._replace(record=at))) == described(frames[at])


def test_frames_decoded_long_ago_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "MAX_DECODED", 10)
    record(tmp_path, Market().ticks(30))
    recording = opened(tmp_path)
    first, cursor = recording.first_place(), Cursor(recording)
    place = first
    while place is not None:
        cursor.go(place)
        place = recording.next_place(place)
    assert first is not None
    assert recording.decoded(first) is None
    assert sum(recording.decoded(first._replace(record=at)) is not None for at in range(30)) == 10


def test_no_frame_is_found_before_the_first(tmp_path: Path) -> None:
    frames = Market().ticks(3)
    record(tmp_path, frames)
    assert opened(tmp_path).find(frames[0].ts_ns - 1) is None


def test_of_two_recordings_of_one_time_the_newest_is_found(tmp_path: Path) -> None:
    first, second = Market(seed=1).ticks(30), Market(seed=2).ticks(20)
    record(tmp_path, first)
    record(tmp_path, second)
    recording = opened(tmp_path)
    cursor = Cursor(recording)
    for frame, time_ns in ((second[10], second[10].ts_ns), (first[25], first[25].ts_ns)):
        place = recording.find(time_ns)
        assert place is not None
        assert cursor.go(place).payload == frame.payload


def test_stepping_back_visits_every_frame_from_the_last_to_the_first(tmp_path: Path) -> None:
    frames = Market().ticks(250)
    record(tmp_path, frames)
    recording = opened(tmp_path)
    cursor, place = Cursor(recording), recording.find(frames[-1].ts_ns)
    found = []
    while place is not None:
        found.append(cursor.go(place).seq)
        place = recording.place_before(place)
    assert found == [frame.seq for frame in reversed(frames)]


def test_a_search_from_a_place_finds_the_newest_frame_by_a_time(tmp_path: Path) -> None:
    frames = Market().ticks(300)
    record(tmp_path, frames)
    recording = opened(tmp_path)
    start = recording.find(frames[10].ts_ns)
    assert start is not None
    assert recording.find_after(start, frames[10].ts_ns) is None
    found = recording.find_after(start, frames[250].ts_ns)
    assert found is not None and recording.record(found).seq == frames[250].seq
    coarse = recording.find_after(start, frames[250].ts_ns, is_coarse=True)
    assert coarse is not None and coarse == found._replace(record=0)


def test_a_reader_sees_frames_while_they_are_recorded(tmp_path: Path) -> None:
    market = Market()
    recorder = Recorder(tmp_path, LIMITS, Counters())
    recorder.start()
    recording = opened(tmp_path)
    cursor = Cursor(recording)
    for _ in range(120):
        frame = market.tick()
        recorder.on_frame(frame, 0)
        recorder.wait()
        recording.refresh()
        place = recording.find(frame.ts_ns)
        assert place is not None
        assert cursor.go(place).payload == frame.payload
    recorder.stop()


def test_a_reader_sees_the_rest_of_what_it_has_read_while_it_was_recorded(tmp_path: Path) -> None:
    market = Market()
    recorder = Recorder(tmp_path, LIMITS, Counters())
    recorder.start()
    recording, frames = opened(tmp_path), []
    for _ in range(3):
        for _ in range(70):
            frames.append(market.tick())
            recorder.on_frame(frames[-1], 0)
        recorder.wait()
        recording.refresh()
        for frame in frames:
            place = recording.find(frame.ts_ns)
            assert place is not None
            assert recording.record(place).seq == frame.seq
    recorder.stop()


# -- what is not whole


def test_a_tail_torn_at_any_byte_is_cut_and_nothing_before_it_is_lost(tmp_path: Path) -> None:
    frames = Market(symbols=1).ticks(4)
    record(tmp_path, frames)
    whole = segment_path(tmp_path, 1).read_bytes()
    ends = [HEADER_BYTES]
    while (found := read_record(whole, ends[-1])) is not None:
        ends.append(found.end)
    assert ends[-1] == len(whole) and len(ends) == 5
    index = index_path(tmp_path, 1).read_bytes()
    for size in range(len(whole)):
        segment_path(tmp_path, 1).write_bytes(whole[:size])
        index_path(tmp_path, 1).write_bytes(index)
        kept = sum(end <= size for end in ends) - 1
        cut = repair(tmp_path, 1)
        assert cut == size - (ends[kept] if kept > 0 else 0), size
        assert kept <= 0 or segment_path(tmp_path, 1).stat().st_size == ends[kept], size
        assert [frame.payload for frame in every_frame(tmp_path)] == [frame.payload for frame in frames[: max(kept, 0)]]


def test_a_torn_index_is_written_anew(tmp_path: Path) -> None:
    frames = Market(symbols=1).ticks(350)
    record(tmp_path, frames)
    index = index_path(tmp_path, 1).read_bytes()
    for size in range(0, len(index), 7):
        index_path(tmp_path, 1).write_bytes(index[:size])
        repair(tmp_path, 1)
        assert index_path(tmp_path, 1).read_bytes() == index


def test_a_damaged_byte_costs_no_more_than_the_frames_up_to_the_next_full_one(tmp_path: Path) -> None:
    frames = Market(symbols=1).ticks(350)
    record(tmp_path, frames)
    recording = opened(tmp_path)
    place = recording.find(frames[150].ts_ns)
    assert place is not None
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    group = recording.group(place)
    at = bytes(data).index(group.data[:200]) + group.records[place.record].start + 5
    data[at] ^= 1
    path.write_bytes(data)
    seqs = [frame.seq for frame in every_frame(tmp_path)]
    assert frames[150].seq not in seqs
    assert seqs == [frame.seq for frame in frames[:150]] + [frame.seq for frame in frames[200:]]


def test_a_damaged_full_frame_costs_the_frames_up_to_the_next_one(tmp_path: Path) -> None:
    frames = Market(symbols=1).ticks(350)
    record(tmp_path, frames)
    recording = opened(tmp_path)
    place = recording.find(frames[150].ts_ns)
    assert place is not None
    first = recording.record(place._replace(record=0)).seq
    data = bytearray(segment_path(tmp_path, 1).read_bytes())
    data[data.index(recording.group(place).data[:200]) + 50] ^= 1
    segment_path(tmp_path, 1).write_bytes(data)
    recording = opened(tmp_path)
    assert [frame.seq for frame in every_frame(tmp_path)] == [
        frame.seq for frame in frames if not first <= frame.seq < first + 100
    ]
    before, after = recording.find(frames[150].ts_ns), recording.find(frames[250].ts_ns)
    assert before is not None and after is not None
    assert recording.record(before).seq == first - 1
    assert recording.place_before(after._replace(record=0)) == before


def cut_power(directory: Path, number: int) -> None:
    """Leaves of a segment what a power cut may: its end is not on the disk, and its last full frame is torn."""
    index = index_path(directory, number)
    os.truncate(index, index.stat().st_size - ENTRY_BYTES)
    os.truncate(segment_path(directory, number), read_entries(index.read_bytes())[-1].offset + 20)


def test_a_segment_that_a_power_cut_left_hides_no_other(tmp_path: Path) -> None:
    frames = Market().ticks(1200)
    record(tmp_path, frames, SMALL_SEGMENTS)
    number = segment_numbers(tmp_path)[-2]
    cut_power(tmp_path, number)
    recording = opened(tmp_path)
    found = [frame.seq for frame in every_frame(tmp_path)]
    assert found[0] == frames[0].seq and found[-1] == frames[-1].seq
    assert (recording.start_ns(), recording.end_ns()) == (frames[0].ts_ns, frames[-1].ts_ns)
    assert sum(each.frames for each in recording.stretches()) == len(found)


def test_each_segment_that_a_power_cut_left_is_ended_at_the_next_start(tmp_path: Path) -> None:
    record(tmp_path, Market().ticks(1200), SMALL_SEGMENTS)
    numbers = segment_numbers(tmp_path)[-2:]
    for number in numbers:
        cut_power(tmp_path, number)
    record(tmp_path, Market().ticks(1), SMALL_SEGMENTS)
    for number in numbers:
        assert read_entries(index_path(tmp_path, number).read_bytes())[-1].kind == Kind.END


def test_a_killed_recorder_loses_nothing_that_it_has_written(tmp_path: Path) -> None:
    for run in range(1, 4):
        process = subprocess.Popen(
            [sys.executable, "-c", RECORD_UNTIL_KILLED, tmp_path],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            seq = 0
            while seq < 130:
                seq = int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        found = every_frame(tmp_path)
        assert len([frame for frame in found if frame.seq <= 130]) == 130 * run


def test_a_full_disk_costs_only_the_frames_until_it_has_room_again(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", RECORD_ON_A_FULL_DISK, tmp_path],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr


# -- bounds


def test_the_last_megabytes_of_the_disk_are_left_to_the_store_within_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_NS", 0)
    market = Market()
    recorder = Recorder(tmp_path, LIMITS, Counters())
    recorder.start()
    kept = []
    for reserved in (0, 1 << 62, 0):
        monkeypatch.setattr(recorder_module, "RESERVED_BYTES", reserved)
        frame = market.tick()
        recorder.on_frame(frame, 0)
        recorder.wait()
        assert (recorder.trouble is None) == (reserved == 0)
        if not reserved:
            kept.append(frame.payload)
    recorder.stop()
    assert [each.payload for each in every_frame(tmp_path)] == kept


def test_the_oldest_segments_are_removed_before_the_recording_grows_too_large(tmp_path: Path) -> None:
    frames = Market().ticks(2000)
    counters = record(tmp_path, frames, SMALL)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert SMALL.max_bytes / 2 < size <= SMALL.max_bytes
    found = every_frame(tmp_path)
    assert [frame.payload for frame in found] == [frame.payload for frame in frames[-len(found) :]]
    assert counters.gauge("recorder_size_bytes", "").value == size


def test_segments_older_than_the_limit_are_removed(tmp_path: Path) -> None:
    market = Market()
    record(tmp_path, market.ticks(3))
    old_ns = os.stat(segment_path(tmp_path, 1)).st_mtime_ns - 7 * NS_PER_DAY
    os.utime(segment_path(tmp_path, 1), ns=(old_ns, old_ns))
    record(tmp_path, market.ticks(3))
    assert segment_numbers(tmp_path) == [2]


def test_a_segment_ends_after_an_hour(tmp_path: Path) -> None:
    clock, market = FakeClock(), Market()
    recorder = Recorder(tmp_path, LIMITS, Counters(), clock)
    recorder.start()
    for _ in range(4):
        recorder.on_frame(market.tick(), 0)
        recorder.wait()
        clock.now_ns += 1900 * NS_PER_S
    recorder.stop()
    assert segment_numbers(tmp_path) == [1, 2]
    assert len(opened(tmp_path).stretches()) == 1


def test_a_clock_that_goes_back_begins_a_new_segment(tmp_path: Path) -> None:
    market = Market()
    frames = market.ticks(5)
    market.clock.now_ns -= 3 * NS_PER_S
    record(tmp_path, [*frames, *market.ticks(5)])
    assert segment_numbers(tmp_path) == [1, 2]


# -- what is missing


def test_frames_that_find_the_queue_full_are_counted_and_leave_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few that the frame after the gap is no full one because of its time.
    monkeypatch.setattr(recorder_module, "MAX_QUEUED_FRAMES", 30)
    market, counters = Market(), Counters()
    recorder = Recorder(tmp_path, LIMITS, counters)
    frames = market.ticks(50)
    for frame in frames:
        recorder.on_frame(frame, 0)
    recorder.start()
    recorder.wait()
    last = market.tick()
    recorder.on_frame(last, 0)
    recorder.stop()
    assert counters.total("recorder_frames_dropped_total") == 20
    assert counters.total("recorder_frames_total") == 31
    assert opened(tmp_path).gaps() == [Gap(frames[29].ts_ns, last.ts_ns, 20)]


def test_a_frame_that_is_too_large_is_counted_and_leaves_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market, counters = Market(), Counters()
    small, large, last = market.ticks(3)
    monkeypatch.setattr(recorder_module, "MAX_FRAME_BYTES", max(small.size, last.size))
    monkeypatch.setattr(Frame, "size", property(lambda frame: 10**9 if frame is large else len(frame.payload)))
    recorder = Recorder(tmp_path, LIMITS, counters)
    recorder.start()
    for frame in (small, large, last):
        recorder.on_frame(frame, 0)
    recorder.stop()
    assert counters.total("recorder_frames_dropped_total") == 1
    assert opened(tmp_path).gaps() == [Gap(small.ts_ns, last.ts_ns, 1)]


def test_frames_without_news_are_queued_with_the_next_that_has_some(tmp_path: Path) -> None:
    market = Market(symbols=1)
    recorder = Recorder(tmp_path, LIMITS, Counters())
    frames, queued = [], []
    for has_news in (True, False, False, True, False):
        frames.append(market.tick(moves=has_news))
        recorder.on_frame(frames[-1], 0)
        queued.append(recorder._queue.qsize())
    assert queued == [1, 1, 1, 2, 2]
    recorder.start()
    recorder.stop()
    assert [each.payload for each in every_frame(tmp_path)] == [each.payload for each in frames]


def test_the_time_between_two_servers_is_a_gap(tmp_path: Path) -> None:
    first = Market().ticks(5)
    later = Market()
    later.hub.frames.epoch = "abc"
    later.clock.now_ns += 60 * NS_PER_S
    second = later.ticks(5)
    record(tmp_path, first)
    record(tmp_path, second)
    recording = opened(tmp_path)
    assert recording.gaps() == [Gap(first[-1].ts_ns, second[0].ts_ns, None)]
    assert [(each.epoch, each.frames) for each in recording.stretches()] == [(first[0].epoch, 5), ("abc", 5)]


def test_a_recorder_that_cannot_write_is_off_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_NS", 0)
    directory = tmp_path / "recording"
    directory.write_text("this is no directory")
    market, counters = Market(), Counters()
    recorder = Recorder(directory, LIMITS, counters)
    recorder.start()
    for frame in market.ticks(3):
        recorder.on_frame(frame, 0)
    recorder.wait()
    assert recorder.trouble is not None and "File exists" in recorder.trouble
    directory.unlink()
    frame = market.tick()
    recorder.on_frame(frame, 0)
    recorder.wait()
    assert recorder.trouble is None
    recorder.stop()
    assert counters.total("recorder_frames_failed_total") == 3
    assert [each.payload for each in every_frame(directory)] == [frame.payload]
    assert [record.levelname for record in caplog.records if "record" in record.message] == ["ERROR", "WARNING"]


def test_a_seek_reads_the_whole_index_of_its_own_segment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market, frames = Market(symbols=1), []
    for _ in range(4):
        frames.append(market.ticks(450))
        record(tmp_path, frames[-1])
    read = []
    monkeypatch.setattr(recording_module, "read_entries", lambda data: read.append(len(data)) or read_entries(data))
    recording = opened(tmp_path)
    place = recording.find(frames[2][200].ts_ns)
    assert place is not None
    assert Cursor(recording).go(place).seq == frames[2][200].seq
    # The ends of each, and all of one: five full frames and the end.
    assert sorted(read) == [ENTRY_BYTES] * 8 + [6 * ENTRY_BYTES]
