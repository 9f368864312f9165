"""The settings as operators see them: the command line of `observability serve`, its help, and the documented table.

Flags and files yield text, which `Config.from_environment` parses together with the variables, so that all faults are
reported at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from observability.config.config import SETTINGS, Config, Given, given_values
from observability.config.config_file import load_config_file
from observability.config.kinds import Switch
from observability.config.setting import RepeatableKind, Setting
from observability.errors import ConfigError

CONFIG_VARIABLE: Final = "OBSERVABILITY_CONFIG"

_DESCRIPTION = """\
Serves the state of a trading system, ten times a second, to every connected dashboard: WebSocket at /ws/metrics,
REST under /api, a live page at /, Prometheus at /metrics.

A flag takes precedence over its environment variable, the variable over the configuration file, the file over the
default; `observability config` shows what is in force, and `observability check` whether the server could start.
All faults are reported at once."""

_EXAMPLES = """\
examples:
  observability serve --demo                          a live dashboard with no other service
  observability serve --demo --replay DIR --speed 10  a paper strategy on recorded quotes, at ten times the pace
  observability serve --replay DIR --loop             one recorded day, over and over
  observability serve --source zmq://127.0.0.1:5555   the events that an engine publishes over ZeroMQ
  API_PORT=8080 observability serve --reload          another port, and a restart on every edit"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each setting that has one; a flag that is absent yields None."""
    for setting in SETTINGS:
        if setting.flag is None:
            continue
        if isinstance(setting.kind, Switch):
            parser.add_argument(setting.flag, dest=setting.name, action="store_const", const=True, help=_help(setting))
        elif isinstance(setting.kind, RepeatableKind):
            parser.add_argument(
                setting.flag,
                dest=setting.name,
                action="extend",
                nargs="+",
                metavar=setting.kind.metavar,
                help=_help(setting),
            )
        else:
            parser.add_argument(setting.flag, dest=setting.name, metavar=setting.kind.metavar, help=_help(setting))


def build_argument_parser(
    command: str = "serve", description: str = _DESCRIPTION, examples: str = _EXAMPLES
) -> argparse.ArgumentParser:
    """Returns the parser of `observability serve`, or of a command that takes the same settings."""
    parser = argparse.ArgumentParser(
        prog=f"observability {command}",
        description=description,
        epilog=f"{examples}\n\n{_variables()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"a configuration file in TOML, whose keys are the names of variables or flags [{CONFIG_VARIABLE}]",
    )
    add_arguments(parser)
    return parser


class Sources:
    """What the command line, the environment and the configuration file say."""

    def __init__(self, arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.overrides = vars(arguments).copy()
        named = environ.get(CONFIG_VARIABLE)
        path = self.overrides.pop("config") or (Path(named).expanduser() if named else None)
        self.file = path
        """The configuration file; None without one."""
        self.in_file, self._faults = ({}, []) if path is None else load_config_file(path)

    def config(self) -> Config:
        """Returns the configuration. Raises ConfigError."""
        try:
            config = Config.from_environment(self.environ, self.overrides, self.in_file)
        except ConfigError as error:
            raise ConfigError([*self._faults, *error.faults]) from None
        if self._faults:
            raise ConfigError(self._faults)
        return config

    def given(self) -> dict[Setting, Given]:
        """Returns what is in force of the settings that are not left at their defaults."""
        return given_values(self.environ, self.overrides, self.in_file)


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
