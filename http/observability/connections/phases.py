"""What a connection can be waiting for, and for how long.

No clock here; a connection keeps the moment at which its phase must have ended.

    phase     waits for                           its deadline ends in
    HEAD      a request's first or further bytes  408, or silence if there were none
    BODY      the content of a request            408
    BUSY      a handler, or the next turn         (none)
    STALLED   the peer to read                    abort
    IDLE      the next request                    silence
    LINGER    the peer to read the last answer    abort
    DONE      nothing                             (none)
"""

from __future__ import annotations

from enum import Enum, auto

from observability.access.limits import Limits


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    STALLED = auto()
    IDLE = auto()
    LINGER = auto()
    DONE = auto()


def seconds_allowed(phase: Phase, limits: Limits) -> int | None:
    """Returns how long `phase` may take, None for one without a deadline."""
    # hot: once per request (benchmarks/bench_http.py)
    if phase is Phase.IDLE:
        return limits.idle_seconds
    if phase is Phase.HEAD:
        return limits.head_seconds
    if phase is Phase.BODY:
        return limits.body_seconds
    if phase is Phase.STALLED:
        return limits.stall_seconds
    return limits.linger_seconds if phase is Phase.LINGER else None
