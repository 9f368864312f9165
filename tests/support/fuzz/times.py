"""Fuzz target: times in parameters.

Whatever a text is, it is read to the nanosecond as the standard library reads it, or refused as one bad parameter. A
time that was read is the same after it has been written in milliseconds and read again, except for the fraction cut
off.

    PYTHONPATH=tests/support python -m fuzz.times --inputs 10000000
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec

from fuzz.fuzzing import main
from observability.clocks.timestamps import MAX_NS, NS_PER_MS, NS_PER_S, format_iso_ms, parse_iso_ns
from observability.events import MIN_NS
from observability.http11.heads import parse_head
from observability.http11.messages import Request
from observability.http11.refusals import Unprocessable
from observability.routing.parameters import TimeNs, parse_query

SEEDS: Final = [
    (b"2025", b"-", b"10", b"-", b"21", b"T", b"22", b":", b"00", b":", b"00", b".", b"000", b"Z"),
    (b"1970", b"-01-01", b" ", b"00:00:00", b".", b"123456789", b"+", b"05", b":", b"30"),
    (b"2024-02-29", b"t", b"23:59:59", b"-", b"0000"),
    (b"2262-04-11", b"T", b"23:47:16", b".", b"854775807", b"Z"),
    (b"1760000000", b"000000000"),
    (b"9223372036854775807",),
]
DICTIONARY: Final = [
    b"Z", b"z", b"+00:00", b"-00:00", b"+23:59", b"-24:00", b"+05", b"+99:99", b".", b".9999999999", b",5", b"T",
    b" ", b"  ",
    b"60", b"24:00:00", b"00", b"02-30", b"13", b"0000", b"9999", b"10000", b"1969-12-31", b"-", b"+", b"\xd9\xa1",
    b"\xc2\xb2",
    b"\xef\xbc\x91", b"2025-W01-1", b"20251021T220000Z", b"9223372036854775808", b"1_0", b"0x10", b"1e9", b"0",
    b"00000",
    b"nan", b"inf", b"\x00", b"\n", b"\xff",
]  # fmt: skip

# The most that fits a request line.
MAX_TEXT_CHARACTERS: Final = 8000

_OFFSET: Final = re.compile(r"[+-]([0-9]{2}):?([0-9]{2})$")
_FRACTION: Final = re.compile(r"\.([0-9]+)")


class Wanted(msgspec.Struct, frozen=True):
    at: TimeNs | None = None


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if a time is read wrongly."""
    text = data.decode(errors="replace")
    if any(not char.isprintable() for char in text) or not text:
        # Refused before it becomes a parameter; parameters.py tests that.
        return
    escaped = quote(text)
    if len(escaped) > MAX_TEXT_CHARACTERS:
        return
    head = parse_head(f"GET /?at={escaped} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    try:
        at = parse_query(Request(head, b""), Wanted).at
    except Unprocessable as refusal:
        faults = [error["parameter"] for error in refusal.members["errors"]]
        at = None
    if at is None:
        assert faults == ["at"]
        assert not _is_plain_time(text), "a plain time was refused"
        return
    assert isinstance(at, TimeNs)
    assert 0 <= at <= MAX_NS
    assert at == _reference(text), f"{at}, expected {_reference(text)}"
    assert parse_iso_ns(format_iso_ms(at)) == at - at % NS_PER_MS


def _reference(text: str) -> int:
    """Reads what has been taken for a time with the standard library, whose resolution is too coarse for fractions."""
    if text.isdecimal():
        assert int(text) == 0 or int(text) >= MIN_NS, "a number that cannot be nanoseconds was taken"
        return int(text)
    fraction = _FRACTION.search(text)
    whole = _FRACTION.sub("", text).upper()
    offset = _OFFSET.search(whole)
    whole = _OFFSET.sub("", whole).removesuffix("Z")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    if offset is not None:
        ahead = int(offset[1]) * 3600 + int(offset[2]) * 60
        seconds += ahead if offset[0].startswith("-") else -ahead
    return seconds * NS_PER_S + (int(fraction[1].ljust(9, "0")) if fraction is not None else 0)


def _is_plain_time(text: str) -> bool:
    """Whether `text` is one of the forms that every client may send."""
    if re.fullmatch(r"[0-9]{1,19}", text):
        return int(text) == 0 or MIN_NS <= int(text) <= MAX_NS
    if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})", text):
        return False
    try:
        datetime.fromisoformat(text)
        return 0 <= _reference(text) <= MAX_NS
    except ValueError:
        return False


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__)
