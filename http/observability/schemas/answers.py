"""The answer of every operation of the REST API that answers with JSON, by the operation's id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from observability.schemas.builders import (
    Schema,
    anything,
    array,
    constant,
    count,
    flag,
    mapping,
    moment,
    nullable,
    number,
    one_of,
    record,
    text,
    word,
)
from observability.schemas.execution import QUALITY
from observability.schemas.messages import FAULTS, INGEST_ANSWER, SNAPSHOT
from observability.schemas.past import AROUND, MARKS, RECORDED_DOCUMENT, RECORDINGS
from observability.schemas.sites import MISSING_SITES
from observability.schemas.strategy import (
    BOOKING_BREAK,
    BREAK,
    EXACT_POSITION,
    FILL_BREAK,
    INSTRUMENT,
    KNOWN_RATE,
    ORDER_BREAK,
    PERFORMANCE,
)
from observability.schemas.system import (
    ALERT,
    ALERT_FIELDS,
    COMPONENTS,
    HEALTH,
    LOG_LINE,
    NOTICE,
    OCCURRENCE,
    ROUTE,
    RULE,
    SILENCE,
    SOURCES,
    STATS,
    SUMMARY,
)
from observability.schemas.system import PERFORMANCE as SERVER_PERFORMANCE
from observability.schemas.trades import BOOKING, ORDER, ORDER_LIFE, TRADE, TRADE_STATS

_STAMP: Final[dict[str, Schema]] = {
    "timestamp": moment("The time of the tick that the document describes."),
    "seq": count("The number of that tick.", 1250),
}
_CURSOR: Final = text("Asks for the next page; null on the last one.", "1761057000123456789", null=True)
_LIMIT: Final = count("The page's size.", 100)


def _document(title: str, meaning: str, fields: dict[str, Schema], optional: Iterable[str] = ()) -> Schema:
    return record(title, meaning, {**_STAMP, **fields}, optional)


_VALUE: Final = one_of(
    (
        number("The last value of the interval; null if it was not known.", 585.26, "as the snapshot", null=True),
        mapping(number("An aggregate.", 585.26, "as the snapshot", null=True), "With `aggregates`: each one.", "mean"),
    )
)
_SERIES_KEYS: Final[dict[str, Schema]] = {
    "type": word(
        "The series.", ("market_data", "strategy", "strategies", "execution", "system", "bars")
    ),
    "symbol": text("Its symbol.", "AAPL"),
    "strategy": text("Its strategy.", "mean_reversion"),
}  # fmt: skip
_SHOWN_AT: Final = "2026-01-05T10:31:07.123456789Z"
CORRECTION: Final = record(
    "LaterCorrection",
    "A bust or correction of a fill whose fault is in figures of this time.",
    {
        "seq": count("Its number.", 17),
        "kind": word("Its kind.", ("bust", "correct")),
        "trade_id": text("The fill, by the id that it named.", "x1"),
        "trade": count("`seq` of the trade.", 16),
        "strategy": text("Its strategy.", "mean_reversion"),
        "symbol": text("Its symbol.", "AAPL"),
        "timestamp": moment("Its own time."),
        "shown_since": text("When the fill came.", _SHOWN_AT),
        "shown_until": text("When it was applied.", _SHOWN_AT),
    },
)
_HISTORY_ROW: Final = record(
    "HistoryRow",
    "One point of one series, with its fields.",
    {"timestamp": moment("The start of the interval."), **_SERIES_KEYS},
    optional=("symbol", "strategy"),
) | {"additionalProperties": _VALUE, "x-key": "mid"}
_HISTORY_COLUMNS: Final = record(
    "HistoryColumns",
    "One series, with an array for each field.",
    {"timestamp": array(moment("A point."), "The start of each interval."), **_SERIES_KEYS},
    optional=("symbol", "strategy"),
) | {"additionalProperties": one_of((array(_VALUE, "Values."), anything("Arrays by aggregate.", {}))), "x-key": "mid"}

_LOGS: Final = record(
    "Logs",
    "Log lines, newest first.",
    {"logs": array(LOG_LINE, "Each one."), "count": count("How many.", 1)},
)

ANSWERS: Final[dict[str, Schema]] = {
    "root": record(
        "Service",
        "What this is.",
        {
            "service": constant("observability", "The service."),
            "version": text("Its version.", "0.1.0"),
            "docs": text("Where this API is described.", "/docs"),
            "websocket": text("Where the stream is.", "/ws/metrics"),
            "endpoints": array(text("A path.", "/api/trades"), "Every path."),
        },
    ),
    "current_metrics": SNAPSHOT,
    "symbols": _document(
        "Symbols",
        "Tracked symbols.",
        {"symbols": array(text("A symbol.", "AAPL"), "Each one."), "count": count("How many.", 1)},
    ),
    "metrics_at": SNAPSHOT,
    "recordings": RECORDINGS,
    "recording_marks": MARKS,
    "recording_around": AROUND,
    "recorded_document": RECORDED_DOCUMENT,
    "recorded_logs": _LOGS,
    "alertmanager_webhook": record(
        "WebhookAnswer",
        "What became of the alerts; `accepted` alone if there were none.",
        FAULTS,
        optional=[name for name in FAULTS if name != "accepted"],
    ),
    "summary": _document(
        "Summary",
        "The headline numbers.",
        {**SUMMARY, "missing_sites": MISSING_SITES},
        optional=("missing_sites",),
    ),
    "metrics_history": record(
        "History",
        "Past values.",
        {
            "start_time": moment("The first moment wanted."),
            "end_time": moment("The first no longer wanted."),
            "interval": text("The time between points.", "10s"),
            "tiers": array(
                record(
                    "Stretch",
                    "A stretch of time in one resolution.",
                    {
                        "start": moment("Its start."),
                        "end": moment("Its end."),
                        "interval": text("Its resolution.", "10s"),
                    },
                ),
                "The resolution of each stretch of time.",
            ),
            "count": count("Points.", 360),
            "truncated": flag("Whether older points were left out."),
            "corrections": nullable(
                array(CORRECTION, "The newest 100 corrections of what was shown in this time."),
                "Null if the store cannot be read now.",
            ),
            "corrections_total": count("How many there are in all; null if that is not known.", 1, null=True),
            "data": array(one_of((_HISTORY_ROW, _HISTORY_COLUMNS)), "Rows, or with `format: columns` series."),
        },
    ),
    "trades": _document(
        "Trades",
        "Our trades, newest first.",
        {
            "trades": array(TRADE, "The page."),
            "total": count("All that match.", 25),
            "limit": _LIMIT,
            "offset": count("Trades left out first.", 0),
            "next_cursor": _CURSOR,
        },
    ),
    "trade": TRADE,
    "trade_stats": _document("TradeStats", "What trades add up to.", TRADE_STATS),
    "execution_quality": _document("ExecutionQuality", "How well orders were executed.", QUALITY),
    "bookings": _document(
        "Bookings",
        "What has changed the book and is no fill, newest first.",
        {
            "bookings": array(BOOKING, "The page."),
            "total": count("All that match.", 3),
            "limit": _LIMIT,
            "next_cursor": _CURSOR,
        },
    ),
    "orders": _document(
        "Orders",
        "Our orders, newest first.",
        {"orders": array(ORDER, "The page."), "limit": _LIMIT, "next_cursor": _CURSOR},
    ),
    "order": ORDER_LIFE,
    "positions": _document(
        "Positions",
        "Open positions, with exact figures.",
        {"positions": array(EXACT_POSITION, "Each one."), "missing_sites": MISSING_SITES},
        optional=("missing_sites",),
    ),
    "strategy_performance": _document(
        "Performance",
        "Ratios, outcomes, holding time and drawdown.",
        {
            "annualization": count("Days of a year.", 365),
            "risk_free_rate": number("Per year.", 0.0),
            "session": record(
                "Session",
                "The trading session.",
                {
                    "timezone": text("Its time zone.", "UTC"),
                    "start": text("When it begins.", "00:00"),
                    "ends": moment("When this one ends; null before its first event.", null=True),
                },
            ),
            "account": PERFORMANCE,
            "strategies": mapping(PERFORMANCE, "The same of each strategy.", "mean_reversion"),
        },
    ),
    "instruments": _document(
        "Instruments",
        "What each symbol stands for, and the rates between currencies.",
        {
            "reporting_currency": text("The currency of sums.", "USD"),
            "instruments": array(INSTRUMENT, "Each one."),
            "count": count("How many.", 5),
            "rates": array(KNOWN_RATE, "The newest rates between currencies."),
        },
    ),
    "strategy_breaks": _document(
        "Breaks",
        "What differs from the engine's view, or between deliveries.",
        {
            "breaks": array(BREAK, "Positions."),
            "fills": array(FILL_BREAK, "Fills."),
            "orders": array(ORDER_BREAK, "Order reports."),
            "bookings": array(BOOKING_BREAK, "Bookings."),
        },
    ),
    "system_health": _document("Health", "Health, with its reasons.", HEALTH),
    "system_performance": _document("ServerPerformance", "Measured latencies and rates.", SERVER_PERFORMANCE),
    "system_components": _document(
        "Components", "Collectors, processes, and what sends heartbeats.", {"components": COMPONENTS}
    ),
    "system_sources": _document("Sources", "Live sources.", {"sources": SOURCES, "count": count("How many.", 1)}),
    "system_notifications": _document(
        "Notifications",
        "What was delivered to people, and what waits.",
        {
            "routes": array(ROUTE, "Each route."),
            "count": count("How many.", 1),
            "recent": array(NOTICE, "The newest notices, newest first."),
        },
    ),
    "system_silences": _document(
        "Silences",
        "Silences that have not ended, newest first.",
        {"silences": array(SILENCE, "Each one."), "count": count("How many.", 1)},
    ),
    "add_silence": SILENCE,
    "end_silence": SILENCE,
    "system_stats": _document("Stats", "Counts since the start.", STATS),
    "system_alerts": _document(
        "Alerts",
        "Alerts, those not acknowledged first.",
        {"alerts": array(ALERT, "Each one."), "count": count("How many.", 1)},
    ),
    "alert_history": record(
        "AlertHistory",
        "Every occurrence of alerts, newest first.",
        {
            "occurrences": array(OCCURRENCE, "The page."),
            "count": count("Those of the page.", 1),
            "limit": _LIMIT,
            "next_cursor": _CURSOR,
        },
    ),
    "alert_rules": _document(
        "AlertRules",
        "Rules, what they see and whether they are raised.",
        {"rules": array(RULE, "Each one."), "count": count("How many.", 19)},
    ),
    "acknowledge_alert": record(
        "Acknowledged",
        "The alert, acknowledged.",
        {"status": constant("acknowledged", "What has happened."), **ALERT_FIELDS},
    ),
    "recent_logs": _LOGS,
    "health": record(
        "ServiceHealth",
        "This server answers.",
        {"status": constant("healthy", "It does."), "service": constant("observability", "The service.")},
    ),
    "ready": record(
        "Readiness",
        "Whether every collector runs and every worker serves.",
        {
            "status": word("The answer.", ("ready", "not ready")),
            "not_ready": array(text("What.", "worker-2"), "What is not ready."),
        },
        optional=("not_ready",),
    ),
    "live": record(
        "Liveness",
        "Alive, and for how long.",
        {
            "alive": flag("It is.", example=True),
            "websocket_connections": count("Clients of the stream, and senders.", 3),
            "uptime_seconds": count("Since the start.", 3600),
        },
    ),
    "ingest": INGEST_ANSWER,
    "openapi": anything("An OpenAPI 3.1 document.", {"openapi": "3.1.0"}),
    "asyncapi": anything("An AsyncAPI 3.0 document.", {"asyncapi": "3.0.0"}),
}

PROBLEM: Final = record(
    "Problem",
    "Problem details (RFC 9457).",
    {
        "type": text("The problem's type; `about:blank` if its status says all.", "about:blank"),
        "title": text("The status in words.", "Unprocessable Content"),
        "status": count("The status.", 422),
        "detail": text("What is wrong.", "1 invalid parameter(s)"),
        "errors": array(
            record(
                "ParameterFault",
                "A bad parameter.",
                {
                    "parameter": text("Its name.", "symbl"),
                    "error": text("What is wrong with it.", "unknown; did you mean symbol?"),
                },
            ),
            "Of a 422: every bad parameter.",
        ),
        "candidates": array(nullable(anything("A trade or an order.", {})), "Of a 409: everything that has the id."),
    },
    optional=("errors", "candidates"),
) | {"additionalProperties": True}
