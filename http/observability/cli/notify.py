"""`observability notify`: the routes of an alert file, and a test of one of them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from observability.clocks.clock import HostClock
from observability.config.command_line import Sources, build_argument_parser
from observability.errors import EXIT_FAILED, EXIT_USAGE, ConfigError
from observability.metrics.alerts.book import AlertState
from observability.notify.channels import open_channel
from observability.notify.delivery import DeliveryFailed
from observability.notify.notice import Message, Notice
from observability.notify.route import Route
from observability.notify.route_file import load_routes

_DESCRIPTION: Final = """\
Lists the routes of a file of alerts, or with --test sends one message over a route, as `observability serve` would
deliver an alert. Nothing else is started. The exit code is 1 if the message was not delivered, and 2 if the file has
faults or no such route."""

_EXAMPLES: Final = """\
examples:
  observability notify --alerts alerts.toml
  TELEGRAM_URL=tgram://TOKEN/CHAT observability notify --alerts alerts.toml --test desk"""

_TITLE: Final = "This is a test of notifications"
_DETAIL: Final = "Somebody ran `observability notify --test`. No alert is behind it."


def notify(arguments: Sequence[str]) -> int:
    """Prints the routes, or tests one; returns the exit code."""
    parsed = parser().parse_args(arguments)
    # The rest are settings.
    wanted = parsed.test
    del parsed.test
    try:
        config = Sources(parsed, os.environ).config()
        routes = {route.name: route for route in load_routes(config.alert_rules)}
    except ConfigError as error:
        print(f"observability: {error}", file=sys.stderr)
        return EXIT_USAGE
    if wanted is None:
        for route in routes.values():
            print(f"{route.name:20} {open_channel(route).place:40} {route.severity} and above")
        if not routes:
            print("there are no routes: `[[route]]` tables in the file of --alerts make them (docs/alerts.md)")
        return 0
    if wanted not in routes:
        known = ", ".join(routes) or "none"
        print(f"observability: there is no route {wanted!r}, expected one of: {known}", file=sys.stderr)
        return EXIT_USAGE
    return _test(routes[wanted])


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    built = build_argument_parser("notify", _DESCRIPTION, _EXAMPLES)
    built.add_argument("--test", metavar="ROUTE", help="send one message over this route")
    return built


def _test(route: Route) -> int:
    now_ns = HostClock().time_ns()
    alert = AlertState("test", "observability/test", route.severity, _TITLE, _DETAIL, now_ns, now_ns)
    notice = Notice(f"test-{now_ns}", 0, route.name, "test", "test", 1, now_ns, now_ns, alert.to_json())
    channel = open_channel(route)
    try:
        channel.send(Message(route.name, [notice]))
    except DeliveryFailed as failure:
        print(f"observability: {route.name} ({channel.place}) did not deliver: {failure}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{route.name} ({channel.place}) has delivered a test message")
    return 0
