"""The life of an HTTP/1.1 connection as a table: its states, the events that move it between them, and its deadlines.

    state    waits for                                      its deadline          when that has passed
    HEAD     the head of a request, or the rest of one      head_seconds          408; silence if no byte of it came
    BODY     the content of a request                       body_seconds          408
    IDLE     the next request                               idle_seconds          silence
    BUSY     a handler, or its next turn in the loop        (none)
    STALLED  the peer to read what was written              stall_seconds         cut, unless the peer reads slowly
    LINGER   the peer to read the last answer and close     linger_seconds        cut, unless the peer reads slowly
    DONE     nothing                                        (none)

A deadline is absolute: it begins with the state, or with a further request, and bytes that complete nothing do not move
it. Its length is the field of `Limits` with that name.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final

from observability.access.limits import Limits
from observability.clocks.timestamps import NS_PER_S


# Integers, because a member of an IntEnum hashes at the speed of one (hot: looked up once per request).
class ConnectionState(IntEnum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    IDLE = auto()
    BUSY = auto()
    STALLED = auto()
    LINGER = auto()
    DONE = auto()


class ConnectionEvent(IntEnum):
    """What happens to a connection."""

    HEAD_DUE = auto()
    """Every request received is answered, or none has come yet, and the next head is not complete."""
    BODY_DUE = auto()
    """The content of the next request is not complete."""
    ANSWER_DUE = auto()
    """A handler has begun, or the requests received are too many for one turn."""
    ANSWERED = auto()
    """Every request is answered, and nothing of the next one has come."""
    PAUSED = auto()
    """The transport asks for no further writes: the peer does not read them."""
    RESUMED = auto()
    """The transport takes writes again."""
    ENDED = auto()
    """The last answer has been written, or the connection ends without one."""
    PEER_ENDED = auto()
    """The peer has closed its sending side."""
    UPGRADED = auto()
    """The transport belongs to another protocol."""
    LOST = auto()
    """The transport is closed, or has been aborted."""


_HEAD, _BODY, _IDLE, _BUSY, _STALL, _LINGER, _DONE = ConnectionState

# One row per state, one column per event: the next state, None where the event changes nothing.
# fmt: off
_ROWS: Final[dict[ConnectionState, tuple[ConnectionState | None, ...]]] = {
    #        HEAD_DUE  BODY_DUE  ANSWER_DUE  ANSWERED  PAUSED  RESUMED  ENDED    PEER_ENDED  UPGRADED  LOST
    _HEAD:   (_HEAD,    _BODY,    _BUSY,      _IDLE,    _STALL, None,    _LINGER, _LINGER,    _DONE,    _DONE),
    _BODY:   (_HEAD,    _BODY,    _BUSY,      _IDLE,    _STALL, None,    _LINGER, _LINGER,    _DONE,    _DONE),
    _IDLE:   (_HEAD,    _BODY,    _BUSY,      _IDLE,    _STALL, None,    _LINGER, _LINGER,    _DONE,    _DONE),
    _BUSY:   (_HEAD,    _BODY,    _BUSY,      _IDLE,    _STALL, None,    _LINGER, None,       _DONE,    _DONE),
    _STALL:  (None,     None,     None,       None,     None,   _BUSY,   _LINGER, None,       _DONE,    _DONE),
    _LINGER: (None,     None,     None,       None,     None,   None,    None,    _LINGER,    None,     _DONE),
    _DONE:   (None,     None,     None,       None,     None,   None,    None,    None,       None,     None),
}
# fmt: on

TRANSITIONS: Final[dict[ConnectionState, dict[ConnectionEvent, ConnectionState]]] = {
    state: {event: to for event, to in zip(ConnectionEvent, row, strict=True) if to is not None}
    for state, row in _ROWS.items()
}
"""The state that each event leads to. An event that is not listed for a state changes nothing in it."""


def allowed_ns(limits: Limits) -> dict[ConnectionState, int | None]:
    """Returns how long each state may last, None for one without a deadline."""
    seconds = {
        ConnectionState.HEAD: limits.head_seconds,
        ConnectionState.BODY: limits.body_seconds,
        ConnectionState.IDLE: limits.idle_seconds,
        ConnectionState.BUSY: None,
        ConnectionState.STALLED: limits.stall_seconds,
        ConnectionState.LINGER: limits.linger_seconds,
        ConnectionState.DONE: None,
    }
    return {state: None if length is None else round(length * NS_PER_S) for state, length in seconds.items()}
