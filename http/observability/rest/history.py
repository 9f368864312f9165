"""`POST /api/metrics/history`: the past at any interval, from the rings, and from the store where they do not reach.

Nothing is merged here (see `observability.history.query`) and nothing encoded (see `curves.py`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from array import array
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson

from observability.clocks.clock import Clock
from observability.clocks.slices import Slice
from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_MS, NS_PER_S, format_iso_ms
from observability.errors import StoreError
from observability.history.aggregates import COUNT, FIRST, LAST, MAX, MIN, NAN, SUM, Block, Column
from observability.history.archive import StoredMinutes
from observability.history.history import HistoryReader
from observability.history.query import COARSEST, Plan, Stretch, make_plan, read_points, spacing_ns, stored_until_ns
from observability.history.series import Series
from observability.http11.messages import Request, Response
from observability.http11.refusals import Unavailable, Unprocessable
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.market.bar_table import BARS, Bar
from observability.rest.curves import Curve, encode_columns, encode_rows
from observability.routing.parameters import TimeNs, parse_body
from observability.routing.router import RouteDescription, Router

logger = logging.getLogger(__name__)

UNITS_NS: Final = {"d": NS_PER_DAY, "h": NS_PER_HOUR, "m": NS_PER_MINUTE, "s": NS_PER_S, "ms": NS_PER_MS}
# Answered whatever the time between ticks is.
FINEST_NS: Final = 100 * NS_PER_MS
# Per range: how far back, and an interval that makes a few hundred points of it.
RANGES: Final = {
    "1h": (NS_PER_HOUR, "10s"),
    "24h": (NS_PER_DAY, "5m"),
    "7d": (7 * NS_PER_DAY, "1h"),
    "30d": (30 * NS_PER_DAY, "1d"),
}
DEFAULT_RANGE: Final = "1h"
MAX_POINTS: Final = 10_000
# In columns, of all series together: 5 minutes of ticks of 64 symbols with 4 fields.
MAX_COLUMN_NUMBERS: Final = 800_000
# By how much more is looked at where the newest part of a range had too few points.
WIDENING: Final = 4

BAR_FIELDS: Final = Bar._fields[1:]
# What each aggregate is made of.
_NUMBERS: Final[dict[str, tuple[int, ...]]] = {
    "first": (FIRST,), "min": (MIN,), "max": (MAX,), "last": (LAST,), "mean": (SUM, COUNT), "count": (COUNT,)
}  # fmt: skip
_INTERVAL = re.compile(r"([0-9]+)(ms|[smhd])")

Names = Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=256)]


class HistoryRequest(msgspec.Struct, frozen=True):
    """What `POST /api/metrics/history` takes."""

    time_range: Annotated[
        Literal["1h", "24h", "7d", "30d"] | None, msgspec.Meta(description="how far back from now; or start_time")
    ] = None
    start_time: Annotated[TimeNs | None, msgspec.Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, msgspec.Meta(description="first moment no longer wanted; now if absent")] = None
    metric_types: Annotated[
        list[Literal["market_data", "strategy", "execution", "system", "bars"]] | None,
        msgspec.Meta(description="sections, and the market's bars; all sections if absent"),
    ] = None
    symbols: Annotated[Names | None, msgspec.Meta(description="symbols of market_data and bars; all if absent")] = None
    metrics: Annotated[Names | None, msgspec.Meta(description="fields; all if absent")] = None
    interval: Annotated[
        Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,5}(ms|s|m|h|d)$")] | None,
        msgspec.Meta(description="one point per interval: a multiple of the time between ticks, 1s or 1m; of bars, 1m"),
    ] = None
    limit: Annotated[
        int, msgspec.Meta(ge=1, le=MAX_POINTS, description="newest points kept, in columns of each series")
    ] = MAX_POINTS
    format: Annotated[Literal["rows", "columns"], msgspec.Meta(description="columns: arrays for plotting")] = "rows"
    aggregates: Annotated[
        Annotated[
            list[Literal["first", "min", "max", "last", "mean", "count"]], msgspec.Meta(min_length=1, max_length=6)
        ]
        | None,
        msgspec.Meta(description="what of each interval, as an object per field; just the last value if absent"),
    ] = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request with its defaults filled in."""

    wanted: HistoryRequest
    start_ns: int
    end_ns: int
    interval: str
    interval_ns: int

    @property
    def has_bars(self) -> bool:
        return BARS in (self.wanted.metric_types or ())

    def wants(self, series: Series) -> bool:
        wanted = self.wanted
        if wanted.metric_types is not None and series.section not in wanted.metric_types:
            return False
        if wanted.metrics is not None and not set(series.fields).intersection(wanted.metrics):
            return False
        return wanted.symbols is None or series.section != "market_data" or series.key in wanted.symbols

    def fields(self, series: Series) -> list[int]:
        """Returns which fields of a series are wanted."""
        metrics = self.wanted.metrics
        return [n for n, name in enumerate(series.fields) if metrics is None or name in metrics]

    def width(self, series: Iterable[Series], bars: int) -> int:
        """Returns how many numbers one moment of everything wanted has."""
        fields = sum(len(self.fields(one)) for one in series)
        return fields * len(self.wanted.aggregates or ("last",)) + bars * len(BAR_FIELDS)


class HistoryRoutes:
    """The handler, over the rings, the store's minutes and the market's bars."""

    def __init__(
        self,
        history: HistoryReader,
        event_clock: Clock,
        tick_ns: int = FINEST_NS,
        minutes: StoredMinutes | None = None,
        bars: BarHistory | None = None,
    ) -> None:
        self._history = history
        self._clock = event_clock
        self._tick_ns = tick_ns
        self._minutes = minutes
        self._bars = bars
        self._lock = asyncio.Lock()

    def add_to(self, router: Router) -> None:
        router.add(
            "POST",
            "/api/metrics/history",
            self.history,
            name="metrics_history",
            role="read",
            description=RouteDescription(
                "Past values at an interval, as rows or columns",
                tags=("metrics",),
                request_type=HistoryRequest,
                statuses=(200, 400, 415, 422, 503),
            ),
        )

    def history(self, request: Request) -> Awaitable[Response]:
        return self._settle(self._question(parse_body(request, HistoryRequest)))

    async def _settle(self, question: Question) -> Response:
        try:
            return await self._answer(question)
        except StoreError as error:
            logger.warning("history: %s", error)
            raise Unavailable("the store cannot be read now") from None
        finally:
            self._history.count_lost()

    def _question(self, wanted: HistoryRequest) -> Question:
        start_ns, end_ns, interval = _period(wanted, self._clock.time_ns())
        if wanted.interval is not None:
            interval = wanted.interval
        interval_ns = interval_of(interval)
        if BARS in (wanted.metric_types or ()) and interval_ns % NS_PER_MINUTE:
            if wanted.interval is not None:
                raise _bad_interval(f"{interval}: expected a multiple of the time of one bar, 1m")
            interval, interval_ns = "1m", NS_PER_MINUTE
        if interval_ns % self._tick_ns and interval_ns % NS_PER_S and interval_ns != FINEST_NS:
            ticks = interval_name(self._tick_ns)
            raise _bad_interval(f"{interval}: expected a multiple of the time between ticks, {ticks}, or of 1s")
        return Question(wanted, start_ns, end_ns, interval, interval_ns)

    async def _answer(self, question: Question) -> Response:
        wanted = question.wanted
        series = sorted(filter(question.wants, self._history.series()), key=lambda one: (one.section, one.key))
        symbols = self._bar_symbols(question)
        count = len(series) + len(symbols)
        if wanted.format == "columns":
            limit = max(1, min(wanted.limit, MAX_COLUMN_NUMBERS // max(1, question.width(series, len(symbols)))))
            span_ns = question.interval_ns * (limit + 2)
        else:
            limit = wanted.limit
            # A quarter more, for a series that has not all points.
            span_ns = question.interval_ns * (limit * 5 // (4 * max(1, count)) + 2)
        turn = Slice(self._lock)
        # The newest points are read first, and more only if there are too few: most of a month is not asked for.
        while True:
            start_ns = max(question.start_ns, question.end_ns - span_ns)
            curves, plan = await self._read(question, series, symbols, start_ns, turn)
            sizes = [len(curve.times) for curve in curves]
            if start_ns == question.start_ns or (
                min(sizes, default=0) > limit if wanted.format == "columns" else sum(sizes) > limit
            ):
                break
            span_ns *= WIDENING
        async with turn:
            if wanted.format == "columns":
                truncated = max(sizes, default=0) > limit
                for curve in curves:
                    curve.keep_newest(limit)
                count = sum(len(curve.times) for curve in curves)
                pieces = await encode_columns([curve for curve in curves if curve.times], turn)
            else:
                truncated = sum(sizes) > limit
                count = min(sum(sizes), limit)
                pieces = await encode_rows(curves, limit, turn)
        head = {
            "start_time": format_iso_ms(question.start_ns),
            "end_time": format_iso_ms(question.end_ns),
            "interval": question.interval,
            "tiers": [_stretch(stretch) for stretch in plan.stretches(question.start_ns, question.end_ns)],
            "count": count,
            "truncated": truncated,
        }
        return Response(body=b"".join((orjson.dumps(head)[:-1], b',"data":', *pieces, b"}")))

    async def _read(
        self, question: Question, series: Sequence[Series], symbols: Iterable[str], start_ns: int, turn: Slice
    ) -> tuple[list[Curve], Plan]:
        wanted, interval_ns, end_ns = question.wanted, question.interval_ns, question.end_ns
        plan = make_plan([one.view() for one in series], interval_ns)
        curves = []
        for one in series:
            columns = _columns(question.fields(one), wanted.aggregates)
            block = await self._read_series(one, columns, start_ns, end_ns, plan, turn)
            async with turn:
                curves.append(_curve(one, columns, block, wanted.aggregates))
                await turn.offer()
        for symbol in symbols:
            assert self._bars is not None
            bars = await self._bars.read(symbol, start_ns, end_ns, interval_ns)
            names = [name for name in BAR_FIELDS if wanted.metrics is None or name in wanted.metrics]
            async with turn:
                values = {name: _bar_column(name, bars) for name in names}
                curves.append(Curve(BARS, symbol, array("q", [bar.ts_ns for bar in bars]), values, {}))
                await turn.offer()
        return curves, plan

    async def _read_series(
        self, series: Series, columns: Sequence[Column], start_ns: int, end_ns: int, plan: Plan, turn: Slice
    ) -> Block:
        """Returns the points of one series, from the store as far as the rings do not reach."""
        spacing = spacing_ns(plan.interval_ns, COARSEST)
        stored: Block | None = None
        reached_ns = start_ns - start_ns % spacing
        while True:
            async with turn:
                view = series.view()
                # Minutes that have left the ring since the last look are in the store by now.
                stop_ns = 0 if self._minutes is None else stored_until_ns(view, start_ns, end_ns, plan)
                if self._minutes is None or reached_ns >= stop_ns:
                    return read_points(view, columns, start_ns, end_ns, plan, stored)
            stored = stored or Block.empty(len(columns))
            stored.extend(await self._minutes.read(series, columns, reached_ns, stop_ns, spacing))
            reached_ns = stop_ns

    def _bar_symbols(self, question: Question) -> Sequence[str]:
        if self._bars is None or not question.has_bars:
            return ()
        return sorted(set(self._bars.symbols if question.wanted.symbols is None else question.wanted.symbols))


def interval_of(name: str) -> int:
    """Returns the nanoseconds of an interval such as 15m."""
    match = _INTERVAL.fullmatch(name)
    assert match is not None, name
    return int(match[1]) * UNITS_NS[match[2]]


def interval_name(interval_ns: int) -> str:
    """Returns an interval in the largest unit that leaves no rest."""
    unit, unit_ns = next(((unit, ns) for unit, ns in UNITS_NS.items() if interval_ns % ns == 0), ("ms", NS_PER_MS))
    return f"{interval_ns // unit_ns}{unit}"


def _period(wanted: HistoryRequest, now_ns: int) -> tuple[int, int, str]:
    """Returns start, end and an interval that suits them."""
    if wanted.time_range is not None and (wanted.start_time is not None or wanted.end_time is not None):
        raise Unprocessable([{"parameter": "time_range", "error": "give either a range or start_time and end_time"}])
    span_ns, interval = RANGES[wanted.time_range or DEFAULT_RANGE]
    # The tick of this very moment is wanted too.
    end_ns = now_ns + 1 if wanted.end_time is None else int(wanted.end_time)
    start_ns = max(0, end_ns - span_ns) if wanted.start_time is None else int(wanted.start_time)
    if start_ns >= end_ns:
        raise Unprocessable([{"parameter": "start_time", "error": "expected a time before end_time"}])
    if wanted.start_time is not None:
        interval = next((name for span, name in RANGES.values() if end_ns - start_ns <= span), "1d")
    return start_ns, end_ns, interval


def _bad_interval(fault: str) -> Unprocessable:
    return Unprocessable([{"parameter": "interval", "error": fault}])


def _stretch(stretch: Stretch) -> dict[str, str]:
    return {
        "start": format_iso_ms(stretch.start_ns),
        "end": format_iso_ms(stretch.end_ns),
        "interval": interval_name(stretch.interval_ns),
    }


def _columns(fields: Sequence[int], aggregates: Sequence[str] | None) -> list[Column]:
    """Returns what is to be read for some fields, each column once."""
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
