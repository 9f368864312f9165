"""What connections and the listener want of each other.

Nothing happens here (see `listener.py`, `connection.py` and `tls.py`).
"""

from __future__ import annotations

from typing import Protocol

from observability.http11.refusals import Refusal


class Connection(Protocol):
    """What the listener wants of whatever serves one peer."""

    def check_deadline(self, now_ns: int) -> None:
        """Ends what has taken too long."""

    def drain(self) -> None:
        """Ends the connection at once if it is idle, else with the answer that is due."""

    def abort(self) -> None:
        """Ends the connection now, whatever is unsent."""


class Registry(Protocol):
    """Where a connection says that it has begun and ended: the listener."""

    def admit(self, connection: Connection, peer: str) -> Refusal | None:
        """Registers a connection that can be answered; returns why it is refused, if it is."""

    def begin_handshake(self, connection: Connection, peer: str) -> None:
        """Registers a connection that cannot be answered yet; ends it if there is no room at all."""

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Takes note of a peer that did not get as far as HTTP."""

    def release(self, connection: Connection, peer: str) -> None:
        """Forgets a connection that has ended or become another one."""
