"""The request of `POST /api/metrics/history`, as it is sent and with its defaults filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.events import MAX_SYMBOL_LENGTH
from observability.history.series import Series
from observability.http11.refusals import Unprocessable
from observability.metrics.market.bar_table import BARS
from observability.metrics.market.bar_table import FIELDS as BAR_FIELDS
from observability.metrics.strategy.account import CURVES
from observability.routing.parameters import TimeNs

TimeRange = Literal["1h", "24h", "7d", "30d"]

# How far back each range reaches, and an interval that divides it into a few hundred points.
TIME_RANGES: Final[dict[TimeRange, tuple[int, str]]] = {
    "1h": (NS_PER_HOUR, "10s"),
    "24h": (NS_PER_DAY, "5m"),
    "7d": (7 * NS_PER_DAY, "1h"),
    "30d": (30 * NS_PER_DAY, "1d"),
}
DEFAULT_RANGE: Final = "1h"
MAX_POINTS: Final = 10_000
# Accepted whatever the time between ticks is.
FINEST_NS: Final = 100 * NS_PER_MS

_UNITS_NS: Final = {"d": NS_PER_DAY, "h": NS_PER_HOUR, "m": NS_PER_MINUTE, "s": NS_PER_S, "ms": NS_PER_MS}
_INTERVAL: Final = re.compile(r"([0-9]+)(ms|[smhd])")

Names = Annotated[list[Annotated[str, Meta(max_length=MAX_SYMBOL_LENGTH)]], Meta(max_length=256)]


class HistoryRequest(Struct, frozen=True):
    """What `POST /api/metrics/history` takes."""

    time_range: Annotated[TimeRange | None, Meta(description="how far back from now; or start_time")] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted; now if absent")] = None
    metric_types: Annotated[
        list[Literal["market_data", "strategy", "strategies", "execution", "system", "bars"]] | None,
        Meta(description="sections, each strategy by itself, and the market's bars; all sections if absent"),
    ] = None
    strategies: Annotated[Names | None, Meta(description="strategies of `strategies`; all if absent")] = None
    symbols: Annotated[Names | None, Meta(description="symbols of market_data and bars; all if absent")] = None
    metrics: Annotated[Names | None, Meta(description="fields; all if absent")] = None
    interval: Annotated[
        Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}(ms|s|m|h|d)$")] | None,
        Meta(description="one point per interval: a multiple of the time between ticks, 1s or 1m; of bars, 1m"),
    ] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_POINTS, description="newest points kept, in columns of each series")] = (
        MAX_POINTS
    )
    format: Annotated[
        Literal["rows", "columns", "csv", "arrow", "parquet"],
        Meta(description="columns: arrays for plotting; csv, arrow, parquet: the rows as a file"),
    ] = "rows"
    aggregates: Annotated[
        Annotated[list[Literal["first", "min", "max", "last", "mean", "count"]], Meta(min_length=1, max_length=6)]
        | None,
        Meta(description="what of each interval, as an object per field; just the last value if absent"),
    ] = None


@dataclass(frozen=True, slots=True)
class HistoryQuestion:
    """A request with its period and interval resolved."""

    request: HistoryRequest
    start_ns: int
    end_ns: int
    interval: str
    interval_ns: int

    @classmethod
    def of(cls, request: HistoryRequest, now_ns: int, tick_ns: int) -> HistoryQuestion:
        """Returns the question that `request` asks at `now_ns`, where ticks are `tick_ns` apart. Raises
        Unprocessable."""
        start_ns, end_ns, interval = _period(request, now_ns)
        if request.interval is not None:
            interval = request.interval
        interval_ns = interval_of(interval)
        if BARS in (request.metric_types or ()) and interval_ns % NS_PER_MINUTE:
            if request.interval is not None:
                raise _bad_interval(f"{interval}: expected a multiple of the time of one bar, 1m")
            interval, interval_ns = "1m", NS_PER_MINUTE
        if interval_ns % tick_ns and interval_ns % NS_PER_S and interval_ns != FINEST_NS:
            ticks = interval_name(tick_ns)
            raise _bad_interval(f"{interval}: expected a multiple of the time between ticks, {ticks}, or of 1s")
        return cls(request, start_ns, end_ns, interval, interval_ns)

    @property
    def has_bars(self) -> bool:
        return BARS in (self.request.metric_types or ())

    @property
    def bar_fields(self) -> list[str]:
        """The names of the wanted fields of bars."""
        metrics = self.request.metrics
        return [name for name in BAR_FIELDS if metrics is None or name in metrics]

    def wants(self, series: Series) -> bool:
        request = self.request
        if request.metric_types is None:
            if series.section == CURVES:
                return False
        elif series.section not in request.metric_types:
            return False
        if series.section == CURVES and request.strategies is not None and series.key not in request.strategies:
            return False
        if request.metrics is not None and not set(series.fields).intersection(request.metrics):
            return False
        return request.symbols is None or series.section != "market_data" or series.key in request.symbols

    def fields(self, series: Series) -> list[int]:
        """Returns the positions of the wanted fields of a series."""
        metrics = self.request.metrics
        return [n for n, name in enumerate(series.fields) if metrics is None or name in metrics]

    def width(self, series: Iterable[Series], bars: int) -> int:
        """Returns how many numbers one point in time has, over all these series and the bars of `bars` symbols."""
        fields = sum(len(self.fields(one)) for one in series)
        return fields * len(self.request.aggregates or ("last",)) + bars * len(BAR_FIELDS)


def interval_of(name: str) -> int:
    """Returns the nanoseconds of an interval such as 15m."""
    match = _INTERVAL.fullmatch(name)
    assert match is not None, name
    return int(match[1]) * _UNITS_NS[match[2]]


def interval_name(interval_ns: int) -> str:
    """Returns an interval in the largest unit of which it is a multiple."""
    unit, unit_ns = next(((unit, ns) for unit, ns in _UNITS_NS.items() if interval_ns % ns == 0), ("ms", NS_PER_MS))
    return f"{interval_ns // unit_ns}{unit}"


def _period(request: HistoryRequest, now_ns: int) -> tuple[int, int, str]:
    """Returns start, end and an interval that suits them."""
    if request.time_range is not None and (request.start_time is not None or request.end_time is not None):
        raise Unprocessable([{"parameter": "time_range", "error": "give either a range or start_time and end_time"}])
    span_ns, interval = TIME_RANGES[request.time_range or DEFAULT_RANGE]
    # The end is exclusive, and the tick of this very moment is wanted.
    end_ns = now_ns + 1 if request.end_time is None else int(request.end_time)
    start_ns = max(0, end_ns - span_ns) if request.start_time is None else int(request.start_time)
    if start_ns >= end_ns:
        raise Unprocessable([{"parameter": "start_time", "error": "expected a time before end_time"}])
    if request.start_time is not None:
        interval = next((name for span, name in TIME_RANGES.values() if end_ns - start_ns <= span), "1d")
    return start_ns, end_ns, interval


def _bad_interval(fault: str) -> Unprocessable:
    return Unprocessable([{"parameter": "interval", "error": fault}])
