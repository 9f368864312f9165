"""One sender of events over WebSocket: its messages go to the gate in order and are answered in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec

from observability.clocks.clock import Clock
from observability.clocks.timestamps import format_iso_ms
from observability.encoding import encode_json
from observability.errors import EventError
from observability.ingest.answers import IngestAnswer, refusal
from observability.ingest.decoder import UNDECODABLE
from observability.ingest.gate import MAX_EVENTS, Gate
from observability.ingest.splitting import split_object
from observability.websocket.close_codes import CloseCode
from observability.websocket.connection import Accepted, WebSocketConnection

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 1024 * 1024
# A sender with this many unanswered messages, or bytes of them, is not read from until half of them are answered.
MAX_UNANSWERED: Final = 64
MAX_UNANSWERED_BYTES: Final = MAX_MESSAGE_BYTES
# How many of the unanswered messages the gate may have at a time.
MAX_TAKING: Final = 32
MAX_SEQ: Final = 2**63 - 1

_CODES: Final = {
    400: "bad_message", 409: "key_in_flight", 413: "too_many_events", 422: "key_reused", 503: "unavailable"
}  # fmt: skip
_HAS_ENVELOPE: Final = b'"events"'


class Envelope(msgspec.Struct, frozen=True):
    """Events with a sequence number, a key, or both. An event may have fields of these names, but it has a type."""

    events: msgspec.Raw = msgspec.Raw()
    seq: Any = None
    key: Any = None
    type: Any = None

    @property
    def fault(self) -> str | None:
        """The fault of the sequence number or the key, if there is one."""
        if self.seq is not None and not (type(self.seq) is int and 0 <= self.seq <= MAX_SEQ):
            return f"seq: expected an integer from 0 to {MAX_SEQ}"
        if self.key is not None and not isinstance(self.key, str):
            return "key: expected a string"
        return None


_decoder: Final = msgspec.json.Decoder(Envelope)
_ENVELOPE_FIELDS: Final = (b'"seq"', b'"key"', b'"type"')


def read_envelope(message: bytes) -> Envelope | None:
    """Returns the envelope that a message is, even if some of its events are not JSON; None if it is none."""
    with suppress(*UNDECODABLE):
        return _decoder.decode(message)
    with suppress(*UNDECODABLE, EventError, KeyError):
        members = split_object(message)
        events = msgspec.Raw(members[b'"events"'])
        fields = b",".join(b"%b:%b" % (name, members[name]) for name in _ENVELOPE_FIELDS if name in members)
        return msgspec.structs.replace(_decoder.decode(b"{%b}" % fields), events=events)
    return None


async def _refuse(fault: str) -> IngestAnswer:
    return refusal(400, fault)


class Sender(WebSocketConnection):
    """One sender."""

    max_message_bytes: ClassVar[int] = MAX_MESSAGE_BYTES
    # Messages are bounded by how many are unanswered.
    counts_data: ClassVar[bool] = False

    def __init__(
        self,
        accepted: Accepted,
        gate: Gate,
        event_clock: Clock,
        heartbeat_seconds: float,
        control_frames_per_second: int,
    ) -> None:
        super().__init__(accepted, control_frames_per_second)
        self._gate = gate
        self._event_clock = event_clock
        self._heartbeat_seconds = heartbeat_seconds
        self._received = 0
        self._is_finishing = False
        # Messages by number, counted from 1, that the gate does not have yet.
        self._waiting: deque[tuple[int, bytes]] = deque()
        # Sequence number, size and task of the messages that the gate has, in order.
        self._taking: deque[tuple[int, int, asyncio.Task[IngestAnswer]]] = deque()
        self._unanswered_bytes = 0

    def finish(self) -> None:
        """Accepts no more messages, answers those that the gate has, and closes with 1001."""
        self._is_finishing = True
        self._waiting.clear()
        self._end_if_finished()

    # -- callbacks

    def on_open(self, answer: bytes) -> None:
        super().on_open(answer)
        self._send(
            {
                "type": "connected",
                "max_events": MAX_EVENTS,
                "max_message_bytes": MAX_MESSAGE_BYTES,
                "max_unanswered": MAX_UNANSWERED,
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
            self._pass_to_gate()
            self._update_hold()

    def send_ping(self) -> None:
        # A sender that is not read from cannot be seen to answer.
        if self.is_held:
            self.silent_heartbeats = 0
        super().send_ping()

    def on_closed(self) -> None:
        self._waiting.clear()

    # -- messages

    def _pass_to_gate(self) -> None:
        """Gives the gate as many messages as it may have. They stay in order because tasks start in the order in which
        they are created."""
        while self._waiting and len(self._taking) < MAX_TAKING:
            number, message = self._waiting.popleft()
            seq, data, key, fault = number, message, None, None
            if _HAS_ENVELOPE in message:
                # The gate answers with what is wrong about a message that is none.
                envelope = read_envelope(message)
                if envelope is not None and envelope.events and envelope.type is None:
                    fault = envelope.fault
                    data, key = bytes(envelope.events), envelope.key
                    if fault is None and envelope.seq is not None:
                        seq = envelope.seq
            answer = self._gate.take(data, source="ws", key=key) if fault is None else _refuse(fault)
            taking = self.loop.create_task(answer, name="ingest")
            self._taking.append((seq, len(message), taking))
            taking.add_done_callback(self._on_taken)

    def _on_taken(self, _: asyncio.Task[IngestAnswer]) -> None:
        """Answers messages that are done, up to the first that is not."""
        while self._taking and self._taking[0][2].done():
            seq, size, taking = self._taking.popleft()
            self._unanswered_bytes -= size
            if taking.cancelled():
                return
            error = taking.exception()
            if error is not None:
                logger.error(
                    "websocket %s: events could not be processed, closing", self.peer, exc_info=error,
                    extra={"ids": {**self.log_ids(), "batch": seq}},
                )  # fmt: skip
                self.close(CloseCode.INTERNAL_ERROR, "the server failed to take this; the fault is in its log")
                return
            self._answer(seq, taking.result())
        self._pass_to_gate()
        self._update_hold()
        self._end_if_finished()

    def _answer(self, seq: int, answer: IngestAnswer) -> None:
        body = msgspec.json.decode(answer.body)
        if "accepted" in body:
            body.pop("detail", None)
            self._send({"type": "ack", "seq": seq, **body, **({"replayed": True} if answer.is_replayed else {})})
            return
        code = _CODES[answer.status]
        retry = {} if answer.retry_after_seconds is None else {"retry_after": answer.retry_after_seconds}
        self._send({"type": "error", "seq": seq, "code": code, "message": body["detail"], **retry})
        if code == "bad_message":
            self.count_refused()

    def _update_hold(self) -> None:
        unanswered = len(self._waiting) + len(self._taking)
        if unanswered >= MAX_UNANSWERED or self._unanswered_bytes >= MAX_UNANSWERED_BYTES:
            self.hold(True)
        elif unanswered <= MAX_UNANSWERED // 2 and self._unanswered_bytes <= MAX_UNANSWERED_BYTES // 2:
            self.hold(False)

    def _end_if_finished(self) -> None:
        if self._is_finishing and not self._taking:
            self.close(CloseCode.GOING_AWAY, "server shutdown")

    def _send(self, document: dict[str, Any]) -> None:
        self.send_text(encode_json({**document, "timestamp": format_iso_ms(self._event_clock.time_ns())}))
