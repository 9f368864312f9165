"""What the documents say of the code holds: their tables are made of it or equal to it, their links lead somewhere, and
the files that they name exist. What they say of a running server is held true by tests/system/test_docs.py."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from typing import Final

import msgspec
import pytest

from documents import (
    DOCUMENTS,
    GENERATED,
    GUIDES,
    ROOT,
    SOURCE_ROOTS,
    Document,
    document,
    packages,
    tour_line,
    tour_lines,
)
from observability.clients import ConnectionState
from observability.config.config import SETTINGS
from observability.errors import ConfigError
from observability.events import EVENT_TYPES, TYPE_NAMES
from observability.metrics.alerts.rule_file import parse_rules
from observability.metrics.collectors import ENTRY_POINT_GROUP
from observability.metrics.market.venues import Venue
from observability.metrics.system.health import THRESHOLDS
from observability.notify.route_file import load_routes
from observability.schemas.answers import ANSWERS
from observability.sources.feeds.feed import from_url
from observability.sources.feeds.venues import VENUES
from observability.sources.schemes import ENTRY_POINT_GROUP as SOURCES_GROUP
from observability.sources.schemes import MODULES as SOURCE_MODULES
from observability.websocket.close_codes import CloseCode

# Files of readers and of the first version, and those that must not exist.
NOT_OURS: Final = frozenset({
    "serve.py", "my-alerts.toml", "main.py", "http/__init__.py", "__init__.py",
})  # fmt: skip
_FILE = re.compile(r"[\w./-]+(?:\.(?:py|toml|md|conf|yaml|html)|/)")


# -- links and files


@pytest.mark.parametrize("found", DOCUMENTS, ids=lambda found: found.name)
def test_every_link_leads_to_a_file_and_a_heading(found: Document) -> None:
    broken = []
    for link in found.links():
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (found.path.parent / name).resolve() if name else found.path
        if not target.exists():
            broken.append(link)
        elif anchor:
            anchors = document(str(target.relative_to(ROOT))).anchors()
            broken += [link] if anchor not in anchors else []
    assert broken == []


@pytest.mark.parametrize("found", GUIDES, ids=lambda found: found.name)
def test_every_file_that_is_named_exists(found: Document) -> None:
    names = {code for code in found.codes() if _FILE.fullmatch(code) and not code.startswith(("/", "."))} - NOT_OURS
    assert [name for name in names if not any((root / name).exists() for root in (ROOT, *SOURCE_ROOTS))] == []


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in document("README.md").links()}
    assert [found.name for found in DOCUMENTS if found.name not in linked | {"README.md"}] == []


def test_the_readme_has_each_command_on_one_line() -> None:
    for marker in ("start-command", "test-command"):
        (command,) = re.findall(r"```sh\n(.+)\n```\n", document("README.md").part(marker))
        assert command.startswith("python -m venv .venv && ")


# -- the reference


def operations_with_json() -> set[str]:
    """Returns the ids of the operations that the code adds, as far as it names them, and that answer with JSON."""
    found = set()
    for path in (ROOT / "http" / "observability").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_bytes())):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "router.add"):
                continue
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            name, description = given.get("name"), ast.unparse(given.get("description", ast.Constant("")))
            if isinstance(name, ast.Constant) and ("media_types" not in description or "/json'" in description):
                found.add(name.value)
    return found


def test_the_answer_of_every_operation_is_described() -> None:
    operations = operations_with_json()
    assert len(operations) > 15
    assert sorted(operations - ANSWERS.keys()) == [], "describe them in observability.schemas.answers"


# -- what is made from the code


@pytest.mark.parametrize(("name", "marker"), GENERATED, ids=lambda word: word)
def test_a_part_that_is_made_from_the_code_is_up_to_date(name: str, marker: str) -> None:
    assert document(name).part(marker) == GENERATED[name, marker](), "run python tests/support/documents.py"


def test_the_tour_of_folders_has_every_package_with_its_docstring() -> None:
    lines = tour_lines(document("ARCHITECTURE.md").text)
    assert lines == {folder: tour_line(folder) for folder in packages()}, "run python tests/support/documents.py"


# -- tables that the code alone decides about


def test_the_table_of_events_has_every_type_and_field() -> None:
    expected = {}
    for kind in EVENT_TYPES:
        fields = [field for field in msgspec.structs.fields(kind) if field.name not in ("ts", "ts_init")]
        required = {field.name for field in fields if field.required}
        expected[TYPE_NAMES[kind]] = (required, {field.name for field in fields} - required)
    documented = {
        kind.strip("`"): (set(re.findall(r"`(\w+)`", required)), set(re.findall(r"`(\w+)`", optional)))
        for kind, required, optional, _ in document("docs/sending-events.md").table("events")
    }
    assert documented == expected


def test_the_table_of_rule_keys_has_every_key() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_rules("[rule]\nno_such_key = 1", "")
    (known,) = re.findall(r"no_such_key: unknown, expected one of ([\w, ]+)", str(raised.value))
    assert sorted(document("docs/alerts.md").names("rule-keys")) == sorted(known.split(", "))


def test_the_example_of_rules_can_be_loaded() -> None:
    rules, *_ = [block for block in document("docs/alerts.md").blocks() if block.language == "toml"]
    assert {rule.name for rule in parse_rules(rules.text, "")} == {"reject_rate", "disconnects"}


def test_the_examples_of_rules_that_look_back_can_be_loaded_and_show_every_kind() -> None:
    blocks = [block for block in document("docs/alerts.md").blocks() if block.language == "toml"]
    windows = [rule.window.to_json() for rule in parse_rules(blocks[1].text, "") if rule.window is not None]
    kinds = ("change_over", "deviation_over", "burn_over", "absent_for", "unchanged_for")
    assert {kind for window in windows for kind in kinds if kind in window} == set(kinds)


def test_the_example_of_routes_can_be_loaded(tmp_path: Path) -> None:
    *_, routes = [block for block in document("docs/alerts.md").blocks() if block.language == "toml"]
    (tmp_path / "hook.key").write_text("a key")
    path = tmp_path / "alerts.toml"
    path.write_text(routes.text.replace("/etc/observability", str(tmp_path)))
    found = load_routes(path, {"DESK_URL": "tgram://123456789:abcdefg_hijklmnop/12315544/"})
    assert [route.name for route in found] == ["desk", "night-shift", "alertmanager"]


def test_the_table_of_route_keys_has_every_key(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text("[[route]]\nno_such_key = 1\n")
    with pytest.raises(ConfigError) as raised:
        load_routes(path)
    (known,) = re.findall(r"no_such_key: unknown, expected one of ([\w, ]+)", str(raised.value))
    assert sorted(document("docs/alerts.md").names("route-keys")) == sorted(known.split(", "))


def test_the_example_of_an_entry_point_names_the_right_group() -> None:
    (example,) = [block for block in document("docs/collectors.md").blocks() if block.language == "toml"]
    assert list(tomllib.loads(example.text)["project"]["entry-points"]) == [ENTRY_POINT_GROUP]


def test_the_example_of_a_source_is_short_and_names_the_right_group() -> None:
    blocks = list(document("docs/sources.md").blocks())
    (example,) = [block for block in blocks if block.language == "toml"]
    assert list(tomllib.loads(example.text)["project"]["entry-points"]) == [SOURCES_GROUP]
    (code,) = [block.text for block in blocks if block.text.startswith("# file_source.py")]
    assert len([line for line in code.splitlines() if line.strip()]) <= 50


def test_the_table_of_venues_has_every_venue_and_its_way_to_write_a_pair() -> None:
    schemes = [scheme for scheme, module in SOURCE_MODULES.items() if module == from_url.__module__]
    documented = {
        row[0].split()[0].strip("`"): row[3].strip("`") for row in document("docs/sources.md").table("venues")
    }
    assert documented == {scheme: VENUES[scheme].symbol("BTC/USDT") for scheme in schemes}
    assert sorted(schemes) == sorted(VENUES)


def test_the_table_of_reasons_for_leaving_out_has_every_reason() -> None:
    sources = (ROOT / "core/observability/metrics/execution").glob("*.py")
    labels = [re.findall(r'"(?:fill|shortfall|vwap|{label}):([a-z_]+)"', path.read_text("utf-8")) for path in sources]
    documented = document("docs/execution-quality.md").names("left-out")
    assert set(documented) == {reason for found in labels for reason in found}


def test_the_table_of_health_has_every_threshold() -> None:
    documented = {row[0].strip("`"): row[1:] for row in document("docs/monitoring.md").table("health")}
    for name, bounds in THRESHOLDS.items():
        assert documented[name] == ["" if bound is None else f"≥ {bound:g}" for bound in bounds]


def test_the_table_of_close_codes_has_every_code_the_server_sends() -> None:
    documented = {int(row[0]) for row in document("docs/api.md").table("close-codes")}
    assert documented == {int(code) for code in CloseCode}


def test_the_table_of_states_has_every_state_of_a_client() -> None:
    assert document("docs/clients.md").names("client-states") == list(ConnectionState)


# Where the code has each bound of the table.
LIMITS: Final = {
    "request line": "http11.heads:MAX_REQUEST_LINE_BYTES",
    "request head": "http11.heads:MAX_HEAD_BYTES",
    "header fields": "http11.heads:MAX_FIELDS",
    "query parameters": "http11.targets:MAX_QUERY_PARAMETERS",
    "request body": "http11.parser:DEFAULT_MAX_BODY_BYTES",
    "body of `POST /api/ingest`": "senders.route:MAX_BODY_BYTES",
    "bodies of all requests of a worker": "config.config:Config().http_body_memory",
    "members of a gzip body": "http11.codings:MAX_MEMBERS",
    "body that is not wanted": "http11.parser:MAX_DROPPED_BYTES",
    "time for a request head": "routing.application:Limits().head_seconds",
    "time for a PROXY header": "connections.proxied_connection:HEADER_SECONDS",
    "PROXY header of version 2, without its first 16 bytes": "http11.proxy_protocol:MAX_V2_BYTES",
    "time for a request body": "routing.application:Limits().body_seconds",
    "time between requests": "config.config:Config().http_idle_timeout",
    "time to take an answer": "routing.application:Limits().stall_seconds",
    "WebSocket clients": "config.config:Config().ws_max_connections",
    "message of a stream client": "websocket.connection:DEFAULT_MAX_MESSAGE_BYTES",
    "fragments of a WebSocket message": "websocket.connection:MAX_FRAGMENTS",
    "frames of one WebSocket client in a turn of the event loop": "websocket.inbound:FRAMES_PER_TURN",
    "frames of a WebSocket client per second": "config.config:Config().ws_rate_limit",
    "time between pings of a WebSocket client": "config.config:Config().ws_heartbeat_interval",
    "time in which a WebSocket client takes nothing": "websocket.connection:WRITE_STALL_SECONDS",
    "time for the answer to a Close": "websocket.connection:CLOSE_TIMEOUT_SECONDS",
    "trades, and likewise alerts, that wait for a client": "config.config:Config().ws_message_queue_size",
    "channels of a subscription": "stream.subscriptions:MAX_CHANNELS",
    "symbols of a subscription": "stream.subscriptions:MAX_SYMBOLS",
    "different views of a worker with a filter by symbol": "stream.views:MAX_VIEWS",
    "of those, of one address": "stream.views:MAX_VIEWS_PER_ADDRESS",
    "different views of a worker without a filter by symbol": "stream.views:MAX_CHANNEL_VIEWS",
    "refused messages of a WebSocket client in 10 seconds": "websocket.connection:MAX_REFUSED_MESSAGES",
    "message at `/ws/echo`": "websocket.echo:MAX_MESSAGE_BYTES",
    "points of a history query": "rest.history_request:MAX_POINTS",
    "exports being made by a worker": "rest.exports:MAX_EXPORTS",
    "senders at `/ws/ingest`": "senders.endpoint:MAX_SENDERS",
    "message of a sender": "senders.sender:MAX_MESSAGE_BYTES",
    "unanswered messages of a sender": "senders.sender:MAX_UNANSWERED",
    "events of one batch": "ingest.gate:MAX_EVENTS",
    "HTTP batches being taken": "ingest.gate:MAX_BATCHES",
    "bytes of HTTP batches being taken": "ingest.gate:MAX_BATCH_BYTES",
    "idempotency key": "ingest.gate:MAX_KEY_CHARACTERS",
    "answers by idempotency key, in memory": "ingest.answers:MAX_MEMORY_BYTES",
    "faults, and likewise warnings, listed in an answer": "ingest.answers:MAX_FAULTS_LISTED",
    "time until a batch is on disk": "ingest.gate:DURABLE_SECONDS",
    "event": "ingest.decoder:MAX_EVENT_BYTES",
    "symbol": "events:MAX_SYMBOL_LENGTH",
    "id, and name of a strategy, venue, component, metric or action": "events:MAX_NAME_LENGTH",
    "code of a currency": "events:MAX_CURRENCY_LENGTH",
    "message, detail or reason": "events:MAX_TEXT_LENGTH",
    "title of an alert": "events:MAX_TITLE_LENGTH",
    "key of an alert": "events:MAX_KEY_LENGTH",
    "labels of an alert": "events:MAX_ALERT_LABELS",
    "label of an alert": "events:MAX_ALERT_LABEL_LENGTH",
    "links of an alert": "events:MAX_LINKS",
    "link of an alert": "events:MAX_LINK_LENGTH",
    "logger of a log line": "events:MAX_LOGGER_LENGTH",
    "fields of a log line": "events:MAX_FIELDS_BYTES",
    "unknown fields of an event that are named": "ingest.dialects:MAX_UNKNOWN_FIELDS",
    "brackets within each other in a batch that is not JSON": "ingest.splitting:MAX_DEPTH",
    "digits on either side of the point": "events:MAX_DECIMAL_EXPONENT",
    "symbols": "config.config:Config().max_symbols",
    "venues of a symbol": "metrics.market.venues:MAX_VENUES",
    "venues of a position": "metrics.market.venues:MAX_VENUES",
    "strategies with an account of their own": "config.config:Config().max_strategies",
    "positions": "config.config:Config().max_positions",
    "positions that the engine reports": "config.config:Config().max_positions",
    "open orders": "metrics.execution_collector:ExecutionSettings().max_open_orders",
    "message of a venue": "sources.feeds.websocket:MAX_MESSAGE_BYTES",
    "messages of a venue that wait": "sources.feeds.websocket:MAX_WAITING_MESSAGES",
    "bytes of messages of a venue that wait": "sources.feeds.websocket:MAX_WAITING_BYTES",
    "time for a venue's answer to a heartbeat": "sources.feeds.websocket:REPLY_SECONDS",
    "streams of a Redis source": "sources.brokers.redis:MAX_STREAMS",
    "open orders of an engine whose Redis streams are read": "sources.brokers.nautilus:MAX_ORDERS",
    "open positions of an engine whose Redis streams are read": "sources.brokers.nautilus:MAX_POSITIONS",
    "ended orders remembered": "metrics.execution_collector:ExecutionSettings().max_recent_orders",
    "symbols whose market is followed for orders": "metrics.execution_collector:ExecutionSettings().max_symbols",
    "reasons of rejects, with their venues": "metrics.execution.reject_reasons:MAX_REASONS",
    "fills that wait for a markout": "metrics.execution_collector:ExecutionSettings().max_pending_markouts",
    "strategies, symbols or venues with figures of their own": (
        "metrics.execution_collector:ExecutionSettings().max_groups"
    ),
    "trades in memory": "metrics.trades.trade_log:MAX_TRADES",
    "order reports in memory": "metrics.execution.orders.report_log:MAX_REPORTS",
    "bookings in memory": "metrics.trades.booking_log:MAX_BOOKINGS",
    "keys of bookings in memory": "metrics.trades.booking_log:MAX_KEYS",
    "conflicting bookings in memory": "metrics.trades.booking_log:MAX_CONFLICTS",
    "keys of fills in memory": "metrics.trades.trade_log:MAX_KEYS",
    "conflicting fills in memory": "metrics.trades.trade_log:MAX_CONFLICTS",
    "alerts": "metrics.system_collector:SystemSettings().max_alerts",
    "components": "metrics.system_collector:SystemSettings().max_components",
    "series of `metric` events": "metrics.system_collector:SystemSettings().max_user_metrics",
    "labels of a series": "events:MAX_LABELS",
    "label name or value": "events:MAX_LABEL_LENGTH",
    "alert rules": "metrics.alerts.rule_file:MAX_RULES",
    "routes of alerts": "notify.route_file:MAX_ROUTES",
    "notices of a route that wait": "notify.outbox:MAX_PENDING",
    "silences": "notify.silences:MAX_SILENCES",
    "orders of a chain of replacements that are named": "metrics.execution.orders.queries:MAX_CHAIN",
    "deposits and withdrawals in the daily returns": "metrics.strategy.returns:MAX_FLOWS",
    "days of daily returns": "metrics.strategy.returns:MAX_DAYS",
    "rows waiting for the store": "metrics.durability.persistence:MAX_QUEUED_ROWS",
    "days that the store keeps a row": "config.config:Config().store_max_age",
    "size of the store": "config.config:Config().store_max_bytes",
    "clients of a worker that look at the past": "past.player:MAX_VIEWERS",
    "frames waiting for the recording": "recorder.recorder:MAX_QUEUED_FRAMES",
    "recorded frame": "recorder.codec:MAX_FRAME_BYTES",
    "lines of a log recorded in a second": "recorder.documents:MAX_LINES",
    "days that the recording goes back": "config.config:Config().record_max_age",
    "size of the recording": "config.config:Config().record_max_bytes",
    "strategies, symbols or venues in `/metrics`": "config.config:Config().metrics_max_values",
    "lines of a log that differ in names and numbers only": "logs.repeats:REPEATS_PER_MINUTE",
    "days that a store from before an upgrade is kept": "store.upgrade:KEPT_DAYS",
    "sources": "config.source_urls:MAX_SOURCES",
    "events of a source that wait for the disk": "sources.runner:MAX_UNSETTLED",
    "ZeroMQ message": "sources.brokers.zmq:MAX_MESSAGE_BYTES",
    "ZeroMQ orders of an engine that are remembered": "sources.brokers.engine:MAX_ORDERS",
    "API tokens": "config.access:MAX_TOKENS",
}


def test_the_table_of_a_venue_names_every_field() -> None:
    documented = document("docs/symbols.md").names("venue_data")
    assert sorted(documented) == sorted(Venue("A", "X", 60.0).to_json())


def test_the_table_of_limits_has_the_values_of_the_code() -> None:
    documented = {row[0]: int(row[1].split()[0]) for row in document("docs/limits.md").table("limits")}
    assert documented == {what: _constant(where) for what, where in LIMITS.items()}


def test_the_table_of_limits_names_the_setting_of_each_bound_that_has_one() -> None:
    variables = {f"config.config:Config().{setting.name}": f"`{setting.env}`" for setting in SETTINGS}
    documented = {row[0]: row[2] for row in document("docs/limits.md").table("limits")}
    assert documented == {what: variables.get(where, "") for what, where in LIMITS.items()}


def _constant(where: str) -> int:
    name, _, field = where.partition("().")
    found = resolve_name(f"observability.{name}")
    value: int = getattr(found(), field) if field else found
    return value
