"""The write-ahead log as bytes: what SQLite does not check about it, and would lose rows over.

    header (32)   magic, version, page size, number, salt 1, salt 2, checksum (8)
    frame (24)    page number, pages of the file if this ends a commit else 0, salt 1, salt 2, checksum (8)
    page          ... and so on

    |header|frame page|frame page|frame page| frames of an earlier round |     https://sqlite.org/fileformat2.html, 4
            `---- commit 1 -----' `-commit 2-'

SQLite reads frames up to the first one that is not valid, and drops the rest without a word: after a power cut that is
a commit that was never acknowledged. It takes any log for that of the file beside it, and a log with a broken header
for an empty one.

Each commit of the store therefore writes a seal: the name of the store, and a number that rises by one. A log belongs
to a file if its seals continue that of the file.
"""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from observability.errors import StoreError

logger = logging.getLogger(__name__)

_MAGIC: Final = (0x377F0682, 0x377F0683)
_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME: Final = struct.Struct(">IIIIII")
# The header of the index (wal.c, WalIndexHdr): mxFrame, in the byte order of the host, and the salts as in the log.
_INDEX_HEADER: Final = struct.Struct("=16xI12x8s8x")
# The salts of frames that an earlier round has left are lower by the number of rounds since.
_MAX_ROUNDS: Final = 1 << 20
_SEAL: Final = re.compile(rb"([0-9a-f]{32}):([0-9]{20})")


class Seal(NamedTuple):
    """The name of a store, and the number of its last commit."""

    store: str
    number: int

    @classmethod
    def parse(cls, page: bytes) -> Seal | None:
        """Returns the seal in a page of the file; None if there is none."""
        found = _SEAL.search(page)
        return None if found is None else cls(found[1].decode(), int(found[2]))

    def next(self) -> Seal:
        return Seal(self.store, self.number + 1)

    def __str__(self) -> str:
        return f"{self.store}:{self.number:020}"


def log_of(path: Path) -> Path:
    """Returns the path of the log of a database."""
    return path.with_name(f"{path.name}-wal")


def index_of(path: Path) -> Path:
    """Returns the path of the index of that log."""
    return path.with_name(f"{path.name}-shm")


def size_of(path: Path) -> int:
    """Returns the size of a file in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def check_header(path: Path) -> None:
    """Raises StoreError if the log of a database has bytes, but not those of a log. No connection may be open."""
    log = log_of(path)
    header = _read(log, _HEADER.size)
    if not header:
        return
    if len(header) == _HEADER.size:
        magic, *_, first, second = words = _HEADER.unpack(header)
        if magic in _MAGIC and _checksum(words, is_big=bool(magic & 1), header=header) == (first, second):
            return
    raise StoreError(f"{log}: damaged, or no write-ahead log; the rows in it are not in {path.name}; {advice(path)}")


def _checksum(words: tuple[int, ...], *, is_big: bool, header: bytes) -> tuple[int, int]:
    """Returns the checksum of the header: that of its first six words."""
    first = second = 0
    numbers = struct.unpack(">6I" if is_big else "<6I", header[:24])
    for at in range(0, len(numbers), 2):
        first = (first + numbers[at] + second) & 0xFFFFFFFF
        second = (second + numbers[at + 1] + first) & 0xFFFFFFFF
    return first, second


@dataclass(frozen=True, slots=True)
class _Frame:
    page: int
    ends_commit: bool
    salts: tuple[int, int]
    at: int


class WriteAheadLog:
    """The log of a database, read while no connection is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = log_of(path)

    def check(self, page: int | None, newest: Seal | None) -> None:
        """Raises StoreError if commits in the log are damaged, or it does not belong to the file.

        `page` is the number of the page with the seal, and `newest` the seal as SQLite reads it, through the log.
        """
        try:
            file = self._log.open("rb")
        except FileNotFoundError:
            return
        with file:
            header = file.read(_HEADER.size)
            if not header:
                return
            _, _, page_bytes, _, *salts, _, _ = _HEADER.unpack(header)
            valid = self._valid_frames(header[16:24])
            if valid is None:
                return
            ends, oldest = 0, None
            for number, frame in enumerate(_frames(file.fileno(), page_bytes)):
                if number >= valid:
                    ends += self._is_lost(frame, (salts[0], salts[1]))
                elif oldest is None and frame.page == page:
                    oldest = Seal.parse(os.pread(file.fileno(), page_bytes, frame.at + _FRAME.size))
        # A commit is on disk before the next one is written, so that only the last one may be torn.
        if ends > 1:
            raise StoreError(
                f"{self._log}: damaged: of its commits, {ends} cannot be read any more; {advice(self._path)}"
            )
        if ends:
            logger.warning("%s: the last commit was not completed, and is left out", self._log)
        if page is not None and oldest is not None and newest is not None:
            self._check_seal(oldest, newest, page, page_bytes)

    def _check_seal(self, oldest: Seal, newest: Seal, page: int, page_bytes: int) -> None:
        with self._path.open("rb") as file:
            own = Seal.parse(os.pread(file.fileno(), page_bytes, (page - 1) * page_bytes))
        if own is None:
            # The commit that has added seals is in the log only.
            return
        if own.store != newest.store or own.store != oldest.store:
            raise StoreError(f"{self._log}: the log of another database than {self._path.name}; {advice(self._path)}")
        if not oldest.number - 1 <= own.number <= newest.number:
            raise StoreError(
                f"{self._path}: not the file that its log belongs to, but one from another time (its last commit is "
                f"{own.number}, the log has {oldest.number} to {newest.number}); {advice(self._path)}"
            )

    def _is_lost(self, frame: _Frame, salts: tuple[int, int]) -> bool:
        """Returns whether a frame after the last valid one ends a commit of this round. Raises StoreError for one that
        no round has written."""
        if frame.salts == salts:
            return frame.ends_commit
        # Zeros are what some file systems leave of a write that a power cut has interrupted.
        if frame.salts != (0, 0) and (salts[0] - frame.salts[0]) & 0xFFFFFFFF > _MAX_ROUNDS:
            raise StoreError(f"{self._log}: damaged at byte {frame.at}; {advice(self._path)}")
        return False

    def _valid_frames(self, salts: bytes) -> int | None:
        """Returns how many frames SQLite has found valid; None if it has begun another round since, which it does once
        all of them are in the file."""
        head = _read(index_of(self._path), _INDEX_HEADER.size)
        if len(head) < _INDEX_HEADER.size:
            return None
        frames, of_round = _INDEX_HEADER.unpack(head)
        return frames if of_round == salts else None


def _read(path: Path, size: int) -> bytes:
    """Returns the first bytes of a file; none if it is missing."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""


def _frames(descriptor: int, page_bytes: int) -> Iterator[_Frame]:
    at = _HEADER.size
    while len(head := os.pread(descriptor, _FRAME.size, at)) == _FRAME.size:
        page, pages, first, second, _, _ = _FRAME.unpack(head)
        yield _Frame(page, bool(pages), (first, second), at)
        at += _FRAME.size + page_bytes


def advice(path: Path) -> str:
    """Returns what can be done about a damaged store."""
    return f"move it away with {path.name}-wal to start with an empty store, or restore it from a backup"
