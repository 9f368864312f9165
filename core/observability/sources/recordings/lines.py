"""The lines of a recording's file, plain or compressed, and the counts of what became of them."""

from __future__ import annotations

import codecs
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from observability.errors import SourceError
from observability.events import EVENT_TYPES, Event
from observability.sources.recordings.compression import compression_of

logger = logging.getLogger(__name__)

CHUNK_BYTES = 16 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024

# The first bad line is logged, then one in so many: a broken file must not flood the log.
BAD_LINES_PER_LOG_LINE = 1000

# Kinds of skipped lines are names out of the file.
MAX_KINDS = 32
MAX_KIND_CHARS = 64
OTHER_KINDS = "other"


class LineReader:
    """Iterates over the lines of one file, without their line ends; each iteration starts at the beginning.

    Whether a file is compressed is decided by its content, not by its name. Raises SourceError for a path that is not a
    readable file, and after the last whole line of a compressed file that was cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        """Bytes of the file, as stored on disk, that the latest iteration has read."""
        try:
            status = path.stat()
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror or error}") from None
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise SourceError(f"{path}: {kind}; expected a recording")
        if status.st_size == 0:
            raise SourceError(f"{path}: the file is empty")
        self.bytes_total = status.st_size

    def __iter__(self) -> Iterator[bytes]:
        self.bytes_read = 0
        line_count = 0
        # The beginning of the next line: joined once it ends, or a long line would be copied for each of its chunks.
        tail: list[bytes] = []
        tail_bytes = 0
        try:
            with self.path.open("rb") as file:
                for chunk in _without_bom(self._chunks(file)):
                    if b"\n" not in chunk:
                        tail.append(chunk)
                        tail_bytes += len(chunk)
                        if tail_bytes > MAX_LINE_BYTES:
                            raise SourceError(f"more than {MAX_LINE_BYTES} bytes without a line end")
                        continue
                    block = b"".join((*tail, chunk))
                    if b"\r" in block:
                        block = block.replace(b"\r\n", b"\n")
                    lines = block.split(b"\n")
                    tail = [lines.pop()]
                    tail_bytes = len(tail[0])
                    yield from lines
                    line_count += len(lines)
        except SourceError as error:
            raise type(error)(f"{self.path}:{line_count + 1}: {error}") from None
        except OSError as error:
            raise SourceError(f"{self.path}:{line_count + 1}: {error.strerror or error}") from None
        last = b"".join(tail).removesuffix(b"\r")
        if last:
            yield last

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        chunk = self._read(file)
        compression = compression_of(chunk)
        if compression is None:
            while chunk:
                yield chunk
                chunk = self._read(file)
            return
        # At the unexpected end of a cut file the gzip module discards what it has inflated; a decompressor does not.
        decompressor = compression.make()
        while chunk:
            piece, chunk = chunk[: compression.piece_bytes], chunk[compression.piece_bytes :]
            try:
                block = decompressor.decompress(piece)
            except compression.error as error:
                raise SourceError(f"the {compression.name} data is damaged ({error})") from None
            if block:
                yield block
            if decompressor.eof:
                # A file may be several members in a row.
                chunk = decompressor.unused_data + chunk
                while not (chunk := chunk.lstrip(compression.padding)) and (chunk := self._read(file)):
                    pass
                if chunk:
                    decompressor = compression.make()
            chunk = chunk or self._read(file)
        if not decompressor.eof:
            raise SourceError(f"the {compression.name} data ends too early")

    def _read(self, file: BinaryIO) -> bytes:
        chunk = file.read(CHUNK_BYTES)
        self.bytes_read += len(chunk)
        return chunk


def _without_bom(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the chunks without the byte order mark that some editors write at the beginning."""
    yield next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    yield from chunks


class RecordingCounts:
    """What one recording delivered and what could not be used, over all laps."""

    __slots__ = ("_is_logged", "bad_lines", "events", "path", "skipped")

    def __init__(self, path: Path, *, is_logged: bool = True) -> None:
        self.path = path
        self._is_logged = is_logged
        self.events: dict[type[Event], int] = dict.fromkeys(EVENT_TYPES, 0)
        self.skipped: dict[str, int] = {}
        """Well-formed lines that become no event, by kind."""
        self.bad_lines = 0

    def skip(self, kind: str, number: int) -> None:
        """Counts one well-formed line that becomes no event; logs the first of each kind."""
        kind = kind[:MAX_KIND_CHARS]
        if kind not in self.skipped and len(self.skipped) >= MAX_KINDS:
            kind = OTHER_KINDS
        if kind not in self.skipped:
            self.skipped[kind] = 0
            if self._is_logged:
                logger.warning("%s:%d: %s: lines of this kind become no event and are skipped", self.path, number, kind)
        self.skipped[kind] += 1

    def bad_line(self, number: int, why: object) -> None:
        """Counts one line that cannot be read; logs the first and then one in `BAD_LINES_PER_LOG_LINE`."""
        if self._is_logged and self.bad_lines % BAD_LINES_PER_LOG_LINE == 0:
            logger.warning("%s:%d: bad line skipped: %s (%d before it)", self.path, number, why, self.bad_lines)
        self.bad_lines += 1
