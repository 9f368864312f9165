"""The file of opening positions (`--positions`): what is held before the first fill comes, to be adopted.

    [[position]]                                {"symbol": "AAPL", "quantity": "100", "avg_price": "187.25"}
    symbol = "AAPL"                             one object per line
    quantity = 100
    avg_price = "187.25"

TOML if the name of the file ends in `.toml`, else JSON lines. The fields are those of a `position` event, in any
dialect (`dialects.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from observability.config.setting import shown
from observability.errors import ConfigError
from observability.events import Position
from observability.ingest.dialects import describe_unknown, read_values

TABLE: Final = "position"
_FIXED: Final = {"type": "position", "adopt": True}

_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def load_positions(path: Path | None) -> tuple[Position, ...]:
    """Returns the positions of a file; none without a file. Raises ConfigError with every fault."""
    if path is None:
        return ()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{shown(path)}: {error}, expected a file of positions"]) from None
    faults: list[str] = []
    positions = []
    tables = _tables(text, path, faults) if path.suffix == ".toml" else _lines(text, path, faults)
    for where, values in tables:
        try:
            reading = read_values({**values, **_FIXED})
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        assert isinstance(reading.event, Position)
        # A misspelled side or strategy would be another position.
        faults += [f"{where}: unknown field {describe_unknown(Position, name)}" for name in reading.unknown]
        positions.append(reading.event)
    if faults:
        raise ConfigError(faults)
    return tuple(positions)


def _tables(text: str, path: Path, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        faults.append(f"{path}: {error}, expected TOML")
        return
    tables = document.pop(TABLE, [])
    faults += [f"{path}: unknown table {shown(name)}, expected [[{TABLE}]]" for name in document]
    if not isinstance(tables, list):
        faults.append(f"{path}: expected [[{TABLE}]], got [{TABLE}]")
        return
    for number, table in enumerate(tables, 1):
        if isinstance(table, dict):
            yield f"{path} [[{TABLE}]] {number}", table


def _lines(text: str, path: Path, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", _decode(line)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            faults.append(f"{path}:{number}: {error}, expected an object")
