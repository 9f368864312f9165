"""Conversion of times: ISO 8601 text on the wire, integer nanoseconds since the epoch inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from observability.errors import EventError

NS_PER_MS = 1_000_000
NS_PER_S = 1_000 * NS_PER_MS
NS_PER_MINUTE = 60 * NS_PER_S
NS_PER_HOUR = 60 * NS_PER_MINUTE
NS_PER_DAY = 24 * NS_PER_HOUR
# The largest signed word of 8 bytes: 2262-04-11.
MAX_NS = 2**63 - 1

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SECOND = timedelta(seconds=1)

# RFC 3339 section 5.6, with a space allowed for the "T" (its note) and up to nanoseconds in the fraction.
_ISO_8601 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])([01]\d|2[0-3]):?([0-5]\d))",
    re.ASCII,
)


def parse_iso_ns(text: str) -> int:
    """Returns the nanoseconds since the epoch of an ISO 8601 time with an offset; exact to the nanosecond.

    Raises EventError for anything else, a time without an offset included: a guess at a zone is a wrong P&L day.
    """
    match = _ISO_8601.fullmatch(text)
    if match is None:
        raise EventError(f"time {text[:40]!r}: expected ISO 8601 with an offset, as 2025-10-21T22:00:00.000Z")
    year, month, day, hour, minute, second, fraction, _, sign, offset_h, offset_m = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise EventError(f"time {text[:40]!r}: {error}") from None
    ns = datetime_to_ns(moment) + int((fraction or "").ljust(9, "0"))
    if sign is not None:
        offset = int(offset_h) * 3600 + int(offset_m) * 60
        ns += (offset if sign == "-" else -offset) * NS_PER_S
    if not 0 <= ns <= MAX_NS:
        raise EventError(f"time {text[:40]!r}: expected a time between 1970 and 2262")
    return ns


def datetime_to_ns(moment: datetime) -> int:
    """Returns the nanoseconds since the epoch of an aware datetime; drops its fraction of a second."""
    return (moment - EPOCH) // _SECOND * NS_PER_S


# The ends of all texts, which take less time to look up than to format.
_MILLISECONDS = tuple(f".{ms:03d}Z" for ms in range(1000))


class IsoFormatter:
    """Formats nanoseconds as `2025-10-21T22:00:00.123Z`; caches the last second, which most calls share."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        # The start of the second and its text: one object, because a thread that reads the store formats times, too.
        self._last = (-NS_PER_S, "")

    def __call__(self, ns: int) -> str:
        # hot: some times per part that changes, per tick (benchmarks/bench_tick.py)
        second_ns, prefix = self._last
        rest = ns - second_ns
        if not 0 <= rest < NS_PER_S:
            rest = ns % NS_PER_S
            second_ns = ns - rest
            prefix = (EPOCH + timedelta(seconds=second_ns // NS_PER_S)).strftime("%Y-%m-%dT%H:%M:%S")
            self._last = second_ns, prefix
        return prefix + _MILLISECONDS[rest // NS_PER_MS]


format_iso_ms = IsoFormatter()


def format_iso_ns(ns: int) -> str:
    """Formats a time with all of its digits; such texts compare as the times do."""
    return f"{format_iso_ms(ns)[:-4]}{ns % NS_PER_S:09d}Z"


def iso_or_none(ns: int | None) -> str | None:
    """Formats a time; returns None for None and for 0, which both mean that there is none yet."""
    return format_iso_ms(ns) if ns else None
