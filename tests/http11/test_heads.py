from __future__ import annotations

import pytest

from observability.http11.heads import MEMO_MAX_HEAD_BYTES, HeadMemo, list_tokens, parse_head


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


def test_list_members_are_trimmed_lowered_and_never_empty() -> None:
    assert list_tokens(b" Keep-Alive ,, UPGRADE\t,") == (b"keep-alive", b"upgrade")


@pytest.mark.parametrize("data", [head_of(), head_of(b"HEAD /a?b=c HTTP/1.1"), head_of(b"GET / HTTP/1.0")])
def test_a_head_that_any_client_may_send_is_remembered(data: bytes) -> None:
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
def test_a_head_with_a_secret_content_or_size_is_never_remembered(data: bytes) -> None:
    assert not remembered(data)


def test_the_memo_forgets_the_oldest_head_first() -> None:
    memo = HeadMemo(entries=2)
    heads = [head_of(b"GET /%d HTTP/1.1" % number) for number in range(3)]
    for data in heads:
        memo.add(data, parse_head(data))
    assert len(memo) == 2
    assert [memo.get(data) is not None for data in heads] == [False, True, True]
