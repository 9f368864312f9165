"""A webhook: each message is one POST of JSON, signed if the route has a secret.

Idempotency-Key: KEY                       the same for each attempt
X-Observability-Timestamp: SECONDS
X-Observability-Signature: sha256=HEX      HMAC-SHA256 of "SECONDS.BODY" with the route's secret
"""

from __future__ import annotations

import hmac
import time
from typing import Any

from observability.encoding import encode_json
from observability.notify.delivery import place_of, post_json
from observability.notify.notice import Message


class Webhook:
    """Posts messages to one URL."""

    is_batched = False
    repeat_ns = 0

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret.encode()
        self.place = place_of(url)

    def send(self, message: Message) -> None:
        body = encode_json(_document(message))
        headers = {"Idempotency-Key": message.key}
        if self._secret:
            timestamp = str(int(time.time()))
            signature = hmac.new(self._secret, timestamp.encode() + b"." + body, "sha256").hexdigest()
            headers |= {"X-Observability-Timestamp": timestamp, "X-Observability-Signature": f"sha256={signature}"}
        post_json(self._url, body, headers)


def _document(message: Message) -> dict[str, Any]:
    return {
        "version": 1,
        "route": message.route,
        "key": message.key,
        "title": message.title(),
        "text": message.text(),
        "alerts": [{**notice.document, "action": notice.kind, "seq": notice.seq} for notice in message.notices],
    }
