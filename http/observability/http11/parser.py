"""The request parser: bytes in; a request, "need more" or a refusal out.

The work per byte is bounded: no byte is searched twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from observability.http11.chunks import ChunkedBody
from observability.http11.grammar import LINE_FAULT
from observability.http11.heads import (
    MAX_HEAD_BYTES,
    MAX_REQUEST_LINE_BYTES,
    MEMO_MAX_HEAD_BYTES,
    HeadMemo,
    RequestHead,
    parse_head,
)
from observability.http11.messages import Request
from observability.http11.refusals import ContentTooLarge, Fatal, HeadTooLarge, Malformed, TargetTooLong

DEFAULT_MAX_BODY_BYTES: Final = 1024 * 1024
# RFC 9112 section 2.2: at least one empty line before a request line is ignored; endless ones are not.
MAX_LEADING_EMPTY_LINES: Final = 4

_CR: Final = 0x0D
_LF: Final = 0x0A
_HEAD_END: Final = b"\r\n\r\n"
# RFC 8446 section 5.1: a record of type handshake, version 3.x.
_TLS_HANDSHAKE: Final = b"\x16\x03"


class RequestParser:
    """Parses the requests of one connection, in order.

    After `feed`, call `next_request` until it returns None. Once it has raised a refusal, every call raises it again.
    `max_body_bytes` may depend on the head.
    """

    __slots__ = (
        "_body_bytes",
        "_buffer",
        "_chunked",
        "_empty_lines",
        "_head",
        "_max_body_bytes",
        "_memo",
        "_refusal",
        "_searched",
        "_start",
    )

    def __init__(
        self, memo: HeadMemo | None = None, max_body_bytes: int | Callable[[RequestHead], int] = DEFAULT_MAX_BODY_BYTES
    ) -> None:
        self._memo = HeadMemo() if memo is None else memo
        self._max_body_bytes = max_body_bytes
        self._buffer: bytes | bytearray = b""
        self._start = 0
        # Bytes after `_start` in which the end of the head is known not to begin.
        self._searched = 0
        self._empty_lines = 0
        self._head: RequestHead | None = None
        self._chunked: ChunkedBody | None = None
        self._refusal: Fatal | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no byte of a further request has come."""
        return self._head is None and self._start == len(self._buffer)

    @property
    def awaited_head(self) -> RequestHead | None:
        """The head of the request whose content is incomplete."""
        return self._head

    @property
    def has_body_bytes(self) -> bool:
        """Whether a part of the awaited content, or of its framing, has come."""
        chunked = self._chunked
        return self._start < len(self._buffer) or (chunked is not None and chunked.has_begun)

    def feed(self, data: bytes) -> None:
        """Takes what was received."""
        buffer = self._buffer
        if self._start == len(buffer):
            # The common case: a segment holds whole requests, and nothing needs copying.
            self._buffer = data
        else:
            if isinstance(buffer, bytearray):
                del buffer[: self._start]
            else:
                buffer = bytearray(memoryview(buffer)[self._start :])
            buffer += data
            self._buffer = buffer
        self._start = 0

    def leftover(self) -> bytes:
        """Returns the bytes received but not parsed: after an upgrade they belong to the next protocol."""
        return bytes(self._buffer[self._start :])

    def next_request(self) -> Request | None:
        """Returns the next request, or None if more bytes are needed. Raises a Fatal."""
        # hot: once per request (benchmarks/bench_http.py)
        if self._refusal is not None:
            raise self._refusal
        try:
            head = self._head
            if head is None:
                head = self._next_head()
                if head is None:
                    return None
                if not (head.content_length or head.chunked):
                    return Request(head, b"")
                self._begin_body(head)
            return self._next_body(head)
        except Fatal as refusal:
            self._refusal = refusal
            raise

    def _next_head(self) -> RequestHead | None:
        buffer = self._buffer
        start = self._start
        size = len(buffer)
        if start == 0 and size <= MEMO_MAX_HEAD_BYTES and buffer.__class__ is bytes:
            known = self._memo.get(buffer)
            if known is not None:
                self._start = size
                self._empty_lines = 0
                return known
        if start == size:
            return None
        if buffer[start] == _CR:
            start = self._skip_empty_lines(buffer, start)
            if start == size:
                return None
        end = buffer.find(_HEAD_END, start + max(self._searched - 3, 0), start + MAX_HEAD_BYTES)
        if end < 0:
            self._check_partial_head(buffer, start)
            self._searched = size - start
            return None
        end += 4
        data = bytes(buffer[start:end])
        self._searched = 0
        self._empty_lines = 0
        head = self._memo.get(data)
        if head is None:
            head = parse_head(data)
            self._memo.add(data, head)
        self._start = end
        return head

    def _skip_empty_lines(self, buffer: bytes | bytearray, start: int) -> int:
        while buffer[start : start + 2] == b"\r\n":
            self._empty_lines += 1
            if self._empty_lines > MAX_LEADING_EMPTY_LINES:
                raise Malformed(f"expected a request line within {MAX_LEADING_EMPTY_LINES} empty lines")
            start += 2
            self._start = start
            self._searched = 0
        return start

    def _check_partial_head(self, buffer: bytes | bytearray, start: int) -> None:
        """Refuses bytes that can no longer become a head, without waiting for its end."""
        received = len(buffer) - start
        if buffer[start : start + 2] == _TLS_HANDSHAKE:
            raise Malformed("a TLS handshake; this port speaks plain HTTP")
        # The byte before a head is content, and a CR in it does not belong to an LF at the start of the head.
        if buffer[start] == _LF or LINE_FAULT.search(
            buffer, start + max(self._searched - 1, 0), start + MAX_HEAD_BYTES
        ):
            raise Malformed("a bare CR, a bare LF or a control character in the head")
        if received > MAX_REQUEST_LINE_BYTES and buffer.find(b"\r\n", start, start + MAX_REQUEST_LINE_BYTES) < 0:
            raise TargetTooLong(f"request line: expected at most {MAX_REQUEST_LINE_BYTES} bytes")
        if received >= MAX_HEAD_BYTES:
            raise HeadTooLarge(f"head: expected at most {MAX_HEAD_BYTES} bytes")

    def _begin_body(self, head: RequestHead) -> None:
        limit = self._max_body_bytes
        max_bytes = limit if isinstance(limit, int) else limit(head)
        if head.content_length > max_bytes:
            raise ContentTooLarge(f"content: expected at most {max_bytes} bytes")
        self._head = head
        self._chunked = ChunkedBody(max_bytes) if head.chunked else None

    def _next_body(self, head: RequestHead) -> Request | None:
        chunked = self._chunked
        if chunked is not None:
            self._start = chunked.read(self._buffer, self._start)
            if not chunked.done:
                return None
            body = bytes(chunked.body)
        else:
            end = self._start + head.content_length
            if len(self._buffer) < end:
                return None
            with memoryview(self._buffer) as view:
                body = bytes(view[self._start : end])
            self._start = end
        self._head = None
        self._chunked = None
        return Request(head, body)
