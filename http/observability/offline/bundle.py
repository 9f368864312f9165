"""`observability bundle`: a stretch of the past into one file."""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_S, parse_iso_ns
from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import SETTINGS, Config
from observability.errors import EXIT_FAILED, EXIT_USAGE, ConfigError, EventError, StoreError
from observability.recorder.bundle import BundleError, BundleRequest, described, make_bundle

_DESCRIPTION: Final = """\
Puts a stretch of the past into one file: what the page showed, tick by tick, with orders, fills, alerts, bookings, the
lines of the log files (LOG_DIR) and the settings in force, without secrets. Works whether or not a server runs in the
data directory. Every part is a link of a chain of hashes; the head of the chain, which is printed, tells later whether
the file is still the same. `observability open FILE` shows it, on any machine."""

_EXAMPLES: Final = """\
examples:
  observability bundle --data-dir /var/lib/observability --from 2026-01-05T10:25:00Z --to 2026-01-05T10:40:00Z
  observability bundle --from -15m --to now --output incident.bundle         the last quarter of an hour
  observability open incident.bundle"""

_AGO: Final = re.compile(r"-(\d{1,6})([smhd])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def bundle(arguments: Sequence[str]) -> int:
    """Writes a bundle; returns the exit code."""
    parsed = parser().parse_args(_with_values(arguments))
    start, end, output = parsed.start, parsed.end, parsed.output
    del parsed.start, parsed.end, parsed.output
    now_ns = time.time_ns()
    try:
        sources = Sources(parsed, os.environ)
        config, given = sources.config(), sources.given()
        start_ns, end_ns = _time(start, now_ns), _time(end, now_ns)
    except (ConfigError, EventError) as error:
        return _fail(error, EXIT_USAGE)
    if config.data_dir is None:
        return _fail("no data directory is given, expected --data-dir DIR", EXIT_USAGE)
    if end_ns < start_ns:
        return _fail("--to is before --from", EXIT_USAGE)
    configuration = _shown(config, {setting.name: found.source for setting, found in given.items()})
    begin = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(start_ns / NS_PER_S))
    target: Path = output or Path(f"observability-{begin}.bundle")
    request = BundleRequest(config.data_dir, start_ns, end_ns, config.log_dir, configuration)
    try:
        chain = make_bundle(request, target, now_ns)
    except (BundleError, StoreError, OSError, ValueError, sqlite3.Error) as error:
        return _fail(error, EXIT_FAILED)
    print(f"{target}: {described(chain)}, {target.stat().st_size / 1e6:.1f} MB")
    print(f"head of the chain: {chain.head}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parsing = build_argument_parser("bundle", _DESCRIPTION, _EXAMPLES)
    when = "ISO 8601 with an offset, `now`, or so long ago, such as -15m"
    parsing.add_argument("--from", dest="start", required=True, metavar="TIME", help=f"the earliest time: {when}")
    parsing.add_argument("--to", dest="end", required=True, metavar="TIME", help="the latest time")
    parsing.add_argument("--output", type=Path, metavar="FILE", help="the file to write [observability-TIME.bundle]")
    return parsing


def _with_values(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with `--from -15m` as one word: argparse takes the second one for a flag."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1] in ("--from", "--to") and _AGO.fullmatch(word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _time(text: str, now_ns: int) -> int:
    """Raises EventError."""
    if text == "now":
        return now_ns
    ago = _AGO.fullmatch(text)
    return parse_iso_ns(text) if ago is None else now_ns - int(ago[1]) * _UNIT_SECONDS[ago[2]] * NS_PER_S


def _shown(config: Config, sources: dict[str, str]) -> dict[str, Any]:
    """Returns every setting as it may be seen by others, and where it comes from."""
    shown = {}
    for setting in SETTINGS:
        value = getattr(config, setting.name)
        text = setting.kind.shown(value) if setting.kind.is_secret and value else setting.kind.format(value)
        shown[setting.env or str(setting.flag)] = {"value": text, "source": sources.get(setting.name, "default")}
    return shown


def _fail(error: object, code: int) -> int:
    print(f"observability bundle: {error}", file=sys.stderr)
    return code
