"""Ready documents: bytes that many clients poll, encoded once for all of them.

Nothing expires: a new version is a new document, and the old one is dropped with all its bytes.
"""

from __future__ import annotations

import zlib
from typing import Final

from observability.clocks.slices import Steps, at_once
from observability.http11.heads import none_match_fails
from observability.http11.messages import JSON, Request, Response, ResponseEncoder, connection_field

# Compressing less than this saves less than gzip's own framing and the client's work cost.
GZIP_MIN_BYTES: Final = 512
# Level 1 has most of the saving for a fraction of the time, which the event loop pays.
GZIP_LEVEL: Final = 1
# Half a millisecond of compression.
GZIP_STEP_BYTES: Final = 32 * 1024
# RFC 1952: a window of 32 KB, and the framing of gzip rather than that of zlib.
_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


class ReadyDocument:
    """One version of a document; a handler may return it in place of a Response.

    `etag` is a strong entity tag with its quotes; the gzip representation has its own. Encoded answers are kept, by
    (allowed origin, Connection field, gzip, 304, HEAD), for the second in which their Date is right.
    """

    __slots__ = (
        "_answers", "_date", "_gzipped", "_gzipped_etag", "body", "cache_control", "content_type", "etag",
        "headers",
    )  # fmt: skip

    def __init__(
        self,
        body: bytes,
        etag: bytes,
        content_type: bytes = JSON,
        cache_control: bytes = b"no-cache",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        assert etag[:1] == b'"' and etag[-1:] == b'"' and len(etag) > 2, f"etag {etag!r}: expected quotes around it"
        self.body = body
        self.etag = etag
        self.content_type = content_type
        self.cache_control = cache_control
        self.headers = headers
        self._gzipped: bytes | None = None
        self._gzipped_etag = etag[:-1] + b'-gzip"'
        self._answers: dict[tuple[bytes | None, bytes, bool, bool, bool], bytes] = {}
        self._date = b""

    def gzipped(self) -> bytes:
        """Returns the compressed body, which is made on the first call."""
        if self._gzipped is None:
            at_once(self.compressing())
        assert self._gzipped is not None
        return self._gzipped

    def compressing(self) -> Steps[None]:
        """Makes the compressed body in steps."""
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
        parts = []
        with memoryview(self.body) as view:
            for at in range(0, len(view), GZIP_STEP_BYTES):
                parts.append(compressor.compress(view[at : at + GZIP_STEP_BYTES]))
                yield
        self._gzipped = b"".join((*parts, compressor.flush()))

    def must_be_compressed(self, request: Request) -> bool:
        """Returns whether the answer to `request` needs a compressed body that takes more than a step to make."""
        if self._gzipped is not None or len(self.body) <= GZIP_STEP_BYTES or not request.head.accepts_gzip:
            return False
        known = request.head.headers.get(b"if-none-match")
        return known is None or not none_match_fails(known, self._gzipped_etag)

    def encode(self, request: Request, encoder: ResponseEncoder, *, keep_alive: bool) -> tuple[int, bytes]:
        """Returns status and bytes of the answer to `request`."""
        # hot: once per poll (observability bench --only rest)
        head = request.head
        headers = head.headers
        date = encoder.date.now()
        if date is not self._date:
            self._answers.clear()
            self._date = date
        use_gzip = len(self.body) >= GZIP_MIN_BYTES and head.accepts_gzip
        etag = self._gzipped_etag if use_gzip else self.etag
        known = headers.get(b"if-none-match")
        not_modified = known is not None and none_match_fails(known, etag)
        key = (
            encoder.cors.allowed_origin(headers.get(b"origin")),
            connection_field(request, keep_alive),
            use_gzip,
            not_modified,
            head.method == "HEAD",
        )
        answer = self._answers.get(key)
        status = 304 if not_modified else 200
        if answer is None:
            answer = encoder.encode(request, self._response(status, etag, use_gzip), keep_alive=keep_alive)
            self._answers[key] = answer
        return status, answer

    def _response(self, status: int, etag: bytes, use_gzip: bool) -> Response:
        fields = ((b"ETag", etag), (b"Cache-Control", self.cache_control), *self.headers)
        if use_gzip:
            return Response(status, self.gzipped(), self.content_type, (*fields, (b"Content-Encoding", b"gzip")))
        return Response(status, self.body, self.content_type, fields)
