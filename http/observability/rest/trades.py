"""`/api/trades`: our trades and their statistics, from the store or from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Final, Literal

import orjson
from msgspec import Meta, Struct

from observability.clocks.clock import Clock
from observability.clocks.slices import Steps, in_slices
from observability.encoding import encode_json
from observability.errors import StoreError
from observability.events import Name
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Refusal, Unavailable
from observability.metrics.trades.queries import TradeSource
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.rest.history_request import TIME_RANGES, TimeRange
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import Parameter, RouteDescription, Router
from observability.snapshot.frames import Stamp

# A quarter of a millisecond of encoding.
TRADES_PER_STEP: Final = 20


class TradesQuery(Struct, frozen=True):
    """The query of `GET /api/trades`."""

    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    side: Annotated[Literal["buy", "sell"] | None, Meta(description="only this side")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted")] = None
    min_quantity: Annotated[Decimal | None, Meta(description="at least this quantity")] = None
    max_quantity: Annotated[Decimal | None, Meta(description="at most this quantity")] = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="trades per page")] = 100
    offset: Annotated[int, Meta(ge=0, le=10**9, description="trades to leave out first")] = 0
    cursor: Annotated[
        Annotated[str, Meta(pattern=r"\A[0-9]{1,18}\Z")] | None,
        Meta(description="`next_cursor` of the page before: stable while trades come in, where offset is not"),
    ] = None


class StatsQuery(Struct, frozen=True):
    """The query of `GET /api/trades/stats/summary`."""

    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    time_range: Annotated[TimeRange | None, Meta(description="how far back from now")] = None


class TradesRoutes:
    """The handlers."""

    def __init__(
        self, trades: TradeSource, event_clock: Clock, slices: asyncio.Lock, stored: Callable[[], Stamp]
    ) -> None:
        """`stored` returns the newest tick of which `trades` has everything."""
        self._trades = trades
        self._stored = stored
        self._clock = event_clock
        self._slices = slices

    def add_to(self, router: Router) -> None:
        tags = ("trades",)
        router.add(
            "GET",
            "/api/trades",
            self.trades,
            name="trades",
            description=RouteDescription(
                "Our trades, newest first",
                tags=tags,
                parameters=parameters_of(TradesQuery),
                statuses=(200, 400, 422, 503),
            ),
        )
        router.add(
            "GET",
            "/api/trades/stats/summary",
            self.stats,
            name="trade_stats",
            description=RouteDescription(
                "What trades add up to", tags=tags, parameters=parameters_of(StatsQuery), statuses=(200, 400, 422, 503)
            ),
        )
        router.add(
            "GET",
            "/api/trades/{trade_id}",
            self.trade,
            name="trade",
            description=RouteDescription(
                "One trade",
                tags=tags,
                parameters=(Parameter("trade_id", str, "the engine's or exchange's id", required=True, where="path"),),
                statuses=(200, 404, 409, 503),
            ),
        )

    async def trades(self, request: Request) -> Response:
        wanted = parse_query(request, TradesQuery)
        matching = TradeFilter(
            wanted.symbol,
            wanted.side,
            wanted.strategy,
            wanted.start_time,
            wanted.end_time,
            wanted.min_quantity,
            wanted.max_quantity,
        )
        stored = self._stored()
        before_seq = None if wanted.cursor is None else int(wanted.cursor)
        with _store_errors():
            page, total = await self._trades.query(matching, wanted.limit, wanted.offset, before_seq)
        return json_response(
            stored.to_json()
            | {
                "trades": await in_slices(_encoding(page), self._slices),
                "total": total,
                "limit": wanted.limit,
                "offset": wanted.offset,
                "next_cursor": str(page[-1].seq) if len(page) == wanted.limit else None,
            }
        )

    async def trade(self, request: Request, trade_id: str) -> Response:
        with _store_errors():
            found = await self._trades.find(trade_id)
        if not found:
            raise NotFound("no trade of that id")
        if len(found) > 1:
            # Exchanges number trades per symbol, so an id alone may be ambiguous.
            candidates = await in_slices(_encoding(found), self._slices)
            raise Refusal(409, "several trades have that id", candidates=candidates)
        return json_response(found[0].to_json())

    async def stats(self, request: Request) -> Response:
        wanted = parse_query(request, StatsQuery)
        stored = self._stored()
        start_ns = None if wanted.time_range is None else self._clock.time_ns() - TIME_RANGES[wanted.time_range][0]
        with _store_errors():
            stats = await self._trades.stats(
                TradeFilter(symbol=wanted.symbol, strategy=wanted.strategy, start_ns=start_ns)
            )
        return json_response(stored.to_json() | stats.to_json())


def _encoding(trades: Sequence[Trade]) -> Steps[orjson.Fragment]:
    """Encodes a list of trades in steps: a page of a thousand takes longer than a tick may wait."""
    parts = []
    for at in range(0, len(trades), TRADES_PER_STEP):
        parts.append(encode_json([trade.to_json() for trade in trades[at : at + TRADES_PER_STEP]])[1:-1])
        yield
    return orjson.Fragment(b"[" + b",".join(parts) + b"]")


@contextmanager
def _store_errors() -> Iterator[None]:
    """Answers 503 if the store cannot be read."""
    try:
        yield
    except StoreError:
        raise Unavailable("the store cannot be read now; GET /api/system/health says why") from None
