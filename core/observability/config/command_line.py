"""The settings as operators see them: the command line of `observability serve`, its help, and the documented table.

Flags yield text, which `Config.from_environment` parses together with the variables, so that it reports all faults.
"""

from __future__ import annotations

import argparse

from observability.config.config import SETTINGS
from observability.config.kinds import ExistingPaths, Switch
from observability.config.setting import Setting

_DESCRIPTION = """\
Serves the state of a trading system, ten times a second, to every connected dashboard: WebSocket at /ws/metrics,
REST under /api, a live page at /, Prometheus at /metrics.

A flag takes precedence over its environment variable, and the variable over the default.
All faults are reported at once."""

_EXAMPLES = """\
examples:
  observability serve --demo                          a live dashboard with no other service
  observability serve --demo --replay DIR --speed 10  a paper strategy on recorded quotes, at ten times the pace
  observability serve --replay DIR --loop             one recorded day, over and over
  API_PORT=8080 observability serve --reload          another port, and a restart on every edit"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each setting that has one; a flag that is absent yields None."""
    for setting in SETTINGS:
        if setting.flag is None:
            continue
        if isinstance(setting.kind, Switch):
            parser.add_argument(setting.flag, dest=setting.name, action="store_const", const=True, help=_help(setting))
        elif isinstance(setting.kind, ExistingPaths):
            parser.add_argument(
                setting.flag, dest=setting.name, action="extend", nargs="+", metavar="PATH", help=_help(setting)
            )
        else:
            parser.add_argument(setting.flag, dest=setting.name, metavar=setting.kind.metavar, help=_help(setting))


def build_argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of `observability serve`; `vars()` of its result are the overrides of `from_environment`."""
    parser = argparse.ArgumentParser(
        prog="observability serve",
        description=_DESCRIPTION,
        epilog=f"{_EXAMPLES}\n\n{_variables()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    return parser


def _help(setting: Setting) -> str:
    facts = [setting.env] if setting.env else []
    if setting.default_text and not isinstance(setting.kind, Switch):
        facts.append(f"default {setting.default_text}")
    text = f"{setting.meaning} [{', '.join(facts)}]" if facts else setting.meaning
    return text.replace("%", "%%")


def _variables() -> str:
    """Lists the settings that have only a variable, in the layout of argparse's own lists."""
    lines = ["environment variables without a flag:"]
    for setting in SETTINGS:
        if setting.flag is None:
            lines.append(f"  {setting.env}  (default {setting.default_text or 'unset'}; {setting.kind.expected})")
            lines.append(f"      {setting.meaning}")
    return "\n".join(lines)
