"""The interfaces between the listener and its connections."""

from __future__ import annotations

from typing import Protocol

from observability.http11.refusals import Refusal


class Connection(Protocol):
    """A connection as the listener sees it, before or after its TLS handshake."""

    def check_deadline(self, now_ns: int) -> None:
        """Ends the connection if it has waited too long."""

    def drain(self) -> None:
        """Ends the connection: now if it is idle, otherwise after the answer that is due."""

    def abort(self) -> None:
        """Ends the connection now and drops whatever is unsent."""


class Registry(Protocol):
    """The listener as a connection sees it."""

    def admit(self, connection: Connection, peer: str) -> Refusal | None:
        """Registers a connection that speaks HTTP; returns the refusal to answer it with, if there is no room."""

    def begin_handshake(self, connection: Connection, peer: str) -> None:
        """Registers a connection that does not speak HTTP yet, as during its TLS handshake; ends it if there is no room
        even for a refusal."""

    def connection_failed(self, peer: str, reason: str) -> None:
        """Logs why a connection has ended before it spoke HTTP."""

    def release(self, connection: Connection, peer: str) -> None:
        """Removes a connection that has ended or handed its transport over."""
