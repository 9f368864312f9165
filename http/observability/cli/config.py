"""`observability config`: the settings in force, and where each value comes from."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import SETTINGS
from observability.errors import EXIT_USAGE, ConfigError

_DESCRIPTION: Final = """\
Prints every setting with its value and where it comes from: a flag, a variable, the configuration file, or the default.
Takes the flags of `observability serve`, and starts nothing. Secrets are not shown."""

_EXAMPLES: Final = """\
examples:
  observability config                              what `observability serve` would use, started here
  observability config --config desk.toml --given   only what is not left at its default
  observability config --json | jq .API_PORT"""


def config(arguments: Sequence[str]) -> int:
    """Prints the settings; returns the exit code."""
    parsed = parser().parse_args(arguments)
    as_json, only_given = parsed.json, parsed.given
    del parsed.json, parsed.given
    try:
        sources = Sources(parsed, os.environ)
        values, given = sources.config(), sources.given()
    except ConfigError as error:
        print(f"observability: {error}", file=sys.stderr)
        return EXIT_USAGE
    rows = []
    for setting in SETTINGS:
        if only_given and setting not in given:
            continue
        value = getattr(values, setting.name)
        text = setting.kind.shown(value) if setting.kind.is_secret and value else setting.kind.format(value)
        source = given[setting].source if setting in given else "default"
        rows.append((setting.env or str(setting.flag), text, source))
    if as_json:
        print(json.dumps({name: {"value": text, "source": source} for name, text, source in rows}, indent=2))
        return 0
    if sources.file is not None:
        print(f"configuration file: {sources.file}")
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for name, text, source in rows:
        print(f"{name:{widths[0]}}  {text:{min(widths[1], 40)}}  {source}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = build_argument_parser("config", _DESCRIPTION, _EXAMPLES)
    parsing.add_argument("--json", action="store_true", help="as one JSON object")
    parsing.add_argument("--given", action="store_true", help="leave out the settings that have their defaults")
    return parsing
