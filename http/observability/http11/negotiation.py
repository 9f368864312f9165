"""What a client says it can take: content codings, and the version it already has.

No encoding here. RFC 9110 sections 12.5.3 and 13.1.2.
"""

from __future__ import annotations

from observability.http11.grammar import ENTITY_TAG, OWS_BYTES, WEIGHTED


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Returns whether gzip is acceptable, and not liked less than identity where that is rated."""
    if accept_encoding is None:
        return False
    weights: dict[bytes, float] = {}
    for part in accept_encoding.split(b","):
        match = WEIGHTED.fullmatch(part.strip(OWS_BYTES))
        if match is not None:
            weights[match[1].lower()] = float(match[2]) if match[2] is not None else 1.0
    # RFC 9110 section 8.4.1.3: x-gzip is gzip.
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return gzip > 0 and gzip >= weights.get(b"identity", 0.0)


def none_match_fails(if_none_match: bytes, etag: bytes) -> bool:
    """Returns whether If-None-Match names `etag`, by weak comparison: then the answer is 304."""
    # hot: once per poll, and nearly every client sends back the one tag it was given (benchmarks/bench_http.py)
    if if_none_match in (etag, b"*"):
        return True
    opaque = etag.removeprefix(b"W/")
    return any(match[1] == opaque for match in ENTITY_TAG.finditer(if_none_match))
