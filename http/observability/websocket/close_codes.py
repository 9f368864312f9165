"""Close codes: those that this server sends, and counts of those that connections ended with."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

from observability.memory.counters import Counter, Counters

DISCONNECTS: Final = "websocket_disconnects_total"
"""The metric family of the counts."""

Ender = Literal["client", "server"]
"""The side that ended a connection."""

NO_STATUS: Final = 1005
"""RFC 6455 section 7.1.5: a Close without a code."""
NO_CLOSE: Final = 1006
"""RFC 6455 section 7.1.5: the connection ended without a Close."""

# A page that is closed or left sends 1001, or a Close without a code.
_GOODBYES: Final = frozenset({"1000", "1001", str(NO_STATUS)})

# RFC 6455 section 7.4.2: codes from here on belong to libraries and applications.
_FIRST_PRIVATE_CODE: Final = 3000


class CloseCode(IntEnum):
    """The codes that this server sends (RFC 6455 section 7.4.1 and the IANA registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


class DisconnectCounters:
    """Counts ended connections of the stream by close code and by the side that ended them. A peer may choose among
    thousands of private codes, so those are counted by their thousand."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[tuple[str, Ender], Counter] = {}

    def add(self, code: int, ender: Ender) -> None:
        """Counts one ended connection."""
        label = str(code) if code < _FIRST_PRIVATE_CODE else f"{code // 1000}xxx"
        counter = self._known.get((label, ender))
        if counter is None:
            counter = self._known[label, ender] = self._counters.counter(
                DISCONNECTS, "Clients of the stream that left", code=label, by=ender
            )
        counter.add()


def is_sendable(code: int) -> bool:
    """Whether an endpoint may put `code` into a Close frame (RFC 6455 section 7.4)."""
    return _FIRST_PRIVATE_CODE <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, NO_STATUS, NO_CLOSE))


def is_loss(code: str, ender: str) -> bool:
    """Whether connections counted under these labels were lost: ended by the server, or by the client without a
    goodbye."""
    return ender == "server" or code not in _GOODBYES
