"""The messages of `/ws/metrics`, `/stream` and `/ws/ingest`: those that the server sends, and those that it takes."""

from __future__ import annotations

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
from observability.schemas.execution import EXECUTION_SECTION
from observability.schemas.market import MARKET_DATA
from observability.schemas.sites import SITES_SECTION
from observability.schemas.strategy import STRATEGY_SECTION
from observability.schemas.system import ALERT_TRANSITION_FIELDS, SYSTEM_SECTION
from observability.schemas.trades import BOOKING, ORDER_REPORT_FIELDS, TRADE

_EPOCH: Final = text("Changes when the hub starts anew.", "18ec9abc1b5ff72b")
_SEQ: Final = count("Number of the snapshot; rises by one per tick.", 1250)
_SECTIONS: Final[dict[str, Schema]] = {
    "market_data": MARKET_DATA,
    "strategy": STRATEGY_SECTION,
    "execution": EXECUTION_SECTION,
    "system": SYSTEM_SECTION,
}
# Only an aggregator has it.
_SITES: Final[dict[str, Schema]] = {"sites": SITES_SECTION}
_HEAD: Final[dict[str, Schema]] = {
    "seq": _SEQ,
    "epoch": _EPOCH,
    "timestamp": moment("The tick's time by the event clock."),
    "mono_ns": count("The tick's time by the host's monotonic clock.", 48247849108270),
    "age_ms": mapping(
        number("Milliseconds; null before the first input.", 12.5, "ms", null=True),
        "Age of the newest input, per section.",
        "market_data",
    ),
}
# Custom collectors add sections of their own, and a view may lack some.
_OPEN: Final[Schema] = {"additionalProperties": True}

SNAPSHOT: Final = (
    record(
        "Snapshot",
        "The state of everything at one tick. Each custom collector adds a field of its name.",
        {"type": constant("metrics_update"), **_HEAD, **_SITES, **_SECTIONS},
        optional=_SITES,
    )
    | _OPEN
)

UPDATE: Final = (
    record(
        "MetricsUpdate",
        "A whole snapshot of the view that a client has asked for: sections of other channels are not in it.",
        {"type": constant("metrics_update"), **_HEAD, **_SITES, **_SECTIONS},
        optional=(*_SITES, *_SECTIONS),
    )
    | _OPEN
)

DELTA: Final = (
    record(
        "MetricsDelta",
        "What has changed since the message before, with `mode=delta`: whole symbols, strategies and positions, and "
        "sections' own fields. Members of the groups that `connected` names replace those of the same key.",
        {
            "type": constant("metrics_delta"),
            "prev_seq": count("The snapshot that this one follows.", 1249),
            **_HEAD,
            **{
                name: anything(f"The fields and members of `{name}` that have changed.", {})
                for name in _SECTIONS
            },
            "removed": array(
                array(text("A name.", "market_data"), "A path."),
                "Paths of members that are gone, as `[\"market_data\", \"AAPL\"]`.",
            ),
        },
        optional=(*_SECTIONS, "removed"),
    )
    | _OPEN
)  # fmt: skip

_SUBSCRIPTION: Final[dict[str, Schema]] = {
    "channels": array(text("A section, a custom collector or a lane.", "market_data"), "The channels in force."),
    "symbols": nullable(array(text("A symbol.", "AAPL"), "The filter."), "Null without a filter."),
    "mode": word("Whole snapshots, or changes.", ("full", "delta")),
}
_NOW: Final = moment("When it was sent, by the event clock.")
_ID: Final = anything("As the client gave it; null if it gave none.", 1)

_PAST: Final = record(
    "PastState",
    "Which past moment is shown.",
    {
        "time": moment("The time of the frame that was sent last.", null=True),
        "state": word("What it does.", ("playing", "paused", "end")),
        "speed": number("The factor.", 1.0, "1"),
        "start_time": moment("The first recorded frame.", null=True),
        "end_time": moment("The last recorded frame.", null=True),
    },
)

CONNECTED: Final = record(
    "Connected",
    "The first message to every client.",
    {
        "type": constant("connected"),
        "timestamp": _NOW,
        "client_id": text("A name for this client.", "18ec9abc1b5ff72b-7"),
        "epoch": _EPOCH,
        "seq": _SEQ,
        "update_frequency_hz": number("Snapshots per second.", 10.0),
        "server_time": moment("The time by the host's clock."),
        "heartbeat_interval": number("Seconds between pings.", 15.0, "s"),
        **_SUBSCRIPTION,
        "groups": array(
            array(text("A name.", "strategy"), "A path."), "Paths of groups whose members deltas bring one by one."
        ),
        "recovered": flag("Only after `since`: whether everything missed follows.", example=True),
        "past": _PAST,
    },
    optional=("recovered", "past"),
)

_LANE_STATES: Final = mapping(
    record(
        "LaneState",
        "Where a lane stands.",
        {
            "seq": count("Its newest entry.", 812),
            "oldest_seq": count("The oldest one in memory.", 1),
            "stored": flag("Whether older ones, and the numbers, are in a store.", example=True),
        },
    ),
    "Each lane that is subscribed.",
    "trades",
)


def _changed(kind: str, meaning: str) -> Schema:
    return record(
        kind.capitalize(),
        meaning,
        {"type": constant(kind), "id": _ID, "timestamp": _NOW, **_SUBSCRIPTION, "past": _PAST, "lanes": _LANE_STATES},
        optional=("past",),
    )


SUBSCRIBED: Final = _changed("subscribed", "Answers `subscribe`: the subscription now in force. A snapshot follows.")
UNSUBSCRIBED: Final = _changed("unsubscribed", "Answers `unsubscribe`: the subscription now in force.")
PONG: Final = record(
    "Pong", "Answers a ping in JSON.", {"type": constant("pong"), "id": _ID, "timestamp": _NOW}
)  # fmt: skip
PAINTED: Final = record(
    "Painted",
    "Answers a report of a painted frame.",
    {
        "type": constant("painted"),
        "seq": _SEQ,
        "tick_to_eye_ms": number("From the tick to the painted frame.", 18.2, null=True),
        "event_to_eye_ms": number("From the newest event to the painted frame.", 31.5, null=True),
        "uncertainty_ms": number("Half of the round trip: by so much they may be wrong.", 0.4, null=True),
    },
)
PAST: Final = record(
    "Past",
    "With `at`: answers a command, or announces what happens by itself.",
    {
        "type": constant("past"),
        "id": _ID,
        "timestamp": _NOW,
        "past": _PAST,
        "skipped": record(
            "SkippedTime",
            "A time without frames that playing has crossed.",
            {"start_time": moment("Its start."), "end_time": moment("Its end.")},
        ),
    },
    optional=("skipped",),
)
LAG: Final = record(
    "Lag",
    "Comes before the next snapshot of a client that was behind.",
    {"type": constant("lag"), "skipped": count("Snapshots that it has missed.", 3), "timestamp": _NOW},
)
STALE: Final = record(
    "Stale",
    "Once per outage: no snapshots come. The next snapshot ends it.",
    {
        "type": constant("stale"),
        "epoch": _EPOCH,
        "seq": _SEQ,
        "age_ms": number("Age of the newest snapshot.", 2000.0),
        "reason": text("Why.", "the hub is being replaced"),
        "timestamp": _NOW,
    },
)
STREAM_ERROR: Final = record(
    "StreamError",
    "A message that was not understood. Ten of them within ten seconds close with 1008.",
    {
        "type": constant("error"),
        "code": word(
            "What is wrong.",
            ("bad_message", "unknown_type", "unknown_channel", "too_many_views", "rate_limited", "no_recording"),
        ),
        "message": text("The same in words.", "no channel 'x'; expected one of ..."),
        "timestamp": _NOW,
    },
)
CLOSE: Final = record(
    "Close",
    "Only of `GET /stream`: why the server ends it.",
    {
        "type": constant("close"),
        "code": count("As a WebSocket is closed with.", 1001),
        "reason": text("In words.", "server shutdown"),
    },
)

_LANE: Final[dict[str, Schema]] = {
    "seq": count("Number of the entry; rises.", 86),
    "prev": count("The entry before it that passes the same filter; 0 for the first.", 85),
}
_DURABLE: Final[dict[str, Schema]] = {"durable": flag("Present, and false, while the disk cannot be written.")}


def _lane_message(kind: str, title: str, meaning: str, fields: dict[str, Schema]) -> Schema:
    return record(
        title, meaning, {"type": constant(kind), **_LANE, **fields, **_DURABLE}, optional=("durable",)
    )  # fmt: skip


TRADE_MESSAGE: Final = _lane_message("trade", "TradeMessage", "A trade, on the lane `trades`.", TRADE["properties"])
ALERT_MESSAGE: Final = _lane_message(
    "alert", "AlertMessage", "A transition of an alert, on the lane `alerts`.", ALERT_TRANSITION_FIELDS
)
BOOKING_MESSAGE: Final = (
    _lane_message("booking", "BookingMessage", "A booking, on the lane `bookings`.", BOOKING["properties"]) | _OPEN
)
ORDER_MESSAGE: Final = _lane_message(
    "order", "OrderMessage", "A report of an order, on the lane `orders`.", ORDER_REPORT_FIELDS
)

LANE_MESSAGES: Final = {
    "trades": TRADE_MESSAGE,
    "alerts": ALERT_MESSAGE,
    "bookings": BOOKING_MESSAGE,
    "orders": ORDER_MESSAGE,
}
STREAM_MESSAGES: Final = (
    CONNECTED, UPDATE, DELTA, *LANE_MESSAGES.values(), SUBSCRIBED, UNSUBSCRIBED, PONG, PAINTED, PAST, LAG,
    STALE, STREAM_ERROR, CLOSE
)  # fmt: skip

# -- of senders

FAULTS: Final[dict[str, Schema]] = {
    "accepted": count("Events that were accepted.", 2),
    "duplicates": count("Events that had been delivered before.", 0),
    "rejected": array(
        record(
            "EventFault",
            "An event that was rejected.",
            {"index": count("Its place in the batch, from 0.", 3), "error": text("Why.", "$.price: expected a number")},
        ),
        "The first 100 rejected events.",
    ),
    "rejected_count": count("All of them.", 0),
    "warnings": array(
        record(
            "EventWarning",
            "What the sender of an accepted event should know.",
            {
                "index": count("Its place in the batch, from 0.", 3),
                "path": text("The field.", "$[3].comission"),
                "warning": text("What about it.", "comission: did you mean commission?"),
            },
        ),
        "The first 100 warnings.",
    ),
    "warnings_count": count("All of them.", 0),
}
INGEST_ANSWER: Final = record("IngestAnswer", "What became of a batch.", FAULTS)

SENDER_CONNECTED: Final = record(
    "SenderConnected",
    "The first message to every sender.",
    {
        "type": constant("connected"),
        "max_events": count("Events of one message.", 10000),
        "max_message_bytes": count("Bytes of one message.", 1048576),
        "max_unanswered": count("Messages without an answer, after which the server stops reading.", 64),
        "heartbeat_interval": number("Seconds between pings.", 15.0, "s"),
        "timestamp": _NOW,
    },
)
ACK: Final = record(
    "Ack",
    "Answers a message once what must be durable is on disk.",
    {
        "type": constant("ack"),
        "seq": count("The sender's, or the number of its message from 1.", 1),
        **FAULTS,
        "replayed": flag("Present, and true, if an earlier message had the same key.", example=True),
        "timestamp": _NOW,
    },
    optional=("replayed",),
)
SENDER_ERROR: Final = record(
    "SenderError",
    "Answers a message that was not taken.",
    {
        "type": constant("error"),
        "seq": count("As in an ack.", 1),
        "code": word(
            "What is wrong.", ("bad_message", "key_in_flight", "key_reused", "too_many_events", "unavailable")
        ),
        "message": text("The same in words.", "the batch is not JSON"),
        "retry_after": number("Seconds after which to send it again.", 1, "s"),
        "timestamp": _NOW,
    },
    optional=("retry_after",),
)
SENDER_MESSAGES: Final = (SENDER_CONNECTED, ACK, SENDER_ERROR)

_STRING_OR_INTEGER: Final = one_of(({"type": "integer", "examples": [1]}, {"type": "string"}, {"type": "null"}))
CLIENT_MESSAGES: Final = tuple(
    record(
        f"{kind.capitalize()}Report" if kind == "painted" else kind.capitalize(),
        meaning,
        {
            "type": constant(kind),
            "id": _STRING_OR_INTEGER | {"description": "Comes back in the answer."},
            **fields,
        },
        optional=("id", *fields),
    )
    for kind, meaning, fields in (
        ("ping", "Asks for a pong; the plain text `ping` does, too.", {}),
        (
            "subscribe",
            "Adds channels. The first channels of metrics replace the default of all.",
            {
                "channels": array(text("A channel.", "execution"), "Sections, custom collectors, `metrics`, lanes."),
                "symbols": nullable(array(text("A symbol.", "AAPL"), "The new filter."), "Null removes the filter."),
                "mode": word("Whole snapshots, or changes.", ("full", "delta")),
                "lane_since": mapping(count("Its newest entry that the client has.", 86), "Replays lanes.", "trades"),
            },
        ),
        (
            "painted",
            "Reports that a frame was painted, at most twice a second.",
            {
                "epoch": _EPOCH,
                "seq": _SEQ,
                "paint_ms": number("From its arrival until it was painted.", 8.5),
                "rtt_ms": number("The round trip of the last report; null in the first.", 0.8, null=True),
            },
        ),
        ("pause", "With `at`: stops at the frame that was sent last.", {}),
        ("play", "With `at`: goes on.", {"speed": number("The factor, up to 3600.", 4.0, "1")}),
        ("seek", "With `at`: sends the newest frame at or before a time.", {"time": moment("The time.")}),
        (
            "step",
            "With `at`: pauses, and sends the frame so many ticks further on.",
            {"count": number("Ticks.", -1, "ticks")},
        ),
        (
            "unsubscribe",
            "Takes away channels and symbols; everything, if it names neither.",
            {
                "channels": array(text("A channel.", "execution"), "Channels to leave."),
                "symbols": array(text("A symbol.", "AAPL"), "Symbols to take out of the filter."),
            },
        ),
    )
)
