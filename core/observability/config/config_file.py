"""The configuration file: TOML, one key per setting, named as its variable, or as its flag without dashes.

API_PORT = 8080
API_TOKENS = ["read:…", "write:…"]
replay = ["day-1.csv", "day-2.csv"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from observability.config.config import SETTINGS
from observability.config.setting import RepeatableKind, Setting, shown


def load_config_file(path: Path) -> tuple[dict[str, object], list[str]]:
    """Returns what a file says, by the name of the setting, as text or, of paths, as a list of text; and its faults."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return {}, [f"{path}: {reason}, expected a file in TOML"]
    settings = {key: setting for setting in SETTINGS for key in _keys(setting)}
    values: dict[str, object] = {}
    faults = []
    for key, value in document.items():
        setting = settings.get(key)
        if setting is None:
            near = get_close_matches(key, settings, n=1) or get_close_matches(key.upper(), settings, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"{path}: {shown(key)} is not a setting{hint}")
            continue
        try:
            values[setting.name] = _text(value, setting)
        except ValueError as error:
            faults.append(f"{path}: {key}: {error}, expected {setting.kind.expected}")
    return values, faults


def _keys(setting: Setting) -> list[str]:
    names = [] if setting.env is None else [setting.env]
    if setting.flag is not None:
        names.append(setting.flag.removeprefix("--"))
    return names


def _text(value: Any, setting: Setting) -> object:
    """Returns a value of TOML as the setting's variable would have it. Raises ValueError."""
    if isinstance(value, list):
        texts = [str(_scalar(one)) for one in value]
        return texts if isinstance(setting.kind, RepeatableKind) else ",".join(texts)
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{_scalar(one)}" for name, one in value.items())
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, time):
        return value.isoformat("auto" if value.second or value.microsecond else "minutes")
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(shown(str(value)))
