"""Delivering one message over one channel: the protocol of channels, and what an HTTP service answers.

2xx                        delivered
408, 425, 429, 5xx, none   it is sent again later, not before `Retry-After`
other                      it will never be taken: the notice has failed
"""

from __future__ import annotations

import http.client
import re
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

from observability.notify.notice import Message

TIMEOUT_SECONDS: Final = 10.0
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
_MAX_ANSWER_BYTES: Final = 4096
_MAX_SHOWN: Final = 300
# Shorter parts of a URL are no secrets, and occur in every text.
_MIN_SECRET: Final = 6
_PASSING: Final = frozenset({408, 425, 429})


class DeliveryFailed(Exception):
    """A message was not delivered."""

    def __init__(self, reason: str, *, is_final: bool = False, retry_after_seconds: float = 0.0) -> None:
        """`is_final` says that the same message would fail again."""
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after_seconds = retry_after_seconds


class Channel(Protocol):
    """A way to somebody. `send` is called in a thread of its own."""

    @property
    def place(self) -> str:
        """Where messages go, without secrets."""

    @property
    def repeat_ns(self) -> int:
        """How often the channel must be told that an alert is still there; 0 for never."""

    @property
    def is_batched(self) -> bool:
        """Whether a message may be about several alerts although the route does not group them."""

    def send(self, message: Message) -> None:
        """Delivers a message within TIMEOUT_SECONDS or so. Raises DeliveryFailed."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected would become a GET."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def place_of(url: str) -> str:
    """Returns scheme, host and port of a URL: the path of many services is the secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def post_json(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Posts JSON; a user and password in the URL become basic authentication. Raises DeliveryFailed, whose reason has
    no secret of the URL."""
    parts = urlsplit(url)
    credentials, _, address = parts.netloc.rpartition("@")
    if credentials:
        headers = {**headers, "Authorization": f"Basic {b64encode(unquote_to_bytes(credentials)).decode()}"}
    request = urllib.request.Request(
        parts._replace(netloc=address).geturl(),
        body,
        {"Content-Type": "application/json", "User-Agent": "observability", **headers},
        method="POST",
    )
    try:
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read(_MAX_SHOWN)
    except HTTPError as error:
        with error:
            text = _without_secrets(_text(error), parts)[:_MAX_SHOWN]
        raise DeliveryFailed(
            f"HTTP {error.code} {text}".strip(),
            is_final=error.code < 500 and error.code not in _PASSING,
            retry_after_seconds=_seconds(error.headers.get("Retry-After")),
        ) from None
    except URLError as error:
        raise DeliveryFailed(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise DeliveryFailed(str(error) or type(error).__name__) from None


def _text(answer: HTTPError) -> str:
    """Returns how an answer begins; empty if the service does not send it."""
    try:
        return answer.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        return ""


def _without_secrets(text: str, url: SplitResult) -> str:
    """Returns a text without the parts of a URL: many services repeat what they were asked."""
    found = {url.path, url.query, *re.split(r"[/?&=:;]", f"{url.path}/{url.query}/{url.netloc.rpartition('@')[0]}")}
    found |= {unquote(part) for part in found}
    for part in sorted(found, key=len, reverse=True):
        if len(part) >= _MIN_SECRET:
            text = text.replace(part, "***")
    return text


def _seconds(given: str | None) -> float:
    return min(float(given), MAX_RETRY_AFTER_SECONDS) if given is not None and given.isdecimal() else 0.0
