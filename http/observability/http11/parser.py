"""The request parser: bytes in; a request, "need more" or a refusal out.

The work per byte is bounded: no byte is searched twice. Whether content is kept is decided at the head, before any of
it has been kept.
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
from observability.http11.proxy_protocol import PROXY_REFUSED, PROXY_V2_SIGNATURE
from observability.http11.refusals import ContentTooLarge, Fatal, HeadTooLarge, Malformed, Refusal, TargetTooLong

DEFAULT_MAX_BODY_BYTES: Final = 1024 * 1024
# Content that no handler wants is read and dropped up to this much, so that the connection can be used again.
MAX_DROPPED_BYTES: Final = 4 * 1024 * 1024
# RFC 9112 section 2.2: at least one empty line before a request line is ignored; endless ones are not.
MAX_LEADING_EMPTY_LINES: Final = 4

_CR: Final = 0x0D
_LF: Final = 0x0A
_HEAD_END: Final = b"\r\n\r\n"
# RFC 8446 section 5.1: a record of type handshake, version 3.x.
_TLS_HANDSHAKE: Final = b"\x16\x03"

ContentLimit = Callable[[Request], int | None]
"""Returns how much content of a request, whose body is empty so far, is kept. None stands for content that no handler
wants: the request is returned without it, and it is dropped as it arrives."""


class RequestParser:
    """Parses the requests of one connection, in order.

    After `feed`, call `next_request` until it returns None. Once it has raised a refusal, every call raises it again.
    `max_body_bytes` is how much content is kept, unless `next_request` is given a limit that depends on the request.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_empty_lines",
        "_last_refusal",
        "_max_body_bytes",
        "_memo",
        "_refusal",
        "_remaining",
        "_request",
        "_searched",
        "_start",
        "_websocket_key",
        "has_ended",
        "is_dropping",
    )

    def __init__(self, memo: HeadMemo | None = None, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES) -> None:
        self.is_dropping = False
        """Whether unwanted content of the last request is still to come."""
        self.has_ended = False
        """Whether nothing more can be read as a request: content may follow that is not worth reading."""
        self._memo = HeadMemo() if memo is None else memo
        self._max_body_bytes = max_body_bytes
        self._buffer: bytes | bytearray = b""
        self._start = 0
        # Bytes after `_start` in which the end of the head is known not to begin.
        self._searched = 0
        self._empty_lines = 0
        # The request whose content is incomplete.
        self._request: Request | None = None
        self._chunked: ChunkedBody | None = None
        # Of content that is dropped, if it is not chunked.
        self._remaining = 0
        # Of a handshake whose head is known but for its key.
        self._websocket_key: bytes | None = None
        self._refusal: Refusal | None = None
        self._last_refusal: Refusal | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no byte of a further request has come."""
        return self._request is None and not self.is_dropping and self._start == len(self._buffer)

    @property
    def awaited_head(self) -> RequestHead | None:
        """The head of the request whose content is incomplete."""
        return None if self._request is None else self._request.head

    @property
    def held_bytes(self) -> int:
        """How many bytes are kept that belong to no request yet."""
        # hot: once per segment
        held = len(self._buffer) - self._start
        return held if self._chunked is None else held + len(self._chunked.body)

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

    def end_with(self, refusal: Refusal) -> None:
        """Has `refusal` raised after the requests that are whole; nothing may be fed any more."""
        self._last_refusal = refusal

    def discard(self) -> None:
        """Drops what has been received; nothing more is read from this parser."""
        self._buffer, self._start = b"", 0
        self._request = self._chunked = None
        # Its traceback refers to this parser.
        self._refusal = self._last_refusal = None

    def leftover(self) -> bytes:
        """Returns the bytes received but not parsed: after an upgrade they belong to the next protocol."""
        return bytes(self._buffer[self._start :])

    def next_request(self, content_limit: ContentLimit | None = None) -> Request | None:
        """Returns the next request, or None if more bytes are needed or nothing more can be read. Raises a Fatal, or
        the refusal of `end_with`."""
        # hot: once per request (observability bench --only rest)
        if self._refusal is not None:
            raise self._refusal
        try:
            request = self._request
            if request is None:
                if (self.is_dropping or self.has_ended) and not self._drop_content():
                    return self._need_more()
                head = self._next_head()
                if head is None:
                    return self._need_more()
                request = Request(head, b"")
                if head.is_upgrade:
                    request.websocket_key = self._websocket_key or head.headers.get(b"sec-websocket-key")
                    self._websocket_key = None
                if not (head.content_length or head.chunked) or not self._begin_content(request, content_limit):
                    return request
            return self._read_content(request) or self._need_more()
        except Fatal as refusal:
            self._refusal = refusal
            raise

    def _need_more(self) -> Request | None:
        """Returns None, or raises the refusal of `end_with` if nothing more will come."""
        if self._last_refusal is not None:
            self._refusal = self._last_refusal
            raise self._refusal
        return None

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
            if buffer.startswith(PROXY_V2_SIGNATURE, start):
                raise Malformed(PROXY_REFUSED)
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
            handshake = self._memo.find_handshake(data)
            if handshake is not None:
                head, self._websocket_key = handshake
            else:
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

    def _begin_content(self, request: Request, content_limit: ContentLimit | None) -> bool:
        """Returns whether the content of `request` is to be waited for."""
        head = request.head
        max_bytes = self._max_body_bytes if content_limit is None else content_limit(request)
        if max_bytes is None:
            # RFC 9110 section 10.1.1: whether a client that waits for 100 sends its content after all is not known.
            waits = head.expects_continue and self._start == len(self._buffer)
            if waits or head.content_length > MAX_DROPPED_BYTES:
                self.has_ended = True
            else:
                self.is_dropping = True
                self._remaining = head.content_length
                self._chunked = ChunkedBody(MAX_DROPPED_BYTES, keeps=False) if head.chunked else None
            return False
        if head.content_length > max_bytes:
            raise ContentTooLarge(f"content: expected at most {max_bytes} bytes")
        self._request = request
        self._chunked = ChunkedBody(max_bytes) if head.chunked else None
        return True

    def _read_content(self, request: Request) -> Request | None:
        chunked = self._chunked
        if chunked is not None:
            self._start = chunked.read(self._buffer, self._start)
            if not chunked.done:
                return None
            request.body = bytes(chunked.body)
        else:
            end = self._start + request.head.content_length
            if len(self._buffer) < end:
                return None
            with memoryview(self._buffer) as view:
                request.body = bytes(view[self._start : end])
            self._start = end
        self._request = None
        self._chunked = None
        self._release_buffer()
        return request

    def _drop_content(self) -> bool:
        """Drops what has come of unwanted content; returns whether that was all of it and a request may follow."""
        if self.has_ended:
            self._buffer, self._start = b"", 0
            return False
        chunked = self._chunked
        if chunked is not None:
            try:
                self._start = chunked.read(self._buffer, self._start)
            except Fatal:
                # Its request has been answered; a second answer would be taken for that of the next one.
                self.has_ended = True
                return False
            is_over = chunked.done
        else:
            dropped = min(self._remaining, len(self._buffer) - self._start)
            self._start += dropped
            self._remaining -= dropped
            is_over = not self._remaining
        if is_over:
            self.is_dropping = False
            self._chunked = None
        self._release_buffer()
        return is_over

    def _release_buffer(self) -> None:
        """Lets go of a buffer that has been read whole: content may be large, and an idle connection keeps its
        parser."""
        if self._start == len(self._buffer):
            self._buffer = b""
            self._start = 0
