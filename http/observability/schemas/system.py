"""The section `system` of a snapshot, and the documents about the server, its sources, its logs and its alerts."""

from __future__ import annotations

from typing import Final

from observability.schemas.builders import (
    Schema,
    anything,
    array,
    count,
    flag,
    mapping,
    moment,
    money,
    nullable,
    number,
    one_of,
    quantity,
    record,
    share,
    text,
    word,
)
from observability.schemas.sites import SITE_FIELDS, of_sites

_HEALTH: Final = word("The verdict.", ("healthy", "degraded", "unhealthy"))
_REASONS: Final = array(text("A reason.", "cpu at 97 %"), "Why it is not healthy; empty if it is.")
_SEVERITY: Final = word("How bad it is.", ("info", "warning", "critical"))

SOURCE: Final = record(
    "SourceState",
    "How a live source is doing.",
    {
        "state": word("What it does.", ("connecting", "connected", "silent", "failed")),
        "connected_since": moment("When it was connected; null while it is not.", null=True),
        "last_message": moment("When the newest message came.", null=True),
        "age_seconds": number("Age of the newest message; null before the first.", 0.04, null=True),
        "silent_after_seconds": number("The age from which it is silent.", 12.5, null=True),
        "rate": number("Messages per second over the last 10 seconds.", 57.0, "1/s"),
        "normal_rate": number("The same over the last hour.", 55.2, "1/s", null=True),
        "messages": count("Messages of the transport.", 1200),
        "events": count("Events taken from them.", 1200),
        "gaps": count("Messages known to be lost.", 0),
        "rejected": count("Messages that are no event, and events that cannot be used.", 0),
        "reconnects": count("Connections after the first.", 0),
        "error": text("Why it is not connected; null while it is.", "connection refused", null=True),
    },
)
SOURCES: Final = mapping(SOURCE, "Live sources by name.", "binance://BTC-USDT")

_REPLAY: Final[dict[str, Schema]] = {
    "state": word("How far it is.", ("running", "waiting", "ended", "failed", "interrupted")),
    "lap": count("The lap, counted from 1.", 1, null=True),
    "events": count("Events published.", 70000, null=True),
    "skipped_lines": count("Lines that become no event.", 0, null=True),
    "bad_lines": count("Lines that cannot be read.", 0, null=True),
}

_SECTION_FIELDS: Final[dict[str, Schema]] = {
    "cpu_percent": number("CPU of the container, or of the host.", 12.5, null=True),
    "memory_percent": number("Memory of the same.", 41.0, null=True),
    "disk_percent": number("Of the disk of DATA_DIR.", 26.6, null=True),
    "event_loop_lag_ms": number("By how much the latest tick of the last second was late.", 1.1, null=True),
    "memory_limit_bytes": count("Memory that there is.", 25276514304, null=True),
    "process_rss_bytes": count("Memory of this process (with several workers: of the hub).", 54714368, null=True),
    "process_cpu_percent": number("CPU of the same, in percent of one core.", 1.5, null=True),
    "num_fds": count("Its open files.", 33, null=True),
    "threads": count("Its threads.", 4, null=True),
    "uptime_seconds": count("Since the start.", 3600),
    "health": _HEALTH,
    "health_reasons": _REASONS,
    "active_alerts": count("Alerts neither acknowledged nor resolved.", 0),
    "critical_alerts": count("Critical ones among them.", 0),
    "replay": nullable(
        record(
            "ReplayProgress",
            "How far a replay is.",
            {
                **_REPLAY,
                "event_time": moment("Time of its newest event.", null=True),
                "progress": share("Of the lap, from 0 to 1.", 0.5, null=True),
            },
        ),
        "Null without a replay.",
    ),
    "demo": flag("Whether quotes are simulated, or a paper strategy trades."),
    "sources": SOURCES,
}

SYSTEM_SECTION: Final = record(
    "SystemSection",
    "Host, process and health.",
    {
        **_SECTION_FIELDS,
        "metrics": mapping(
            record(
                "UserMetric",
                "The newest value of one series of `metric` events.",
                {
                    "name": text("Its name.", "queue_depth"),
                    "value": number("Its value; null for one that JSON cannot have.", 12.0, "as sent", null=True),
                    "labels": mapping(text("A value.", "XNAS"), "Its labels.", "venue"),
                    "updated": moment("The event's time.", null=True),
                },
            ),
            "`metric` events, by name and labels.",
            'queue_depth{venue="XNAS"}',
        ),
        **of_sites(record("SiteSystem", "The host of one site's hub.", _SECTION_FIELDS)),
    },
    optional=SITE_FIELDS,
)

# -- alerts

ALERT_FIELDS: Final[dict[str, Schema]] = {
    "alert_id": text("The same for the same key, on every host and after every restart.", "a3f1c2"),
    "key": text("The engine's key, or the rule's name and member.", "stale_feed/AAPL"),
    "severity": _SEVERITY,
    "title": text("What is wrong.", "AAPL: no quote for a while"),
    "detail": text("What to know about it.", ""),
    "first_seen": moment("When this occurrence began."),
    "last_seen": moment("When it was seen last."),
    "count": count("Events of this occurrence; a rule raises once.", 1),
    "acknowledged": moment("When somebody acknowledged it.", null=True),
    "state": word("How far it has come.", ("active", "acknowledged", "resolved")),
    "resolved": moment("When it was over.", null=True),
    "rule": text("The rule; null for the engine.", "stale_feed", null=True),
    "member": text("The symbol, strategy or labels that `*` stands for.", "AAPL"),
    "occurrence": count("Number of the occurrence.", 1),
    "value": anything("The metric's value when the rule raised: a number, a text or a boolean; else null.", True),
    "threshold": anything("The rule's threshold; null for an alert of the engine.", True),
    "acknowledged_by": text("Who acknowledged it.", "ana"),
    "comment": text("What they said.", "the venue is closed"),
    "labels": mapping(text("A value.", "equities"), "Labels of its rule or its event.", "team"),
    "links": mapping(
        text("A URL.", "https://wiki.example.com/stale"), "Pages that help, by a word for each.", "runbook"
    ),
}
ALERT: Final = record(
    "AlertState",
    "One alert.",
    {
        **ALERT_FIELDS,
        "site": text("Its site; null for one of the aggregator, which alone shows this.", "london", null=True),
    },
    optional=("site",),
)
_ACTIONS: Final = ("raised", "acknowledged", "resolved")
ALERT_TRANSITION_FIELDS: Final[dict[str, Schema]] = {
    **ALERT_FIELDS,
    "action": word("What has happened to it.", _ACTIONS),
    "timestamp": moment("When that was."),
}

OCCURRENCE: Final = record(
    "AlertOccurrence",
    "One occurrence of an alert, as it was at its end or is now.",
    {
        "seq": count("Number of its first transition; null without a store.", 86, null=True),
        **ALERT_FIELDS,
        "transitions": array(
            record(
                "AlertTransition",
                "What changed.",
                {
                    "action": word("What has happened.", _ACTIONS),
                    "timestamp": moment("When."),
                    "acknowledged_by": text("Who acknowledged it.", "ana"),
                    "comment": text("What they said.", "the venue is closed"),
                },
                optional=("acknowledged_by", "comment"),
            ),
            "What changed, in order.",
        ),
    },
)

_COMPARISONS: Final = ("above", "at_least", "below", "at_most", "equals")
# Those of the rules that look back.
_WINDOWS: Final[dict[str, Schema]] = {
    "change_over": text("The value less that of so long ago is compared.", "5m"),
    "change_in": word("How the change is told.", ("value", "percent")),
    "deviation_over": text("The distance from the mean of the history of so long is compared.", "1h"),
    "time_of_day": flag("Whether only the same time of earlier days is that history."),
    "objective": number("Per cent of the values that must be good.", 99.0, "%"),
    "burn_over": text("The time over which the rate at which the rest is spent is compared.", "1h"),
    "bad": anything("By comparison, the values that are bad; without it the metric counts bad events.", {"above": 50}),
    "total": text("The field that counts all events.", "orders_today", null=True),
    "absent_for": text("It raises if there is no value for so long.", "5m"),
    "unchanged_for": text("It raises if there is no other value for so long.", "5m"),
}
RULE: Final = record(
    "AlertRule",
    "A rule, what it sees and whether it is raised.",
    {
        "rule": text("Its name.", "drawdown"),
        "metric": text("What it watches.", "strategy.drawdown_pct"),
        **{name: anything(f"The threshold, if the comparison is `{name}`.", 5) for name in _COMPARISONS},
        "clear": anything("Where it resolves.", 4),
        "for": text("How long it must hold before it raises.", "5s"),
        "clear_for": text("How long it must be over before it resolves.", "1m"),
        "increase_over": text("The time over which a counter's growth is compared.", "5m", null=True),
        **_WINDOWS,
        "samples": text("A field beside the metric that must reach `min_samples`.", "orders_today", null=True),
        "min_samples": number("The least value of that.", 20, "1", null=True),
        "severity": _SEVERITY,
        "absent": word("What a missing value does.", ("ignore", "raise")),
        "state": word("What it says now.", ("quiet", "pending", "raised")),
        "value": anything("The newest value; null for a rule with members.", 0.04),
        "waiting": text("Why it has no value to compare.", "the metric has no value", null=True),
        "n_members": count("Members that it watches.", 1),
        "members": array(
            record(
                "RuleMember",
                "A member for which it is raised or about to.",
                {
                    "member": text("The member.", "AAPL"),
                    "state": word("What it is.", ("pending", "raised")),
                    "value": anything("Its newest value.", True),
                },
            ),
            "Members that are raised or pending.",
        ),
    },
    optional=(*_COMPARISONS, *_WINDOWS),
)

SILENCE: Final = record(
    "Silence",
    "A silence: notices of some alerts are held back for a while.",
    {
        "silence_id": text("Its id.", "9f86d081884c7d65"),
        "start_time": moment("When it began."),
        "end_time": moment("When it ends."),
        "author": text("Who silenced.", "ana"),
        "comment": text("Why.", "the venue is closed"),
        "rules": array(text("A pattern.", "stale_*"), "Patterns for rules, or for keys of the engine; all if empty."),
        "members": array(text("A pattern.", "BTC*"), "Patterns for members; all if empty."),
    },
)

ROUTE: Final = record(
    "RouteState",
    "A route of alerts and what it has delivered.",
    {
        "route": text("Its name.", "desk"),
        "to": text("The kind of place, without secrets.", "slack"),
        "severity": _SEVERITY,
        "state": word("Whether its last attempt failed.", ("ok", "failing")),
        "pending": count("Notices that wait.", 0),
        "delivered": count("Notices delivered.", 12),
        "failed": count("Notices given up.", 0),
        "dropped": count("Notices dropped, because too many waited.", 0),
        "last_delivered": moment("When the last one was delivered.", null=True),
        "last_error": text("Why the last attempt failed.", "HTTP 500", null=True),
        "next_attempt": moment("When it tries again.", null=True),
    },
)
NOTICE: Final = record(
    "NoticeOutcome",
    "A notice that is done with.",
    {
        "route": text("Its route.", "desk"),
        "action": text("What it tells: raised, resolved, escalated, repeated, ...", "raised"),
        "alert_id": text("The alert.", "a3f1c2"),
        "title": text("The alert's title.", "drawdown"),
        "outcome": word("What became of it.", ("delivered", "failed", "dropped")),
        "attempts": count("How often it was tried.", 1),
        "error": text("Why it failed.", "HTTP 410", null=True),
        "timestamp": moment("When.", null=True),
    },
)

# -- the server

_STATUS: Final = text("ok, degraded, down, draining, silent, ...", "ok")
_USAGE: Final = record(
    "UsageStatus",
    "A resource of the host.",
    {"status": _STATUS, "detail": text("Why it is not ok.", "cpu_percent >= 95")},
    optional=("detail",),
)
COLLECTOR: Final = record(
    "CollectorStatus",
    "A collector.",
    {
        "status": _STATUS,
        "reason": text("Why it is not ok.", "stopped", null=True),
        "metrics_collected": count("How often it has collected.", 108),
        "input_age_seconds": number("Age of its newest input; null before the first.", 0.02, null=True),
    },
    optional=("input_age_seconds",),
)
PROCESS: Final = record(
    "ProcessStatus",
    "A process of a host with several workers.",
    {
        "status": _STATUS,
        "role": word("What it is.", ("hub", "aggregator", "worker")),
        "pid": count("Its number.", 4711),
        "process_cpu_percent": number("CPU in percent of one core.", 1.5, null=True),
        "process_rss_bytes": count("Memory.", 54714368, null=True),
        "cpu_percent": number("The same, as the first version had it.", 1.5, null=True),
        "rss_bytes": count("The same, as the first version had it.", 54714368, null=True),
        "uptime_seconds": count("Since its start.", 3600),
        "websocket_clients": count("Clients of the stream.", 3),
        "http_connections": count("HTTP connections.", 2),
    },
)
HEARTBEAT: Final = record(
    "ComponentStatus",
    "A component that sends heartbeats.",
    {
        "status": _STATUS,
        "detail": text("As its heartbeat says.", ""),
        "last_seen": moment("When the last one came."),
        "age_seconds": number("How long that is ago.", 1.2),
        "reason": text("Why it is not ok.", "no heartbeat for more than 30 s", null=True),
    },
)
COMPONENTS: Final = mapping(one_of((COLLECTOR, PROCESS, HEARTBEAT)), "Each one by name.", "market_data")

_RESOURCES: Final = record(
    "Resources",
    "What the host and this process use.",
    {
        "cpu_percent": number("CPU.", 12.5, null=True),
        "memory_percent": number("Memory.", 41.0, null=True),
        "memory_limit_bytes": count("Memory that there is.", 25276514304, null=True),
        "disk_percent": number("Disk.", 26.6, null=True),
        "process_rss_bytes": count("Memory of this process.", 54714368, null=True),
        "process_cpu_percent": number("CPU of this process.", 1.5, null=True),
        "num_fds": count("Its open files.", 33, null=True),
        "threads": count("Its threads.", 4, null=True),
    },
)
CONNECTIONS: Final = record(
    "Connections",
    "Connections now.",
    {"websocket": count("Clients of the stream, and senders.", 3), "http": count("HTTP connections.", 2)},
)

_HOST: Final[dict[str, Schema]] = {
    "host": text("The machine's name.", "nyc-1"),
    "pid": count("Number of the process.", 4711),
    "version": text("Its version.", "0.1.0"),
    "age_seconds": number("How old this is: each host says it once a second.", 0.4),
}
DESK: Final = record(
    "Desk",
    "The hosts of a desk, as the one that answers sees them.",
    {
        "name": text("Its name.", "main"),
        "role": word("What the host that answers is.", ("hub", "edge")),
        "host": text("Its machine's name.", "nyc-1"),
        "pid": count("Number of its process.", 4711),
        "leads": flag("Whether it is the hub that leads."),
        "trouble": text("Why it does not see the hub.", "no hub leads desk main now", null=True),
        "leader": nullable(
            record(
                "LeadingHub",
                "The hub that leads.",
                {
                    **_HOST,
                    "since": moment("Since when it leads, by the clock of the NATS servers."),
                    "term": count("Number of its lease; a later hub's is higher.", 17),
                    "epoch": text("Of its frames.", "18ec9abc1b5ff72b"),
                    "seq": count("Number of its newest frame.", 1250),
                },
            ),
            "The hub that leads; null if none has said so for 5 s.",
        ),
        "standby": array(
            record(
                "StandbyHub",
                "A hub that stands by.",
                {
                    **_HOST,
                    "records_behind": count("Commits that it lacks; null without a store.", 0, null=True),
                    "seconds_behind": number("For how long it has lacked some.", 0.0, "s", null=True),
                },
            ),
            "Hubs that stand by.",
        ),
        "edges": array(
            record(
                "Edge",
                "An edge.",
                {
                    **_HOST,
                    "epoch": text("Of its newest frame; null before the first.", "18ec9abc1b5ff72b", null=True),
                    "seq": count("Number of its newest frame.", 1250),
                    "frames_behind": count("Frames that it lacks.", 0),
                    "lag_ms": number(
                        "From the hub's publishing of its newest frame to its arrival, or for how long it has lacked "
                        "a newer one; null before the first.",
                        0.9,
                        null=True,
                    ),
                    "clients": count("Its clients of the stream.", 1200),
                },
            ),
            "Edges.",
        ),
    },
)

HEALTH: Final[dict[str, Schema]] = {
    "status": _HEALTH,
    "reasons": _REASONS,
    "components": mapping(one_of((_USAGE, COLLECTOR)), "Resources and collectors.", "cpu"),
    "resources": nullable(_RESOURCES, "Null before the first sample."),
    "connections": CONNECTIONS,
    "alerts": record(
        "AlertCounts", "Alerts.", {"active": count("Active ones.", 0), "critical": count("Critical ones.", 0)}
    ),
    "desk": nullable(DESK, "Null if this host is alone."),
}

_PATH: Final = record(
    "PathLatency",
    "One stage of the server's own path.",
    {
        "n": count("How many.", 108),
        "p50_ms": number("Median.", 0.47, null=True),
        "p95_ms": number("95th percentile.", 1.2, null=True),
        "p99_ms": number("99th percentile.", 2.5, null=True),
        "max_ms": number("The longest.", 2.6, null=True),
    },
)
_LATENCIES: Final = {"p50": "Median", "p95": "95th percentile", "p99": "99th percentile", "max": "The longest"}
PERFORMANCE: Final[dict[str, Schema]] = {
    **{
        f"latency_{name}_ms": number(
            f"{said} time from the tick to the last byte handed to the kernel.", 0.8, null=True
        )
        for name, said in _LATENCIES.items()
    },
    **{
        f"latency_{name}": number("The same, as the first version called it.", 0.8, "ms", null=True)
        for name in _LATENCIES
    },
    "n_latency": count("Snapshots behind them.", 108),
    "throughput_per_sec": number("Snapshots handed to the kernel, all clients.", 300.0, "1/s", null=True),
    "process_cpu_percent": number("CPU of this process, in percent of one core.", 1.5, null=True),
    "process_rss_bytes": count("Memory of this process.", 54714368, null=True),
    "cpu_usage": number("As `process_cpu_percent`.", 1.5, "%", null=True),
    "memory_usage": count("As `process_rss_bytes`.", 54714368, null=True) | {"x-unit": "bytes"},
    "event_loop_lag_ms": number("How late ticks are.", 1.1, null=True),
    "queue_depth": count("Clients that have not taken everything.", 0),
    "frames_skipped": count("Snapshots not sent to a client that was behind.", 0),
    "ticks": count("Snapshots made.", 108),
    "ticks_missed": count("Beats that could not be made.", 0),
    "path": mapping(_PATH, "Each stage: tick, late, fanout, age_at_send.", "tick"),
    "queues": mapping(count("What waits.", 0), "Everything that may pile up, by name.", "clients_behind"),
}

_EVENTS: Final = mapping(count("Events of this type.", 2218), "Counts by type.", "quote")
_LINES: Final = mapping(count("Lines.", 3), "Skipped lines by kind.", "depth")
STATS: Final[dict[str, Schema]] = {
    "epoch": text("Of this hub.", "18ec9abc1b5ff72b"),
    "uptime_seconds": count("Of this hub.", 3600),
    "ticks": count("Number of the newest frame.", 108),
    "snapshots_encoded": count("One per tick.", 108),
    "events": mapping(_EVENTS, "Events published, by source and type.", "simulator"),
    "symbols": record(
        "SymbolCounts",
        "Symbols.",
        {
            "tracked": count("Tracked.", 5),
            "max": count("How many may be.", 1000),
            "refused": count("Names refused.", 0),
        },
    ),
    "late_prints": count("Prints too late for their bar.", 0),
    "repeated_prints": count("Prints delivered again.", 0),
    "http_requests": count("Requests answered.", 19),
    "connections": CONNECTIONS,
    "store": nullable(
        record(
            "StoreCounts",
            "What the store has written.",
            {
                "bytes": count("Its size.", 188416) | {"x-unit": "bytes"},
                "rows": count("Rows written.", 281),
                "rows_pruned": count("Rows removed because of their age, or of its size.", 0),
                "rows_lost": count("Rows that could not be written.", 0),
                "errors": count("Writes that failed.", 0),
            },
        ),
        "Null without a DATA_DIR.",
    ),
    "recorder": nullable(
        record(
            "RecorderCounts",
            "What the flight recorder has written.",
            {
                "bytes": count("Its size.", 9302) | {"x-unit": "bytes"},
                "frames": count("Frames recorded.", 108),
                "frames_dropped": count("Frames not recorded because too many waited.", 0),
                "frames_failed": count("Frames that the disk did not take.", 0),
            },
        ),
        "Null without a recording.",
    ),
    "replay": nullable(
        record(
            "ReplayCounts",
            "What became of the lines of a replay.",
            {
                **_REPLAY,
                "recordings": count("Files.", 3),
                "files": array(
                    record(
                        "RecordingCounts",
                        "One file.",
                        {
                            "file": text("Its name.", "AAPL_2012-06-21_message_10.csv"),
                            "kind": text("Its kind.", "lobster"),
                            "events": _EVENTS,
                            "skipped_lines": _LINES,
                            "bad_lines": count("Lines that cannot be read.", 0),
                            "error": text("What ended it.", "...", null=True),
                        },
                    ),
                    "The first 100 files.",
                ),
            },
        ),
        "Null without a replay.",
    ),
}

LOG_LINE: Final = record(
    "LogLine",
    "A line of a log.",
    {
        "timestamp": moment("When it was written."),
        "received": moment("When a line of the engine came."),
        "level": word("How bad it is.", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
        "logger": text("Who wrote it.", "stream.broadcast"),
        "message": text("What it says.", "listening on port 8000"),
        "fields": anything("Fields of a line of the engine.", {}),
        "source": word("Whose line it is.", ("observability", "engine")),
        "process": text("The process, with several workers.", "worker-1"),
    },
    optional=("received", "fields", "process"),
)

SUMMARY: Final[dict[str, Schema]] = {
    "market": record(
        "MarketSummary",
        "The market.",
        {
            "symbols_tracked": count("Symbols.", 5, null=True),
            "total_trades": count("Prints.", 466, null=True),
            "total_volume": quantity("Their size.", 280500.0, null=True),
        },
    ),
    "strategy": record(
        "StrategySummary",
        "The account.",
        {
            "active_strategies": count("Strategies.", 1, null=True),
            "total_pnl": money("Total P&L.", 169.8, null=True),
            "daily_pnl": money("P&L of the session.", 169.8, null=True),
            "open_positions": count("Open positions.", 2, null=True),
        },
    ),
    "execution": record(
        "ExecutionSummary",
        "Orders of the session.",
        {
            "orders_today": count("Orders.", 19, null=True),
            "fills_today": count("Fills.", 25, null=True),
            "fill_rate": share("Quantity filled / ordered.", 0.94, null=True),
            "avg_latency_ms": number("From `pending_new` to acknowledgement.", 1.06, null=True),
        },
    ),
    "system": record(
        "SystemSummary",
        "The host.",
        {
            "cpu_percent": number("CPU.", 12.5, null=True),
            "memory_percent": number("Memory.", 41.0, null=True),
            "uptime_seconds": count("Since the start.", 3600),
            "health": _HEALTH,
            "cpu_usage": number("As `cpu_percent`.", 12.5, "%", null=True),
            "memory_usage": number("As `memory_percent`.", 41.0, "%", null=True),
            "health_status": _HEALTH,
        },
    ),
}
