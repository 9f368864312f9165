"""CORS: which pages of other origins may read the answers (WHATWG Fetch, "CORS protocol").

Nothing is refused for its Origin here: a page that may not read gets an answer without CORS fields, and the browser
withholds it. Credentials are never allowed. Which pages may write is decided in `access/authorization.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from observability.config.access import ANY_ORIGIN

PREFLIGHT_MAX_AGE_SECONDS: Final = 600
_ALLOWED_FIELDS: Final = b"Authorization, Content-Type, If-None-Match, Idempotency-Key"
_EXPOSED: Final = b"\r\nAccess-Control-Expose-Headers: ETag, Retry-After, Export-Truncated, Corrected-Later"


class CorsPolicy:
    """A list of allowed origins, such as `https://dash.example.com:3000`; `*` allows all."""

    __slots__ = ("_allowed", "_any", "exposed")

    def __init__(self, origins: Iterable[str] = ()) -> None:
        allowed = {origins} if isinstance(origins, str) else set(origins)
        self._any = ANY_ORIGIN in allowed
        # RFC 6454 section 6.2: a browser sends scheme and host in lower case; a configuration may not.
        self._allowed = frozenset(origin.rstrip("/").lower().encode("latin-1") for origin in allowed)
        self.exposed = _EXPOSED

    def allows(self, origin: bytes) -> bool:
        """Returns whether `origin`, in upper or lower case, is on the list."""
        return self._any or origin.lower() in self._allowed

    def allowed_origin(self, origin: bytes | None) -> bytes | None:
        """Returns the value of Access-Control-Allow-Origin; None if the answer must not have the field."""
        if origin is None:
            return None
        if self._any:
            return b"*"
        return origin if origin in self._allowed else None

    def preflight_fields(self, origin: bytes | None, allow: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the fields of the answer to a preflight, without the origin; `allow` lists the path's methods."""
        if self.allowed_origin(origin) is None:
            return ()
        return (
            (b"Access-Control-Allow-Methods", allow),
            (b"Access-Control-Allow-Headers", _ALLOWED_FIELDS),
            (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_MAX_AGE_SECONDS),
        )
