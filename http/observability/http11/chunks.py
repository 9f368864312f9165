"""The chunked transfer coding (RFC 9112 section 7.1): framing in, content out.

The framing is read in place, in the parser's buffer.
"""

from __future__ import annotations

from typing import Final

from observability.http11.grammar import CHUNK_LINE, FIELD_LINE, LINE_FAULT
from observability.http11.refusals import ContentTooLarge, HeadTooLarge, Malformed

MAX_CHUNK_LINE_BYTES: Final = 256
MAX_EXTENSION_BYTES: Final = 4 * 1024
MAX_TRAILER_BYTES: Final = 4 * 1024
# Chunks smaller than this on average cost more than they carry. The allowance lets a client flush line by line.
MIN_MEAN_CHUNK_BYTES: Final = 64
MIN_CHUNK_ALLOWANCE: Final = 1024


class ChunkedBody:
    """Collects the content of one chunked body, or only reads to its end; at most `max_body_bytes` of it."""

    __slots__ = (
        "_chunks",
        "_extension_bytes",
        "_in_trailer",
        "_keeps",
        "_max_body_bytes",
        "_max_chunks",
        "_remaining",
        "_searched",
        "_size",
        "_trailer_bytes",
        "_want_crlf",
        "body",
        "done",
    )

    def __init__(self, max_body_bytes: int, *, keeps: bool = True) -> None:
        self.body = bytearray()
        self._keeps = keeps
        self._size = 0
        self.done = False
        self._max_body_bytes = max_body_bytes
        self._max_chunks = MIN_CHUNK_ALLOWANCE + max_body_bytes // MIN_MEAN_CHUNK_BYTES
        self._chunks = 0
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._remaining = 0
        self._want_crlf = False
        self._in_trailer = False
        self._searched = 0

    @property
    def has_begun(self) -> bool:
        return self._chunks > 0

    def read(self, buffer: bytes | bytearray, at: int) -> int:
        """Reads as much as possible of `buffer[at:]`; returns where the unread bytes begin. Raises a Fatal."""
        while not self.done:
            if self._remaining:
                part = min(self._remaining, len(buffer) - at)
                if part == 0:
                    return at
                if self._keeps:
                    with memoryview(buffer) as view:
                        self.body += view[at : at + part]
                at += part
                self._remaining -= part
                self._want_crlf = not self._remaining
            elif self._want_crlf:
                # RFC 9112 section 7.1: chunk-data is followed by CRLF, and by nothing else.
                ending = buffer[at : at + 2]
                if not b"\r\n".startswith(bytes(ending)):
                    raise Malformed("chunk: expected CRLF after the data")
                if len(ending) < 2:
                    return at
                at += 2
                self._want_crlf = False
            else:
                limit = MAX_TRAILER_BYTES - self._trailer_bytes if self._in_trailer else MAX_CHUNK_LINE_BYTES
                end = self._line_end(buffer, at, limit)
                if end < 0:
                    return at
                line = bytes(buffer[at:end])
                at = end + 2
                if self._in_trailer:
                    self._read_trailer_line(line)
                else:
                    self._read_chunk_line(line)
        return at

    def _line_end(self, buffer: bytes | bytearray, at: int, limit: int) -> int:
        """Returns where the line at `at` ends, or -1 if its CRLF has not come. No byte is searched twice."""
        end = buffer.find(b"\r\n", at + max(self._searched - 1, 0), at + limit + 2)
        if end >= 0:
            self._searched = 0
            return end
        received = len(buffer) - at
        if LINE_FAULT.search(buffer, at + max(self._searched - 1, 0), at + limit + 2):
            raise Malformed("chunk: a bare CR, a bare LF or a control character in the framing")
        if received >= limit + 2:
            if self._in_trailer:
                raise HeadTooLarge(f"trailer: expected at most {MAX_TRAILER_BYTES} bytes")
            raise Malformed(f"chunk: expected a size line of at most {MAX_CHUNK_LINE_BYTES} bytes")
        self._searched = received
        return -1

    def _read_chunk_line(self, line: bytes) -> None:
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise Malformed("chunk: expected a size of 1 to 8 hexadecimal digits, and perhaps extensions")
        self._chunks += 1
        self._extension_bytes += len(match[2])
        if self._extension_bytes > MAX_EXTENSION_BYTES:
            raise ContentTooLarge(f"chunks: expected at most {MAX_EXTENSION_BYTES} bytes of extensions")
        if self._chunks > self._max_chunks:
            raise ContentTooLarge(f"chunks: expected at most {self._max_chunks}")
        size = int(match[1], 16)
        self._size += size
        if self._size > self._max_body_bytes:
            raise ContentTooLarge(f"content: expected at most {self._max_body_bytes} bytes")
        self._remaining = size
        self._in_trailer = size == 0

    def _read_trailer_line(self, line: bytes) -> None:
        # RFC 9110 section 6.5.1: trailer fields may be discarded. Framing or Host among them has no effect.
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line) + 2
        if FIELD_LINE.fullmatch(line + b"\r\n") is None:
            raise Malformed("trailer: expected a name, a colon and a value")
