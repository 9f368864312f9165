"""Which pages of other origins may read the answers.

No refusing here: an origin that is not allowed gets an answer without CORS fields, and its browser keeps it from the
page. Credentials are never allowed. WHATWG Fetch, "CORS protocol".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from observability.config.access import ANY_ORIGIN

PREFLIGHT_MAX_AGE_SECONDS: Final = 600
_ALLOWED_FIELDS: Final = b"Authorization, Content-Type, If-None-Match, Idempotency-Key"
_EXPOSED: Final = b"\r\nAccess-Control-Expose-Headers: ETag, Retry-After"


class CorsPolicy:
    """An allow-list of origins, as `https://dash.example.com:3000`; `*` allows all."""

    __slots__ = ("_allowed", "_any", "exposed")

    def __init__(self, origins: Iterable[str] = ()) -> None:
        allowed = {origins} if isinstance(origins, str) else set(origins)
        self._any = ANY_ORIGIN in allowed
        # Scheme and host of a serialized origin are lower case (RFC 6454 section 6.2); configuration may differ.
        self._allowed = frozenset(origin.rstrip("/").lower().encode("latin-1") for origin in allowed)
        self.exposed = _EXPOSED

    def allows(self, origin: bytes) -> bool:
        """Returns whether `origin` is on the list, in any case."""
        return self._any or origin.lower() in self._allowed

    def allowed_origin(self, origin: bytes | None) -> bytes | None:
        """Returns the value of Access-Control-Allow-Origin, or None for no such field."""
        if origin is None:
            return None
        if self._any:
            return b"*"
        return origin if origin in self._allowed else None

    def preflight_fields(self, origin: bytes | None, allow: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Returns what a preflight's answer carries beside the origin; `allow` lists the path's methods."""
        if self.allowed_origin(origin) is None:
            return ()
        return (
            (b"Access-Control-Allow-Methods", allow),
            (b"Access-Control-Allow-Headers", _ALLOWED_FIELDS),
            (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_MAX_AGE_SECONDS),
        )
