"""The kind of value that names live sources of events. Which schemes there are, the sources themselves know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from observability.config.setting import RepeatableKind, shown

MAX_SOURCES: Final = 32
MAX_URL_CHARACTERS: Final = 2048

_URL = re.compile(r"[a-z][a-z0-9+.-]{0,31}:[!-~]+")
_HOST_AND_PORT = re.compile(r"(\[[^]]*\]|[^][/?#@:]*)(:[0-9]*)?(?=[/?#]|$)")
# A user without a password is a token.
_USER = re.compile(r"[^/@:]*:")
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:password|token|secret)[^=&]*=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceUrls(RepeatableKind):
    """Sources, each once."""

    metavar: ClassVar[str] = "URL"

    @property
    def expected(self) -> str:
        return f"different URLs of sources, {MAX_SOURCES} at most, such as zmq://HOST:PORT or binance:SYMBOL"

    def parse(self, text: str) -> object:
        return self.parse_all(text.split())

    def parse_all(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Returns the URLs; raises ValueError with all that are none, or are there twice."""
        wrong = [text for place, text in enumerate(texts) if not _is_url(text) or text in texts[:place]]
        if wrong or len(texts) > MAX_SOURCES:
            raise ValueError(", ".join(shown(without_secrets(text)) for text in wrong) or f"{len(texts)} URLs")
        return tuple(texts)

    def accepts(self, value: object) -> bool:
        return (
            isinstance(value, tuple)
            and len(set(value)) == len(value) <= MAX_SOURCES
            and all(isinstance(text, str) and _is_url(text) for text in value)
        )

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return " ".join(map(without_secrets, value))

    def shown(self, value: object) -> str:
        return shown(self.format(value) if isinstance(value, tuple) else value)


def without_secrets(url: str) -> str:
    """Returns a URL as it may be shown, with stars for a password or a token. Of what is no proper URL, such as one
    with a `/` in its password, rather too much is left out."""
    scheme, separator, rest = url.partition("://")
    if not separator or "@" in scheme:
        scheme, separator, rest = "", "", url
    # An @ in the parameters of a URL with a proper host is theirs.
    has_host = separator and _HOST_AND_PORT.match(rest)
    login, at, _ = (rest.partition("?")[0] if has_host else rest).rpartition("@")
    if at:
        user = _USER.match(login)
        rest = f"{user[0] if user else ''}***{rest[len(login) :]}"
    return _SECRET_PARAMETER.sub(r"\1***", f"{scheme}{separator}{rest}")


def _is_url(text: str) -> bool:
    return len(text) <= MAX_URL_CHARACTERS and _URL.fullmatch(text) is not None
