"""Captures of a venue's feed: messages as received, one per line, each after the local time of its arrival.

    1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"s":"BTCUSDT","b":"61837.63","B":"3.7","a":...}}
    └ local ns, ts_init └ as sent

Level 1 only: depth updates and snapshots are counted, and no book is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from observability.clocks.timestamps import MAX_NS
from observability.events import Event
from observability.sources.feeds.binance import BinanceDialect
from observability.sources.feeds.dialect import BAD_MESSAGE, Dialect, SubscriptionRefused
from observability.sources.feeds.venues import venue_of
from observability.sources.recordings.lines import RecordingCounts

_LINE = re.compile(rb"(\d{16,19}) (.*)", re.DOTALL)
_JSON_LINE = re.compile(rb"\d{16,19} \{.*", re.DOTALL)
# A capture may begin with answers to subscriptions and with heartbeats, by which its venue cannot be told.
_LINES_LOOKED_AT: Final = 100


def looks_like_capture(line: bytes) -> bool:
    """Returns whether a line has the form of a capture."""
    return _JSON_LINE.fullmatch(line) is not None


def dialect_of_capture(lines: Iterable[bytes]) -> type[Dialect]:
    """Returns the dialect of the first message that can be of one venue only; Binance's if none is."""
    for line in islice(lines, _LINES_LOOKED_AT):
        fields = _LINE.fullmatch(line)
        dialect = None if fields is None else venue_of(fields[2])
        if dialect is not None:
            return dialect
    return BinanceDialect


def read_capture(lines: Iterable[bytes], dialect: Dialect, *, counts: RecordingCounts) -> Iterator[Event]:
    """Yields the quotes and prints; counts other messages; counts and skips bad lines.

    `ts` is the exchange's time (the recorder's where the exchange sends none), `ts_init` the recorder's. Either of the
    two clocks may be ahead of the other; neither is corrected.
    """
    # hot: once per line
    read_line = _LINE.fullmatch
    decode = dialect.decode
    delivered = counts.events
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        fields = read_line(line)
        if fields is None:
            counts.bad_line(number, f"expected <ns since the epoch> <JSON>, got {line[:80]!r}")
            continue
        local, message = fields.groups()
        ts_init = int(local)
        if ts_init > MAX_NS:
            counts.bad_line(number, f"time {ts_init} ns: expected a time before the year 2262")
            continue
        try:
            events = decode(message, ts_init)
        except SubscriptionRefused as error:
            counts.skip(str(error), number)
            continue
        except BAD_MESSAGE as error:
            counts.bad_line(number, error)
            continue
        if isinstance(events, str):
            counts.skip(events, number)
            continue
        for event in events:
            if event.ts is None:
                event.ts = ts_init
            delivered[event.__class__] += 1
            yield event
