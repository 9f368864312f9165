"""Request heads: repeated fields, negotiation, and which heads are kept for the next connection."""

from __future__ import annotations

import pytest

from observability.http11.heads import (
    MEMO_MAX_HEAD_BYTES,
    HeadMemo,
    accepts_gzip,
    list_tokens,
    none_match_fails,
    parse_head,
)


def head_of(line: bytes = b"GET / HTTP/1.1", *fields: bytes) -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


def remembered(data: bytes) -> bool:
    memo = HeadMemo()
    memo.add(data, parse_head(data))
    return len(memo) == 1


def test_values_of_a_repeated_field_are_joined() -> None:
    head = parse_head(head_of(b"GET / HTTP/1.1", b"X: a", b"Y: b", b"x:  c "))
    assert head.headers[b"x"] == b"a, c"
    assert head.fields == ((b"host", b"a"), (b"x", b"a"), (b"y", b"b"), (b"x", b"c"))


def test_list_members_are_trimmed_in_lower_case_and_never_empty() -> None:
    assert list_tokens(b" Keep-Alive ,, UPGRADE\t,") == (b"keep-alive", b"upgrade")


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
def test_gzip_is_accepted_if_it_is_rated_no_lower_than_identity(value: bytes | None, accepted: bool) -> None:
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
def test_if_none_match_finds_an_entity_tag_by_weak_comparison(value: bytes, matches: bool) -> None:
    assert none_match_fails(value, b'"7-1"') is matches


@pytest.mark.parametrize("data", [head_of(), head_of(b"HEAD /a?b=c HTTP/1.1"), head_of(b"GET / HTTP/1.0")])
def test_a_head_without_anything_private_is_memoised(data: bytes) -> None:
    assert remembered(data)


@pytest.mark.parametrize(
    "data",
    [
        head_of(b"GET /?token=s HTTP/1.1"),
        head_of(b"GET /?a=b&Token=s HTTP/1.1"),
        head_of(b"GET /?%74oken=s HTTP/1.1"),
        head_of(b"GET / HTTP/1.1", b"authorization: Bearer s"),
        head_of(b"GET / HTTP/1.1", b"sec-websocket-protocol: observability, bearer.s"),
        head_of(b"GET / HTTP/1.1", b"Cookie: s"),
        head_of(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: k"),
        head_of(b"GET / HTTP/1.1", b"Content-Length: 1"),
        head_of(b"GET / HTTP/1.1", b"Transfer-Encoding: chunked"),
        head_of(b"POST / HTTP/1.1"),
        head_of(b"GET / HTTP/1.1", b"X: " + b"a" * MEMO_MAX_HEAD_BYTES),
    ],
)
def test_a_head_with_a_secret_or_content_or_too_large_is_not_memoised(data: bytes) -> None:
    assert not remembered(data)


def test_the_memo_drops_its_oldest_head_first() -> None:
    memo = HeadMemo(entries=2)
    heads = [head_of(b"GET /%d HTTP/1.1" % number) for number in range(3)]
    for data in heads:
        memo.add(data, parse_head(data))
    assert len(memo) == 2
    assert [memo.get(data) is not None for data in heads] == [False, True, True]


def handshake_of(key: bytes = b"A" * 22 + b"==", *fields: bytes) -> bytes:
    return head_of(
        b"GET /ws HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: " + key, *fields
    )


def test_handshakes_that_differ_in_their_keys_alone_share_a_head_without_one() -> None:
    memo = HeadMemo()
    memo.add(handshake_of(), parse_head(handshake_of()))
    found = memo.find_handshake(handshake_of(b"B" * 22 + b"=="))
    assert found is not None
    head, key = found
    assert key == b"B" * 22 + b"=="
    assert (head.path, head.upgrades) == ("/ws", (b"websocket",))
    assert b"sec-websocket-key" not in head.headers and b"sec-websocket-key" not in dict(head.fields)


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (handshake_of(), handshake_of(b"B" * 22 + b"==", b"X: y")),
        (handshake_of(), handshake_of(b"")),
        (handshake_of(), handshake_of(b"B" * 24)),
        (handshake_of(b"A" * 22 + b"==", b"Cookie: s"), handshake_of(b"B" * 22 + b"==", b"Cookie: s")),
        (handshake_of(b"A" * 22 + b"==", b"Sec-WebSocket-Key: "), handshake_of()),
    ],
)
def test_any_other_handshake_is_parsed(known: bytes, asked: bytes) -> None:
    memo = HeadMemo()
    memo.add(known, parse_head(known))
    assert memo.find_handshake(asked) is None


def test_two_keys_are_never_taken_for_one() -> None:
    memo = HeadMemo()
    twice = handshake_of(b"A" * 22 + b"==", b"Sec-WebSocket-Key: " + b"A" * 22 + b"==")
    memo.add(twice, parse_head(twice))
    assert memo.find_handshake(twice) is None
