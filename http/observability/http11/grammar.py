"""The grammar of HTTP/1.1 requests: one compiled pattern per rule of RFC 9110, 9112 and 3986.

Every repetition is possessive, so that no input makes a match take more than linear time.
"""

from __future__ import annotations

import re
from typing import Final

# RFC 9110 section 5.6.2: token = 1*tchar
_TCHAR: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN: Final = re.compile(_TCHAR + rb"++")

# RFC 9110 section 5.6.3: OWS = *( SP / HTAB )
OWS: Final = rb"[\t ]*+"
OWS_BYTES: Final = b"\t "

# RFC 9112 section 3: request-line = method SP request-target SP HTTP-version
# Section 2.3: HTTP-version = HTTP-name "/" DIGIT "." DIGIT, and HTTP-name is case-sensitive.
REQUEST_LINE: Final = re.compile(rb"(" + _TCHAR + rb"++) ([\x21-\x7e]++) HTTP/([0-9])\.([0-9])\r\n")

# RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS
# RFC 9110 section 5.5: field-vchar = VCHAR / obs-text; obs-fold is refused (RFC 9112 section 5.2).
_FIELD_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
FIELD_LINE: Final = re.compile(rb"(" + _TCHAR + rb"++):" + OWS + rb"(" + _FIELD_VALUE + rb")\r\n")
FIELD_LINES: Final = re.compile(rb"(?:" + _TCHAR + rb"++:" + _FIELD_VALUE + rb"\r\n)*+")

# RFC 9112 section 2.2: a bare CR or bare LF ends no line; RFC 9110 section 5.5: a value has no CR, LF, NUL or other
# control characters. Searched for early, so that a peer that will never send CRLF CRLF is refused at once.
LINE_FAULT: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")

# RFC 3986 section 3.2.2 and 3.2.3: host [ ":" port ]; an empty host is refused (RFC 9110 section 4.2.1).
# IPvFuture and zone identifiers are left out: no host on today's networks has such a name.
_HOST: Final = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})++"
_IP_LITERAL: Final = rb"\[[0-9A-Fa-f:.]{2,45}+\]"
AUTHORITY: Final = re.compile(rb"(?:" + _HOST + rb"|" + _IP_LITERAL + rb")(?::[0-9]{0,5}+)?+")

# RFC 9112 section 3.2.2: absolute-form = absolute-URI, of the schemes "http" and "https" (RFC 9110 section 4.2).
ABSOLUTE_FORM: Final = re.compile(rb"[Hh][Tt][Tt][Pp]([Ss])?+://([^/?]*+)(/[^?]*+)?+(?:\?(.*+))?+")

# RFC 9110 section 4.1: absolute-path = 1*( "/" segment ); RFC 3986 section 3.3: segment = *pchar
# pchar = unreserved / pct-encoded / sub-delims / ":" / "@"
ABSOLUTE_PATH: Final = re.compile(rb"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]++|%[0-9A-Fa-f]{2})*+)++")

# RFC 3986 section 3.4: query = *( pchar / "/" / "?" ), and the further characters that browsers leave unescaped
# (WHATWG URL, "query percent-encode set"): [ ] ^ { } | ` and the backslash.
QUERY: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]^{}|`\\]++|%[0-9A-Fa-f]{2})*+")

# RFC 9110 section 8.6: Content-Length = 1*DIGIT; a length of more digits is beyond any limit.
CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,18}+")
DIGITS: Final = re.compile(rb"[0-9]++")

# RFC 9112 section 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF; chunk-size = 1*HEXDIG
# Section 7.1.1: chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
# RFC 9110 section 5.6.4: quoted-string
_QUOTED_STRING: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_CHUNK_EXT: Final = (
    OWS + rb";" + OWS + _TCHAR + rb"++(?:" + OWS + rb"=" + OWS + rb"(?:" + _TCHAR + rb"++|" + _QUOTED_STRING + rb"))?+"
)
CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8}+)((?:" + _CHUNK_EXT + rb")*+)")

# RFC 9110 section 12.4.2: weight = OWS ";" OWS "q=" qvalue
# qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
WEIGHTED: Final = re.compile(
    rb"(" + _TCHAR + rb"++)(?:" + OWS + rb";" + OWS + rb"[Qq]=(0(?:\.[0-9]{0,3}+)?+|1(?:\.0{0,3}+)?+))?+"
)

# RFC 9110 section 8.8.3: entity-tag = [ weak ] opaque-tag; opaque-tag = DQUOTE *etagc DQUOTE
ENTITY_TAG: Final = re.compile(rb'(?:W/)?+("[\x21\x23-\x7e\x80-\xff]*+")')

# RFC 6455 section 4.1: the key is 16 bytes in base64. In a head, the field as nearly every client writes it.
WEBSOCKET_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
WEBSOCKET_KEY_LINE: Final = re.compile(rb"\r\n(?i:sec-websocket-key): ([A-Za-z0-9+/]{22}==)\r\n")
