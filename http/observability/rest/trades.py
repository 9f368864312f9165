"""`/api/trades`: our trades and their statistics, from the store or from memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from observability.clocks.clock import Clock
from observability.clocks.slices import in_slices
from observability.events import Name
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Refusal
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.trades.position_side import held_side
from observability.metrics.trades.queries import TradeSource
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.rest.exports import EXPORT_TYPES, Column, Exports, at_scale
from observability.rest.history_request import TIME_RANGES, TimeRange
from observability.rest.paging import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    ListFormat,
    encoding,
    next_cursor,
    plain,
    store_errors,
)
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import Parameter, RouteDescription, Router, StreamedResponse
from observability.snapshot.frames import Stamp


class TradesQuery(Struct, frozen=True):
    """The query of `GET /api/trades`."""

    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    side: Annotated[Literal["buy", "sell"] | None, Meta(description="only this side")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    position_side: Annotated[
        Literal["long", "short", "both"] | None, Meta(description="only this side, `both` for one-way positions")
    ] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted")] = None
    min_quantity: Annotated[Decimal | None, Meta(description="at least this quantity")] = None
    max_quantity: Annotated[Decimal | None, Meta(description="at most this quantity")] = None
    limit: Annotated[Limit | None, Meta(description="trades per page, 100 if absent")] = None
    offset: Annotated[int, Meta(ge=0, le=10**9, description="trades to leave out first")] = 0
    cursor: Annotated[
        Cursor | None,
        Meta(description="`next_cursor` of the page before: stable while trades come in, where offset is not"),
    ] = None
    format: Annotated[
        ListFormat, Meta(description="of all other than json: every matching trade, or as many as `limit`")
    ] = "json"


class StatsQuery(Struct, frozen=True):
    """The query of `GET /api/trades/stats/summary`."""

    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    time_range: Annotated[TimeRange | None, Meta(description="how far back from now")] = None


_COLUMNS: Final = (
    Column("trade_id", "text"),
    Column("order_id", "text"),
    Column("symbol", "text"),
    Column("side", "text"),
    Column("quantity", "decimal"),
    Column("price", "decimal"),
    Column("timestamp", "time"),
    Column("strategy", "text"),
    Column("venue", "text"),
    Column("commission", "decimal"),
    Column("commission_asset", "text"),
    Column("latency_ms", "number"),
    Column("slippage_bps", "number"),
    Column("pnl", "decimal"),
    Column("gross_pnl", "decimal"),
    Column("pnl_currency", "text"),
    Column("round_trip", "integer"),
    Column("liquidity", "text"),
    Column("position_side", "text"),
    Column("reason", "text"),
    Column("status", "text"),
    Column("corrected_by", "integer"),
)
"""The columns of an export: the members of a trade."""


def _row(trade: Trade) -> tuple[Any, ...]:
    corrected = trade.corrected
    return (
        trade.shown_id,
        trade.order_id,
        trade.symbol,
        trade.side,
        trade.quantity,
        trade.price,
        trade.ts_ns,
        trade.strategy,
        trade.venue,
        trade.commission,
        trade.commission_asset or trade.currency or None,
        trade.latency_ms,
        trade.slippage_bps,
        at_scale(trade.pnl),
        at_scale(trade.gross_pnl),
        trade.currency or None,
        trade.round_trip,
        trade.liquidity,
        trade.position_side,
        trade.reason,
        None if corrected is None else corrected.status,
        None if corrected is None else corrected.newest_seq,
    )


RatesNow = Callable[[], Awaitable[Rates]]


class TradesRoutes:
    """The handlers."""

    def __init__(
        self,
        trades: TradeSource,
        event_clock: Clock,
        slices: asyncio.Lock,
        stored: Callable[[], Stamp],
        rates: RatesNow,
        exports: Exports,
    ) -> None:
        """`stored` returns the newest tick of which `trades` has everything, `rates` the rates of now. `exports` is
        shared by all routes that make files."""
        self._rates = rates
        self._trades = trades
        self._stored = stored
        self._clock = event_clock
        self._slices = slices
        self._exports = exports

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
                statuses=(200, 400, 422, 501, 503),
                media_types=("application/json", *EXPORT_TYPES),
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

    async def trades(self, request: Request) -> Response | StreamedResponse:
        wanted = parse_query(request, TradesQuery)
        matching = TradeFilter(
            wanted.symbol,
            wanted.side,
            wanted.strategy,
            plain(wanted.start_time),
            plain(wanted.end_time),
            wanted.min_quantity,
            wanted.max_quantity,
            None if wanted.position_side is None else held_side(wanted.position_side),
        )
        stored = self._stored()
        before_seq = plain(wanted.cursor)
        if wanted.format != "json":
            rows = self._rows(matching, wanted.limit, wanted.offset, before_seq)
            return await self._exports.answer(request, "trades", wanted.format, _COLUMNS, rows)
        limit = wanted.limit or DEFAULT_LIMIT
        with store_errors():
            page, total = await self._trades.query(matching, limit, wanted.offset, before_seq)
        return json_response(
            stored.to_json()
            | {
                "trades": await in_slices(encoding(page, Trade.to_json), self._slices),
                "total": total,
                "limit": limit,
                "offset": wanted.offset,
                "next_cursor": next_cursor(page, limit),
            }
        )

    async def _rows(
        self, matching: TradeFilter, limit: int | None, offset: int, before_seq: int | None
    ) -> AsyncGenerator[list[tuple[Any, ...]], None]:
        """Yields pages of the rows of an export."""
        with store_errors():
            if limit is not None:
                page, _ = await self._trades.query(matching, limit, offset, before_seq)
                yield [_row(trade) for trade in page]
                return
            async for page in self._trades.pages(matching, before_seq):
                skipped = min(offset, len(page))
                offset -= skipped
                yield [_row(trade) for trade in page[skipped:]]

    async def trade(self, request: Request, trade_id: str) -> Response:
        with store_errors():
            found = await self._trades.find(trade_id)
        if not found:
            raise NotFound("no trade of that id")
        if len(found) > 1:
            # Exchanges number trades per symbol, so an id alone may be ambiguous.
            candidates = await in_slices(encoding(found, Trade.to_json), self._slices)
            raise Refusal(409, "several trades have that id", candidates=candidates)
        return json_response(found[0].to_json())

    async def stats(self, request: Request) -> Response:
        wanted = parse_query(request, StatsQuery)
        stored = self._stored()
        start_ns = None if wanted.time_range is None else self._clock.time_ns() - TIME_RANGES[wanted.time_range][0]
        with store_errors():
            stats = await self._trades.stats(
                TradeFilter(symbol=wanted.symbol, strategy=wanted.strategy, start_ns=start_ns)
            )
        return json_response(stored.to_json() | stats.to_json(await self._rates()))
