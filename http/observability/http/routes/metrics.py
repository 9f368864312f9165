"""`/api/metrics`: the snapshot, what is derived from it, and its history.

Nothing is computed here: documents come encoded from the hub, history from its rings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal

import msgspec

from observability.core.clock import Clock
from observability.core.history import Point, read_points
from observability.core.rings import History, Series
from observability.core.timestamps import NS_PER_MS, NS_PER_S, format_iso_ms
from observability.http.messages import Request, Response, json_response
from observability.http.parameters import TimeNs, parse_body
from observability.http.published import Published
from observability.http.refusals import Unprocessable
from observability.http.router import Router

MINUTE_NS: Final = 60 * NS_PER_S
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS

INTERVALS_NS: Final = {
    "100ms": 100 * NS_PER_MS,
    "1s": NS_PER_S,
    "10s": 10 * NS_PER_S,
    "1m": MINUTE_NS,
    "5m": 5 * MINUTE_NS,
    "15m": 15 * MINUTE_NS,
    "1h": HOUR_NS,
    "1d": DAY_NS,
}
# Per range: how far back, and an interval that makes a few hundred points of it.
RANGES: Final = {"1h": (HOUR_NS, "10s"), "24h": (DAY_NS, "5m"), "7d": (7 * DAY_NS, "1h"), "30d": (30 * DAY_NS, "1d")}
DEFAULT_RANGE: Final = "1h"
MAX_POINTS: Final = 10_000

Names = Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=256)]


class HistoryRequest(msgspec.Struct, frozen=True):
    """What `POST /api/metrics/history` takes."""

    time_range: Annotated[
        Literal["1h", "24h", "7d", "30d"] | None, msgspec.Meta(description="how far back from now; or start_time")
    ] = None
    start_time: Annotated[TimeNs | None, msgspec.Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, msgspec.Meta(description="first moment no longer wanted; now if absent")] = None
    metric_types: Annotated[
        list[Literal["market_data", "strategy", "execution", "system"]] | None,
        msgspec.Meta(description="sections; all if absent"),
    ] = None
    symbols: Annotated[Names | None, msgspec.Meta(description="symbols of market_data; all if absent")] = None
    metrics: Annotated[Names | None, msgspec.Meta(description="fields; all if absent")] = None
    interval: Annotated[
        Literal["100ms", "1s", "10s", "1m", "5m", "15m", "1h", "1d"] | None,
        msgspec.Meta(description="one point per interval: the last value in it"),
    ] = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_POINTS, description="newest points kept")] = MAX_POINTS
    format: Annotated[Literal["rows", "columns"], msgspec.Meta(description="columns: arrays for plotting")] = "rows"


class MetricsRoutes:
    """The handlers, over the published documents and the history."""

    def __init__(self, published: Published, history: History, event_clock: Clock) -> None:
        self._history = history
        self._clock = event_clock
        self._published = published

    def add_to(self, router: Router) -> None:
        tags = ("metrics",)
        router.add(
            "GET",
            "/api/metrics/current",
            self._published.snapshot,
            name="current_metrics",
            summary="The current snapshot: the bytes of the last tick",
            tags=tags,
            statuses=(200, 304),
        )
        router.add(
            "GET",
            "/api/metrics/symbols",
            self._published.handler("symbols"),
            name="symbols",
            summary="Tracked symbols",
            tags=tags,
            statuses=(200, 304),
        )
        router.add(
            "GET",
            "/api/metrics/summary",
            self._published.handler("summary"),
            name="summary",
            summary="The headline numbers",
            tags=tags,
            statuses=(200, 304),
        )
        router.add(
            "POST",
            "/api/metrics/history",
            self.history,
            name="metrics_history",
            summary="Past values at an interval, as rows or columns",
            tags=tags,
            request_type=HistoryRequest,
            role="read",
            statuses=(200, 400, 415, 422),
        )

    def history(self, request: Request) -> Response:
        wanted = parse_body(request, HistoryRequest)
        start_ns, end_ns, interval = _period(wanted, self._clock.time_ns())
        wanted_series = [series for series in self._history.series() if _is_wanted(series, wanted)]
        points = [
            (series, list(read_points(series, start_ns, end_ns, INTERVALS_NS[interval]))[-wanted.limit :])
            for series in wanted_series
        ]
        if wanted.format == "columns":
            data = [_columns(series, found, wanted.metrics) for series, found in points if found]
            count = sum(len(found) for _, found in points)
        else:
            data = sorted(_rows(points, wanted.metrics), key=lambda row: str(row["timestamp"]))[-wanted.limit :]
            count = len(data)
        return json_response(
            {
                "start_time": format_iso_ms(start_ns),
                "end_time": format_iso_ms(end_ns),
                "interval": interval,
                "data": data,
                "count": count,
            }
        )


def _period(wanted: HistoryRequest, now_ns: int) -> tuple[int, int, str]:
    """Returns start, end and the name of the interval."""
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
    return start_ns, end_ns, wanted.interval or interval


def _is_wanted(series: Series, wanted: HistoryRequest) -> bool:
    if wanted.metric_types is not None and series.section not in wanted.metric_types:
        return False
    if wanted.metrics is not None and not set(series.fields).intersection(wanted.metrics):
        return False
    return wanted.symbols is None or series.section != "market_data" or series.key in wanted.symbols


def _fields(series: Series, metrics: Iterable[str] | None) -> list[tuple[int, str]]:
    return [(i, name) for i, name in enumerate(series.fields) if metrics is None or name in metrics]


def _label(series: Series) -> dict[str, Any]:
    return {"type": series.section, "symbol": series.key} if series.key else {"type": series.section}


def _rows(points: Iterable[tuple[Series, list[Point]]], metrics: Iterable[str] | None) -> Iterator[dict[str, Any]]:
    for series, found in points:
        label = _label(series)
        fields = _fields(series, metrics)
        for point in found:
            values = {name: _number(point.last(i)) for i, name in fields}
            yield {"timestamp": format_iso_ms(point.ts_ns), **label, **values}


def _columns(series: Series, found: list[Point], metrics: Iterable[str] | None) -> dict[str, Any]:
    values = {name: [_number(point.last(i)) for point in found] for i, name in _fields(series, metrics)}
    return {**_label(series), "timestamp": [format_iso_ms(point.ts_ns) for point in found], **values}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
