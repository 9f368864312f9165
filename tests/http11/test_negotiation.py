from __future__ import annotations

import pytest

from observability.http11.negotiation import accepts_gzip, none_match_fails


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (None, False),
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"deflate, gzip;q=1.0, *;q=0.5", True),
        (b"gzip, deflate, br, zstd", True),
        (b"gzip;q=0", False),
        (b"gzip;q=0.000", False),
        (b"gzip ; Q=0.001", True),
        (b"*", True),
        (b"*;q=0", False),
        (b"gzip;q=0, *", False),
        (b"br", False),
        (b"identity", False),
        (b"gzip;q=0.5, identity;q=0.8", False),
        (b"gzip;q=0.8, identity;q=0.5", True),
        (b"gzip;q=2", False),
        (b"gzip;q=", False),
        (b"notgzip", False),
    ],
)
def test_gzip_is_used_when_the_client_rates_it_so(value: bytes | None, accepted: bool) -> None:
    assert accepts_gzip(value) is accepted


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        (b'"7-1"', True),
        (b'W/"7-1"', True),
        (b'"a", W/"b,c", "7-1"', True),
        (b"*", True),
        (b'"7-2"', False),
        (b'"7-1', False),
        (b"7-1", False),
        (b"", False),
    ],
)
def test_a_known_version_is_found_by_weak_comparison(value: bytes, matches: bool) -> None:
    assert none_match_fails(value, b'"7-1"') is matches
