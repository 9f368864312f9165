"""The configuration: every setting, declared once, with its variable, flag, range, default and meaning.

No value is read or judged here in detail (see `settings.py`), and nothing reads the environment but `from_environment`.
The command line, its help and the README's table are made from these declarations (see `arguments.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from observability.config.access import MAX_PORT, ApiToken, Host, Network, Networks, Origins, Tokens
from observability.config.kinds import (
    ByteSize,
    Choice,
    DirectoryPath,
    ExistingPaths,
    Integer,
    ReadableFile,
    Seconds,
    Speed,
    Switch,
)
from observability.config.setting import Kind, Setting, shown
from observability.config.trading import (
    ContractMultipliers,
    Multipliers,
    PositiveAmount,
    SecondsBySymbol,
    SymbolSeconds,
    TimeOfDay,
    YearDays,
    Zone,
)
from observability.errors import ConfigError

logger = logging.getLogger(__name__)

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DEFAULT_CORS_ORIGINS: Final = ("http://localhost:3000", "http://localhost:5173")

# What two names must have in common (difflib's ratio) for one to be a slip of the other: all but a letter or two.
NEAR_MISS_RATIO: Final = 0.85


def _setting(default: object, kind: Kind, meaning: str, *, env: str | None = None, flag: str | None = None) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "env": env, "flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What one server is told. An instance is valid: making one raises ConfigError, which lists every fault."""

    host: str = _setting("127.0.0.1", Host(), "Address to listen on.", env="API_HOST", flag="--host")
    port: int = _setting(8000, Integer(0, MAX_PORT), "Port; 0 takes any free one.", env="API_PORT", flag="--port")
    workers: int = _setting(
        1,
        Integer(1, 256),
        "Processes that serve clients, beside one that collects; 1 is one process for all.",
        env="API_WORKERS",
        flag="--workers",
    )
    cors_origins: tuple[str, ...] = _setting(
        DEFAULT_CORS_ORIGINS,
        Origins(),
        "Web pages that may read from a browser; `*` allows all, empty none but our own.",
        env="CORS_ORIGINS",
    )
    ws_max_connections: int = _setting(
        10_000, Integer(1, 1_000_000), "WebSocket clients at a time; more get 503.", env="WS_MAX_CONNECTIONS"
    )
    ws_heartbeat_interval: float = _setting(
        15.0,
        Seconds(0.1, 3600),
        "Time between pings; a client silent for two is closed.",
        env="WS_HEARTBEAT_INTERVAL",
    )
    ws_message_queue_size: int = _setting(
        1000,
        Integer(1, 1_000_000),
        "Trades and alerts that may wait for one slow client before it is closed.",
        env="WS_MESSAGE_QUEUE_SIZE",
    )
    ws_rate_limit: int = _setting(
        50,
        Integer(0, 1_000_000),
        "Messages a second that one WebSocket client may send, twice as many at once; 0 is no limit.",
        env="WS_RATE_LIMIT",
    )
    http_rate_limit: int = _setting(
        0,
        Integer(0, 1_000_000),
        "Requests a second that one address may make, twice as many at once; more get 429; 0 is no limit.",
        env="HTTP_RATE_LIMIT",
    )
    max_connections_per_address: int = _setting(
        0,
        Integer(0, 1_000_000),
        "HTTP connections, and as many WebSocket clients, of one address; more get 429; 0 is no limit.",
        env="MAX_CONNECTIONS_PER_ADDRESS",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (), Networks(), "Proxies whose X-Forwarded-For is believed.", env="TRUSTED_PROXIES"
    )
    api_tokens: tuple[ApiToken, ...] = _setting(
        (),
        Tokens(),
        "Who may write (`write`, which includes reading); with a `read` token, reading needs one too.",
        env="API_TOKENS",
    )
    tls_cert: Path | None = _setting(
        None, ReadableFile(), "Certificate chain in PEM; with it only https and wss.", env="TLS_CERT", flag="--tls-cert"
    )
    tls_key: Path | None = _setting(
        None, ReadableFile(), "Its private key in PEM, without a passphrase.", env="TLS_KEY", flag="--tls-key"
    )
    metric_collection_interval: float = _setting(
        0.1, Seconds(0.01, 60), "Time between snapshots; 0.1 is 10 Hz.", env="METRIC_COLLECTION_INTERVAL"
    )
    log_level: str = _setting(
        "INFO", Choice(LOG_LEVELS), "Least severe lines to log.", env="LOG_LEVEL", flag="--log-level"
    )
    log_dir: Path | None = _setting(
        None, DirectoryPath(), "Also log to rotating files in this directory.", env="LOG_DIR"
    )
    data_dir: Path | None = _setting(
        None,
        DirectoryPath(),
        "Directory for data that outlives the process; its disk is the one watched.",
        env="DATA_DIR",
        flag="--data-dir",
    )
    store_max_age: int = _setting(
        90,
        Integer(1, 36_500),
        "Days that rows stay in the store, by the host's clock since they came, not by their own time.",
        env="STORE_MAX_AGE",
    )
    store_max_bytes: int = _setting(
        4_000_000_000,
        ByteSize(16_000_000, 100 * 10**12),
        "Size of the store beyond which the rows that came first are removed.",
        env="STORE_MAX_BYTES",
    )
    alert_rules: Path | None = _setting(
        None,
        ReadableFile(),
        "Alert rules in TOML, in place of the default ones.",
        env="ALERT_RULES",
        flag="--alerts",
    )
    max_symbols: int = _setting(
        64, Integer(1, 100_000), "Symbols to reserve memory for; further ones are refused.", env="MAX_SYMBOLS"
    )
    stale_after: float = _setting(
        5.0,
        Seconds(0.1, 604_800),
        "A symbol without a quote or print for longer is stale.",
        env="STALE_AFTER",
    )
    stale_after_by_symbol: SymbolSeconds = _setting(
        (),
        SecondsBySymbol(0.1, 604_800),
        "The same for single symbols that are quoted more or less often, as `BTCUSDT:1,BOND:600`.",
        env="STALE_AFTER_BY_SYMBOL",
    )
    session_timezone: str = _setting("UTC", Zone(), "Where a session's days are counted.", env="SESSION_TIMEZONE")
    session_start: time = _setting(
        time(), TimeOfDay(), "Local time at which a session begins: daily P&L starts anew.", env="SESSION_START"
    )
    starting_capital: Decimal | None = _setting(
        None,
        PositiveAmount(),
        "Equity before the first fill; without it, the first `equity` event tells.",
        env="STARTING_CAPITAL",
    )
    contract_multipliers: Multipliers = _setting(
        (), ContractMultipliers(), "What one contract counts, by symbol; 1 for all others.", env="CONTRACT_MULTIPLIERS"
    )
    annualization: int = _setting(
        365, YearDays(), "Daily returns in a year, for Sharpe, Sortino and Calmar.", env="ANNUALIZATION"
    )
    shutdown_grace_seconds: float = _setting(
        10.0, Seconds(0, 600), "Time that clients get to finish on shutdown.", env="SHUTDOWN_GRACE"
    )
    echo: bool = _setting(
        False,
        Switch(),
        "Also serve `/ws/echo`, which conformance suites want; not for production.",
        env="OBSERVABILITY_ECHO",
    )
    demo: bool = _setting(False, Switch(), "Run a paper strategy on simulated or replayed quotes.", flag="--demo")
    replay: tuple[Path, ...] = _setting(
        (), ExistingPaths(), "Recordings to play as if they happened now.", flag="--replay"
    )
    speed: float | Literal["max"] = _setting(
        1.0, Speed(1_000_000), "Pace of a replay: a factor, or as fast as possible.", flag="--speed"
    )
    loop: bool = _setting(False, Switch(), "Start a replay again when it ends.", flag="--loop")
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
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("TLS_KEY", "TLS_CERT") if self.tls_cert is None else ("TLS_CERT", "TLS_KEY")
            faults.append(f"{given}: given without {missing}, expected both or neither")
        if faults:
            raise ConfigError(faults)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Config:
        """Returns the configuration of `environ`, where `overrides` (what the command line gave) wins.

        `overrides` is by setting name; a text, or a list of texts, is read like a variable's, None stands for nothing
        given. Raises ConfigError with every fault, each under the name of the variable or flag it came from.
        """
        _warn_of_near_misses(environ)
        unknown = overrides.keys() - {setting.name for setting in SETTINGS}
        if unknown:
            raise TypeError(f"no such settings: {sorted(unknown)}")
        values: dict[str, Any] = {}
        faults: list[str] = []
        for setting in SETTINGS:
            override = overrides.get(setting.name)
            if override is not None:
                source, given = setting.flag or setting.name, override
            elif setting.env is not None and setting.env in environ:
                source, given = setting.env, environ[setting.env]
                if not given and not setting.kind.empty_is_a_value:
                    continue
            else:
                continue
            try:
                values[setting.name] = _value(setting.kind, given)
            except ValueError as error:
                faults.append(f"{source}: {error}, expected {setting.kind.expected}")
        if faults:
            raise ConfigError(faults)
        return cls(**values)


SETTINGS: Final = tuple(
    Setting(name=declared.name, default=declared.default, **declared.metadata) for declared in fields(Config)
)


def _value(kind: Kind, given: object) -> object:
    """Returns the value of what was given for a setting; raises ValueError with the part that is wrong."""
    if isinstance(given, str):
        return kind.parse(given)
    if isinstance(given, list) and isinstance(kind, ExistingPaths):
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
