"""Raw requests, each sent whole, byte by byte, behind a good one and in front of one."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.http import chunks as chunks_module
from observability.http import parser as parser_module
from observability.http.chunks import MAX_CHUNK_LINE_BYTES, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES
from observability.http.grammar import LINE_FAULT
from observability.http.heads import MAX_FIELDS, MAX_HEAD_BYTES, MAX_REQUEST_LINE_BYTES
from observability.http.messages import Request
from observability.http.parser import MAX_LEADING_EMPTY_LINES, RequestParser
from observability.http.refusals import Fatal

GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
MAX_BODY_BYTES = 64 * 1024


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes = b"Host: a") -> bytes:
    lines = [line, *([host] if host else []), *fields]
    return b"".join(part + b"\r\n" for part in lines) + b"\r\n"


def post(*fields: bytes) -> bytes:
    return head(b"POST / HTTP/1.1", *fields)


def chunked(framing: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked") + framing


REFUSED: list[tuple[str, int, bytes]] = [
    # RFC 9112 section 2.2: line terminators, and nothing before the request line
    ("2.2 bare LF after the request line", 400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("2.2 bare LF throughout", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("2.2 bare LF after a field", 400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    ("2.2 bare LF as the empty line", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("2.2 bare CR in the request line", 400, b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("2.2 bare CR in a value", 400, head(b"GET / HTTP/1.1", b"X: a\rb")),
    ("2.2 CR CR LF", 400, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    ("2.2 endless empty lines", 400, b"\r\n" * (MAX_LEADING_EMPTY_LINES + 1) + GOOD),
    ("2.2 whitespace before the request line", 400, b" " + GOOD),
    ("2.2 whitespace before the first field", 400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("TLS ClientHello", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("garbage", 400, b"\x00\x01\x02\x03"),
    # RFC 9112 section 2.3: version
    ("2.3 HTTP/0.9", 400, b"GET /\r\n\r\n"),
    ("2.3 HTTP/2.0 preface", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("2.3 HTTP/1.2", 505, head(b"GET / HTTP/1.2")),
    ("2.3 HTTP/0.9 spelled out", 505, head(b"GET / HTTP/0.9")),
    ("2.3 lower case", 400, head(b"GET / http/1.1")),
    ("2.3 two digits", 400, head(b"GET / HTTP/1.10")),
    ("2.3 no digit", 400, head(b"GET / HTTP/1.")),
    ("2.3 other protocol", 400, head(b"GET / HTTPS/1.1")),
    # RFC 9112 section 3: request line
    ("3 two spaces", 400, head(b"GET  / HTTP/1.1")),
    ("3 tab for a space", 400, head(b"GET\t/\tHTTP/1.1")),
    ("3 trailing space", 400, head(b"GET / HTTP/1.1 ")),
    ("3 space in the target", 400, head(b"GET /a b HTTP/1.1")),
    ("3 no method", 400, head(b"/ HTTP/1.1")),
    ("3.1 method not a token", 400, head(b"GE(T / HTTP/1.1")),
    ("3.1 method in UTF-8", 400, head("GÉT / HTTP/1.1".encode())),
    ("3 method too long", 501, head(b"G" * 25 + b" / HTTP/1.1")),
    ("3 request line too long", 414, head(b"GET /" + b"a" * MAX_REQUEST_LINE_BYTES + b" HTTP/1.1")),
    ("3 request line that never ends", 414, b"GET /" + b"a" * MAX_REQUEST_LINE_BYTES),
    # RFC 9112 section 3.2: targets
    ("3.2.1 no leading slash", 400, head(b"GET a HTTP/1.1")),
    ("3.2.1 fragment", 400, head(b"GET /a#b HTTP/1.1")),
    ("3.2.1 non-ASCII", 400, head(b"GET /\xc3\xa9 HTTP/1.1")),
    ("3.2.1 backslash in the path", 400, head(b"GET /..\\x HTTP/1.1")),
    ("3.2.1 quote in the query", 400, head(b'GET /?a="b" HTTP/1.1')),
    ("3.2.1 escape of one digit", 400, head(b"GET /%4 HTTP/1.1")),
    ("3.2.1 escape of no digits", 400, head(b"GET /%zz HTTP/1.1")),
    ("3.2.1 escaped NUL", 400, head(b"GET /a%00b HTTP/1.1")),
    ("3.2.1 escaped LF", 400, head(b"GET /a%0ab HTTP/1.1")),
    ("3.2.1 escaped DEL", 400, head(b"GET /a%7f HTTP/1.1")),
    ("3.2.1 escaped C1 control", 400, head(b"GET /a%C2%85 HTTP/1.1")),
    ("3.2.1 escaped bytes that are not UTF-8", 400, head(b"GET /%ff HTTP/1.1")),
    ("3.2.1 overlong UTF-8 of a slash", 400, head(b"GET /%c0%af HTTP/1.1")),
    ("3.2.1 escaped surrogate", 400, head(b"GET /%ed%a0%80 HTTP/1.1")),
    ("3.2.1 bad escape in the query", 400, head(b"GET /?a=%g0 HTTP/1.1")),
    ("3.2.2 absolute-form without a host", 400, head(b"GET http:///a HTTP/1.1")),
    ("3.2.2 absolute-form with userinfo", 400, head(b"GET http://u:p@a/ HTTP/1.1")),
    ("3.2.2 absolute-form of another scheme", 400, head(b"GET ftp://a/ HTTP/1.1")),
    ("3.2.3 CONNECT", 501, head(b"CONNECT a:443 HTTP/1.1")),
    ("3.2.3 authority-form with GET", 400, head(b"GET a:80 HTTP/1.1")),
    ("3.2.4 asterisk-form with GET", 400, head(b"GET * HTTP/1.1")),
    # RFC 9112 section 3.2: Host
    ("3.2 no Host", 400, head(host=b"")),
    ("3.2 two equal Hosts", 400, head(b"GET / HTTP/1.1", b"Host: a")),
    ("3.2 two Hosts", 400, head(b"GET / HTTP/1.1", b"hOST: b")),
    ("3.2 two Hosts in HTTP/1.0", 400, head(b"GET / HTTP/1.0", b"Host: b")),
    ("3.2 empty Host", 400, head(host=b"Host:")),
    ("3.2 list of Hosts", 400, head(host=b"Host: a, b")),
    ("3.2 Host with a path", 400, head(host=b"Host: a/b")),
    ("3.2 Host with userinfo", 400, head(host=b"Host: u@a")),
    ("3.2 Host with a word for a port", 400, head(host=b"Host: a:b")),
    ("3.2 Host with a signed port", 400, head(host=b"Host: a:+80")),
    ("3.2 Host with a space", 400, head(host=b"Host: a b")),
    ("3.2 Host with an open bracket", 400, head(host=b"Host: [::1")),
    ("3.2 bad Host beside an absolute-form", 400, head(b"GET http://a/ HTTP/1.1", host=b"Host: a b")),
    # RFC 9112 section 5: field syntax
    ("5 no colon", 400, head(b"GET / HTTP/1.1", b"Authorization Bearer s3cret")),
    ("5 no name", 400, head(b"GET / HTTP/1.1", b": b")),
    ("5.1 space before the colon", 400, post(b"Content-Length : 5") + b"hello"),
    ("5.1 tab before the colon", 400, post(b"Transfer-Encoding\t: chunked") + b"0\r\n\r\n"),
    ("5.2 obs-fold", 400, head(b"GET / HTTP/1.1", b"X: a", b" b")),
    ("5.2 obs-fold of Transfer-Encoding", 400, post(b"Transfer-Encoding:", b"\tchunked") + b"0\r\n\r\n"),
    ("5.5 NUL in a value", 400, head(b"GET / HTTP/1.1", b"X: a\x00b")),
    ("5.5 control byte in a value", 400, head(b"GET / HTTP/1.1", b"X: a\x1fb")),
    ("5.5 DEL in a value", 400, head(b"GET / HTTP/1.1", b"X: a\x7fb")),
    ("5.1 control byte in a name", 400, head(b"GET / HTTP/1.1", b"X\x01: b")),
    ("5.1 non-ASCII in a name", 400, head(b"GET / HTTP/1.1", b"X\xff: b")),
    ("5.4 head too large", 431, head(b"GET / HTTP/1.1", b"X: " + b"a" * MAX_HEAD_BYTES)),
    ("5.4 head that never ends", 431, b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES),
    ("5.4 too many fields", 431, head(b"GET / HTTP/1.1", *[b"X: a"] * MAX_FIELDS)),
    # RFC 9112 section 6.1: Transfer-Encoding
    ("6.1 with Content-Length", 400, post(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("6.1 before Content-Length", 400, post(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n"),
    ("6.1 in HTTP/1.0", 400, head(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("6.1 unknown", 501, post(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n"),
    ("6.1 identity", 501, post(b"Transfer-Encoding: identity")),
    ("6.1 gzip, chunked", 501, post(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
    ("6.1 chunked not last", 400, post(b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n"),
    ("6.1 chunked, identity", 400, post(b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n"),
    ("6.1 chunked twice", 400, post(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n"),
    ("6.1 two lines", 400, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n"),
    ("6.1 two equal lines", 400, post(*[b"Transfer-Encoding: chunked"] * 2) + b"0\r\n\r\n"),
    ("6.1 quoted", 400, post(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n"),
    ("6.1 with a parameter", 400, post(b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n"),
    ("6.1 trailing comma", 400, post(b"Transfer-Encoding: chunked,") + b"0\r\n\r\n"),
    ("6.1 leading comma", 400, post(b"Transfer-Encoding: ,chunked") + b"0\r\n\r\n"),
    ("6.1 empty", 400, post(b"Transfer-Encoding:") + b"0\r\n\r\n"),
    ("6.1 space inside", 400, post(b"Transfer-Encoding: chu nked") + b"0\r\n\r\n"),
    ("6.1 vertical tab", 400, post(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n"),
    ("6.1 obs-text", 400, post(b"Transfer-Encoding: \xa0chunked") + b"0\r\n\r\n"),
    # RFC 9112 section 6.2: Content-Length
    ("6.2 two equal", 400, post(b"Content-Length: 5", b"Content-Length: 5") + b"hello"),
    ("6.2 two different", 400, post(b"Content-Length: 5", b"content-length: 6") + b"hello"),
    ("6.2 list", 400, post(b"Content-Length: 5, 5") + b"hello"),
    ("6.2 plus sign", 400, post(b"Content-Length: +5") + b"hello"),
    ("6.2 minus sign", 400, post(b"Content-Length: -5") + b"hello"),
    ("6.2 hexadecimal", 400, post(b"Content-Length: 0x5") + b"hello"),
    ("6.2 underscore", 400, post(b"Content-Length: 1_0") + b"hello"),
    ("6.2 space inside", 400, post(b"Content-Length: 1 0") + b"hello"),
    ("6.2 fraction", 400, post(b"Content-Length: 5.0") + b"hello"),
    ("6.2 empty", 400, post(b"Content-Length:") + b"hello"),
    ("6.2 Arabic digit", 400, post("Content-Length: \u0665".encode()) + b"hello"),
    ("6.2 superscript digit", 400, post(b"Content-Length: \xb2") + b"hello"),
    ("6.2 larger than the limit", 413, post(b"Content-Length: %d" % (MAX_BODY_BYTES + 1))),
    ("6.2 of 40 digits", 413, post(b"Content-Length: " + b"9" * 40)),
    # RFC 9112 section 7.1: chunks
    ("7.1 size signed", 400, chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size negative", 400, chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size 0x", 400, chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size underscore", 400, chunked(b"1_0\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size not hexadecimal", 400, chunked(b"g\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size missing", 400, chunked(b"\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size behind a space", 400, chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size before a space", 400, chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    ("7.1 size of nine digits", 400, chunked(b"000000005\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size that wraps 64 bits", 400, chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    ("7.1 size larger than the limit", 413, chunked(b"%x\r\n" % (MAX_BODY_BYTES + 1))),
    ("7.1 sizes larger together", 413, chunked((b"8000\r\n" + b"a" * 0x8000 + b"\r\n") * 2 + b"1\r\n")),
    ("7.1 bare LF after the size", 400, chunked(b"5\nhello\r\n0\r\n\r\n")),
    ("7.1 bare LF throughout", 400, chunked(b"5\nhello\n0\n\n")),
    ("7.1 bare CR after the size", 400, chunked(b"5\rhello\r\n0\r\n\r\n")),
    ("7.1 bare LF after the data", 400, chunked(b"5\r\nhello\n0\r\n\r\n")),
    ("7.1 no CRLF after the data", 400, chunked(b"5\r\nhello0\r\n\r\n")),
    ("7.1 data longer than the size", 400, chunked(b"5\r\nhello!\r\n0\r\n\r\n")),
    ("7.1 too many chunks", 413, chunked(b"1\r\na\r\n" * 3000)),
    ("7.1.1 extension without a name", 400, chunked(b"5;\r\nhello\r\n0\r\n\r\n")),
    ("7.1.1 extension with a bare LF", 400, chunked(b"5;a=\nb\r\nhello\r\n0\r\n\r\n")),
    ("7.1.1 extension with an open quote", 400, chunked(b'5;a="b\r\nhello\r\n0\r\n\r\n')),
    ("7.1.1 extension with NUL", 400, chunked(b"5;a=\x00\r\nhello\r\n0\r\n\r\n")),
    ("7.1.1 extension too long", 400, chunked(b"5;a=" + b"b" * MAX_CHUNK_LINE_BYTES + b"\r\nhello\r\n0\r\n\r\n")),
    ("7.1.1 extension that never ends", 400, chunked(b"5;a=" + b"b" * MAX_CHUNK_LINE_BYTES)),
    (
        "7.1.1 too much in extensions",
        413,
        chunked((b"1;" + b"b" * 200 + b"\r\na\r\n") * (MAX_EXTENSION_BYTES // 200 + 1)),
    ),
    ("7.1.2 trailer without a colon", 400, chunked(b"0\r\nx\r\n\r\n")),
    ("7.1.2 folded trailer", 400, chunked(b"0\r\nx: a\r\n b\r\n\r\n")),
    ("7.1.2 trailer with a bare LF", 400, chunked(b"0\r\nx: a\n\r\n\r\n")),
    ("7.1.2 trailer too large", 431, chunked(b"0\r\n" + b"x: aaaa\r\n" * (MAX_TRAILER_BYTES // 9 + 1))),
    ("7.1.2 trailer that never ends", 431, chunked(b"0\r\nx: " + b"a" * MAX_TRAILER_BYTES)),
    # RFC 9110 section 10.1.1: Expect
    ("10.1.1 other expectation", 417, post(b"Expect: 200-ok", b"Content-Length: 5") + b"hello"),
    ("10.1.1 two expectations", 417, post(b"Expect: 100-continue, x", b"Content-Length: 5") + b"hello"),
]

ACCEPTED: list[tuple[str, bytes, dict[str, object]]] = [
    ("2.2 empty lines first", b"\r\n" * MAX_LEADING_EMPTY_LINES + GOOD, {"path": "/good"}),
    ("2.3 HTTP/1.1", GOOD, {"method": "GET", "version": (1, 1), "keep_alive": True, "body": b""}),
    ("2.3 HTTP/1.0", head(b"GET / HTTP/1.0", host=b""), {"version": (1, 0), "keep_alive": False}),
    ("9.3 HTTP/1.0 keep-alive", head(b"GET / HTTP/1.0", b"Connection: Keep-Alive"), {"keep_alive": True}),
    ("9.3 close among others", head(b"GET / HTTP/1.1", b"Connection: x, Close"), {"keep_alive": False}),
    ("9.3 close, second line", head(b"GET / HTTP/1.1", b"Connection: x", b"Connection: close"), {"keep_alive": False}),
    ("9.3 not close", head(b"GET / HTTP/1.1", b"Connection: not-close"), {"keep_alive": True}),
    ("9.3 close beats keep-alive", head(b"GET / HTTP/1.0", b"Connection: keep-alive, close"), {"keep_alive": False}),
    ("3.1 unknown method", head(b"PURGE / HTTP/1.1"), {"method": "PURGE"}),
    ("3.2 longest request line", head(b"GET /" + b"a" * 8176 + b" HTTP/1.1"), {"path": "/" + "a" * 8176}),
    ("3.2.1 query", head(b"GET /a?b=c%20d&e[]=f HTTP/1.1"), {"path": "/a", "query": "b=c%20d&e[]=f"}),
    ("3.2.1 empty query", head(b"GET /a? HTTP/1.1"), {"path": "/a", "query": ""}),
    ("3.2.1 question mark in the query", head(b"GET /a?b?c HTTP/1.1"), {"path": "/a", "query": "b?c"}),
    ("3.2.1 escapes", head(b"GET /a%20b/%C3%A9 HTTP/1.1"), {"path": "/a b/é", "segments": ("a b", "é")}),
    ("3.2.1 escaped slash", head(b"GET /a%2Fb/c HTTP/1.1"), {"path": "/a%2Fb/c", "segments": ("a/b", "c")}),
    ("3.2.1 escaped once only", head(b"GET /%2541 HTTP/1.1"), {"segments": ("%41",)}),
    ("3.2.1 dot segments stay", head(b"GET /a/../b HTTP/1.1"), {"path": "/a/../b", "segments": ("a", "..", "b")}),
    ("3.2.1 two slashes stay", head(b"GET //a HTTP/1.1"), {"path": "//a", "segments": ("", "a")}),
    ("3.2.2 absolute-form", head(b"GET http://b:81/c?d HTTP/1.1"), {"path": "/c", "query": "d"}),
    ("3.2.2 absolute-form without a path", head(b"GET HTTP://b?d HTTP/1.1"), {"path": "/", "query": "d"}),
    ("3.2.2 absolute-form, https", head(b"GET https://b/ HTTP/1.1"), {"path": "/"}),
    ("3.2.4 asterisk-form", head(b"OPTIONS * HTTP/1.1"), {"path": "*", "segments": ()}),
    ("3.2 Host with a port", head(host=b"Host: a.example:8000"), {}),
    ("3.2 Host IPv6", head(host=b"Host: [::1]:8000"), {}),
    ("3.2 Host with an empty port", head(host=b"Host: a:"), {}),
    ("5 whitespace around a value", head(b"GET / HTTP/1.1", b"Connection: \t close \t"), {"keep_alive": False}),
    ("5 no whitespace", head(b"GET / HTTP/1.1", b"Connection:close"), {"keep_alive": False}),
    ("5.5 obs-text", head(b"GET / HTTP/1.1", b"X: \xe9"), {}),
    ("5.4 as many fields as allowed", head(b"GET / HTTP/1.1", *[b"X: a"] * (MAX_FIELDS - 1)), {}),
    ("6.2 Content-Length", post(b"Content-Length: 5") + b"hello", {"body": b"hello"}),
    ("6.2 Content-Length 0", post(b"Content-Length: 0"), {"body": b""}),
    ("6.2 leading zeros", post(b"Content-Length: 0005") + b"hello", {"body": b"hello"}),
    ("6.2 at the limit", post(b"Content-Length: 65536") + b"a" * 65536, {"body": b"a" * 65536}),
    ("6.2 in a GET", head(b"GET / HTTP/1.1", b"Content-Length: 5") + b"hello", {"body": b"hello"}),
    ("6.2 content that looks like a request", post(b"Content-Length: %d" % len(GOOD)) + GOOD, {"body": GOOD}),
    ("6.3 no length", post(), {"body": b""}),
    ("7.1 chunks", chunked(b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), {"body": b"hello!"}),
    ("7.1 no chunks", chunked(b"0\r\n\r\n"), {"body": b""}),
    ("7.1 several zeros", chunked(b"00000\r\n\r\n"), {"body": b""}),
    ("7.1 hexadecimal of both cases", chunked(b"aA\r\n" + b"x" * 170 + b"\r\n0\r\n\r\n"), {"body": b"x" * 170}),
    ("7.1 CRLF in the data", chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), {"body": b"\r\n\r\n"}),
    ("7.1 coding in capitals", post(b"Transfer-Encoding: Chunked") + b"0\r\n\r\n", {"body": b""}),
    ("7.1.1 extensions", chunked(b'1;a;b=c ; d = "e;\\"f"\r\nx\r\n0;z\r\n\r\n'), {"body": b"x"}),
    ("7.1.2 trailers", chunked(b"0\r\nContent-Length: 9\r\nHost: evil\r\n\r\n"), {"body": b""}),
    ("10.1.1 100-continue", post(b"Expect: 100-Continue", b"Content-Length: 1") + b"x", {"expects_continue": True}),
    (
        "10.1.1 100-continue of HTTP/1.0",
        head(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 1") + b"x",
        {"expects_continue": False},
    ),
    ("7.8 upgrade", head(b"GET / HTTP/1.1", b"Connection: x, Upgrade", b"Upgrade: websocket"), {"is_upgrade": True}),
    ("7.8 upgrade without Connection", head(b"GET / HTTP/1.1", b"Upgrade: websocket"), {"is_upgrade": False}),
    (
        "7.8 upgrade in HTTP/1.0",
        head(b"GET / HTTP/1.0", b"Connection: upgrade", b"Upgrade: websocket"),
        {"is_upgrade": False},
    ),
]  # fmt: skip

refused = pytest.mark.parametrize(("status", "data"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
accepted = pytest.mark.parametrize(
    ("data", "expected"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED]
)


def parse(*segments: bytes) -> tuple[list[Request], Fatal | None]:
    """Feeds segments to a new parser; returns the requests, and the refusal if there was one."""
    parser = RequestParser(max_body_bytes=MAX_BODY_BYTES)
    requests = []
    for segment in segments:
        parser.feed(segment)
        try:
            while (request := parser.next_request()) is not None:
                requests.append(request)
        except Fatal as refusal:
            return requests, refusal
    return requests, None


def by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def shape(requests: list[Request]) -> list[tuple[str, str, bytes]]:
    return [(request.method, request.path, request.body) for request in requests]


@refused
def test_a_bad_request_is_refused_whole(status: int, data: bytes) -> None:
    requests, refusal = parse(data)
    assert requests == []
    assert refusal is not None
    assert refusal.status == status


@refused
def test_a_bad_request_is_refused_byte_by_byte(status: int, data: bytes) -> None:
    requests, refusal = parse(*by_byte(data))
    assert requests == []
    assert refusal is not None
    assert refusal.status == status


@refused
def test_a_good_request_in_front_of_a_bad_one_is_returned_first(status: int, data: bytes) -> None:
    requests, refusal = parse(GOOD + data)
    if data.startswith(b"\r\n"):
        assert requests[0].path == "/good"
    else:
        assert shape(requests) == [("GET", "/good", b"")]
    assert refusal is not None
    assert refusal.status == status


@refused
def test_what_follows_a_bad_request_is_never_a_request(status: int, data: bytes) -> None:
    requests, refusal = parse(data + GOOD, GOOD)
    assert requests == []
    assert refusal is not None


@accepted
def test_a_good_request_is_parsed_whole(data: bytes, expected: dict[str, object]) -> None:
    requests, refusal = parse(data)
    assert refusal is None
    assert len(requests) == 1
    assert {name: getattr(requests[0], name) for name in expected} == expected


@accepted
def test_a_good_request_is_parsed_byte_by_byte(data: bytes, expected: dict[str, object]) -> None:
    requests, refusal = parse(*by_byte(data))
    assert refusal is None
    assert len(requests) == 1
    assert {name: getattr(requests[0], name) for name in expected} == expected


@accepted
def test_a_good_request_ends_where_the_next_begins(data: bytes, expected: dict[str, object]) -> None:
    requests, refusal = parse(data + GOOD)
    assert refusal is None
    assert [request.path for request in requests][1:] == ["/good"]
    assert {name: getattr(requests[0], name) for name in expected} == expected


PIPELINE = b"".join(case[1] for case in ACCEPTED if len(case[1]) < 1000)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(PIPELINE)), max_size=12))
def test_requests_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PIPELINE)]
    segments = [PIPELINE[a:b] for a, b in pairwise(edges)]
    assert shape(parse(*segments)[0]) == shape(parse(PIPELINE)[0])


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"GET / HTTP/1.1\r\n", chunked(b""), chunked(b"5\r\n")])
)
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, prefix: bytes) -> None:
    parse(prefix + data)
    parse(*by_byte(prefix + data))


def test_a_parser_that_has_refused_refuses_for_ever() -> None:
    parser = RequestParser()
    parser.feed(post(b"Content-Length: 99999999") + GOOD)
    for _ in range(3):
        with pytest.raises(Fatal) as caught:
            parser.next_request()
        assert caught.value.status == 413
        parser.feed(GOOD)


def test_the_host_of_an_absolute_form_replaces_the_field() -> None:
    requests, _ = parse(head(b"GET http://b:81/ HTTP/1.1"))
    assert requests[0].header(b"Host") == b"b:81"


def test_a_declared_length_beyond_the_limit_is_refused_before_the_content_comes() -> None:
    _, refusal = parse(post(b"Content-Length: 65537", b"Expect: 100-continue"))
    assert refusal is not None
    assert refusal.status == 413


def test_a_refusal_never_repeats_a_line_that_may_hold_a_secret() -> None:
    for data in (
        head(b"GET / HTTP/1.1", b"Authorization Bearer s3cret"),
        head(b"GET / HTTP/1.1", b"Authorization: s3cret\x01"),
        head(b"GET /?token=s3cret\x7f HTTP/1.1"),
        head(b'GET /?token=s3cret" HTTP/1.1'),
    ):
        _, refusal = parse(data)
        assert refusal is not None
        assert "s3cret" not in refusal.detail


def test_content_that_ends_with_a_cr_lends_it_to_no_lf_behind_it() -> None:
    requests, refusal = parse(post(b"Content-Length: 1") + b"\r\n")
    assert shape(requests) == [("POST", "/", b"\r")]
    assert refusal is not None
    assert refusal.status == 400


def test_bytes_behind_the_last_request_are_left_over() -> None:
    parser = RequestParser()
    parser.feed(GOOD + b"\x81\x00frame")
    parser.next_request()
    assert parser.leftover() == b"\x81\x00frame"


class SearchCounter:
    """Counts the bytes that a rule is asked to look at, and lets the rule look."""

    def __init__(self, rule: re.Pattern[bytes]) -> None:
        self._rule = rule
        self.searched_bytes = 0

    def search(self, buffer: bytes, at: int, end: int) -> re.Match[bytes] | None:
        self.searched_bytes += min(end, len(buffer)) - at
        return self._rule.search(buffer, at, end)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 16_000, chunked(b"0\r\n" + b"x: " + b"a" * 4_000)],
    ids=["head", "trailer"],
)
def test_no_byte_is_searched_again_when_the_next_one_comes(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = SearchCounter(LINE_FAULT)
    monkeypatch.setattr(parser_module, "LINE_FAULT", counter)
    monkeypatch.setattr(chunks_module, "LINE_FAULT", counter)
    parse(*by_byte(data))
    assert 0 < counter.searched_bytes <= 2 * len(data)
