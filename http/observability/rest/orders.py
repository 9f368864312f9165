"""`/api/orders`: our orders, from memory and, older ones, from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from observability.clocks.slices import in_slices
from observability.events import Name, OrderStatus
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Refusal
from observability.metrics.execution.order import OrderState
from observability.metrics.execution.orders.life import life_json
from observability.metrics.execution.orders.listing import (
    OrderFilter,
    average_price,
    commission,
    latency_ms,
    order_json,
    remaining,
    slippage_bps,
    status_of,
)
from observability.metrics.execution.orders.queries import Orders
from observability.rest.exports import EXPORT_TYPES, Column, Exports, at_scale
from observability.rest.paging import DEFAULT_LIMIT, Cursor, Limit, ListFormat, encoding, plain, store_errors, until_ns
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import Parameter, RouteDescription, Router, StreamedResponse
from observability.snapshot.frames import Stamp


class OrdersQuery(Struct, frozen=True):
    """The query of `GET /api/orders`."""

    open: Annotated[bool | None, Meta(description="only orders that are open, or only those that are not")] = None
    status: Annotated[OrderStatus | None, Meta(description="only this status")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    venue: Annotated[Name | None, Meta(description="only this venue")] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted, of the order's first report")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted")] = None
    time: Annotated[TimeNs | None, Meta(description="orders as they were at this time")] = None
    limit: Annotated[Limit | None, Meta(description="orders per page, 100 if absent")] = None
    cursor: Annotated[
        Cursor | None, Meta(description="`next_cursor` of the page before: stable while orders come in")
    ] = None
    format: Annotated[
        ListFormat, Meta(description="of all other than json: every matching order, or as many as `limit`")
    ] = "json"


class OrderQuery(Struct, frozen=True):
    """The query of `GET /api/orders/{order_id}`."""

    symbol: Annotated[Name | None, Meta(description="the order in this symbol, if several have that id")] = None
    time: Annotated[TimeNs | None, Meta(description="the order as it was at this time")] = None


_COLUMNS: Final = (
    Column("order_id", "text"),
    Column("client_order_id", "text"),
    Column("symbol", "text"),
    Column("side", "text"),
    Column("strategy", "text"),
    Column("venue", "text"),
    Column("status", "text"),
    Column("open", "integer"),
    Column("order_type", "text"),
    Column("quantity", "decimal"),
    Column("price", "decimal"),
    Column("filled_quantity", "decimal"),
    Column("remaining_quantity", "decimal"),
    Column("average_price", "decimal"),
    Column("commission", "decimal"),
    Column("currency", "text"),
    Column("arrival_price", "decimal"),
    Column("slippage_bps", "number"),
    Column("reason", "text"),
    Column("replaces", "text"),
    Column("replaced_by", "text"),
    Column("latency_ms", "number"),
    Column("n_reports", "integer"),
    Column("n_fills", "integer"),
    Column("created", "time"),
    Column("updated", "time"),
)
"""The columns of an export."""


def _row(order: OrderState) -> tuple[Any, ...]:
    return (
        order.order_id,
        order.client_order_id,
        order.symbol,
        order.side,
        order.strategy,
        order.venue,
        status_of(order),
        int(order.is_open),
        order.order_type,
        order.quantity,
        order.price,
        order.filled,
        remaining(order),
        at_scale(average_price(order)),
        commission(order),
        order.currency or None,
        order.arrival_price,
        slippage_bps(order),
        order.reason,
        order.replaces,
        order.successor,
        latency_ms(order),
        order.n_reports,
        order.n_fills,
        order.created_ns,
        order.updated_ns,
    )


class OrdersRoutes:
    """The handlers."""

    def __init__(self, orders: Orders, slices: asyncio.Lock, stored: Callable[[], Stamp], exports: Exports) -> None:
        """`stored` returns the newest tick whose fills and reports are on disk. `exports` is shared by all routes that
        make files."""
        self._orders = orders
        self._stored = stored
        self._slices = slices
        self._exports = exports

    def add_to(self, router: Router) -> None:
        router.add(
            "GET",
            "/api/orders",
            self.orders,
            name="orders",
            description=RouteDescription(
                "Our orders, newest first",
                tags=("orders",),
                parameters=parameters_of(OrdersQuery),
                statuses=(200, 400, 422, 501, 503),
                media_types=("application/json", *EXPORT_TYPES),
            ),
        )
        router.add(
            "GET",
            "/api/orders/{order_id}",
            self.order,
            name="order",
            description=RouteDescription(
                "The whole life of one order: its reports, its fills, and what it cost",
                tags=("orders",),
                parameters=(
                    Parameter("order_id", str, "the engine's or exchange's id", required=True, where="path"),
                    *parameters_of(OrderQuery),
                ),
                statuses=(200, 400, 404, 409, 422, 503),
            ),
        )

    async def orders(self, request: Request) -> Response | StreamedResponse:
        wanted = parse_query(request, OrdersQuery)
        matching = OrderFilter(
            wanted.open,
            wanted.status,
            wanted.strategy,
            wanted.symbol,
            wanted.venue,
            plain(wanted.start_time),
            plain(wanted.end_time),
        )
        stored = self._stored()
        before_seq = plain(wanted.cursor)
        if wanted.format != "json":
            rows = self._rows(matching, wanted.limit, before_seq, until_ns(wanted.time))
            return await self._exports.answer(request, "orders", wanted.format, _COLUMNS, rows)
        limit = wanted.limit or DEFAULT_LIMIT
        with store_errors():
            page = await self._orders.query(matching, limit, before_seq, until_ns(wanted.time))
        return json_response(
            stored.to_json()
            | {
                "orders": await in_slices(encoding(page.orders, order_json), self._slices),
                "limit": limit,
                "next_cursor": None if page.next_seq is None else str(page.next_seq),
            }
        )

    async def _rows(
        self, matching: OrderFilter, limit: int | None, before_seq: int | None, until_ns: int | None
    ) -> AsyncGenerator[list[tuple[Any, ...]], None]:
        """Yields pages of the rows of an export."""
        left = limit
        with store_errors():
            async for page in self._orders.pages(matching, before_seq, until_ns):
                rows = [_row(order) for order in page[:left]]
                yield rows
                if left is not None:
                    left -= len(rows)
                    if left <= 0:
                        return

    async def order(self, request: Request, order_id: str) -> Response:
        wanted = parse_query(request, OrderQuery)
        with store_errors():
            found = await self._orders.find(order_id, until_ns(wanted.time))
        if wanted.symbol is not None:
            found = [life for life in found if life.order.symbol == wanted.symbol]
        if not found:
            raise NotFound("no order of that id")
        if len(found) > 1:
            # Exchanges number orders per symbol, so an id alone may be ambiguous.
            candidates = await in_slices(encoding([life.order for life in found], order_json), self._slices)
            raise Refusal(409, "several orders have that id; `symbol` selects one", candidates=candidates)
        with store_errors():
            await self._orders.follow(found[0], until_ns(wanted.time))
        return json_response(life_json(found[0]))
