"""Order latency recordings: when a bot sent each request and when it heard the exchange's answer, in milliseconds.

    Timestamp,Order_ID,Status
    1695221610001,x-XEKWYICXSBBEH605cb89e133311206,PENDING_CREATE     request   pending_new
    1695221610116,x-XEKWYICXSBBEH605cb89e133311206,CREATED            answer    new
    1695221616002,x-XEKWYICXSBBEH605cb89e133311206,PENDING_CANCEL     request   pending_cancel
    1695221616072,x-XEKWYICXSBBEH605cb89e133311206,CANCELED           answer    canceled
    └ by the bot's clock: ts and ts_init

The file has no price, size, side or symbol, and so no fills. Where an order event needs one it is the same for every
order: symbol `UNKNOWN`, side `buy`, quantity 1. The strategy distinguishes two kinds of orders: `maker`, and `taker`
for orders sent to be executed at once (PENDING_EXECUTE becomes `pending_new`, EXECUTED becomes `filled`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

from observability.clocks.timestamps import MAX_NS, NS_PER_MS
from observability.errors import SourceError
from observability.events import Event, Order, OrderStatus
from observability.sources.recordings.lines import RecordingCounts

SYMBOL: Final = "UNKNOWN"
MAKER: Final = "maker"
TAKER: Final = "taker"

# A file holds several runs one after another and must be sorted as a whole; about 250 bytes per row.
MAX_ROWS: Final = 1_000_000

_HEADER = b"Timestamp,Order_ID,Status"
_ROW = re.compile(rb"([0-9]{1,13}),([!-+\--~]{1,64}),([A-Z_]+)")
_EXECUTE = b"PENDING_EXECUTE"
_STATUSES: Final[dict[bytes, OrderStatus]] = {
    b"PENDING_CREATE": "pending_new",
    _EXECUTE: "pending_new",
    b"CREATED": "new",
    b"PENDING_CANCEL": "pending_cancel",
    b"CANCELED": "canceled",
    b"EXECUTED": "filled",
}
_QUANTITY = Decimal(1)


def looks_like_order_latency(line: bytes) -> bool:
    """Returns whether a line is the header of this recording."""
    return line.strip() == _HEADER


def read_order_latency(lines: Iterable[bytes], *, counts: RecordingCounts) -> Iterator[Event]:
    """Yields an order report per row, in the order of time and, at the same time, of the file; counts and skips bad
    rows. Raises SourceError for more than MAX_ROWS rows."""
    rows: list[tuple[int, str, bytes]] = []
    takers: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line or looks_like_order_latency(line):
            continue
        fields = _ROW.fullmatch(line)
        if fields is None or fields[3] not in _STATUSES or int(fields[1]) * NS_PER_MS > MAX_NS:
            counts.bad_line(number, f"expected <ms since the epoch>,<order id>,<status>, got {line[:80]!r}")
            continue
        if len(rows) >= MAX_ROWS:
            raise SourceError(f"{counts.path}:{number}: more than {MAX_ROWS} rows cannot be sorted in memory")
        order_id = fields[2].decode("ascii")
        rows.append((int(fields[1]) * NS_PER_MS, order_id, fields[3]))
        if fields[3] == _EXECUTE:
            takers.add(order_id)
    rows.sort(key=lambda row: row[0])
    for ts, order_id, status in rows:
        counts.events[Order] += 1
        yield Order(
            order_id,
            SYMBOL,
            "buy",
            _QUANTITY,
            _STATUSES[status],
            strategy=TAKER if order_id in takers else MAKER,
            ts=ts,
            ts_init=ts,
        )
