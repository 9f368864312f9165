"""A directory is replayed as all the recordings in it, and what is no recording is named."""

from __future__ import annotations

import gzip
import logging
import sys
from pathlib import Path

import pytest
import zstandard

from observability.clocks.clock import HostClock
from observability.errors import MissingPackage, SourceError
from observability.sources.recordings.directory import MAX_NAMES_LOGGED, open_recordings

EVENT = b'{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":1700000000000000000}\n'
MESSAGE = "XYZ_2012-06-21_1_2_message_1.csv"
ORDERBOOK = "XYZ_2012-06-21_1_2_orderbook_1.csv"


def write(directory: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def opened(*paths: Path) -> list[str]:
    return [recording.path.name for recording in open_recordings(paths, HostClock())]


def test_every_kind_of_recording_in_a_directory_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(
        tmp_path,
        **{
            "b.jsonl": EVENT,
            "a.jsonl.gz": gzip.compress(EVENT),
            "c.zst": zstandard.compress(EVENT),
            "sub/d.txt": b'1723161254089891268 {"stream":"x@bookTicker","data":{}}\n',
            "latency.csv": b"Timestamp,Order_ID,Status\n",
            MESSAGE: b"34200.1,4,1,1,1000000,1\n",
            ORDERBOOK: b"1000200,5,1000000,5\n",
        },
    )
    assert opened(tmp_path) == [MESSAGE, "a.jsonl.gz", "b.jsonl", "c.zst", "latency.csv", "d.txt"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_files_that_are_no_recordings_are_named_in_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        tmp_path,
        **{
            "a.jsonl": EVENT,
            "README.md": b"# notes\n",
            "empty": b"",
            ".hidden": b"not looked at",
            ORDERBOOK: b"1000200,5,1000000,5\n",  # of a message file that is missing
        },
    )
    assert opened(tmp_path) == ["a.jsonl"]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert all(name in warning for name in ("README.md", "empty", ORDERBOOK))
    assert ".hidden" not in warning


def test_a_warning_names_a_bounded_number_of_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, **{"a.jsonl": EVENT, **{f"note{number:03}": b"?\n" for number in range(MAX_NAMES_LOGGED + 7)}})
    opened(tmp_path)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.endswith(" and 7 more")


def test_a_compressed_copy_beside_its_file_is_not_replayed_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, **{"a.jsonl": EVENT, "a.jsonl.gz": gzip.compress(EVENT), "a.jsonl.zst": zstandard.compress(EVENT)})
    assert opened(tmp_path) == ["a.jsonl"]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "a.jsonl.gz (a copy of a.jsonl)" in warning


def test_a_directory_without_a_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no recording is in this directory"):
        opened(write(tmp_path, notes=b"?\n"))


def test_a_file_that_is_named_must_be_a_recording(tmp_path: Path) -> None:
    write(tmp_path, **{"a.jsonl": EVENT, "notes": b"?\n"})
    with pytest.raises(SourceError, match="notes:1: not a recording"):
        opened(tmp_path / "a.jsonl", tmp_path / "notes")


def test_a_missing_package_is_not_taken_for_a_file_that_is_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, **{"a.jsonl": EVENT, "b.jsonl.zst": zstandard.compress(EVENT)})
    for module in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackage, match=r"b\.jsonl\.zst:1: .*pip install zstandard"):
        opened(tmp_path)
