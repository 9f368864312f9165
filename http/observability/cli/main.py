"""The command `observability`.

No server is built here (see `backend.py`); this reads arguments, reports faults and returns exit codes.

    0  stopped as asked      1  could not start, or failed      2  the command line or configuration has faults
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import uvloop

from observability.cli.reload import run_reloading
from observability.config.command_line import build_argument_parser
from observability.config.config import Config
from observability.errors import EXIT_FAILED, EXIT_USAGE, ConfigError, ObservabilityError
from observability.logs.setup import configure_logging
from observability.metrics.alerts.rule_file import load_rules
from observability.server.host import run_host
from observability.server.hub_process import HubProcess
from observability.version import VERSION


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="observability", description="Real-time observability for algorithmic trading.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"observability {VERSION}")
    parser.add_argument(
        "command", choices=["serve"], help="serve: run the server; `observability serve --help` says more"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the command's own arguments")
    given = parser.parse_args(arguments)
    overrides = vars(build_argument_parser().parse_args(given.arguments))
    try:
        config = Config.from_environment(os.environ, overrides)
        rules = load_rules(config.alert_rules)
        log_ring = configure_logging(config)
    except ConfigError as error:
        print(f"observability: {error}", file=sys.stderr)
        return EXIT_USAGE
    if config.reload:
        return run_reloading(arguments)
    try:
        if config.workers > 1:
            return run_host(config, rules)
        uvloop.run(HubProcess(config, log_ring, rules).run())
    except (ObservabilityError, OSError) as error:
        print(f"observability: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0
