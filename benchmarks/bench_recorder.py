"""Question: what does recording every frame cost, by the number of symbols: the tick, and the recorder's thread?

Ticks with and without a recorder alternate, so that the noise of the machine meets both. The tick is what the hub does
on its loop; the thread's time is the CPU time of the process beyond that of the loop's thread. A full day is a million
frames: `python benchmarks/bench_recorder.py day` records one of ten symbols and measures how long a seek takes in it.

    python benchmarks/bench_recorder.py
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_tick import Market

from observability.clocks.timestamps import NS_PER_MS
from observability.memory.counters import Counters
from observability.recorder.recorder import Recorder, RecordLimits
from observability.recorder.recording import Cursor, Recording
from observability.snapshot.frames import Frame

LIMITS = RecordLimits(max_bytes=16_000_000_000, max_age_days=7)
TICKS = 400
SEEKS = 300


def overhead(symbols: int, directory: Path) -> None:
    """Prints the cost of a tick without and with a recorder, and that of the thread."""
    market, counters = Market(symbols), Counters()
    recorder = Recorder(directory, LIMITS, counters)
    recorder.start()
    times: dict[bool, list[int]] = {False: [], True: []}
    thread_ns = size = 0
    for number in range(TICKS):
        market.move(30)
        # Not every second tick: one in ten ends a second, and costs more.
        is_recorded = number // 10 % 2 == 1
        process_ns, began_ns = time.process_time_ns(), time.thread_time_ns()
        market.hub.tick()
        frame = market.hub.frames.latest()
        assert frame is not None
        # A worker joins it anyway.
        size = len(frame.payload)
        if is_recorded:
            recorder.on_frame(frame, 0)
        tick_ns = time.thread_time_ns() - began_ns
        times[is_recorded].append(tick_ns)
        recorder.wait()
        if is_recorded:
            thread_ns += time.process_time_ns() - process_ns - tick_ns
    recorder.stop()
    without, with_it = (statistics.median(times[each]) / 1000 for each in (False, True))
    written = counters.total("recorder_written_bytes_total") / counters.total("recorder_frames_total")
    print(
        f"{symbols:5} symbols, {size:7} bytes: tick {without:7.0f} us without, {with_it:7.0f} us with a recorder; "
        f"thread {2 * thread_ns / TICKS / NS_PER_MS:.2f} ms; {written:.0f} bytes written ({100 * written / size:.1f} %)"
    )


def day(symbols: int, directory: Path) -> None:
    """Records a day and prints how long a seek takes in it."""
    market, counters = Market(symbols), Counters()
    frames = []
    for _ in range(500):
        market.move(30)
        market.hub.tick()
        frame = market.hub.frames.latest()
        assert frame is not None
        frames.append((frame, frame.payload))
    first_ns = frames[0][0].ts_ns
    recorder = Recorder(directory, LIMITS, counters)
    recorder.start()
    began = time.perf_counter()
    count = 24 * 3600 * 10
    for number in range(count):
        frame, payload = frames[number % len(frames)]
        recorder.on_frame(Frame("d", number + 1, first_ns + number * 100 * NS_PER_MS, 0, payload, frame.index), 0)
        if not number % 50:
            recorder.wait()
    recorder.stop()
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"a day of {symbols} symbols: {size / 1e6:.0f} MB, recorded in {time.perf_counter() - began:.0f} s")
    recording = Recording(directory)
    cursor = Cursor(recording)
    taken = []
    for number in range(SEEKS):
        at_ns = first_ns + random.randrange(count) * 100 * NS_PER_MS
        began_ns = time.perf_counter_ns()
        recording.refresh()
        place = recording.find(at_ns)
        assert place is not None
        found = cursor.go(place)
        taken.append((time.perf_counter_ns() - began_ns) / NS_PER_MS)
        assert found.ts_ns == at_ns
        if number == 0:
            print(f"first seek, which reads the index: {taken.pop():.1f} ms")
    taken.sort()
    print(
        f"seek: p50 {taken[len(taken) // 2]:.1f} ms, p99 {taken[len(taken) * 99 // 100]:.1f} ms, max {taken[-1]:.1f} ms"
    )


if __name__ == "__main__":
    with TemporaryDirectory(dir=".") as name:
        if sys.argv[1:2] == ["day"]:
            day(int(sys.argv[2]) if len(sys.argv) > 2 else 10, Path(name))
        else:
            for number in (1, 10, 100, 1000):
                overhead(number, Path(name) / str(number))
