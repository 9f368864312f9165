"""Content codings of requests (RFC 9110 section 8.4): gzip, decompressed in steps and up to a bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from observability.http11.heads import RequestHead
from observability.http11.refusals import Refusal

# About a tenth of a millisecond of decompression. What a step leaves of its input is copied, so that is in pieces too.
STEP_BYTES: Final = 64 * 1024
INPUT_BYTES: Final = 16 * 1024
# RFC 1952 section 2.2: a file is a series of members. Tools make one; a series of empty ones is work without an end.
MAX_MEMBERS: Final = 100

# RFC 9110 section 8.4.1.3: x-gzip is gzip.
_IS_GZIP: Final = {b"identity": False, b"gzip": True, b"x-gzip": True}
_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


def is_gzip(head: RequestHead) -> bool | None:
    """Returns whether the content of a request is compressed by gzip; None if it has another coding, or several."""
    coding = head.headers.get(b"content-encoding")
    return False if coding is None else _IS_GZIP.get(coding.lower())


def gunzip(data: bytes, max_bytes: int) -> Iterator[bytes]:
    """Yields decompressed content in steps. Raises Refusal 400 if it is not gzip, and 413 beyond `max_bytes`."""
    at = size = members = 0
    while at < len(data) or not members:
        members += 1
        if members > MAX_MEMBERS:
            raise Refusal(400, f"gzip: expected at most {MAX_MEMBERS} members")
        decompressor = zlib.decompressobj(_WINDOW_BITS)
        piece = b""
        # A full step may have left output behind, although all of its input has been read.
        is_full = False
        while not decompressor.eof:
            if not piece and not is_full:
                piece = data[at : at + INPUT_BYTES]
                at += len(piece)
                if not piece:
                    raise Refusal(400, "gzip: the content ends too early")
            try:
                part = decompressor.decompress(piece, STEP_BYTES)
            except zlib.error:
                raise Refusal(400, "gzip: the content is not gzip, or damaged") from None
            piece = decompressor.unconsumed_tail
            is_full = len(part) == STEP_BYTES
            size += len(part)
            if size > max_bytes:
                raise Refusal(413, f"content: expected at most {max_bytes} bytes once decompressed")
            yield part
        at -= len(decompressor.unused_data)
