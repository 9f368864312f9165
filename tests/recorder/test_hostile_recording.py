"""Recordings and bundles made to do harm: whatever is in them, they are read or refused, and nothing else happens."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from observability.metrics.assembly import make_history
from observability.offline.curves import fill_history
from observability.past.routes import PastLogsQuery, _lines_by
from observability.recorder import codec
from observability.recorder.bundle import BundleError, BundleRequest, make_bundle, verify
from observability.recorder.codec import _LENGTHS, _deflate, _inflate
from observability.recorder.documents import LOGS, DocumentWriter
from observability.recorder.layout import (
    HEADER_BYTES,
    Entry,
    Kind,
    Record,
    index_path,
    pack_record,
    read_entries,
    read_record,
    segment_path,
)
from recorded import Market, every_frame, opened, record


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "recording").mkdir()
    frames = Market(symbols=2).ticks(120)
    record(folder / "recording", frames)
    make_bundle(BundleRequest(folder, frames[0].ts_ns, frames[-1].ts_ns, None, {}), folder / "made", 0)
    return (folder / "made").read_bytes()


def changes(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yields variants: cut, bytes flipped, words replaced by extreme ones."""
    for _ in range(40):
        yield data[: rng.randrange(len(data))]
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            flipped[rng.randrange(len(data))] = rng.randrange(256)
        yield bytes(flipped)
        extreme = bytearray(data)
        at = rng.randrange(len(data) - 4)
        extreme[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1)))
        yield bytes(extreme)


@pytest.mark.parametrize("tail", [10**9, 2000], ids=["anywhere", "directory"])
def test_a_damaged_bundle_is_refused(bundle: bytes, tmp_path: Path, tail: int) -> None:
    head, end = bundle[:-tail], bundle[-tail:]
    for variant in changes(end, random.Random(1)):
        (tmp_path / "odd").write_bytes(head + variant)
        with suppress(BundleError):
            verify(tmp_path / "odd")


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The bytes of a segment, and of its index."""
    folder = tmp_path_factory.mktemp("whole")
    record(folder, Market(symbols=2).ticks(12))
    return segment_path(folder, 1).read_bytes(), index_path(folder, 1).read_bytes()


def parts(segment: bytes) -> tuple[bytes, bytes, Record]:
    """Returns payload and tail of the first frame, and its record."""
    found = read_record(segment, HEADER_BYTES)
    assert found is not None
    body = memoryview(segment)[found.start : found.end]
    payload_bytes, tail_bytes = _LENGTHS.unpack_from(body)
    payload, at = _inflate(body, _LENGTHS.size, payload_bytes, b"")
    return payload, _inflate(body, at, tail_bytes, b"")[0], found


def forge(
    folder: Path, segment: tuple[bytes, bytes], payload: bytes, tail: bytes, sizes: tuple[int, int] | None = None
) -> None:
    """Writes the segment with another first frame, which may lie about its sizes; the checksums are right."""
    data, index = segment
    _, _, found = parts(data)
    body = _LENGTHS.pack(*(sizes or (len(payload), len(tail)))) + _deflate(payload, b"") + _deflate(tail, b"")
    made = pack_record(Kind.FULL, found.seq, found.ts_ns, found.lane_seq, body)
    segment_path(folder, 1).write_bytes(data[:HEADER_BYTES] + made + data[found.end :])
    index_path(folder, 1).write_bytes(read_entries(index)[0].pack())


def test_a_forged_frame_is_read_or_refused(tmp_path: Path, segment: tuple[bytes, bytes]) -> None:
    payload, tail, _ = parts(segment[0])
    for variant in changes(tail, random.Random(2)):
        forge(tmp_path, segment, payload, variant)
        with suppress(ValueError):
            every_frame(tmp_path)


def test_a_frame_that_would_unpack_to_gigabytes_is_refused_unread(
    tmp_path: Path, segment: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload, tail, _ = parts(segment[0])
    unpacked = []
    monkeypatch.setattr(codec, "_inflate", lambda *args: unpacked.append(args))
    for sizes in ((2**32 - 1, len(tail)), (len(payload), 2**32 - 1)):
        forge(tmp_path, segment, payload, tail, sizes)
        with pytest.raises(ValueError, match="would have more than 128,000,000 bytes"):
            every_frame(tmp_path)
    assert unpacked == []


HUGE = b"1" + b"0" * 400


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"{",
        b'{"market_data":{"A":{"bid":"x"}}}',
        b'{"strategy":{"strategies":1}}',
        b'{"strategy":{"equity":%b}}' % HUGE,
    ],
    ids=["list", "torn", "text", "number", "huge"],
)
def test_a_frame_that_is_no_snapshot_makes_no_curve(
    tmp_path: Path, segment: tuple[bytes, bytes], payload: bytes
) -> None:
    forge(tmp_path, segment, payload, parts(segment[0])[1])
    fill_history(make_history(5), opened(tmp_path))


def test_an_index_that_leads_out_of_its_segment_is_refused(tmp_path: Path) -> None:
    record(tmp_path, Market(symbols=1).ticks(5))
    path = index_path(tmp_path, 1)
    first, _ = read_entries(path.read_bytes())
    for offset in (-1, 2**62):
        path.write_bytes(first.pack() + Entry(Kind.END, 5, 5, first.ts_ns, offset, 0).pack())
        with pytest.raises(ValueError, match="index is damaged"):
            opened(tmp_path).find(first.ts_ns)


@pytest.mark.parametrize("lines", [b"null", b"[1]", b'[{"level":{}}]', b"[[", b""])
def test_lines_that_are_none_are_not_shown(tmp_path: Path, lines: bytes) -> None:
    frames = Market(symbols=1).ticks(3)
    record(tmp_path, frames)
    writer = DocumentWriter(tmp_path, 1)
    writer.append(LOGS, frames[0].ts_ns, lines)
    writer.close()
    with suppress(ValueError):
        assert _lines_by(opened(tmp_path), PastLogsQuery()) == []


def test_a_document_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    frames = Market(symbols=1).ticks(3)
    record(tmp_path, frames)
    writer = DocumentWriter(tmp_path, 1)
    writer.append("a", frames[0].ts_ns, bytes(20_000_000))
    writer.close()
    with pytest.raises(ValueError, match="more than"):
        opened(tmp_path).document("a", frames[-1].ts_ns)
