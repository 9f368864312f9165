"""`POST /api/metrics/history`: past values at any interval, from the rings in memory, and from the store for the time
before them."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from observability.clocks.clock import Clock
from observability.clocks.slices import Slice
from observability.clocks.timestamps import format_iso_ms
from observability.history.aggregates import COUNT, FIRST, LAST, MAX, MIN, NAN, SUM, Block, Column
from observability.history.archive import StoredMinutes
from observability.history.history import HistoryReader
from observability.history.query import COARSEST, Plan, Stretch, make_plan, read_points, spacing_ns, stored_until_ns
from observability.history.series import Series
from observability.http11.messages import Request, Response
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.market.bar_table import BARS, Bar
from observability.metrics.strategy.account import CURVES
from observability.metrics.trades.booking_queries import BookingSource
from observability.rest.bookings import LaterCorrections
from observability.rest.curves import Curve, encode_columns, encode_rows, table_columns, table_pages
from observability.rest.exports import EXPORT_TYPES, Exports
from observability.rest.history_request import FINEST_NS, HistoryQuestion, HistoryRequest, interval_name
from observability.rest.paging import store_errors
from observability.routing.parameters import parse_body
from observability.routing.router import Content, RouteDescription, Router, StreamedResponse

# The limit on columns, over all series: 5 minutes of ticks of 64 symbols with 4 fields.
MAX_COLUMN_NUMBERS: Final = 800_000
# The factor by which the time span that is read grows if it holds too few points.
WIDENING: Final = 4

_TRUNCATED: Final = (b"Export-Truncated", b"true")
# The sections whose figures come of fills.
_OF_FILLS: Final = frozenset(("strategy", CURVES, "execution"))

# The stored numbers that each aggregate is computed from.
_NUMBERS: Final[dict[str, tuple[int, ...]]] = {
    "first": (FIRST,), "min": (MIN,), "max": (MAX,), "last": (LAST,), "mean": (SUM, COUNT), "count": (COUNT,)
}  # fmt: skip


class HistoryRoutes:
    """The handler."""

    def __init__(
        self,
        history: HistoryReader,
        event_clock: Clock,
        tick_ns: int = FINEST_NS,
        minutes: StoredMinutes | None = None,
        bars: BarHistory | None = None,
        slices: asyncio.Lock | None = None,
        exports: Exports | None = None,
        bookings: BookingSource | None = None,
    ) -> None:
        """`slices` is shared by everything that works in slices, `exports` by all routes that make files."""
        self._history = history
        self._clock = event_clock
        self._tick_ns = tick_ns
        self._minutes = minutes
        self._bars = bars
        self._slices = asyncio.Lock() if slices is None else slices
        self._bookings = bookings
        self._exports = Exports(event_clock, self._slices) if exports is None else exports

    def add_to(self, router: Router) -> None:
        router.add(
            "POST",
            "/api/metrics/history",
            self.history,
            name="metrics_history",
            role="read",
            content=Content(),
            description=RouteDescription(
                "Past values at an interval, as rows, columns or a file",
                tags=("metrics",),
                request_type=HistoryRequest,
                statuses=(200, 400, 415, 422, 501, 503),
                media_types=("application/json", *EXPORT_TYPES),
            ),
        )

    def history(self, request: Request) -> Awaitable[Response | StreamedResponse]:
        body = parse_body(request, HistoryRequest)
        return self._answer(request, HistoryQuestion.of(body, self._clock.time_ns(), self._tick_ns))

    async def _answer(self, request: Request, question: HistoryQuestion) -> Response | StreamedResponse:
        try:
            with store_errors():
                return await self._read_and_encode(request, question)
        finally:
            self._history.count_lost()

    async def _read_and_encode(self, http: Request, question: HistoryQuestion) -> Response | StreamedResponse:
        request = question.request
        series = sorted(filter(question.wants, self._history.series()), key=lambda one: (one.section, one.key))
        symbols = self._bar_symbols(question)
        count = len(series) + len(symbols)
        if request.format == "columns":
            limit = max(1, min(request.limit, MAX_COLUMN_NUMBERS // max(1, question.width(series, len(symbols)))))
            span_ns = question.interval_ns * (limit + 2)
        else:
            limit = request.limit
            # A quarter more, because a series may lack some points.
            span_ns = question.interval_ns * (limit * 5 // (4 * max(1, count)) + 2)
        work = Slice(self._slices)
        # The newest points are read first, and older ones only if those are too few: most of a month is never needed.
        while True:
            start_ns = max(question.start_ns, question.end_ns - span_ns)
            curves, plan = await self._read(question, series, symbols, start_ns, work)
            sizes = [len(curve.times) for curve in curves]
            if start_ns == question.start_ns or (
                min(sizes, default=0) > limit if request.format == "columns" else sum(sizes) > limit
            ):
                break
            span_ns *= WIDENING
        later = LaterCorrections([], 0)
        if self._bookings is not None and any(one.section in _OF_FILLS for one in series):
            later = await LaterCorrections.find(self._bookings, question.start_ns, question.end_ns)
        if request.format != "rows" and request.format != "columns":
            columns = table_columns(curves)
            pages = table_pages(curves, columns, limit, Slice(self._slices))
            answer = await self._exports.answer(http, "history", request.format, columns, pages)
            if isinstance(answer, StreamedResponse):
                fields = (*answer.head.headers, later.header, *([_TRUNCATED] if sum(sizes) > limit else ()))
                answer = replace(answer, head=replace(answer.head, headers=fields))
            return answer
        async with work:
            if request.format == "columns":
                truncated = max(sizes, default=0) > limit
                for curve in curves:
                    curve.keep_newest(limit)
                count = sum(len(curve.times) for curve in curves)
                pieces = await encode_columns([curve for curve in curves if curve.times], work)
            else:
                truncated = sum(sizes) > limit
                count = min(sum(sizes), limit)
                pieces = await encode_rows(curves, limit, work)
        head = {
            "start_time": format_iso_ms(question.start_ns),
            "end_time": format_iso_ms(question.end_ns),
            "interval": question.interval,
            "tiers": [_stretch_to_json(stretch) for stretch in plan.stretches(question.start_ns, question.end_ns)],
            "count": count,
            "truncated": truncated,
            **later.to_json(),
        }
        return Response(body=b"".join((orjson.dumps(head)[:-1], b',"data":', *pieces, b"}")))

    async def _read(
        self, question: HistoryQuestion, series: Sequence[Series], symbols: Iterable[str], start_ns: int, work: Slice
    ) -> tuple[list[Curve], Plan]:
        """Returns the curves of `series` and of the bars of `symbols` from `start_ns` on."""
        aggregates, interval_ns, end_ns = question.request.aggregates, question.interval_ns, question.end_ns
        plan = make_plan([one.view() for one in series], interval_ns)
        curves = []
        for one in series:
            columns = _columns(question.fields(one), aggregates)
            block = await self._read_series(one, columns, start_ns, end_ns, plan, work)
            async with work:
                curves.append(_curve(one, columns, block, aggregates))
                await work.offer()
        for symbol in symbols:
            assert self._bars is not None
            bars = await self._bars.read(symbol, start_ns, end_ns, interval_ns)
            async with work:
                values = {name: _bar_column(name, bars) for name in question.bar_fields}
                curves.append(Curve(BARS, symbol, array("q", [bar.ts_ns for bar in bars]), values, {}))
                await work.offer()
        return curves, plan

    async def _read_series(
        self, series: Series, columns: Sequence[Column], start_ns: int, end_ns: int, plan: Plan, work: Slice
    ) -> Block:
        """Returns the points of one series, from the store for the time before the rings."""
        spacing = spacing_ns(plan.interval_ns, COARSEST)
        stored: Block | None = None
        reached_ns = start_ns - start_ns % spacing
        while True:
            async with work:
                view = series.view()
                # Minutes that have left the ring while the store was read are in the store by now.
                stop_ns = 0 if self._minutes is None else stored_until_ns(view, start_ns, end_ns, plan)
                if self._minutes is None or reached_ns >= stop_ns:
                    return read_points(view, columns, start_ns, end_ns, plan, stored)
            stored = stored or Block.empty(len(columns))
            stored.extend(await self._minutes.read(series, columns, reached_ns, stop_ns, spacing))
            reached_ns = stop_ns

    def _bar_symbols(self, question: HistoryQuestion) -> Sequence[str]:
        if self._bars is None or not question.has_bars:
            return ()
        wanted = question.request.symbols
        return sorted(set(self._bars.symbols if wanted is None else wanted))


def _stretch_to_json(stretch: Stretch) -> dict[str, str]:
    return {
        "start": format_iso_ms(stretch.start_ns),
        "end": format_iso_ms(stretch.end_ns),
        "interval": interval_name(stretch.interval_ns),
    }


def _columns(fields: Sequence[int], aggregates: Sequence[str] | None) -> list[Column]:
    """Returns the columns that must be read for these fields, each once."""
    numbers = {number for name in aggregates or ("last",) for number in _NUMBERS[name]}
    return [Column(field, number) for field in fields for number in sorted(numbers)]


def _curve(series: Series, columns: Sequence[Column], block: Block, aggregates: Sequence[str] | None) -> Curve:
    curve = Curve(series.section, series.key, block.times, {}, {})
    read = dict(zip(columns, block.columns, strict=True))
    for field in dict.fromkeys(column.field for column in columns):
        name = series.fields[field]
        if aggregates is None:
            curve.values[name] = read[Column(field, LAST)]
        else:
            curve.aggregates[name] = {
                aggregate: _aggregate(aggregate, [read[Column(field, number)] for number in _NUMBERS[aggregate]])
                for aggregate in aggregates
            }
    return curve


def _aggregate(name: str, numbers: Sequence[array[float]]) -> array[Any]:
    if name == "mean":
        return array("d", [total / count if count else NAN for total, count in zip(*numbers, strict=True)])
    return array("q", map(int, numbers[0])) if name == "count" else numbers[0][:]


def _bar_column(name: str, bars: Sequence[Bar]) -> array[Any]:
    values = [getattr(bar, name) for bar in bars]
    return array("q", values) if name == "trades" else array("d", [NAN if x is None else x for x in values])
