"""Splits JSON that a strict decoder refuses, so that one bad element costs only itself.

    [ {"type": "quote", "bid_size": NaN}, {"type": "fill", ...} ]
      `------------- element 0 -------'  `--- element 1 ---'

Only strings and brackets are understood here. What lies between them (NaN, 01, a control character, a lone surrogate)
stays in its element, which is then decoded, and refused, on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from observability.errors import EventError

# An element whose brackets are nested deeper is refused together with its batch.
MAX_DEPTH: Final = 8

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_OTHER: Final = rb'[^\[\]{}"]++'


def _nested(depth: int) -> bytes:
    """Returns the expression for a value in brackets, with at most `depth` brackets within each other."""
    alternatives = [_OTHER, _STRING] + ([_nested(depth - 1)] if depth > 1 else [])
    return rb"[\[{](?:" + rb"|".join(alternatives) + rb")*+[\]}]"


# All quantifiers are possessive: nothing is matched a second time, whatever a sender sends.
_VALUE: Final = rb'((?:[^\[\]{}",]++|' + _STRING + rb"|" + _nested(MAX_DEPTH) + rb")*+)"
_ELEMENT = re.compile(_VALUE + rb"([\],])", re.DOTALL)
_MEMBER = re.compile(rb"\s*+(" + _STRING + rb")\s*+:" + _VALUE + rb"([},])", re.DOTALL)
_OBJECT = re.compile(_nested(MAX_DEPTH), re.DOTALL)
_SPACE: Final = b" \t\r\n"


def split_array(data: bytes) -> Iterator[bytes]:
    """Yields the elements of an array, not decoded. Raises EventError where brackets or quotes do not pair."""
    return (match[1].strip(_SPACE) for match in _pieces(_ELEMENT, data, b"[", b"]"))


def split_object(data: bytes) -> dict[bytes, bytes]:
    """Returns the members of an object by name, neither decoded. Raises EventError where brackets or quotes do not
    pair."""
    return {match[1]: match[2].strip(_SPACE) for match in _pieces(_MEMBER, data, b"{", b"}")}


def is_object(data: bytes) -> bool:
    """Returns whether bytes are one object, as far as brackets and quotes tell."""
    data = data.strip(_SPACE)
    return data[:1] == b"{" and _OBJECT.fullmatch(data) is not None


def _pieces(piece: re.Pattern[bytes], data: bytes, begin: bytes, end: bytes) -> Iterator[re.Match[bytes]]:
    data = data.strip(_SPACE)
    if data[:1] != begin or data[-1:] != end:
        raise EventError(f"expected {begin.decode()} at the beginning and {end.decode()} at the end")
    if not data[1:-1].strip(_SPACE):
        return
    at = 1
    while at < len(data):
        match = piece.match(data, at)
        if match is None:
            raise EventError(f"brackets or quotes do not pair (byte {at})")
        yield match
        at = match.end()
        if data[at - 1 : at] == end:
            break
    if at != len(data):
        raise EventError(f"expected the end at byte {at}")
