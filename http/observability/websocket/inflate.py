"""The decompression of incoming messages: each by itself, and never to more than was asked for.

No context is kept between messages: every client was told `client_no_context_takeover` (see `extensions.py`). Fragments
are joined before (see `websocket.py`). RFC 7692 section 7.2.2.

    InflateRefusal     the message is not taken; carries the code to close with, and says why
    ├── Undecodable    1007
    └── TooBig         1009
"""

from __future__ import annotations

import zlib
from typing import ClassVar, Final

from observability.websocket.close_codes import CloseCode
from observability.websocket.extensions import SYNC_FLUSH_TAIL, WINDOW_BITS

WINDOW_BYTES: Final = 1 << WINDOW_BITS
# RFC 7692 section 7.2.1 allows BFINAL = 1 anywhere; each such block costs a new inflater, about 2 us.
MAX_FINAL_BLOCKS: Final = 64

# An empty final block of our own: it counts as one only where a block may begin, which shows that nothing is missing.
_FINAL: Final = b"\x01\x00\x00\xff\xff"


class InflateRefusal(Exception):
    """A compressed message is not taken; the connection closes with `close_code`."""

    close_code: ClassVar[CloseCode]


class Undecodable(InflateRefusal):
    """Not DEFLATE data, or not all of it.

    RFC 7692 names no code. 1007 is for data that is not what its message claims to be (RFC 6455 section 7.4.1); 1002
    would say that the framing was wrong, which it was not. Node's `ws` answers 1007 too.
    """

    close_code = CloseCode.INVALID_TEXT


class TooBig(InflateRefusal):
    """More than this server processes (RFC 6455 section 7.4.1)."""

    close_code = CloseCode.MESSAGE_TOO_BIG


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Returns the message whose compressed payload is `data`, at most `max_bytes` of it. Raises an InflateRefusal."""
    message = b""
    rest = data
    for _ in range(MAX_FINAL_BLOCKS + 1):
        # Behind a final block the window goes on: section 7.2.1 sets DEFLATE no other limits than its own.
        inflater = zlib.decompressobj(-WINDOW_BITS, zdict=message[-WINDOW_BYTES:])
        try:
            message += inflater.decompress(rest, max_bytes - len(message) + 1)
            if len(message) > max_bytes:
                raise TooBig(f"a message is at most {max_bytes} bytes")
            has_final_block = inflater.eof
            if not has_final_block:
                # Room for one byte: where either would add to the message, it can then not be taken in whole.
                inflater.decompress(SYNC_FLUSH_TAIL, 1)
                if not inflater.eof:
                    inflater.decompress(_FINAL, 1)
                if not inflater.eof or inflater.unused_data:
                    raise Undecodable("DEFLATE data that breaks off")
                return message
        except zlib.error:
            raise Undecodable("not DEFLATE data") from None
        rest = inflater.unused_data
        # Some senders end with a final block and leave out the empty one that should follow.
        if not rest:
            return message
    raise TooBig(f"a message has at most {MAX_FINAL_BLOCKS} final blocks")
