"""The file of instruments (`--instruments`): what symbols stand for, as `instrument` events say it.

    [[instrument]]
    symbol = "ESZ5"
    kind = "future"
    quote_currency = "USD"
    multiplier = 50
    tick_size = 0.25

The fields are those of an `instrument` event, in any dialect (`dialects.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from observability.config.setting import shown
from observability.errors import ConfigError
from observability.events import Instrument
from observability.ingest.dialects import describe_unknown, read_values
from observability.instruments.table import InstrumentTable

TABLE: Final = "instrument"


def load_instruments(path: Path | None) -> tuple[Instrument, ...]:
    """Returns the instruments of a file; none without a file. Raises ConfigError with every fault."""
    if path is None:
        return ()
    try:
        document = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([f"{shown(path)}: {error}, expected a file of instruments in TOML"]) from None
    tables = document.pop(TABLE, [])
    faults = [f"{path}: unknown table {shown(name)}, expected [[{TABLE}]]" for name in document]
    if not isinstance(tables, list):
        raise ConfigError([*faults, f"{path}: expected [[{TABLE}]], got [{TABLE}]"])
    known = InstrumentTable()
    instruments: list[Instrument] = []
    for number, values in enumerate(tables, 1):
        where = f"{path} [[{TABLE}]] {number}"
        try:
            instrument = _read(values)
        except ValueError as error:
            faults += [f"{where}: {fault}" for fault in str(error).split("\n")]
            continue
        described = known.described_by(instrument)
        if any((each.symbol, each.venue) == (instrument.symbol, instrument.venue) for each in instruments):
            faults.append(f"{where}: {instrument.symbol} is described twice")
        elif (fault := known.fault(described)) is not None:
            faults.append(f"{where}: {instrument.symbol}: {fault}")
        else:
            known.put(described)
            instruments.append(instrument)
    if faults:
        raise ConfigError(faults)
    return tuple(instruments)


def _read(values: Mapping[str, Any]) -> Instrument:
    """Returns the instrument of a table. Raises ValueError with a line for each fault."""
    if not isinstance(values, dict):
        raise ValueError("expected a table")
    reading = read_values({**values, "type": TABLE})
    assert isinstance(reading.event, Instrument)
    if reading.unknown:
        # A misspelled multiplier would be another one.
        raise ValueError("\n".join(f"unknown field {describe_unknown(Instrument, name)}" for name in reading.unknown))
    return reading.event
