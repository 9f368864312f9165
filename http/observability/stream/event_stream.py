"""The text/event-stream form of the stream's messages (WHATWG HTML, "Server-sent events").

    id: EPOCH:SEQ             the newest snapshot sent; with lanes `EPOCH:SEQ;trades=12;alerts=3`
    event: metrics_update     the message's `type`
    data: {"type":"metrics_update",...}

A message is JSON on one line, and its `type` comes first, so its bytes become an event without being encoded again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from observability.encoding import encode_json
from observability.memory.layout import LANES

MEDIA_TYPE: Final = b"text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment."""

_TYPE: Final = b'{"type":"'
_LANE: Final = b";(?:%b)=[0-9]{1,18}" % b"|".join(name.encode() for name in LANES)
_ID: Final = re.compile(rb"([0-9a-f]{1,32}:[0-9]{1,18})((?:%b)*)" % _LANE)


class Position(NamedTuple):
    """What a client has got when it comes back."""

    since: str
    """EPOCH:SEQ of the newest snapshot."""
    lanes: Mapping[str, int]
    """The newest entry of each lane."""

    @property
    def epoch(self) -> str:
        return self.since.partition(":")[0]


# No epoch has this name.
NOWHERE: Final = Position("0:0", {})


def event_id(epoch: str, seq: int, lanes: Mapping[str, int] | None = None) -> bytes:
    """Returns the id of an event. A client that sends it as Last-Event-ID continues after it."""
    return "".join((f"{epoch}:{seq}", *(f";{name}={entry}" for name, entry in (lanes or {}).items()))).encode()


def parse_event_id(text: bytes) -> Position:
    """Returns the position that an id stands for. One that is not ours stands for none that is known."""
    match = _ID.fullmatch(text)
    if match is None:
        return NOWHERE
    lanes = (lane.split("=") for lane in match[2].decode().split(";")[1:])
    return Position(match[1].decode(), {name: int(seq) for name, seq in lanes})


def encode_event(message: bytes, last_id: bytes = b"") -> bytes:
    """Returns a message as an event; without `last_id` the client keeps the id it has."""
    assert message.startswith(_TYPE), "a message's type comes first"
    kind = message[len(_TYPE) : message.index(b'"', len(_TYPE))]
    id_line = b"id: %b\n" % last_id if last_id else b""
    return b"%bevent: %b\ndata: %b\n\n" % (id_line, kind, message)


class EventFraming:
    """Writes messages to a transport as events, where picows' WSTransport writes them as WebSocket frames."""

    def __init__(self, transport: asyncio.Transport, last_id: Callable[[], bytes]) -> None:
        """`last_id` returns the id of the messages that are not shared; empty if they have none."""
        self._transport = transport
        self._last_id = last_id

    def send(self, _kind: object, message: bytes) -> None:
        self._transport.write(encode_event(message, self._last_id()))

    def send_reuse_external_bytearray(self, _kind: object, event: bytearray, offset: int, *_: object) -> None:
        """Sends a shared event, which begins at `offset`."""
        self._transport.write(memoryview(event)[offset:])

    def send_close(self, code: int, reason: bytes) -> None:
        """Tells the client why the stream ends, which the end of a response cannot."""
        self.send(None, encode_json({"type": "close", "code": int(code), "reason": reason.decode()}))
