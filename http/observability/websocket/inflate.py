"""Decompression of incoming messages (RFC 7692 section 7.2.2): each by itself, and never beyond a limit.

No context is kept between messages, because every client is told `client_no_context_takeover` (see `extensions.py`).

    InflateRefusal     the message is refused; carries the close code and the reason
    ├── Undecodable    1007
    └── TooBig         1009
"""

from __future__ import annotations

import zlib
from typing import ClassVar, Final

from observability.websocket.close_codes import CloseCode
from observability.websocket.extensions import SYNC_FLUSH_TAIL, WINDOW_BITS

WINDOW_BYTES: Final = 1 << WINDOW_BITS
# RFC 7692 section 7.2.1 allows final blocks anywhere; each costs a new inflater, about 2 us.
MAX_FINAL_BLOCKS: Final = 64

# An empty final block. It is recognized only where a block may begin, which shows that the data before it is complete.
_FINAL: Final = b"\x01\x00\x00\xff\xff"


class InflateRefusal(Exception):
    """A compressed message is refused; the connection closes with `close_code`."""

    close_code: ClassVar[CloseCode]


class Undecodable(InflateRefusal):
    """The data is not DEFLATE, or incomplete.

    RFC 7692 names no code. 1007 is for data that is not consistent with the type of its message (RFC 6455 section
    7.4.1); 1002 would mean that the framing was wrong, which it was not. Node's `ws` sends 1007 too.
    """

    close_code = CloseCode.INVALID_TEXT


class TooBig(InflateRefusal):
    """The message is larger than the limit (RFC 6455 section 7.4.1)."""

    close_code = CloseCode.MESSAGE_TOO_BIG


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Returns the message, of at most `max_bytes`, whose compressed payload is `data`. Raises InflateRefusal."""
    message = b""
    rest = data
    for _ in range(MAX_FINAL_BLOCKS + 1):
        # The window continues after a final block: section 7.2.1 limits DEFLATE in no other way than its own.
        inflater = zlib.decompressobj(-WINDOW_BITS, zdict=message[-WINDOW_BYTES:])
        try:
            message += inflater.decompress(rest, max_bytes - len(message) + 1)
            if len(message) > max_bytes:
                raise TooBig(f"a message is at most {max_bytes} bytes")
            has_final_block = inflater.eof
            if not has_final_block:
                # The limit of one byte keeps either block from being consumed whole if it would add to the message.
                inflater.decompress(SYNC_FLUSH_TAIL, 1)
                if not inflater.eof:
                    inflater.decompress(_FINAL, 1)
                if not inflater.eof or inflater.unused_data:
                    raise Undecodable("incomplete DEFLATE data")
                return message
        except zlib.error:
            raise Undecodable("not DEFLATE data") from None
        rest = inflater.unused_data
        # Some senders end with a final block and omit the empty block that should follow it.
        if not rest:
            return message
    raise TooBig(f"a message has at most {MAX_FINAL_BLOCKS} final blocks")
