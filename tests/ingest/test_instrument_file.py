"""The file of instruments: what it says, and every fault at once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from observability.errors import ConfigError
from observability.events import Instrument
from observability.ingest.instrument_file import load_instruments


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "instruments.toml"
    path.write_text(text, "utf-8")
    return path


def test_tables_are_instrument_events(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[instrument]]
        symbol = "ESZ5"
        kind = "FUTURE"
        quote_currency = "usd"
        multiplier = 50
        tick_size = 0.25
        [[instrument]]
        symbol = "XBTUSD"
        kind = "perpetual"
        quote_currency = "USD"
        base_currency = "XBT"
        contract = "inverse"
        """,
    )
    assert load_instruments(path) == (
        Instrument("ESZ5", "future", "USD", multiplier=Decimal(50), tick_size=Decimal("0.25")),
        Instrument("XBTUSD", "perpetual", "USD", base_currency="XBT", contract="inverse"),
    )
    assert load_instruments(None) == ()


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[instrument]]
        symbol = "A"
        kind = "spot"
        quote_currency = "USD"
        [[instrument]]
        symbol = "A"
        kind = "spot"
        quote_currency = "USD"
        [[instrument]]
        symbol = "A"
        kind = "spot"
        quote_currency = "EUR"
        venue = "X"
        [[instrument]]
        symbol = "B"
        kind = "spot"
        quote_currency = "USD"
        multiplyer = 50
        [[instrument]]
        symbol = "C"
        kind = "bond"
        quote_currency = "USD"
        [[instruments]]
        """,
    )
    with pytest.raises(ConfigError) as raised:
        load_instruments(path)
    faults = [fault.removeprefix(f"{path} ") for fault in raised.value.faults]
    assert [fault.partition(":")[0] for fault in faults[1:]] == [
        "[[instrument]] 2", "[[instrument]] 3", "[[instrument]] 4", "[[instrument]] 5"
    ]  # fmt: skip
    for fault, expected in zip(
        faults,
        ("unknown table", "A is described twice", "other terms than at venue", "did you mean multiplier", "'bond'"),
        strict=True,
    ):
        assert expected in fault


def test_a_file_that_is_no_toml_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a file of instruments in TOML"):
        load_instruments(written(tmp_path, "[["))
