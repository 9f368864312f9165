"""`observability check`: whether the server could start as it is configured. All faults at once; no port is opened."""

from __future__ import annotations

import argparse
import os
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from observability.clocks.clock import HostClock
from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import Config
from observability.connections.tls import make_context
from observability.errors import EXIT_USAGE, ConfigError, ObservabilityError, StoreError
from observability.ingest.instrument_file import load_instruments
from observability.ingest.position_file import load_positions
from observability.notify.channels import open_channel
from observability.notify.route_file import load_alert_file, unmatched_patterns
from observability.sources.recordings.directory import open_recordings
from observability.sources.schemes import open_sources
from observability.store.file import DATABASE_NAME, open_reader

SECONDS_PER_DAY: Final = 86_400
# A certificate that ends sooner than this is a finding of its own.
MIN_CERTIFICATE_DAYS: Final = 14

_DESCRIPTION: Final = """\
Checks everything that `observability serve` would need, with the same flags, variables and configuration file: the
settings, the alert rules, the instruments, the positions to adopt, the certificate, the store, the recordings, the
sources. Prints one line for each, and every fault. Opens no port, connects to nothing and writes nothing. The exit code
is 0 if the server could start, 2 if not."""

_EXAMPLES: Final = """\
examples:
  observability check --config desk.toml
  DATA_DIR=/var/lib/observability observability check --alerts alerts.toml && systemctl restart observability"""


def check(arguments: Sequence[str]) -> int:
    """Prints the findings; returns the exit code."""
    parsed = parser().parse_args(arguments)
    try:
        sources = Sources(parsed, os.environ)
        config, given = sources.config(), sources.given()
    except ConfigError as error:
        # Everything else depends on the settings.
        for fault in error.faults:
            _print("settings", f"FAULT: {fault}")
        return EXIT_USAGE
    _print("settings", f"{len(given)} given, the others have their defaults")
    checks: dict[str, Callable[[Config], str]] = {
        "alert rules": _check_rules,
        "instruments": _check_instruments,
        "positions": _check_positions,
        "certificate": _check_certificate,
        "store": _check_store,
        "recordings": _check_recordings,
        "sources": _check_sources,
    }
    faults = 0
    for subject, examine in checks.items():
        try:
            _print(subject, examine(config))
        except ConfigError as error:
            faults += len(error.faults)
            for fault in error.faults:
                _print(subject, f"FAULT: {fault}")
        except (ObservabilityError, OSError) as error:
            faults += 1
            _print(subject, f"FAULT: {error}")
    if faults:
        print(
            f"{faults} {'fault' if faults == 1 else 'faults'}: the server would not start as it should", file=sys.stderr
        )
        return EXIT_USAGE
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    return build_argument_parser("check", _DESCRIPTION, _EXAMPLES)


def _print(subject: str, text: str) -> None:
    print(f"{subject + ':':13} {text}")


def _check_rules(config: Config) -> str:
    path = config.alert_rules
    found = load_alert_file(path)
    routes = ", ".join(f"{route.name} ({open_channel(route).place})" for route in found.routes) or "none"
    remarks = "".join(f"; {remark}" for remark in unmatched_patterns(found))
    return f"{len(found.rules)} rules, {'built in' if path is None else f'from {path}'}; routes: {routes}{remarks}"


def _check_instruments(config: Config) -> str:
    return f"{len(load_instruments(config.instruments))} described" if config.instruments else "none described"


def _check_positions(config: Config) -> str:
    return f"{len(load_positions(config.positions))} to adopt" if config.positions else "none to adopt"


def _check_certificate(config: Config) -> str:
    if config.tls_cert is None or config.tls_key is None:
        return "none: the server speaks plain HTTP"
    make_context(config.tls_cert, config.tls_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(config.tls_cert)
    # The chain's own end comes first when it is a certificate for itself; the earliest end is what counts.
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs() if "notAfter" in one]
    if not ends:
        return f"{config.tls_cert} and its key are a pair"
    days = (min(ends) - time.time()) / SECONDS_PER_DAY
    if days < 0:
        raise ConfigError([f"{config.tls_cert}: a certificate of the chain has expired {-days:.0f} days ago"])
    soon = ", renew it soon" if days < MIN_CERTIFICATE_DAYS else ""
    return f"{config.tls_cert} and its key are a pair, valid for {days:.0f} more days{soon}"


def _check_store(config: Config) -> str:
    if config.data_dir is None:
        return "none: trades, alerts and history end with the process (DATA_DIR keeps them)"
    path = config.data_dir / DATABASE_NAME
    if not path.exists():
        parent = next(folder for folder in (config.data_dir, *config.data_dir.absolute().parents) if folder.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            raise StoreError(f"{parent}: cannot be written, so no store can be created in {config.data_dir}")
        return f"{path} will be created"
    try:
        with closing(open_reader(path)) as reader:
            (verdict,) = reader.execute("PRAGMA quick_check(1)").fetchone()
            trades = reader.execute("SELECT count(*) FROM fills").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from None
    if verdict != "ok":
        raise StoreError(f"{path}: damaged: {verdict}")
    return f"{path}: every page can be read, {trades} fills"


def _check_recordings(config: Config) -> str:
    if not config.replay:
        return "none"
    recordings = open_recordings(config.replay, HostClock())
    return f"{len(recordings)} to replay"


def _check_sources(config: Config) -> str:
    sources = open_sources(config.sources)
    return ", ".join(source.name for source in sources) or "none"
