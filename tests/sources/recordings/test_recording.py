"""The kind of a recording is recognised by its content, and any other file is refused with a reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from observability.errors import SourceError
from observability.events import Print, Quote
from observability.sources.recordings.recording import Recording

EVENT = b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":1700000000000000000}\n'
BINANCE = (
    b'1700000000000000000 {"stream":"x@trade","data":{"s":"X","t":9,"p":"1.5","q":"2","T":1700000000001,"m":true}}\n'
)
LATENCY = b"Timestamp,Order_ID,Status\r\n1695221610001,a,PENDING_CREATE\r\n"
STEM = "XYZ_2013-01-02_34200000_57600000_{}_1.csv"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "kind"),
    [(EVENT, "events"), (b"\n" + EVENT, "events"), (BINANCE, "capture"), (LATENCY, "order_latency")],
)
def test_the_kind_is_recognised_by_the_first_line(tmp_path: Path, content: bytes, kind: str, pack: type[bytes]) -> None:
    path = tmp_path / "any-name"
    path.write_bytes(pack(content))
    recording = Recording(path)
    assert recording.kind == kind
    assert len(list(recording.events())) == 1


def test_a_lobster_recording_consists_of_two_files(tmp_path: Path) -> None:
    message, book = tmp_path / STEM.format("message"), tmp_path / STEM.format("orderbook")
    message.write_bytes(b"34200.000000001,5,0,1,1000000,-1\n")
    book.write_bytes(gzip.compress(b"1000100,1,1000000,1\n"))
    recording = Recording(message)
    assert recording.kind == "lobster"
    assert [type(event) for event in recording.events()] == [Print, Quote]
    assert {kind: count for kind, count in recording.counts.events.items() if count} == {Print: 1, Quote: 1}
    assert recording.bytes_read == recording.bytes_total == message.stat().st_size + book.stat().st_size


def test_a_missing_lobster_order_book_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / STEM.format("message")
    path.write_bytes(b"34200.1,5,0,1,1000000,-1\n")
    with pytest.raises(SourceError, match=STEM.format("orderbook")):
        Recording(path)


def test_a_recording_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(EVENT * 3)
    recording = Recording(path)
    assert list(recording.events()) == list(recording.events())


@pytest.mark.parametrize("content", [b"time,bid,ask\n1,2,3\n", b"\x89PNG\r\n\x1a\n\0\0", b"[]\n"])
def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "something"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="something:1: not a recording of a known kind"):
        Recording(path)


def test_a_file_of_blank_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blank"
    path.write_bytes(b"\n \n")
    with pytest.raises(SourceError, match="only blank lines"):
        Recording(path)
