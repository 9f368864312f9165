"""Lines are read from plain and gzip files alike, and damage is an error at its line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import SourceError
from observability.sources.recordings.lines import LineReader


def _write(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


@given(lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and b"\r" not in line)))
def test_plain_and_gzip_files_have_the_same_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    directory = tmp_path_factory.mktemp("lines")
    content = b"".join(line + b"\n" for line in [b"begin", *lines])
    plain = list(LineReader(_write(directory, "a", content)))
    zipped = list(LineReader(_write(directory, "b", gzip.compress(content))))
    assert plain == zipped == [b"begin", *lines]


def test_gzip_is_recognised_by_content_and_not_by_name(tmp_path: Path) -> None:
    assert list(LineReader(_write(tmp_path, "plain.gz", b"one\ntwo"))) == [b"one", b"two"]
    assert list(LineReader(_write(tmp_path, "zipped.csv", gzip.compress(b"one\ntwo")))) == [b"one", b"two"]


def test_lines_that_cross_many_chunks_stay_whole(tmp_path: Path) -> None:
    lines = [b"%d" % number * 50 for number in range(20_000)]
    path = _write(tmp_path, "long.gz", gzip.compress(b"\r\n".join(lines)))
    assert list(LineReader(path)) == lines


def test_consecutive_gzip_members_are_one_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "two.gz", gzip.compress(b"one\ntw") + gzip.compress(b"o\n") + bytes(512))
    assert list(LineReader(path)) == [b"one", b"two"]


def test_a_truncated_gzip_delivers_its_whole_lines_and_then_an_error(tmp_path: Path) -> None:
    lines = [b"line %d" % (number * 7919) for number in range(50_000)]
    path = _write(tmp_path, "cut.gz", gzip.compress(b"\n".join(lines))[:-5000])
    delivered: list[bytes] = []
    # extend() keeps the items from before the error.
    with pytest.raises(SourceError, match=r"cut\.gz:\d+: the gzip data ends too early") as raised:
        delivered.extend(LineReader(path))
    assert len(delivered) > 30_000
    assert delivered == lines[: len(delivered)]
    assert f":{len(delivered) + 1}:" in str(raised.value)


def test_a_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(b"\n".join(b"%d" % number for number in range(10_000))))
    content[-8] ^= 1  # the CRC
    with pytest.raises(SourceError, match="damaged"):
        list(LineReader(_write(tmp_path, "bad.gz", bytes(content))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "a directory"),
        (Path.touch, "the file is empty"),
        (str, "No such file"),
    ],
)
def test_a_path_that_is_not_a_readable_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "recording"
    make(path)
    with pytest.raises(SourceError, match=message):
        LineReader(path)


def test_a_file_without_line_ends_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    path = _write(tmp_path, "bomb.gz", gzip.compress(bytes(40_000_000), 1))
    with pytest.raises(SourceError, match="without a line end"):
        list(LineReader(path))


def test_bytes_read_reach_the_file_size_on_disk(tmp_path: Path) -> None:
    reader = LineReader(_write(tmp_path, "a.gz", gzip.compress(b"one\ntwo\n" * 100_000)))
    list(reader)
    assert reader.bytes_read == reader.bytes_total
