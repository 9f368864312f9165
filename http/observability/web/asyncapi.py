"""The AsyncAPI description of the streams: each message of `/ws/metrics`, `/stream`, `/ws/ingest`, and the events."""

from __future__ import annotations

from typing import Any, Final

from observability.memory.layout import LANES
from observability.rest.openapi import event_schemas
from observability.schemas.builders import Schema, components, example_of
from observability.schemas.messages import CLIENT_MESSAGES, LANE_MESSAGES, SENDER_MESSAGES, STREAM_MESSAGES
from observability.senders.endpoint import SenderEndpoint
from observability.stream.endpoint import EVENTS_PATH, StreamEndpoint
from observability.stream.subscriptions import StreamQuery
from observability.version import VERSION
from observability.websocket.close_codes import CloseCode

_QUERY: Final = {
    "channels": "Channels, separated by commas: sections, custom collectors, `metrics` for all of these, lanes.",
    "symbols": "Symbols, separated by commas: only these of `market_data`, `positions` and the lanes.",
    "mode": "`full` snapshots, or `delta` for what has changed.",
    "since": "EPOCH:SEQ of the newest snapshot that the client has: sends what it has missed.",
    "lane_since": "`seq` of the newest entry that the client has: replays the lanes from there.",
}
# A client of server-sent events sends nothing that these would answer.
_ASKED_FOR: Final = ("Pong", "Painted", "Past")


def describe_streams() -> dict[str, Any]:
    """Returns the AsyncAPI 3.0 document."""
    events = event_schemas()
    schemas = dict(events)
    messages: dict[str, Any] = {}
    names = {
        "stream": [_message(each, schemas, messages) for each in STREAM_MESSAGES],
        "client": [_message(each, schemas, messages) for each in CLIENT_MESSAGES],
        "sender": [_message(each, schemas, messages) for each in SENDER_MESSAGES],
        "events": [_event(name, schema, messages) for name, schema in events.items()],
    }
    # Server-sent events say why they end; a WebSocket has its close code.
    names["websocket"] = [name for name in names["stream"] if name != "Close"]
    names["server-sent"] = [name for name in names["stream"] if name not in _ASKED_FOR]
    query = {
        "type": "object",
        "properties": {name: {"type": "string", "description": _QUERY[name]} for name in StreamQuery.__struct_fields__},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "observability", "version": VERSION},
        "defaultContentType": "application/json",
        "channels": {
            "metrics": {
                "address": StreamEndpoint.paths[0],
                "title": "The stream",
                "description": "Snapshots ten times a second, or what has changed; and the lossless lanes.",
                "messages": _references([*names["websocket"], *names["client"]]),
                "bindings": {"ws": {"method": "GET", "query": query}},
            },
            "events": {
                "address": EVENTS_PATH,
                "title": "The stream as server-sent events",
                "description": "The same messages over HTTP; the parameters of the URL are the same.",
                "messages": _references(names["server-sent"]),
                "bindings": {"http": {"query": query}},
            },
            "ingest": {
                "address": SenderEndpoint.paths[0],
                "title": "Events from senders",
                "description": "Each message is an event, an array, lines, or an envelope with `events`, `seq` and "
                "`key`; each is answered in order, once what must be durable is on disk.",
                "messages": _references([*names["sender"], *names["events"]]),
            },
        },
        "operations": {
            "receiveMetrics": _operation("send", "metrics", "What the server sends.", names["websocket"]),
            "askForMetrics": _operation("receive", "metrics", "What the server takes.", names["client"]),
            "receiveEvents": _operation("send", "events", "What the server sends.", names["server-sent"]),
            "sendEvents": _operation("receive", "ingest", "What the server takes.", names["events"]),
            "receiveAnswers": _operation("send", "ingest", "What the server answers.", names["sender"]),
        },
        "components": {"messages": messages, "schemas": schemas},
        "x-lanes": {name: {"message": _reference(LANE_MESSAGES[name]["title"])} for name in LANES},
        "x-close-codes": {str(int(code)): code.name for code in CloseCode},
    }


def _message(schema: Schema, schemas: dict[str, Schema], messages: dict[str, Any]) -> str:
    """Adds a message; returns its name."""
    name: str = schema["title"]
    messages[name] = {
        "name": schema["properties"]["type"]["const"],
        "summary": schema["description"],
        "payload": components(schema, schemas),
        "examples": [{"payload": example_of(schema)}],
    }
    return name


def _event(name: str, schema: Schema, messages: dict[str, Any]) -> str:
    kind = schema["properties"]["type"]["enum"][0]
    message = f"{name}Event"
    messages[message] = {
        "name": kind,
        "summary": schema["description"],
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"payload": event_example(schema)}],
    }
    return message


def event_example(schema: Schema) -> dict[str, Any]:
    """Returns an event with every field that has an example."""
    fields = schema["properties"].items()
    kind = {"type": schema["properties"]["type"]["enum"][0]}
    return kind | {name: field["examples"][0] for name, field in fields if field.get("examples") and name != "ts_init"}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _references(names: list[str]) -> dict[str, Any]:
    return {name: _reference(name) for name in names}


def _operation(action: str, channel: str, summary: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }
