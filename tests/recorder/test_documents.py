"""Documents of a recording: which are recorded with a tick, and any of them as it was."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.logs.log_ring import LogRing
from observability.memory.counters import Counters
from observability.recorder.bundle import BundleRequest, extract, make_bundle
from observability.recorder.documents import (
    COST_FACTOR,
    LOGS,
    MAX_LINES,
    DocumentReader,
    DocumentRounds,
    DocumentWriter,
)
from observability.recorder.layout import DIRECTORY_NAME, documents_path, remove_segment, segment_path
from observability.recorder.recorder import Recorder
from observability.snapshot.frames import Frame
from recorded import LIMITS, Market, opened


def written(directory: Path) -> DocumentReader:
    """Writes three versions of one document and one of another; returns their reader."""
    writer = DocumentWriter(directory, 1)
    for ts_ns, name, body in ((10, "a", b"first"), (10, "b", b"other"), (20, "a", b"second" * 50), (30, "a", b"third")):
        writer.append(name, ts_ns, body)
    writer.close()
    reader = DocumentReader(directory, 1)
    reader.refresh()
    return reader


def test_the_newest_version_by_a_time_is_found(tmp_path: Path) -> None:
    reader = written(tmp_path)
    found = [reader.newest("a", time_ns) for time_ns in (9, 10, 29, 99)]
    assert [each and each.body for each in found] == [None, b"first", b"second" * 50, b"third"]
    assert reader.newest("c", 99) is None


def test_a_torn_end_is_left_out_and_read_once_it_is_whole(tmp_path: Path) -> None:
    written(tmp_path)
    path = documents_path(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    reader = DocumentReader(tmp_path, 1)
    reader.refresh()
    before = reader.newest("a", 99)
    path.write_bytes(whole)
    reader.refresh()
    after = reader.newest("a", 99)
    assert before is not None
    assert after is not None
    assert (before.ts_ns, after.ts_ns) == (20, 30)


def test_a_damaged_version_is_refused_and_not_shown(tmp_path: Path) -> None:
    reader = written(tmp_path)
    path = documents_path(tmp_path, 1)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match="damaged"):
        reader.newest("a", 99)


def two_segments(directory: Path) -> list[Frame]:
    """Records fifteen frames in each of two segments, with one document in each, and returns them."""
    frames = Market(symbols=1).ticks(30)
    for number, name in ((0, "a"), (15, "b")):
        recorder = Recorder(directory, LIMITS, Counters())
        recorder.start()
        for frame in frames[number : number + 15]:
            recorder.on_frame(frame, 0)
        recorder.on_document(name, frames[number + 5].ts_ns, b"%d" % number)
        recorder.stop()
    return frames


def test_a_recording_has_documents_of_the_moment_across_segments(tmp_path: Path) -> None:
    frames = two_segments(tmp_path)
    recording = opened(tmp_path)
    assert len(recording.segments) == 2
    assert recording.document("a", frames[4].ts_ns) is None
    for at in (5, 29):
        found = recording.document("a", frames[at].ts_ns)
        assert found is not None
        assert found.body == b"0"
    assert recording.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix != ".index")


def test_a_bundle_begins_with_the_documents_of_the_segments_before(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY_NAME).mkdir()
    frames = two_segments(tmp_path / DIRECTORY_NAME)
    make_bundle(BundleRequest(tmp_path, frames[16].ts_ns, frames[29].ts_ns, None, {}), tmp_path / "made", 0)
    (tmp_path / "shown").mkdir()
    extract(tmp_path / "made", tmp_path / "shown")
    recording = opened(tmp_path / "shown" / DIRECTORY_NAME)
    assert len(recording.segments) == 1
    assert recording.document("a", frames[16].ts_ns) == (frames[5].ts_ns, b"0")
    assert recording.document("b", frames[29].ts_ns) == (frames[20].ts_ns, b"15")


def test_versions_of_a_time_come_with_the_one_before_it(tmp_path: Path) -> None:
    reader = written(tmp_path)
    for start_ns, end_ns, times in ((0, 99, [10, 20, 30]), (20, 29, [10, 20]), (21, 30, [20, 30]), (0, 9, [])):
        assert [each.ts_ns for each in reader.oldest_first("a", start_ns, end_ns)] == times


def test_a_removal_that_is_cut_short_leaves_no_documents_without_a_segment(tmp_path: Path) -> None:
    written(tmp_path)
    segment_path(tmp_path, 1).mkdir()
    with pytest.raises(OSError, match="frames"):
        remove_segment(tmp_path, 1)
    assert not documents_path(tmp_path, 1).exists()


def test_one_document_at_most_is_recorded_with_a_tick_and_each_every_ten_seconds() -> None:
    clock = FakeClock()
    rounds = DocumentRounds(("a", "b"), lambda name: name.encode(), [], clock)
    recorded = []
    for tick in range(150):
        found = [name for name, _ in rounds.on_tick(tick * 100 * NS_PER_MS)]
        assert len(found) <= 1
        recorded += [(tick, name) for name in found]
    assert recorded == [(0, "a"), (1, "b"), (100, "a"), (101, "b")]


def test_a_document_that_takes_long_is_recorded_more_rarely() -> None:
    clock = FakeClock()

    def encode(name: str) -> bytes:
        clock.now_ns += 20 * NS_PER_MS
        return b"{}"

    rounds = DocumentRounds(("a",), encode, [], clock)
    times = []
    for second in range(100):
        clock.now_ns = FakeClock().now_ns + second * NS_PER_S
        times += [second for _ in rounds.on_tick(second * NS_PER_S)]
    assert times == [0, 20, 40, 60, 80]
    assert times[1] * NS_PER_S == COST_FACTOR * 20 * NS_PER_MS


def test_lines_of_every_log_are_recorded_once_and_in_their_order() -> None:
    clock, ours, engine = FakeClock(), LogRing(), LogRing()
    rounds = DocumentRounds(("a",), lambda _: b"{}", [(b'"of":1', ours), (b'"of":2', engine)], clock)
    ours.write(10, "INFO", "x", "first")
    engine.write(5, "INFO", "y", "before")
    lines = [orjson.loads(body) for name, body in rounds.on_tick(0) if name == LOGS]
    assert [[line["message"], line["of"]] for line in lines[0]] == [["before", 2], ["first", 1]]
    clock.now_ns += NS_PER_S
    assert LOGS not in dict(rounds.on_tick(NS_PER_S))
    ours.write(20, "INFO", "x", "second")
    clock.now_ns += NS_PER_S
    (line,) = orjson.loads(dict(rounds.on_tick(2 * NS_PER_S))[LOGS])
    assert line["message"] == "second"


def test_a_line_says_how_many_lines_of_a_storm_are_not_recorded() -> None:
    clock, ours = FakeClock(), LogRing()
    rounds = DocumentRounds(("a",), lambda _: b"{}", [(b'"of":1', ours)], clock)
    ours.write(1, "INFO", "x", "before")
    dict(rounds.on_tick(0))
    # More than the ring has room for, too.
    for number in range(3000):
        ours.write(number, "INFO", "x", f"line {number}")
    clock.now_ns += NS_PER_S
    about, *lines = orjson.loads(dict(rounds.on_tick(NS_PER_S))[LOGS])
    assert [line["message"] for line in lines] == [f"line {number}" for number in range(3000 - MAX_LINES, 3000)]
    assert about["message"].endswith(f": {3000 - MAX_LINES:,}")
    assert about["of"] == 1
