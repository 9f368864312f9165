"""Bundles of damaged recordings, and those made to do harm, which cost no memory, no disk, and say what is wrong."""

from __future__ import annotations

import hashlib
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from observability.recorder import bundle as bundle_module
from observability.recorder.bundle import (
    CHAIN_NAME,
    FORMAT,
    BundleError,
    BundleRequest,
    Chain,
    Link,
    extract,
    make_bundle,
    verify,
)
from observability.recorder.layout import index_path, read_entries, segment_path
from recorded import Market, record

NAME = "logs.txt"


def hostile(path: Path, data: bytes, size: int | None = None, version: str = "0", further: str = "") -> Path:
    """Writes a bundle with one part and a chain that fits it."""
    empty = Chain(FORMAT, version, "", "", "", 0, [])
    digest = hashlib.sha256(b"%b\0%b\0%b" % (empty.first_link().encode(), NAME.encode(), data)).hexdigest()
    chain = msgspec.structs.replace(empty, links=[Link(NAME, 0, len(data) if size is None else size, digest)])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(NAME, data)
        file.writestr(CHAIN_NAME, msgspec.json.encode(chain))
        if further:
            file.writestr(further, b"")
    return path


def test_a_part_that_unpacks_to_very_much_is_checked_without_the_memory_for_it(tmp_path: Path) -> None:
    path = hostile(tmp_path / "bomb", bytes(64_000_000))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        verify(path)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


def test_a_bundle_that_the_disk_has_no_room_for_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile(tmp_path / "bomb", bytes(1000))
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(bundle_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=999))
    with pytest.raises(BundleError, match="room"):
        extract(path, target)
    assert list(target.iterdir()) == []


def test_a_part_of_a_negative_size_makes_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="damaged"):
        verify(hostile(tmp_path / "odd", b"line", size=-1))


def test_a_chain_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "_MAX_CHAIN_BYTES", 100)
    with pytest.raises(BundleError, match="its chain has more than 100 bytes"):
        verify(hostile(tmp_path / "long", b"line"))


@pytest.mark.parametrize("said", [{"version": "\x1b[2J"}, {"further": "\x1b[2J"}], ids=["chain", "name"])
def test_nothing_in_a_bundle_commands_the_terminal(tmp_path: Path, said: dict[str, str]) -> None:
    with pytest.raises(BundleError) as refused:
        verify(hostile(tmp_path / "odd", b"line", **said))
    assert str(refused.value).isprintable()


def test_a_bundle_is_made_of_what_is_whole_of_a_damaged_recording(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.mkdir()
    frames = Market(symbols=1).ticks(350)
    record(recording, frames)
    entry = read_entries(index_path(recording, 1).read_bytes())[1]
    data = bytearray(segment_path(recording, 1).read_bytes())
    data[entry.offset + 50] ^= 1
    segment_path(recording, 1).write_bytes(data)
    request = BundleRequest(tmp_path, frames[0].ts_ns, frames[-1].ts_ns, None, {})
    chain = make_bundle(request, tmp_path / "made", 0)
    assert chain.frames == 250
    assert verify(tmp_path / "made") == chain
