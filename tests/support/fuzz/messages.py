"""Fuzz target: text messages of a subscriber, sent to the stream of a real server.

Whatever a text is, it is answered exactly once: with `pong`, with the subscription now in force, or with a documented
error. Subscriptions stay within their limits, and the server keeps running and reports no fault of its own.

    PYTHONPATH=tests/support python -m fuzz.messages --inputs 1000000
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

from fuzz.fuzzing import main
from fuzz.served import check_alive, server
from ws_client import CLOSE, PING, TEXT, RawClient, frame

INPUTS_PER_HEALTH_CHECK: Final = 500
# One fewer than the errors after which the server closes a connection.
ERRORS_PER_CLIENT: Final = 9
ERROR_CODES: Final = frozenset({"bad_message", "unknown_type", "unknown_channel", "too_many_views"})
PUSHED: Final = frozenset({"connected", "metrics_update", "metrics_delta", "lag", "trade", "alert", "gap"})
CHANNELS: Final = frozenset({"market_data", "strategy", "execution", "system", "trades", "alerts"})

SEEDS: Final = [
    (b"{", b'"type":', b'"ping"', b",", b'"id":', b"1", b"}"),
    (b"{", b'"type":', b'"subscribe"', b",", b'"channels":', b"[", b'"market_data"', b",", b'"trades"', b"]", b"}"),
    (b"{", b'"type":', b'"subscribe"', b",", b'"symbols":', b'["AAPL","MSFT"]', b",", b'"mode":', b'"delta"', b"}"),
    (b"{", b'"type":', b'"unsubscribe"', b",", b'"channels":', b'["metrics"]', b"}"),
    (b"{", b'"type":', b'"subscribe"', b",", b'"lane_since":', b'{"trades":0}', b",", b'"channels":', b'["trades"]',
     b"}"),
    (b"{", b'"type":', b'"unsubscribe"', b"}"),
    (b"{", b'"type":', b'"health"', b"}"),
    (b"subscribe:", b"market_data", b",", b"execution"),
    (b"ping",),
]  # fmt: skip
DICTIONARY: Final = [
    b"null", b"true", b"[]", b"{}", b"1", b"-1", b"1.5", b"1e400", b'""', b'"ping"', b'"health"', b'"subscribe"',
    b'"unsubscribe"', b'"full"', b'"delta"', b'"DELTA"', b'["metrics"]', b'["alerts"]', b'["nothing"]', b'[""]',
    b"[null]",
    b"[1]", b'["AAPL"]', b'["' + b"x" * 33 + b'"]', b'["' + b"x" * 32 + b'"]', b"[" + b'"A",' * 300 + b'"A"]',
    b'{"trades":-1}',
    b'{"alerts":9223372036854775807}', b'{"nothing":1}', b"9223372036854775808", b"18446744073709551616",
    b"-" + b"9" * 30,
    b'"' + b"i" * 65 + b'"', b'"\\ud800"', b'"\\u0000"', b'"\xf0\x9f\x98\x80"', b'"id":', b'"type":', b'"channels":',
    b'"symbols":', b'"mode":', b'"lane_since":', b'"unknown":', b"[" * 2000, b'{"a":' * 2000, b",", b":",
    b"subscribe:", b"\\",
    b'"', b" ", b"\n", b"\x00", b"\xc2\x85",
]  # fmt: skip


class Conversation:
    """A connection, which is replaced before its errors would make the server close it."""

    def __init__(self) -> None:
        self._client: RawClient | None = None
        self._errors_left = 0
        self._number = 0

    def ask(self, text: bytes) -> list[dict[str, Any]]:
        """Sends `text` and returns all answers to it; the `pong` of a text ping as a document."""
        client = self._client
        if client is None:
            client = self._client = RawClient(server().port)
            self._errors_left = ERRORS_PER_CLIENT
        self._number += 1
        last_id = f"last of {self._number}"
        client.send(frame(TEXT, text) + frame(TEXT, json.dumps({"type": "ping", "id": last_id}).encode()))
        answers: list[dict[str, Any]] = []
        while True:
            message = _next_text(client)
            document = {"type": "pong"} if message == b"pong" else json.loads(message)
            if document.get("id") == last_id:
                break
            if document["type"] not in PUSHED:
                answers.append(document)
        self._errors_left -= sum(answer["type"] == "error" for answer in answers)
        if not self._errors_left:
            self.drop()
        return answers

    def drop(self) -> None:
        """Drops the connection, whose state is no longer known."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _next_text(client: RawClient) -> bytes:
    for opcode, payload in client.frames():
        assert opcode in (TEXT, PING), f"closed: {payload!r}" if opcode == CLOSE else f"opcode {opcode}"
        if opcode == TEXT:
            return payload
    raise AssertionError("the connection was cut")


_conversation: Final = Conversation()
_checked = 0


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if a text is not answered as API.md says."""
    global _checked
    _checked += 1
    # Bytes that are not UTF-8 are tested by frames.py, and messages beyond the limit by the tests of the server.
    text = data.decode(errors="replace").encode()[: 60 * 1024].decode(errors="ignore").encode()
    try:
        answers = _conversation.ask(text)
        assert len(answers) == 1, f"answered with {answers}"
        _check_answer(answers[0])
    except Exception:
        _conversation.drop()
        raise
    if _checked % INPUTS_PER_HEALTH_CHECK == 0:
        check_alive()


def _check_answer(answer: dict[str, Any]) -> None:
    kind = answer["type"]
    if kind == "error":
        assert answer["code"] in ERROR_CODES, answer
        assert answer["message"] and len(answer["message"]) < 2000
    elif kind in ("subscribed", "unsubscribed"):
        assert CHANNELS.issuperset(answer["channels"]), answer
        assert answer["mode"] in ("full", "delta")
        assert answer["symbols"] is None or all(0 < len(symbol) <= 32 for symbol in answer["symbols"])
    else:
        assert kind == "pong", answer


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__, inputs=10_000)
