"""The log of refusals: one line says which peer was refused, and why, at a bounded number of lines a second."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.http11.refusals import Refusal

logger = logging.getLogger(__name__)

REFUSAL_LINES_PER_SECOND: Final = 10
MAX_FAULTS_SHOWN: Final = 3
MAX_SHOWN_CHARACTERS: Final = 500


class RefusalLog:
    """Logs refusals. Those beyond `REFUSAL_LINES_PER_SECOND` are counted, and a later line says how many there were."""

    __slots__ = ("_clock", "_lines", "_second", "_unlogged")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._unlogged = 0

    def write(self, peer: str, refusal: Refusal, request_line: str = "", ids: Mapping[str, str] | None = None) -> None:
        """Logs a refusal that was answered. `request_line` is method and path, without the query, which may hold a
        token; it is empty if there was no request. `ids` are those of the request. Each invalid parameter is named,
        with its fault."""
        faults = [f"{fault['parameter']}: {fault['error']}" for fault in refusal.members.get("errors", ())]
        detail = "; ".join(faults[:MAX_FAULTS_SHOWN]) if faults else refusal.detail
        if len(faults) > MAX_FAULTS_SHOWN:
            detail += f"; and {len(faults) - MAX_FAULTS_SHOWN} more"
        # Either may repeat what the peer sent: ascii() leaves nothing that could forge or garble a line.
        asked = f" ({_shown(request_line)})" if request_line else ""
        self.write_reason(peer, f"{refusal.status} {_shown(detail)}{asked}", ids)

    def write_reason(self, peer: str, reason: str, ids: Mapping[str, str] | None = None) -> None:
        """Logs a refusal without an answer, such as a failed TLS handshake."""
        second = self._clock.mono_ns() // NS_PER_S
        if second != self._second:
            if self._unlogged:
                logger.info("%d more refusals were not logged", self._unlogged)
            self._second = second
            self._lines = self._unlogged = 0
        if self._lines >= REFUSAL_LINES_PER_SECOND:
            self._unlogged += 1
            return
        self._lines += 1
        # The bound is this object's own.
        extra = {"ids": ids or {"peer": peer}, "is_limited": False}
        logger.info("refused %s: %s", peer or "peer", reason, extra=extra)


def _shown(text: str) -> str:
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= MAX_SHOWN_CHARACTERS else f"{shown[:MAX_SHOWN_CHARACTERS]}..."
