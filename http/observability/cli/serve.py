"""`observability serve`: from the command line and the environment to a running server, in one process or several."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial

from observability.cluster.desk import Desk
from observability.cluster.failover.standby import stand_by
from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import Config
from observability.errors import EXIT_FAILED, EXIT_USAGE, ConfigError, ObservabilityError, SourceError
from observability.ingest.instrument_file import load_instruments
from observability.ingest.position_file import load_positions
from observability.logs.setup import HeldRecords, configure_logging, log_stray_output, make_formatter
from observability.notify.route_file import load_alert_file
from observability.processes.reload import run_reloading
from observability.processes.service_manager import ServiceManager
from observability.server.host import run_host
from observability.server.hub_process import HubProcess
from observability.server.process import new_run_id, run_process
from observability.sources.schemes import open_sources
from observability.version import VERSION

logger = logging.getLogger(__name__)


def serve(arguments: Sequence[str]) -> int:
    """Serves until a signal ends it; returns the exit code."""
    parsed = parser().parse_args(arguments)
    held = HeldRecords()
    try:
        config = Sources(parsed, os.environ).config()
        alert_file = load_alert_file(config.alert_rules)
        load_instruments(config.instruments)
        load_positions(config.positions)
        log_ring = configure_logging(config)
    except ConfigError as error:
        return _fail(error, EXIT_USAGE)
    finally:
        held.pass_on()
    if config.log_format == "json":
        log_stray_output()
    if config.reload:
        return run_reloading(["serve", *arguments])
    try:
        # Before the port opens and the processes fork; the hub makes its own.
        open_sources(config.sources)
        desk = Desk.of(config)
    except ConfigError as error:
        return _fail(error, EXIT_USAGE, config)
    except SourceError as error:
        return _fail(error, EXIT_FAILED, config)
    announce = partial(_announce, config)
    service_manager = ServiceManager.take_from(os.environ)
    try:
        if config.workers > 1 or config.keeps_nothing:
            return run_host(config, alert_file, announce, service_manager, desk)
        if desk is not None and not stand_by(config, desk, service_manager):
            return 0
        run_process(lambda: HubProcess(config, alert_file, log_ring, announce, service_manager, new_run_id(), desk))
    except (ObservabilityError, OSError) as error:
        return _fail(error, EXIT_FAILED, config)
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    return build_argument_parser()


def _announce(config: Config, port: int, memory_bytes: int) -> None:
    """Prints the one line that says where everything is."""
    host = f"[{config.hosts[0]}]" if ":" in config.hosts[0] else config.hosts[0]
    address = f"{host}:{port}"
    http, ws = ("http", "ws") if config.tls_cert is None else ("https", "wss")
    workers = f"{config.workers} workers, " if config.workers > 1 else ""
    line = (
        f"observability {VERSION} listening on {http}://{address}/ (live page), {ws}://{address}/ws/metrics, "
        f"{http}://{address}/docs, {http}://{address}/metrics; {workers}{config.max_symbols} symbols, "
        f"up to {memory_bytes / 1e6:.0f} MB of history; Ctrl-C stops"
    )
    if config.log_format == "json":
        record = logger.makeRecord(logger.name, logging.INFO, "", 0, "%s", (line,), None)
        line = make_formatter(config).format(record)
    try:
        print(line, flush=True)
    except OSError as error:
        # The reader has gone, or the disk is full. Neither is a reason not to serve. The rest of the buffer is dropped.
        logger.warning("the start line cannot be printed: %s", error.strerror)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(error: Exception, code: int, config: Config | None = None) -> int:
    """Says why the server ends; without `config` the format of the log is not known. Returns the exit code."""
    text: object = error
    if isinstance(error, OSError) and error.filename is None:
        # Its number says nothing to a reader.
        text = error.strerror or error
    if config is not None and config.log_format == "json":
        logger.critical("%s", text)
    else:
        print(f"observability: {text}", file=sys.stderr)
    return code
