"""The compression of outgoing messages: each message of a view once, or once more for those who are not in step.

No sockets here and no negotiation (see `extensions.py`); what clients send is in `inflate.py`. RFC 7692 section 7.2.1.

    message          1          2          3          4
    contained frame  [1]        [2]        [3]        [4]        refers to nothing but itself
    stepped frame               [2 by 1]   [3 by 2]   [4 by 3]   refers to the message before, too
    client A gets    [1]        [2 by 1]   [3 by 2]   [4 by 3]
    client B gets               (joins)    [3]        [4 by 3]   in step from its second frame on
    client C gets    [1]        (skipped)  [3]        [4 by 3]

A stepped frame is right for exactly those clients whose last compressed message was the one before, whatever came
uncompressed in between (a message without RSV1 never reaches the inflater: RFC 7692 section 6.2). Anyone else would
decompress it to something else, often without an error. So a client's memory is compared by identity, never by a number
that could come again.
"""

from __future__ import annotations

import zlib
from typing import Final

from observability.memory.counters import Counters
from observability.snapshot.frames import HEADROOM
from observability.websocket.extensions import SYNC_FLUSH_TAIL, WINDOW_BITS

# Deflate looks this far back: its window, less what it reads ahead (MIN_LOOKAHEAD in zlib's deflate.h). One message
# further back is where the same fields were; of longer messages they are out of sight, and stepping gains only 2 %
# at the same level while it costs a second compression (benchmarks/bench_deflate.py).
STEP_MAX_BYTES: Final = (1 << WINDOW_BITS) - 262
# For those who join or were skipped: the fastest. For everybody else, once per tick: a quarter to a third smaller than
# level 1, for 2 us more at 1 KB and 30 us at 8 KB (benchmarks/bench_deflate.py).
CONTAINED_LEVEL: Final = 1
STEPPED_LEVEL: Final = 6
# A larger hash makes zlib's tables too large for malloc's heap, and mapping them anew costs 20 us per message.
MEMORY_LEVEL: Final = 8

_HEADROOM: Final = bytes(HEADROOM)
# Nobody's last message, hence what a message that cannot be stepped to follows.
_NONE_BEFORE: Final = object()


def contained(payload: bytes) -> bytes:
    """Returns `payload` compressed by itself."""
    return _compress(payload, CONTAINED_LEVEL, b"")


def stepped(payload: bytes, previous: bytes) -> bytes:
    """Returns `payload` compressed for an inflater whose last decompressed message was `previous`."""
    return _compress(payload, STEPPED_LEVEL, previous)


class DeflateCounters:
    """Compressions done, of all views: however many clients there are, one tick adds at most one of each per view."""

    __slots__ = ("contained", "stepped")

    def __init__(self, counters: Counters) -> None:
        name = "websocket_compressions_total"
        help_text = "Messages compressed, each once for all clients in the same state"
        self.contained = counters.counter(name, help_text, kind="contained")
        self.stepped = counters.counter(name, help_text, kind="stepped")


class DeflateMemory:
    """What one client's inflater still knows: the last compressed message sent to it. One per connection."""

    __slots__ = ("_last", "_takeover")

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._last: object | None = None

    def frame_for(self, message: DeflatedMessage) -> bytearray:
        """Returns `message` for this client: headroom and compressed data, shared by all in the same state.

        The caller sends it, with RSV1, before it asks for another; a client that is skipped is not asked for. The
        headroom may be written to, the rest not.
        """
        # hot: once per client per tick (benchmarks/bench_deflate.py)
        frame = message.stepped_frame() if self._last is message.follows else message.contained_frame()
        if self._takeover:
            self._last = message.identity
        return frame


class DeflatedMessage:
    """One message of a view; its frames are compressed when first asked for, and kept."""

    __slots__ = ("_contained", "_counters", "_payload", "_previous", "_stepped", "follows", "identity")

    def __init__(self, payload: bytes, counters: DeflateCounters, previous: bytes | None, follows: object) -> None:
        self.identity = object()
        self.follows = follows
        """The identity of the message that the stepped frame refers to."""
        self._payload = payload
        self._counters = counters
        self._previous = previous
        self._contained: bytearray | None = None
        self._stepped: bytearray | None = None

    def contained_frame(self) -> bytearray:
        """Returns the frame that anyone can decompress."""
        frame = self._contained
        if frame is None:
            frame = self._contained = bytearray(_HEADROOM + contained(self._payload))
            self._counters.contained.add()
        return frame

    def stepped_frame(self) -> bytearray:
        """Returns the frame for those whose last compressed message was the one that this one `follows`."""
        frame = self._stepped
        if frame is None:
            assert self._previous is not None, "a message that follows none has no stepped frame"
            frame = self._stepped = bytearray(_HEADROOM + stepped(self._payload, self._previous))
            self._previous = None
            self._counters.stepped.add()
        return frame


class SharedDeflater:
    """The messages of one view, in order; keeps the newest payload, which the next one refers to."""

    __slots__ = ("_counters", "_identity", "_payload")

    def __init__(self, counters: DeflateCounters) -> None:
        self._counters = counters
        self._payload: bytes | None = None
        self._identity: object = _NONE_BEFORE

    def next_message(self, payload: bytes) -> DeflatedMessage:
        """Returns the view's next message; nothing is compressed yet."""
        previous, follows = self._payload, self._identity
        if previous is None or len(previous) > STEP_MAX_BYTES:
            previous, follows = None, _NONE_BEFORE
        message = DeflatedMessage(payload, self._counters, previous, follows)
        self._payload = payload
        self._identity = message.identity
        return message


def _compress(payload: bytes, level: int, dictionary: bytes) -> bytes:
    compressor = zlib.compressobj(
        level, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, zdict=dictionary
    )
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(SYNC_FLUSH_TAIL), "a sync flush ends with an empty stored block"
    # An empty payload leaves one zero byte, as RFC 7692 section 7.2.3.6 has it.
    return data[: -len(SYNC_FLUSH_TAIL)]
