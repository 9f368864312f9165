"""Compression of outgoing messages (RFC 7692 section 7.2.1): each message of a view is compressed once for all clients
in step, and once for all others.

    message          1          2          3          4
    contained frame  [1]        [2]        [3]        [4]        refers to nothing but itself
    stepped frame               [2 by 1]   [3 by 2]   [4 by 3]   refers to the previous message, too
    client A gets    [1]        [2 by 1]   [3 by 2]   [4 by 3]
    client B gets               (joins)    [3]        [4 by 3]   in step from its second frame on
    client C gets    [1]        (skipped)  [3]        [4 by 3]

A stepped frame is correct only for a client whose last compressed message was the previous one. Uncompressed messages
in between do not matter: a message without RSV1 never reaches the inflater (RFC 7692 section 6.2). Any other client
would decompress the frame to wrong bytes, often without an error. So a client's last message is compared by identity,
never by a number that could occur again.
"""

from __future__ import annotations

import zlib
from typing import Final

from observability.memory.counters import Counters
from observability.snapshot.frames import HEADROOM
from observability.websocket.extensions import SYNC_FLUSH_TAIL, WINDOW_BITS

# How far back deflate looks: its window, less what it reads ahead (MIN_LOOKAHEAD in zlib's deflate.h). A field's
# previous value is one message back. In longer messages that is out of reach, and stepping gains only 2 % at the same
# level while it costs a second compression (benchmarks/bench_deflate.py).
STEP_MAX_BYTES: Final = (1 << WINDOW_BITS) - 262
# Contained frames are for clients that join or were skipped; level 1 is the fastest. Stepped frames are for all others:
# level 6 makes them a quarter to a third smaller, and takes 2 us more at 1 KB and 30 us more at 8 KB
# (benchmarks/bench_deflate.py).
CONTAINED_LEVEL: Final = 1
STEPPED_LEVEL: Final = 6
# A larger hash makes zlib's tables too large for malloc's heap, and mapping them anew costs 20 us per message.
MEMORY_LEVEL: Final = 8

_HEADROOM: Final = bytes(HEADROOM)
# Stands for the previous message where there is none to step from: no client's last message is this.
_NONE_BEFORE: Final = object()


def contained(payload: bytes) -> bytes:
    """Returns `payload` compressed by itself."""
    return _compress(payload, CONTAINED_LEVEL, b"")


def stepped(payload: bytes, previous: bytes) -> bytes:
    """Returns `payload` compressed for an inflater whose last decompressed message was `previous`."""
    return _compress(payload, STEPPED_LEVEL, previous)


class DeflateCounters:
    """Counts compressions over all views. One tick adds at most one of each kind per view, however many clients there
    are."""

    __slots__ = ("contained", "stepped")

    def __init__(self, counters: Counters) -> None:
        name = "websocket_compressions_total"
        help_text = "Messages compressed, each once for all clients in the same state"
        self.contained = counters.counter(name, help_text, kind="contained")
        self.stepped = counters.counter(name, help_text, kind="stepped")


class DeflateMemory:
    """The last compressed message that was sent to one client, which its inflater remembers. One per connection."""

    __slots__ = ("_last", "_takeover")

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._last: object | None = None

    def frame_for(self, message: DeflatedMessage) -> bytearray:
        """Returns `message` for this client: headroom and compressed data, shared by all clients in the same state.

        The caller must send it, with RSV1, before it requests another; for a client that is skipped it requests none.
        Only the headroom may be written to.
        """
        # hot: once per client per tick (benchmarks/bench_deflate.py)
        frame = message.stepped_frame() if self._last is message.follows else message.contained_frame()
        if self._takeover:
            self._last = message.identity
        return frame

    @property
    def keeps_context(self) -> bool:
        """Whether a message may refer to the one before it."""
        return self._takeover

    def is_at(self, identity: object) -> bool:
        """Returns whether the client's last compressed message was the one with this identity."""
        return self._last is identity

    def forget(self) -> None:
        """Makes the next frame one that refers to no earlier message."""
        self._last = None


class DeflatedMessage:
    """One message of a view. Each of its frames is compressed on first use and kept."""

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
        """Returns the frame that every client can decompress."""
        frame = self._contained
        if frame is None:
            frame = self._contained = bytearray(_HEADROOM + contained(self._payload))
            self._counters.contained.add()
        return frame

    def stepped_frame(self) -> bytearray:
        """Returns the frame for clients whose last compressed message was the one that this one `follows`."""
        frame = self._stepped
        if frame is None:
            assert self._previous is not None, "a message that follows none has no stepped frame"
            frame = self._stepped = bytearray(_HEADROOM + stepped(self._payload, self._previous))
            self._previous = None
            self._counters.stepped.add()
        return frame


class SharedDeflater:
    """Makes the messages of one view, in order. It keeps the newest payload for the next message to refer to."""

    __slots__ = ("_counters", "_identity", "_payload")

    def __init__(self, counters: DeflateCounters) -> None:
        self._counters = counters
        self._payload: bytes | None = None
        self._identity: object = _NONE_BEFORE

    def next_message(self, payload: bytes) -> DeflatedMessage:
        """Returns the view's next message, which is not compressed yet."""
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
    # An empty payload becomes one zero byte, as in RFC 7692 section 7.2.3.6.
    return data[: -len(SYNC_FLUSH_TAIL)]
