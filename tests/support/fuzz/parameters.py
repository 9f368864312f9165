"""Fuzz target: parameters of requests, from a target and a body to the answers of the real routes.

An input is a target, a line feed and a body. Whatever they are, the parser refuses the request, or a route answers it
in JSON with one of the statuses that its description names. No handler fails.

    PYTHONPATH=tests/support python -m fuzz.parameters --inputs 10000000
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from fake_clock import FakeClock
from fuzz.fuzzing import main
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.events import Fill, Quote
from observability.http11.documents import ReadyDocument
from observability.http11.parser import RequestParser
from observability.http11.refusals import Malformed, TargetTooLong
from observability.memory.counters import Counters
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.trades.queries import RecentTrades
from observability.rest.exports import Exports
from observability.rest.history import HistoryRoutes
from observability.rest.trades import TradesRoutes
from observability.routing.application import Application
from observability.routing.router import Router
from observability.snapshot.frames import Stamp

NOW_NS: Final = 1_760_000_000 * NS_PER_S
# The statuses of every path besides those it describes: the mutated path may name no route, and the mutated query may
# not decode, or have unknown parameters.
ANYWHERE: Final = frozenset({400, 404, 405, 422})

HISTORY: Final = b"/api/metrics/history\n"
SEEDS: Final = [
    (b"/api/trades", b"?", b"symbol=AAPL", b"&", b"side=buy", b"&", b"limit=10", b"&", b"offset=0", b"\n"),
    (b"/api/trades", b"?", b"min_quantity=1", b"&", b"max_quantity=1e3", b"&", b"cursor=2", b"\n"),
    (b"/api/trades", b"?", b"start_time=2025-10-09T08:53:20Z", b"&", b"end_time=1760000000000000000", b"\n"),
    (b"/api/trades/stats/summary", b"?", b"time_range=24h", b"&", b"strategy=alpha", b"\n"),
    # Inputs that once found a fault.
    (b"/api/trades", b"?", b"min_quantity=NaN", b"\n"),
    (HISTORY, b'{"interval":"', b"\x85", b'"}'),
    (b"/api/trades/", b"t1", b"\n"),
    (HISTORY, b"{", b'"time_range":', b'"1h"', b",", b'"interval":', b'"1s"', b",", b'"limit":', b"5", b"}"),
    (HISTORY, b"{", b'"start_time":', b"1759999990000000000", b",", b'"end_time":', b'"2025-10-09T10:53:20+02:00"',
     b"}"),
    (HISTORY, b"{", b'"metric_types":', b'["market_data"]', b",", b'"symbols":', b'["AAPL"]', b"}"),
    (HISTORY, b"{", b'"metrics":', b'["mid"]', b",", b'"format":', b'"columns"', b"}"),
]  # fmt: skip
DICTIONARY: Final = [
    b"&", b"=", b"%00", b"%", b"%ff", b"%C2%85", b"+", b"?", b"#", b"/", b"..", b"%2F", b"[]", b"&&", b";",
    b"symbol=", b"symbol=AAPL&symbol=AAPL", b"limit=0", b"limit=1001", b"limit=-1", b"limit=1_0", b"limit=%D9%A5",
    b"limit=1e2", b"limit=0x5", b"limit=1.0", b"limit=99999999999999999999", b"offset=1000000001", b"side=BUY",
    b"min_quantity=NaN", b"min_quantity=sNaN", b"max_quantity=Infinity", b"min_quantity=1e999999", b"max_quantity=-0",
    b"min_quantity=1_0", b"min_quantity=1e-999999999999", b"cursor=", b"cursor=-1", b"cursor=9999999999999999999",
    b"start_time=0", b"start_time=-1", b"end_time=9223372036854775808", b"start_time=2025-02-30T00:00:00Z",
    b"end_time=2025-01-01", b"end_time=2025-01-01T00:00:60Z", b"start_time=0001-01-01T00:00:00%2B23:59",
    b"time_range=1h",
    b"null", b"true", b"[]", b"{}", b"[[[[", b'"\\ud800"', b'"\\u0000"', b"1e400", b"-1", b"1.0", b"1.5", b"0",
    b"123456789012345678901234567890", b'"123456789012345678901234567890"', b'"', b"\\", b'{"a":{"a":{"a":1}}}', b"NaN",
    b'"100ms"', b'"1d"', b'"rows"', b'["market_data","market_data"]', b'"start_time":', b'"time_range":', b'"limit":',
    b'"1969-12-31T23:59:59Z"', b'"9999-12-31T23:59:59.999999999-23:59"', b'"2025-10-09t08:53:20.5z"', b",", b":",
    b"\xff",
]  # fmt: skip


async def _rates() -> Rates:
    return Rates()


def _application() -> Application:
    """Returns the routes that have parameters, with a few trades and points to answer from."""
    bus = Bus()
    clock = EventClock(FakeClock(NOW_NS))
    history = make_history(4)
    collectors = make_collectors(Config(max_symbols=4), bus, clock, history)
    for collector in (collectors.market, collectors.strategy, collectors.execution):
        asyncio.run(collector.start())
    for n in range(5):
        ts = NOW_NS - (5 - n) * NS_PER_S
        symbol = ("AAPL", "MSFT")[n % 2]
        fill = Fill(
            f"t{n}", symbol, "sell" if n % 2 else "buy", Decimal(1 + n), Decimal("10.25"), f"o{n}", ts=ts, ts_init=ts
        )
        bus.publish_all([Quote(symbol, 10.0 + n, 10.5 + n, ts=ts, ts_init=ts), fill], "fuzz")
        for section in collectors.sections[:3]:
            section.refresh(ts)
    router = Router()
    HistoryRoutes(history.reader(Counters()), clock).add_to(router)
    trades, slices = RecentTrades(collectors.execution.trades), asyncio.Lock()
    TradesRoutes(trades, clock, slices, Stamp, _rates, Exports(clock, slices)).add_to(router)
    return Application(router, clock=FakeClock(NOW_NS))


_APPLICATION: Final = _application()
_STATUSES: Final = {route.pattern: ANYWHERE.union(route.description.statuses) for route in _APPLICATION.router.routes}


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if a handler fails, or answers with a status that its description does not name."""
    target, _, body = data.partition(b"\n")
    if rng.random() < 0.7:
        # A target escaped as a client would escape it gets as far as the parameters.
        target = quote(target, safe="/?&=%+:,.[]-").encode()
    method = b"POST" if target.startswith(b"/api/metrics/history") else b"GET"
    parser = RequestParser()
    parser.feed(b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (method, target, len(body), body))
    try:
        request = parser.next_request()
    except (Malformed, TargetTooLong):
        return
    assert request is not None
    pattern, answer = _APPLICATION.dispatch(request)
    if isinstance(answer, Awaitable):
        answer = asyncio.run(_APPLICATION.settle(request, pattern, answer))
    assert not isinstance(answer, ReadyDocument)
    assert _APPLICATION.handler_errors == 0, "a handler failed"
    assert answer.status in _STATUSES.get(pattern, ANYWHERE), f"{pattern} answered {answer.status}"
    document = json.loads(answer.body)
    assert answer.status < 400 or document["status"] == answer.status
    assert _APPLICATION.encode(request, pattern, answer, keep_alive=True)[0] == answer.status


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__)
