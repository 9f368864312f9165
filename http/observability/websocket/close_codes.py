"""How the clients of the stream left: counted by close code, and by who ended the connection.

No connection here (see `websocket.py`).
"""

from __future__ import annotations

from typing import Final, Literal

from observability.memory.counters import Counter, Counters

FAMILY: Final = "websocket_disconnects_total"

Side = Literal["client", "server"]

NO_STATUS: Final = 1005
"""RFC 6455 section 7.1.5: a Close without a code."""
NO_CLOSE: Final = 1006
"""RFC 6455 section 7.1.5: the connection ended without a Close."""

# A page that is closed or left says 1001, or nothing at all in its Close.
_GOODBYES: Final = frozenset({"1000", "1001", str(NO_STATUS)})

# RFC 6455 section 7.4.2: from here on codes are libraries' and applications' own.
_FIRST_OTHER_CODE: Final = 3000


class Disconnects:
    """Counts those who left. A peer may choose among thousands of codes, so those of applications are counted by
    their thousand."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[tuple[str, Side], Counter] = {}

    def note(self, code: int, side: Side) -> None:
        """Counts one client that has left."""
        label = str(code) if code < _FIRST_OTHER_CODE else f"{code // 1000}xxx"
        counter = self._known.get((label, side))
        if counter is None:
            counter = self._known[label, side] = self._counters.counter(
                FAMILY, "Clients of the stream that left", code=label, by=side
            )
        counter.add()


def is_loss(code: str, by: str) -> bool:
    """Whether clients counted under these labels were lost: closed by us, or gone without a goodbye."""
    return by == "server" or code not in _GOODBYES
