"""`observability check`: whether the server could start as it is configured. All faults at once; no port is opened."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final, TextIO

from observability.clocks.clock import HostClock
from observability.clocks.timestamps import NS_PER_S, format_iso_ms, iso_or_none
from observability.cluster.desk import Desk
from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import Config
from observability.config.toml_tables import format_duration
from observability.connections.tls import make_context
from observability.encoding import encode_json
from observability.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ConfigError,
    ObservabilityError,
    StoreError,
)
from observability.ingest.instrument_file import load_instruments
from observability.ingest.position_file import load_positions
from observability.logs.status_line import StatusLine, bar, remaining
from observability.metrics.alerts.book import Action, AlertState
from observability.notify.channels import open_channel
from observability.notify.route_file import load_alert_file, unmatched_patterns
from observability.server.backtest import Backtest
from observability.sources.recordings.directory import open_recordings
from observability.sources.schemes import open_sources
from observability.store.file import DATABASE_NAME, open_reader

SECONDS_PER_DAY: Final = 86_400
# A certificate that ends sooner than this is a finding of its own.
MIN_CERTIFICATE_DAYS: Final = 14

_DESCRIPTION: Final = """\
Checks everything that `observability serve` would need, with the same flags, variables and configuration file: the
settings, the alert rules, the instruments, the positions to adopt, the certificate, the store, the recordings, the
sources. Prints one line for each, and every fault. Opens no port, connects to nothing and writes nothing.

With --alerts and --replay it also tests the rules of that file on those recordings: these run at full speed through the
same collectors and rules as in a server, in an engine that is thrown away, and each alert that would have been raised
or resolved is printed as it is found, with its time, value and threshold. What a server evaluates once per second of
its host is evaluated here once per second of the recording (per minute after an hour without events, and not at all
after two weeks). Rules about the server, its host and custom collectors are left out, since a recording says nothing
about them; rules that had too little history say so. --demo lets the paper strategy trade on the quotes, as in a
server. --json prints one document instead.

The exit code is 0 if the server could start, and the recordings could be read to their end, whatever was found; 1 if a
recording is damaged; 2 for a fault; 130 after Ctrl-C, with what was found until then."""

_EXAMPLES: Final = """\
examples:
  observability check --config desk.toml
  DATA_DIR=/var/lib/observability observability check --alerts alerts.toml && systemctl restart observability
  observability check --alerts alerts.toml --replay recordings/           what would have fired, and when
  observability check --alerts alerts.toml --replay day.jsonl --json | jq '.alerts[] | [.first_seen, .title]'"""


def check(arguments: Sequence[str]) -> int:
    """Prints the findings; returns the exit code."""
    parsed = parser().parse_args(arguments)
    # The rest are settings.
    is_json = parsed.json
    del parsed.json
    output = sys.stderr if is_json else sys.stdout
    try:
        sources = Sources(parsed, os.environ)
        config, given = sources.config(), sources.given()
    except ConfigError as error:
        # Everything else depends on the settings.
        _print_faults(output, "settings", error)
        return EXIT_USAGE
    _print(output, "settings", f"{len(given)} given, the others have their defaults")
    checks: dict[str, Callable[[Config], str]] = {
        "alert rules": _check_rules,
        "instruments": _check_instruments,
        "positions": _check_positions,
        "certificate": _check_certificate,
        "store": _check_store,
        "recordings": _check_recordings,
        "sources": _check_sources,
        "desk": _check_desk,
    }
    faults = 0
    for subject, examine in checks.items():
        try:
            _print(output, subject, examine(config))
        except (ObservabilityError, OSError) as error:
            faults += _print_faults(output, subject, error)
    if faults:
        print(
            f"{faults} {'fault' if faults == 1 else 'faults'}: the server would not start as it should", file=sys.stderr
        )
        return EXIT_USAGE
    if config.alert_rules is not None and config.replay:
        return _Run(config, is_json=is_json).run()
    if is_json:
        print("observability: --json: given without a test of rules, expected --alerts and --replay", file=sys.stderr)
        return EXIT_USAGE
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    built = build_argument_parser("check", _DESCRIPTION, _EXAMPLES)
    built.add_argument("--json", action="store_true", help="print what a test of rules finds as one JSON document")
    return built


def _print(output: TextIO, subject: str, text: str) -> None:
    print(f"{subject + ':':13} {text}", file=output)


def _print_faults(output: TextIO, subject: str, error: Exception) -> int:
    """Returns how many there are."""
    faults = error.faults if isinstance(error, ConfigError) else (str(error),)
    for fault in faults:
        _print(output, subject, f"FAULT: {fault}")
    return len(faults)


class _Run:
    """One test of rules on recordings, and what is printed of it."""

    def __init__(self, config: Config, *, is_json: bool) -> None:
        self._is_json = is_json
        self._line = StatusLine()
        self._rules = load_alert_file(config.alert_rules).rules
        self._backtest = Backtest(config, self._rules, self._on_transition, self._sleep)
        self._signs = {rule.name: f"{_SIGNS[rule.comparison]} {rule.threshold}" for rule in self._rules}

    def run(self) -> int:
        """Returns the exit code."""
        is_whole = asyncio.run(self._run())
        self._line.print()
        document = self._backtest.to_json()
        if self._is_json:
            sys.stdout.buffer.write(encode_json({**document, "is_complete": is_whole}) + b"\n")
        else:
            self._summarize(document)
        for error in document["errors"]:
            print(f"observability: {error}; only the events before this were replayed", file=sys.stderr)
        if not is_whole:
            print("observability: interrupted; what is above was found until then", file=sys.stderr)
            return EXIT_INTERRUPTED
        return EXIT_FAILED if document["errors"] else 0

    async def _run(self) -> bool:
        """Returns whether it came to its end."""
        task = asyncio.ensure_future(self._backtest.run())
        loop = asyncio.get_running_loop()

        def stop(*_: object) -> None:
            # The loop's own handlers would wait for the end of a gap in the recordings.
            self._backtest.stop()
            loop.call_soon_threadsafe(task.cancel)

        handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            await task
        except asyncio.CancelledError:
            return False
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return True

    async def _sleep(self, seconds: float) -> None:
        if self._line.is_due:
            progress = self._backtest.progress()
            elapsed = progress.elapsed_ns / NS_PER_S
            self._line.show(
                f"{bar(progress.share)}  {progress.events:,} events  ETA {remaining(progress.share, elapsed)}  "
                f"at {iso_or_none(progress.event_time_ns) or '-'}  {self._backtest.fired:,} raised"
            )
        await asyncio.sleep(seconds)

    def _on_transition(self, state: AlertState, action: Action) -> None:
        if self._is_json:
            return
        if action == "raised":
            assert state.rule is not None
            moment_ns, value = state.last_seen_ns, state.value
            shown = "no value" if value is None else f"{value:g}" if _is_number(value) else value
            what = f"{shown} {self._signs[state.rule]}  {state.title}"
        else:
            assert state.resolved_ns is not None
            moment_ns = state.resolved_ns
            what = f"after {format_duration(max(0, moment_ns - state.first_seen_ns) // NS_PER_S * NS_PER_S)}"
        self._line.print()
        print(f"{format_iso_ms(moment_ns)}  {action:8}  {state.severity:8}  {state.key:30}  {what}")

    def _summarize(self, document: dict[str, Any]) -> None:
        seconds = self._backtest.progress().elapsed_ns / NS_PER_S
        span = f"from {document['start_time']} to {document['end_time']}"
        found = f"{document['count']:,} alerts of {len(document['rules'])} rules"
        print(f"\n{document['events']:,} events {span} in {seconds:.1f} s: {found}")
        for rule in document["rules"]:
            notes = [] if rule["state"] == "quiet" else [f"{rule['state']} at the end"]
            if rule["waiting"] is not None:
                notes.append(f"not known at the end: {rule['waiting']}")
            if not rule["fired"] and not rule["n_members"]:
                notes.append(f"there was nothing at {rule['metric']}")
            print(f"  {rule['rule']:30} {rule['fired']:6,} raised{''.join(f'; {note}' for note in notes)}")
        if document["left_out"]:
            print(f"left out, as a recording says nothing about them: {', '.join(document['left_out'])}")


_SIGNS: Final = {"above": ">", "at_least": "≥", "below": "<", "at_most": "≤", "equals": "="}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    return f"{path}: every page can be read, {trades} fill{'' if trades == 1 else 's'}"


def _check_recordings(config: Config) -> str:
    if not config.replay:
        return "none"
    recordings = open_recordings(config.replay, HostClock())
    return f"{len(recordings)} to replay"


def _check_sources(config: Config) -> str:
    sources = open_sources(config.sources)
    return ", ".join(source.name for source in sources) or "none"


def _check_desk(config: Config) -> str:
    desk = Desk.of(config)
    if desk is None:
        return "none: this host is alone"
    servers = " ".join((desk.address.url, *desk.address.further_urls))
    if config.is_aggregator:
        return f"{', '.join(config.sites)}, which this host shows as one, over {servers}"
    return f"{desk.name}, of which this host is {'an edge' if config.is_edge else 'the hub'}, over {servers}"
