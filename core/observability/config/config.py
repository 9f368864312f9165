"""The configuration: every setting, declared once, with its variable, flag, range, default and meaning.

The command line, its help and the documented table of settings are made from these declarations (`command_line.py`).
Only `from_environment` reads the environment.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from observability.config.access import MAX_PORT, ApiToken, Hosts, Network, Networks, Origins, Tokens
from observability.config.cluster import DeskName, DeskNames, EngineUrl
from observability.config.kinds import (
    ByteSize,
    Choice,
    Choices,
    DirectoryPath,
    ExistingPaths,
    Integer,
    ReadableFile,
    Seconds,
    Speed,
    Switch,
)
from observability.config.setting import Kind, RepeatableKind, Setting, shown
from observability.config.source_urls import SourceUrls
from observability.config.trading import (
    AnnualRate,
    ContractMultipliers,
    CurrencyCode,
    Multipliers,
    PositiveAmount,
    SecondsBySymbol,
    SymbolSeconds,
    TimeOfDay,
    Venues,
    YearDays,
    Zone,
)
from observability.errors import ConfigError

logger = logging.getLogger(__name__)

LOG_FORMATS: Final = ("text", "json")
METRICS_LABELS: Final = ("strategy", "symbol", "venue")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOCAL_WRITES_BY_USER: Final = "user"
HUB_ROLE: Final = "hub"
EDGE_ROLE: Final = "edge"
AGGREGATOR_ROLE: Final = "aggregator"
DEFAULT_CORS_ORIGINS: Final = ("http://localhost:3000", "http://localhost:5173")

NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

DEFAULT_DESK: Final = "main"
# What only a host that takes events or has a store does anything with. CLUSTER_LEASE and CLUSTER_REPLICAS are not among
# them: they are those of a desk, whose hosts may share a file of settings.
_OF_HUBS: Final = frozenset({
    "data_dir", "store_max_age", "store_max_bytes", "store_upgrade_copy", "record", "record_max_age",
    "record_max_bytes", "alert_rules", "instruments", "positions", "refuse_unknown_fields", "stale_after",
    "stale_after_by_symbol", "session_timezone", "session_start", "daily_trade_ids", "starting_capital",
    "contract_multipliers", "reporting_currency", "annualization", "risk_free_rate", "demo", "replay", "sources",
})  # fmt: skip

# The similarity (difflib's ratio) from which one name counts as a misspelling of another: all but a letter or two.
NEAR_MISS_RATIO: Final = 0.85


def _setting(default: object, kind: Kind, meaning: str, *, env: str | None = None, flag: str | None = None) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "env": env, "flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of one server. Every instance is valid: the constructor raises ConfigError with all faults."""

    host: str = _setting(
        "127.0.0.1",
        Hosts(),
        "Addresses to listen on: 127.0.0.1 serves this machine only, 0.0.0.0 all its networks, :: the same over IPv6 "
        "and IPv4.",
        env="API_HOST",
        flag="--host",
    )
    port: int = _setting(
        8000, Integer(0, MAX_PORT), "Port to listen on; 0 picks a free one.", env="API_PORT", flag="--port"
    )
    workers: int = _setting(
        1,
        Integer(1, 256),
        "Processes that serve clients. 1 does everything in one process; more run beside a process that collects.",
        env="API_WORKERS",
        flag="--workers",
    )
    cors_origins: tuple[str, ...] = _setting(
        DEFAULT_CORS_ORIGINS,
        Origins(),
        "Origins whose pages may call the API from a browser. `*` allows any; empty allows only the built-in pages.",
        env="CORS_ORIGINS",
    )
    ws_max_connections: int = _setting(
        10_000,
        Integer(1, 1_000_000),
        "WebSocket clients that may be connected at once, to all workers together; further ones get 503.",
        env="WS_MAX_CONNECTIONS",
    )
    ws_heartbeat_interval: float = _setting(
        15.0,
        Seconds(0.1, 3600),
        "Time between pings to a WebSocket client; a client silent for two of them is disconnected.",
        env="WS_HEARTBEAT_INTERVAL",
    )
    ws_message_queue_size: int = _setting(
        1000,
        Integer(1, 1_000_000),
        "Trades, and likewise alerts, that may wait for a slow client; a client further behind is disconnected.",
        env="WS_MESSAGE_QUEUE_SIZE",
    )
    ws_rate_limit: int = _setting(
        50,
        Integer(0, 1_000_000),
        "Frames a WebSocket client may send per second (messages, their fragments, pings and pongs), with bursts of "
        "twice as many; 0 means no limit.",
        env="WS_RATE_LIMIT",
    )
    broadcast: str = _setting(
        "auto",
        Choice(("auto", "uring", "picows")),
        "How frames are sent: `uring` by io_uring, `picows` without it; `auto` uses io_uring where the kernel allows "
        "it.",
        env="BROADCAST",
        flag="--broadcast",
    )
    http_rate_limit: int = _setting(
        0,
        Integer(0, 1_000_000),
        "Requests an address may make per second, with bursts of twice as many; further ones get 429. 0 "
        "means no limit.",
        env="HTTP_RATE_LIMIT",
    )
    http_idle_timeout: float = _setting(
        120.0,
        Seconds(1, 3600),
        "Time that an HTTP connection may wait for its next request. A proxy in front must close its own idle "
        "connections earlier.",
        env="HTTP_IDLE_TIMEOUT",
    )
    http_body_memory: int = _setting(
        64_000_000,
        ByteSize(8_000_000, 10**12),
        "Memory that each worker spends on the bodies of requests, all together; further ones get 503.",
        env="HTTP_BODY_MEMORY",
    )
    max_connections_per_address: int = _setting(
        0,
        Integer(0, 1_000_000),
        "HTTP connections, and likewise WebSocket clients, that an address may have; further ones get 429. "
        "0 means no limit.",
        env="MAX_CONNECTIONS_PER_ADDRESS",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        Networks(),
        "Reverse proxies whose X-Forwarded-For header is trusted to name the client's address.",
        env="TRUSTED_PROXIES",
    )
    proxy_protocol: bool = _setting(
        False,
        Switch(),
        "Whether `TRUSTED_PROXIES` begin each connection with a PROXY header (version 1 or 2), which names the address "
        "of the client.",
        env="PROXY_PROTOCOL",
    )
    api_tokens: tuple[ApiToken, ...] = _setting(
        (),
        Tokens(),
        "Tokens that clients must present. With none, `LOCAL_WRITES` says who may write; with any, a write needs a "
        "`write` token; if one of them is a `read` token, a read needs a token too.",
        env="API_TOKENS",
    )
    local_writes: str = _setting(
        LOCAL_WRITES_BY_USER,
        Choice((LOCAL_WRITES_BY_USER, "off")),
        "Who may write while there are no `API_TOKENS`: `user` means programs on this machine that run as the user of "
        "the server, `off` no program.",
        env="LOCAL_WRITES",
    )
    tls_cert: Path | None = _setting(
        None,
        ReadableFile(),
        "Certificate chain in PEM format; with it the server speaks only https and wss.",
        env="TLS_CERT",
        flag="--tls-cert",
    )
    tls_key: Path | None = _setting(
        None,
        ReadableFile(),
        "Private key of the certificate in PEM format, without a passphrase.",
        env="TLS_KEY",
        flag="--tls-key",
    )
    metric_collection_interval: float = _setting(
        0.1, Seconds(0.01, 60), "Time between snapshots; 0.1 makes ten per second.", env="METRIC_COLLECTION_INTERVAL"
    )
    log_level: str = _setting(
        "INFO", Choice(LOG_LEVELS), "Least severe level that is logged.", env="LOG_LEVEL", flag="--log-level"
    )
    log_format: str = _setting(
        "text", Choice(LOG_FORMATS), "How lines of the log are written: for people, or as JSON for programs.",
        env="LOG_FORMAT", flag="--log-format",
    )  # fmt: skip
    log_dir: Path | None = _setting(
        None,
        DirectoryPath(),
        "Directory for rotating log files, written in addition to the log on stderr.",
        env="LOG_DIR",
    )
    data_dir: Path | None = _setting(
        None,
        DirectoryPath(),
        "Directory for what must survive a restart: trades, alerts, history. Without it they are kept in "
        "memory only. Its disk is the one that is monitored.",
        env="DATA_DIR",
        flag="--data-dir",
    )
    store_max_age: int = _setting(
        90,
        Integer(1, 36_500),
        "How many days the store keeps a row, counted from its arrival by the host's clock.",
        env="STORE_MAX_AGE",
    )
    store_max_bytes: int = _setting(
        4_000_000_000,
        ByteSize(16_000_000, 100 * 10**12),
        "Size beyond which the store removes the rows that arrived first.",
        env="STORE_MAX_BYTES",
    )
    store_upgrade_copy: bool = _setting(
        True,
        Switch(),
        "Whether a store that a new version has to change is copied beside itself first, and the copy kept for 7 days.",
        env="STORE_UPGRADE_COPY",
    )
    record: bool = _setting(
        True,
        Switch(),
        "Whether every snapshot is recorded in `DATA_DIR`, so that any past moment can be looked at.",
        env="RECORD",
    )
    record_max_age: int = _setting(
        7,
        Integer(1, 36_500),
        "How many days the recording of snapshots goes back.",
        env="RECORD_MAX_AGE",
    )
    record_max_bytes: int = _setting(
        4_000_000_000,
        ByteSize(16_000_000, 100 * 10**12),
        "Size beyond which the oldest part of the recording is removed, beside what the store takes.",
        env="RECORD_MAX_BYTES",
    )
    alert_rules: Path | None = _setting(
        None,
        ReadableFile(),
        "Alert rules in TOML, which replace the built-in ones.",
        env="ALERT_RULES",
        flag="--alerts",
    )
    instruments: Path | None = _setting(
        None,
        ReadableFile(),
        "What symbols stand for, in TOML: currencies, multipliers, kinds of contracts. SIGHUP reads it again.",
        env="INSTRUMENTS",
        flag="--instruments",
    )
    positions: Path | None = _setting(
        None,
        ReadableFile(),
        "Opening positions to adopt at the start, in TOML or JSON lines; one that is known already stays as it is.",
        env="POSITIONS",
        flag="--positions",
    )
    refuse_unknown_fields: bool = _setting(
        False,
        Switch(),
        "Reject an event that has a field which its type does not know, instead of taking it with a warning.",
        env="REFUSE_UNKNOWN_FIELDS",
    )
    max_symbols: int = _setting(
        1000,
        Integer(1, 100_000),
        "Symbols that memory is reserved for at the start, which takes none until they appear; further symbols are "
        "refused.",
        env="MAX_SYMBOLS",
    )
    metrics_labels: tuple[str, ...] = _setting(
        METRICS_LABELS,
        Choices(METRICS_LABELS),
        "What the trading figures of `/metrics` are broken down by; without one of these, the families with that label "
        "are left out.",
        env="METRICS_LABELS",
    )
    metrics_max_values: int = _setting(
        1000,
        Integer(1, 100_000),
        "Strategies, symbols and venues that have figures of their own in `/metrics`, of each so many; those with "
        "positions come first, and `trading_label_values_left_out` counts the others.",
        env="METRICS_MAX_VALUES",
    )
    max_strategies: int = _setting(
        64,
        Integer(1, 256),
        "Strategies with an account and a history of their own, which memory is reserved for at the start; further "
        "ones share the account `(other)`.",
        env="MAX_STRATEGIES",
    )
    max_positions: int = _setting(
        1024,
        Integer(1, 100_000),
        "Positions, of all strategies together, that may be open at once; a fill that needs a further one is rejected.",
        env="MAX_POSITIONS",
    )
    stale_after: float = _setting(
        5.0,
        Seconds(0.1, 604_800),
        "Age after which the newest quote of a symbol, and its newest print, is stale.",
        env="STALE_AFTER",
    )
    stale_after_by_symbol: SymbolSeconds = _setting(
        (),
        SecondsBySymbol(0.1, 604_800),
        "The same for symbols that are quoted more or less often than others, such as `BTCUSDT:1,BOND:600`.",
        env="STALE_AFTER_BY_SYMBOL",
    )
    session_timezone: str = _setting("UTC", Zone(), "Time zone of `SESSION_START`.", env="SESSION_TIMEZONE")
    session_start: time = _setting(
        time(),
        TimeOfDay(),
        "Local time at which a trading day begins and daily P&L starts at 0 again.",
        env="SESSION_START",
    )
    daily_trade_ids: tuple[str, ...] = _setting(
        (),
        Venues(),
        "Venues whose trade ids begin anew each session, such as `SHFE,DCE`, or `*` for all: the same id on another "
        "day is another fill.",
        env="DAILY_TRADE_IDS",
    )
    starting_capital: Decimal | None = _setting(
        None,
        PositiveAmount(),
        "Equity before the first fill. Without it, the first `equity` event sets it.",
        env="STARTING_CAPITAL",
    )
    contract_multipliers: Multipliers = _setting(
        (),
        ContractMultipliers(),
        "Contract multipliers by symbol: `ES:50` means that one contract gains 50 per point. 1 for all other symbols.",
        env="CONTRACT_MULTIPLIERS",
    )
    reporting_currency: str = _setting(
        "USD",
        CurrencyCode(),
        "The currency that sums of money are shown in, converted from others at the newest rates; and that of symbols "
        "of which nothing is known.",
        env="REPORTING_CURRENCY",
    )
    annualization: int = _setting(
        365,
        YearDays(),
        "Daily returns in a year, by which Sharpe, Sortino and Calmar are annualized.",
        env="ANNUALIZATION",
    )
    risk_free_rate: Decimal = _setting(
        Decimal(0),
        AnnualRate(),
        "Risk-free interest per year, as a fraction, which Sharpe and Sortino leave out of the returns.",
        env="RISK_FREE_RATE",
    )
    shutdown_grace_seconds: float = _setting(
        10.0,
        Seconds(0, 600),
        "How long a shutdown waits for clients to finish before it cuts them off.",
        env="SHUTDOWN_GRACE",
    )
    echo: bool = _setting(
        False,
        Switch(),
        "Also serve `/ws/echo`, for WebSocket conformance suites; not for production.",
        env="OBSERVABILITY_ECHO",
    )
    demo: bool = _setting(False, Switch(), "Run a paper strategy on simulated or replayed quotes.", flag="--demo")
    replay: tuple[Path, ...] = _setting(
        (),
        ExistingPaths(),
        "Recordings, or directories of them, to play back as if they were happening now.",
        flag="--replay",
    )
    sources: tuple[str, ...] = _setting(
        (),
        SourceUrls(),
        "Live sources of events to connect to, such as `zmq://127.0.0.1:5555`; the variable has them separated by "
        "spaces.",
        env="SOURCES",
        flag="--source",
    )
    engine: str | None = _setting(
        None,
        EngineUrl(),
        "NATS servers that connect the hosts of a desk, such as `nats://a:4222,b:4222?creds=desk.creds`; without it "
        "this host is alone.",
        env="CLUSTER_ENGINE",
        flag="--engine",
    )
    role: str = _setting(
        HUB_ROLE,
        Choice((HUB_ROLE, EDGE_ROLE, AGGREGATOR_ROLE)),
        "What this host is to its desk: a `hub` takes events and computes, an `edge` serves clients what the hub "
        "publishes, and an `aggregator` what the hubs of several desks publish, as one snapshot; both keep nothing.",
        env="CLUSTER_ROLE",
        flag="--role",
    )
    desk: str = _setting(
        DEFAULT_DESK,
        DeskName(),
        "Name of the desk whose hosts belong together; its subjects begin with `obs.NAME`.",
        env="CLUSTER_DESK",
        flag="--desk",
    )
    sites: tuple[str, ...] = _setting(
        (),
        DeskNames(),
        "Names of the desks that an aggregator shows as one, such as `london,tokyo`.",
        env="CLUSTER_SITES",
        flag="--sites",
    )
    cluster_lease: int = _setting(
        5,
        Integer(1, 60),
        "Seconds after which another hub leads if the one that led is not heard of; also what a hub survives without "
        "its NATS servers.",
        env="CLUSTER_LEASE",
    )
    cluster_replicas: int = _setting(
        1,
        Integer(1, 5),
        "NATS servers that keep a copy of each stream: 3 in a cluster of three, 1 with a single server.",
        env="CLUSTER_REPLICAS",
    )
    speed: float | Literal["max"] = _setting(
        1.0,
        Speed(1_000_000),
        "Pace of the replay: a factor of the recorded pace, or `max` for as fast as possible.",
        flag="--speed",
    )
    loop: bool = _setting(False, Switch(), "Start the replay again when it ends.", flag="--loop")
    reload: bool = _setting(False, Switch(), "Restart when a source file changes; for development.", flag="--reload")

    def __post_init__(self) -> None:
        faults = [
            f"{setting.name}: {setting.kind.shown(value)}, expected {setting.kind.expected}"
            for setting in SETTINGS
            if not setting.kind.accepts(value := getattr(self, setting.name))
        ]
        if faults:
            raise ConfigError(faults)
        if self.loop and not self.replay:
            faults.append("--loop: given without a recording, expected --replay PATH with it")
        for other, flag in ((self.replay, "--replay"), (self.demo, "--demo")):
            if other and self.sources:
                faults.append(
                    f"--source: given with {flag}, expected one of them: live events are kept apart from others"
                )
        faults += self._faults_of_role()
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("TLS_KEY", "TLS_CERT") if self.tls_cert is None else ("TLS_CERT", "TLS_KEY")
            faults.append(f"{given}: given without {missing}, expected both or neither")
        if self.proxy_protocol and not self.trusted_proxies:
            faults.append("PROXY_PROTOCOL: on without TRUSTED_PROXIES, expected the addresses of the proxies too")
        if faults:
            raise ConfigError(faults)

    def _faults_of_role(self) -> list[str]:
        faults = []
        if self.is_aggregator != bool(self.sites):
            given, missing = ("--sites", "--role aggregator") if self.sites else ("--role aggregator", "--sites")
            faults.append(f"{given}: given without {missing}, expected both or neither")
        if self.role == HUB_ROLE:
            return faults
        faults += [
            f"{setting.flag or setting.env}: given with --role {self.role}, expected at the hub"
            for setting in SETTINGS
            if setting.name in _OF_HUBS and getattr(self, setting.name) != setting.default
        ]
        if self.is_aggregator and self.desk != DEFAULT_DESK:
            faults.append("--desk: given with --role aggregator, expected only the names of its --sites")
        if self.engine is None:
            faults.append(f"--role: {self.role} without --engine, expected the NATS servers that its hub publishes to")
        return faults

    @property
    def is_edge(self) -> bool:
        """Whether this host serves what the hub of another one publishes."""
        return self.role == EDGE_ROLE

    @property
    def keeps_nothing(self) -> bool:
        """Whether this host serves what other hosts publish, and has processes of its own for that."""
        return self.role != HUB_ROLE

    @property
    def is_aggregator(self) -> bool:
        """Whether this host serves what the hubs of several desks publish, as one snapshot."""
        return self.role == AGGREGATOR_ROLE

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names and addresses to listen on."""
        return tuple(self.host.split(","))

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], overrides: Mapping[str, object], in_file: Mapping[str, object] = NOTHING
    ) -> Config:
        """Returns the configuration that `environ` describes; `overrides`, from the command line, take precedence, and
        what a configuration file says (`in_file`) stands behind both.

        `overrides` and `in_file` are by the setting's name: a text, or a list of texts, is parsed like a variable, and
        None means not given. Raises ConfigError with every fault, each under the name of its variable or flag.
        """
        _warn_of_near_misses(environ)
        values: dict[str, Any] = {}
        faults: list[str] = []
        for setting, given in given_values(environ, overrides, in_file).items():
            try:
                values[setting.name] = _value(setting.kind, given.value)
            except ValueError as error:
                faults.append(f"{given.source}: {error}, expected {setting.kind.expected}")
        if faults:
            raise ConfigError(faults)
        return cls(**values)


SETTINGS: Final = tuple(
    Setting(name=declared.name, default=declared.default, **declared.metadata) for declared in fields(Config)
)


@dataclass(frozen=True, slots=True)
class Given:
    """What was given for a setting, and where."""

    source: str
    """The flag or the variable; of a configuration file, its key."""
    value: object


def given_values(
    environ: Mapping[str, str], overrides: Mapping[str, object], in_file: Mapping[str, object] = NOTHING
) -> dict[Setting, Given]:
    """Returns what is in force of the command line, the environment and the file, unparsed, for each setting that one
    of them has."""
    unknown = (overrides.keys() | in_file.keys()) - {setting.name for setting in SETTINGS}
    if unknown:
        raise TypeError(f"no such settings: {sorted(unknown)}")
    given = {}
    for setting in SETTINGS:
        if (override := overrides.get(setting.name)) is not None:
            given[setting] = Given(setting.flag or setting.name, override)
        elif (env := setting.env) is not None and (
            environ.get(env) or (env in environ and setting.kind.empty_is_a_value)
        ):
            given[setting] = Given(env, environ[env])
        elif (written := in_file.get(setting.name)) is not None:
            given[setting] = Given(f"{setting.env or setting.flag} in the file", written)
    return given


def _value(kind: Kind, given: object) -> object:
    """Returns the value of a setting; raises ValueError with the part of `given` that is wrong."""
    if isinstance(given, str):
        return kind.parse(given)
    if isinstance(given, list) and isinstance(kind, RepeatableKind):
        return kind.parse_all(given)
    if not kind.accepts(given):
        raise ValueError(kind.shown(given))
    return given


def _warn_of_near_misses(environ: Mapping[str, str]) -> None:
    names = [setting.env for setting in SETTINGS if setting.env is not None]
    prefixes = tuple({name.split("_")[0] + "_" for name in names})
    for given in environ:
        if given in names or not given.upper().startswith(prefixes):
            continue
        for name in get_close_matches(given.upper(), names, n=1, cutoff=NEAR_MISS_RATIO):
            logger.warning("%s is not a setting and is ignored; did you mean %s?", shown(given), name)
