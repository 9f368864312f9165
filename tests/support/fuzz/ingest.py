"""Fuzz target: batches of events, sent to the gate without a server.

Whatever a batch is, as JSON, as lines or as either, it is answered with a documented status. Each of its events is
counted once, published events are valid, and sending the batch again changes no fill.

    PYTHONPATH=tests/support python -m fuzz.ingest --inputs 10000000
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from decimal import Decimal
from typing import Any, Final

from fuzz.fuzzing import main
from ingest_desk import Desk
from observability.clocks.timestamps import MAX_NS
from observability.events import Event, Fill, Print
from observability.ingest.answers import MAX_FAULTS_LISTED, IngestAnswer
from observability.ingest.decoder import MAX_FAULT_CHARACTERS

STATUSES: Final = frozenset({200, 400, 413, 422})
# The text of a fault, the path that msgspec adds, and the place in the batch.
MAX_FAULT_LENGTH: Final = 2 * MAX_FAULT_CHARACTERS

_FILL: Final = (b'"type":"fill"', b",", b'"trade_id":"1"', b",", b'"order_id":"o"', b",", b'"symbol":"A"', b",",
                b'"side":"buy"', b",", b'"quantity":"1"', b",", b'"price":2.5')  # fmt: skip
SEEDS: Final = [
    (b"{", *_FILL, b"}"),
    (b"[", b"{", *_FILL, b"}", b",", b"{", *_FILL, b"}", b"]"),
    (b"{", *_FILL, b"}", b"\n", b"{", *_FILL, b"}", b"\r\n"),
    (b"[", b'{"type":"quote","symbol":"A","bid":', b"1.5", b',"ask":', b"2", b"}", b"]"),
    (b"{", b'"type":"print"', b",", b'"symbol":"A"', b",", b'"price":1', b",", b'"size":2', b',"ts":', b"17", b"}"),
    (b'{"type":"order","order_id":"o","symbol":"A","side":"buy","status":"new","quantity":"1"', b',"decision_ts":',
     b'"2012-06-21T13:30:00Z"', b"}"),
    (b'{"type":"log","level":"info","message":"m","fields":', b"{", b'"a"', b":", b"1", b"}", b"}"),
    (b'{"type":"metric","name":"n","value":', b"1", b',"labels":', b'{"a":"b"}', b"}"),
    (b'{"type":"position","symbol":"A","quantity":', b'"-5"', b',"avg_price":', b'"1"', b"}"),
]  # fmt: skip
DICTIONARY: Final = [
    b"[", b"]", b"{", b"}", b",", b":", b"\n", b"\r", b"null", b"true", b"0", b"-1", b"1e400", b"-0.0", b"NaN",
    b'"NaN"', b'"Infinity"', b'"1e-40"', b'"1e999999999"', b"1e18", b"1e19", b'"ts":', b'"ts":-1', b'"ts":"x"',
    b'"ts":null',
    b'"ts":9223372036854775807', b'"ts":9223372036854775808', b'"ts":"9999-01-01T00:00:00Z"', b'"ts_init":5',
    b'"ts":"2012-06-21T13:30:00"', b'"type":"heartbeat"', b'"type":"nothing"', b'"type":7', b'"component":"c"', b'"`$"',
    b'"quantity":"0"', b'"quantity":"-1"', b'"price":"3"', b'"trade_id":"2"', b'"venue":"V"', b'"symbol":""',
    b'"symbol":"' + b"x" * 33 + b'"', b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xf0\x9f\x98\x80", b"[" * 2000,
    b'{"a":' * 2000, b"[0" + b",0" * 10_001 + b"]", b"\n" * 10_002, b"\xef\xbb\xbf",
]  # fmt: skip


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if a batch is not handled as the API says."""
    asyncio.run(_check(data, rng.choice((True, False, None))))


async def _check(data: bytes, is_lines: bool | None) -> None:
    desk = Desk()
    first = await desk.gate.take(data, source="http", is_lines=is_lines)
    document = _check_answer(first)
    if "accepted" not in document:
        assert desk.events == [], "a refused batch has published events"
        return
    fills = list(desk.log.fills)
    is_refused = bool(document["rejected_count"]) and not document["accepted"] + document["duplicates"]
    assert first.status == (422 if is_refused else 200)
    conflicts = sum(fault["error"].startswith("conflict: ") for fault in document["rejected"])
    if document["rejected_count"] == len(document["rejected"]):
        assert len(desk.events) == document["accepted"] + document["duplicates"] + conflicts
    for event in desk.events:
        _check_event(event)
    again = _check_answer(await desk.gate.take(data, source="http", is_lines=is_lines))
    assert desk.log.fills == fills, "a fill was taken twice"
    assert sum(again[name] for name in ("accepted", "duplicates", "rejected_count")) == sum(
        document[name] for name in ("accepted", "duplicates", "rejected_count")
    )


def _check_answer(answer: IngestAnswer) -> dict[str, Any]:
    assert answer.status in STATUSES, f"undocumented: {answer}"
    document: dict[str, Any] = json.loads(answer.body)
    assert ("detail" in document) == (answer.status != 200)
    assert len(document.get("detail", "")) < MAX_FAULT_LENGTH
    faults = document.get("rejected", [])
    assert len(faults) <= MAX_FAULTS_LISTED
    indexes = [fault["index"] for fault in faults]
    assert indexes == sorted(set(indexes))
    assert all(0 < len(fault["error"]) < MAX_FAULT_LENGTH for fault in faults), faults
    return document


def _check_event(event: Event) -> None:
    assert isinstance(event.ts, int)
    assert 0 <= event.ts <= MAX_NS
    if isinstance(event, Fill):
        assert event.quantity > 0
        assert event.price + event.commission < Decimal("1e20")
    elif isinstance(event, Print):
        assert math.isfinite(event.price)
        assert event.size >= 0


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__, inputs=100_000)
