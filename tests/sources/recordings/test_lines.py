"""Lines are read from plain and compressed files alike, and damage is an error at its line."""

from __future__ import annotations

import codecs
import gzip
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import SourceError
from observability.sources.recordings.lines import CHUNK_BYTES, LineReader

COMPRESS = {"gzip": gzip.compress, "zstd": zstandard.compress}
each_compression = pytest.mark.parametrize("name", COMPRESS)


def _write(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


@given(lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and b"\r" not in line)))
def test_plain_and_compressed_files_have_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    directory = tmp_path_factory.mktemp("lines")
    content = b"".join(line + b"\n" for line in [b"begin", *lines])
    plain = list(LineReader(_write(directory, "a", content)))
    assert plain == [b"begin", *lines]
    for compress in COMPRESS.values():
        assert list(LineReader(_write(directory, "b", compress(content)))) == plain


@each_compression
def test_a_compression_is_recognised_by_content_and_not_by_name(tmp_path: Path, name: str) -> None:
    assert list(LineReader(_write(tmp_path, "plain.gz", b"one\ntwo"))) == [b"one", b"two"]
    assert list(LineReader(_write(tmp_path, "plain.zst", b"one\ntwo"))) == [b"one", b"two"]
    assert list(LineReader(_write(tmp_path, "zipped.csv", COMPRESS[name](b"one\ntwo")))) == [b"one", b"two"]


@each_compression
def test_lines_that_cross_many_chunks_stay_whole(tmp_path: Path, name: str) -> None:
    lines = [b"%d" % number * 50 for number in range(20_000)]
    path = _write(tmp_path, "long", COMPRESS[name](b"\r\n".join(lines)))
    assert list(LineReader(path)) == lines


@pytest.mark.parametrize("compress", [bytes, *COMPRESS.values()])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = codecs.BOM_UTF8 + b"one\n" + codecs.BOM_UTF8 + b"two\n"
    assert list(LineReader(_write(tmp_path, "bom", compress(content)))) == [b"one", codecs.BOM_UTF8 + b"two"]


@pytest.mark.parametrize("length", [CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES - 1, 3 * CHUNK_BYTES])
def test_a_line_end_that_two_chunks_share_is_one(tmp_path: Path, length: int) -> None:
    long = b"x" * length
    assert list(LineReader(_write(tmp_path, "long", long + b"\r\n" + long + b"\r\nlast\r"))) == [long, long, b"last"]


@pytest.mark.parametrize("padding", [512, 40_000])
def test_consecutive_gzip_members_are_one_file(tmp_path: Path, padding: int) -> None:
    path = _write(tmp_path, "two.gz", gzip.compress(b"one\ntw") + gzip.compress(b"o\n") + bytes(padding))
    assert list(LineReader(path)) == [b"one", b"two"]


def test_consecutive_zstd_frames_are_one_file_and_others_are_skipped(tmp_path: Path) -> None:
    skippable = b"\x53\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    frames = [skippable, zstandard.compress(b"one\ntw"), skippable, zstandard.compress(b"o\n")]
    assert list(LineReader(_write(tmp_path, "frames.zst", b"".join(frames)))) == [b"one", b"two"]


def test_zstd_that_would_fill_the_memory_is_read_in_small_pieces(tmp_path: Path) -> None:
    path = _write(tmp_path, "zeros.zst", zstandard.compress(bytes(1 << 28)))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="bytes without a line end"):
            list(LineReader(path))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_zstd_without_its_package_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    path = _write(tmp_path, "one.zst", zstandard.compress(b"one\n"))
    with pytest.raises(SourceError, match=r"one\.zst:1: compressed by zstd, which needs: pip install zstandard"):
        list(LineReader(path))


@each_compression
def test_a_truncated_file_delivers_its_whole_lines_and_then_an_error(tmp_path: Path, name: str) -> None:
    lines = [b"line %d" % (number * 7919 % 104729) for number in range(50_000)]
    compressed = COMPRESS[name](b"\n".join(lines))
    path = _write(tmp_path, "cut", compressed[: len(compressed) * 9 // 10])
    delivered: list[bytes] = []
    # extend() keeps the items from before the error.
    with pytest.raises(SourceError, match=rf"cut:\d+: the {name} data ends too early") as raised:
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
