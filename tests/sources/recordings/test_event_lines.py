"""Recordings of our own events: good lines become events, bad lines are counted and skipped."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Event, Fill, Order, Quote
from observability.sources.recordings.event_lines import read_event_lines
from observability.sources.recordings.lines import BAD_LINES_PER_LOG_LINE, RecordingCounts

OPENED_NS = 1_700_000_000_000_000_000


def read(*lines: bytes) -> tuple[list[Event], RecordingCounts]:
    counts = RecordingCounts(Path("events.jsonl"))
    return list(read_event_lines(lines, opened_ns=OPENED_NS, counts=counts)), counts


@given(
    bid=st.none() | st.floats(-1e18, 1e18, exclude_min=True, exclude_max=True),
    ts=st.integers(10**17, 2**63 - 1),
    ts_init=st.integers(10**17, 2**63 - 1),
)
def test_a_written_event_is_read_back_unchanged(bid: float | None, ts: int, ts_init: int) -> None:
    event = Quote("X", bid, 2.5, ts=ts, ts_init=ts_init)
    assert read(msgspec.json.encode(event))[0] == [event]


def test_times_as_text_become_integers() -> None:
    events, _ = read(
        b'{"type":"order","order_id":"o","symbol":"X","side":"buy","quantity":"1.5","status":"new",'
        b'"ts":"2023-11-14T22:13:20.5Z","decision_ts":"2023-11-14T23:13:20+01:00"}'
    )
    (order,) = events
    assert isinstance(order, Order)
    assert (order.ts, order.ts_init, order.decision_ts) == (OPENED_NS + 500_000_000, OPENED_NS + 500_000_000, OPENED_NS)
    assert order.quantity == Decimal("1.5")


def test_an_event_without_times_arrived_with_the_one_before_it() -> None:
    untimed = b'{"type":"quote","symbol":"X","bid":1,"ask":2}'
    events, _ = read(untimed, b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":1800000000000000000}', untimed)
    assert [event.ts_init for event in events] == [OPENED_NS, 1_800_000_000_000_000_000, 1_800_000_000_000_000_000]
    assert [event.ts for event in events] == [event.ts_init for event in events]


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b'{"type":"nonsense"}',
        b'{"type":"quote","symbol":"","bid":1,"ask":2}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":"yesterday"}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":9223372036854775808}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":"9999-12-31T00:00:00Z"}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":1700000000000}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts_init":1700000000000}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts_init":-1}',
        b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts_init":9223372036854775808}',
        b'{"type":"fill","trade_id":"t","order_id":"o","symbol":"X","side":"buy","quantity":0,"price":1}',
        b"\xff\xfe",
    ],
)
def test_a_bad_line_is_counted_and_skipped(bad: bytes) -> None:
    good = b'{"type":"fill","trade_id":"t","order_id":"o","symbol":"X","side":"buy","quantity":1,"price":1}'
    events, counts = read(good, bad, b"", good)
    assert [type(event) for event in events] == [Fill, Fill]
    assert counts.bad_lines == 1


def test_a_line_may_be_written_as_other_systems_write_events() -> None:
    (event,), counts = read(
        b'{"type":"FILL","trade_id":5,"order_id":"o","symbol":"X","side":"Sell","quantity":"1","price":"2","seq":7,'
        b'"ts":"1700000000000000000"}'
    )
    assert isinstance(event, Fill)
    assert (event.trade_id, event.side, event.ts, counts.bad_lines) == ("5", "sell", OPENED_NS, 0)


def test_only_one_bad_line_in_a_thousand_is_logged_with_file_and_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _, counts = read(*[b"{}"] * (BAD_LINES_PER_LOG_LINE + 1))
    assert counts.bad_lines == BAD_LINES_PER_LOG_LINE + 1
    assert [record.message.split(" ")[0] for record in caplog.records] == [
        "events.jsonl:1:",
        f"events.jsonl:{BAD_LINES_PER_LOG_LINE + 1}:",
    ]
