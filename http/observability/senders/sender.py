"""One sender of events over WebSocket: its messages go to the gate in order, and each is answered in order.

No events here (see `observability.ingest.gate`) and no framing (see `websocket.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, ClassVar, Final

import msgspec

from observability.clocks.clock import Clock
from observability.clocks.timestamps import format_iso_ms
from observability.encoding import encode_json
from observability.ingest.answers import IngestAnswer, refusal
from observability.ingest.gate import MAX_EVENTS, Gate
from observability.websocket.close_codes import CloseCode
from observability.websocket.connection import Accepted, WebSocketConnection

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 1024 * 1024
# Of one sender, not answered yet: beyond either it is not read from until half of them have been.
MAX_WAITING: Final = 64
MAX_WAITING_BYTES: Final = MAX_MESSAGE_BYTES
# Being taken, out of those.
MAX_TAKING: Final = 32
# A sender whose messages cannot be read is not one of ours.
MAX_ERRORS: Final = 10
MAX_SEQ: Final = 2**63 - 1

_CODES: Final = {
    400: "bad_message", 409: "key_in_flight", 413: "too_many_events", 422: "key_reused", 503: "unavailable"
}  # fmt: skip
_HAS_ENVELOPE: Final = b'"events"'


class Envelope(msgspec.Struct, frozen=True):
    """Events with a number, a key, or both; an event that has such fields of its own has a type too."""

    events: msgspec.Raw = msgspec.Raw()
    seq: Any = None
    key: Any = None
    type: Any = None

    @property
    def fault(self) -> str | None:
        """What is wrong with the number or the key."""
        if self.seq is not None and not (type(self.seq) is int and 0 <= self.seq <= MAX_SEQ):
            return f"seq: expected an integer from 0 to {MAX_SEQ}"
        if self.key is not None and not isinstance(self.key, str):
            return "key: expected a string"
        return None


_decoder: Final = msgspec.json.Decoder(Envelope)


async def _unreadable(fault: str) -> IngestAnswer:
    return refusal(400, fault)


class Sender(WebSocketConnection):
    """One sender."""

    max_message_bytes: ClassVar[int] = MAX_MESSAGE_BYTES

    def __init__(self, accepted: Accepted, gate: Gate, event_clock: Clock, heartbeat_seconds: float) -> None:
        super().__init__(accepted)
        self._gate = gate
        self._event_clock = event_clock
        self._heartbeat_seconds = heartbeat_seconds
        self._received = 0
        self._errors = 0
        self._is_finishing = False
        # Not begun, with their numbers from 1; and being taken, in order.
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._taking: deque[tuple[int, int, asyncio.Task[IngestAnswer]]] = deque()
        self._unanswered_bytes = 0

    # -- for the endpoint

    def finish(self) -> None:
        """Takes no more, answers what is being taken, then closes with 1001."""
        self._is_finishing = True
        self._waiting.clear()
        self._end_if_finished()

    # -- callbacks

    def on_open(self) -> None:
        self._send(
            {
                "type": "connected",
                "max_events": MAX_EVENTS,
                "max_message_bytes": MAX_MESSAGE_BYTES,
                "max_unanswered": MAX_WAITING,
                "heartbeat_interval": self._heartbeat_seconds,
            }
        )

    def on_message(self, message: bytes, is_text: bool) -> None:
        if not is_text:
            self.close(CloseCode.UNSUPPORTED_DATA, "expected text")
        elif message == b"ping":
            self.send_text(b"pong")
        elif not self._is_finishing:
            self._received += 1
            self._waiting.append((self._received, message))
            self._unanswered_bytes += len(message)
            self._begin()
            self._judge_hold()

    def send_ping(self) -> None:
        # What is not read cannot show a sign of life.
        if self.is_held:
            self.silent_heartbeats = 0
        super().send_ping()

    def on_closed(self) -> None:
        self._waiting.clear()

    # -- the way of a message

    def _begin(self) -> None:
        """Gives the gate what it may have of this sender; in order, for tasks begin in the order they are made."""
        while self._waiting and len(self._taking) < MAX_TAKING:
            number, message = self._waiting.popleft()
            seq, data, key, fault = number, message, None, None
            if _HAS_ENVELOPE in message:
                try:
                    envelope = _decoder.decode(message)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    # Whatever it is instead, the gate says what is wrong with it.
                    pass
                else:
                    if envelope.events and envelope.type is None:
                        fault = envelope.fault
                        data, key = bytes(envelope.events), envelope.key
                        if fault is None and envelope.seq is not None:
                            seq = envelope.seq
            answer = self._gate.take(data, source="ws", key=key) if fault is None else _unreadable(fault)
            taking = self.loop.create_task(answer, name="ingest")
            self._taking.append((seq, len(message), taking))
            taking.add_done_callback(self._on_taken)

    def _on_taken(self, _: asyncio.Task[IngestAnswer]) -> None:
        """Answers as many messages as are done, none before the one in front of it."""
        while self._taking and self._taking[0][2].done():
            seq, size, taking = self._taking.popleft()
            self._unanswered_bytes -= size
            if taking.cancelled():
                return
            error = taking.exception()
            if error is not None:
                logger.error("ingest of %s failed", self.peer, exc_info=error)
                self.close(CloseCode.INTERNAL_ERROR, "the server failed to take this; the fault is in its log")
                return
            self._answer(seq, taking.result())
        self._begin()
        self._judge_hold()
        self._end_if_finished()

    def _answer(self, seq: int, answer: IngestAnswer) -> None:
        body = msgspec.json.decode(answer.body)
        if "accepted" in body:
            body.pop("detail", None)
            self._send({"type": "ack", "seq": seq, **body, **({"replayed": True} if answer.is_replayed else {})})
            return
        code = _CODES[answer.status]
        self._send({"type": "error", "seq": seq, "code": code, "message": body["detail"]})
        if code == "bad_message":
            self._errors += 1
            if self._errors >= MAX_ERRORS:
                logger.info("websocket %s: %d messages not understood, closing", self.peer, self._errors)
                self.close(CloseCode.POLICY_VIOLATION, "too many messages not understood")

    def _judge_hold(self) -> None:
        unanswered = len(self._waiting) + len(self._taking)
        if unanswered >= MAX_WAITING or self._unanswered_bytes >= MAX_WAITING_BYTES:
            self.hold(True)
        elif unanswered <= MAX_WAITING // 2 and self._unanswered_bytes <= MAX_WAITING_BYTES // 2:
            self.hold(False)

    def _end_if_finished(self) -> None:
        if self._is_finishing and not self._taking:
            self.close(CloseCode.GOING_AWAY, "server shutdown")

    def _send(self, document: dict[str, Any]) -> None:
        self.send_text(encode_json({**document, "timestamp": format_iso_ms(self._event_clock.time_ns())}))
