"""Order latency rows become order reports in the order of time, and makers are distinguished from takers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from observability.clocks.timestamps import NS_PER_MS, parse_iso_ns
from observability.errors import SourceError
from observability.events import Event, Order
from observability.sources.recordings import order_latency
from observability.sources.recordings.lines import RecordingCounts
from observability.sources.recordings.order_latency import read_order_latency
from observability.sources.recordings.recording import Recording

DATA = Path(__file__).parents[3] / "../shared/data"
HEADER = b"Timestamp,Order_ID,Status"
STATUS_OF = {"PENDING_CANCEL": "pending_cancel", "CANCELED": "canceled", "CREATED": "new", "EXECUTED": "filled"}

needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside the checkout")
each_file = pytest.mark.parametrize(
    "name", ["binance_aws_asia_1_Tokyo_latency_check.csv.gz", "kucoin_hft_latency_check.csv.gz"]
)


def read(*rows: bytes) -> tuple[list[Order], RecordingCounts]:
    counts = RecordingCounts(Path("latencies"))
    return orders(read_order_latency([HEADER, *rows], counts=counts)), counts


def orders(events: object) -> list[Order]:
    assert hasattr(events, "__iter__")
    found: list[Event] = list(events)
    assert all(isinstance(event, Order) for event in found)
    return found  # type: ignore[return-value]  # proven above


@needs_recordings
@each_file
def test_every_recorded_row_is_a_report_of_its_status(name: str) -> None:
    expected = json.loads((DATA / "expected/order_latency.json").read_text())["files"][name]
    recording = Recording(DATA / "order_latency" / name)
    reports = orders(recording.events())
    counts = Counter(report.status for report in reports)
    asked = expected["status"]["PENDING_CREATE"] + expected["status"]["PENDING_EXECUTE"]
    assert counts == {"pending_new": asked} | {word: expected["status"][row] for row, word in STATUS_OF.items()}
    assert (len(reports), recording.counts.bad_lines) == (expected["rows"], 0)
    assert len({report.order_id for report in reports}) == expected["orders"]
    assert len({report.order_id for report in reports if report.strategy == "taker"}) == expected["execute_ms"]["n"]


@needs_recordings
@each_file
def test_a_recording_of_several_runs_is_sorted_by_time(name: str) -> None:
    expected = json.loads((DATA / "expected/order_latency.json").read_text())["files"][name]
    times = [report.ts for report in orders(Recording(DATA / "order_latency" / name).events())]
    assert times == sorted(times)  # type: ignore[type-var]  # all of them are integers by now
    assert (times[0], times[-1]) == (parse_iso_ns(expected["first"]), parse_iso_ns(expected["last"]))


def test_every_row_of_a_takers_order_has_the_strategy_taker() -> None:
    reports, _ = read(b"1000,a,PENDING_EXECUTE", b"1001,b,PENDING_CREATE", b"1002,a,CREATED", b"1003,a,EXECUTED")
    assert [(report.order_id, report.strategy, report.status) for report in reports] == [
        ("a", "taker", "pending_new"),
        ("b", "maker", "pending_new"),
        ("a", "taker", "new"),
        ("a", "taker", "filled"),
    ]
    assert (reports[0].ts, reports[0].ts_init) == (1000 * NS_PER_MS, 1000 * NS_PER_MS)


def test_rows_of_the_same_time_keep_the_order_of_the_file() -> None:
    reports, _ = read(b"1000,b,CREATED", b"999,a,CREATED", b"1000,a,CANCELED")
    assert [(report.order_id, report.status) for report in reports] == [("a", "new"), ("b", "new"), ("a", "canceled")]


@pytest.mark.parametrize(
    "row",
    [b"1000,a", b"1000,a,b,CREATED", b"-1,a,CREATED", b"9999999999999,a,CREATED", b"1000,a,LOST", b"1000,,CREATED"],
)
def test_a_bad_row_is_counted_and_skipped(row: bytes) -> None:
    reports, counts = read(row, b"1000,a,CREATED")
    assert (len(reports), counts.bad_lines) == (1, 1)


def test_a_file_too_large_to_be_sorted_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_latency, "MAX_ROWS", 1)
    with pytest.raises(SourceError, match="latencies:3: more than 1 rows"):
        read(b"1000,a,CREATED", b"1001,a,CANCELED")
