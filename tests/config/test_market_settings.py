"""Settings of single symbols: read strictly, every wrong entry named."""

from __future__ import annotations

import pytest

from observability.config.config import Config
from observability.errors import ConfigError


def faults(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        Config.from_environment({"STALE_AFTER_BY_SYMBOL": text}, {})
    (fault,) = raised.value.faults
    return fault


def test_seconds_are_read_by_symbol() -> None:
    config = Config.from_environment({"STALE_AFTER": "2.5", "STALE_AFTER_BY_SYMBOL": "BTCUSDT:1, AAPL:30.5"}, {})
    assert (config.stale_after, config.stale_after_by_symbol) == (2.5, (("BTCUSDT", 1.0), ("AAPL", 30.5)))


def test_a_symbol_may_have_a_colon_itself() -> None:
    config = Config.from_environment({"STALE_AFTER_BY_SYMBOL": "spot:BTCUSDT:1"}, {})
    assert config.stale_after_by_symbol == (("spot:BTCUSDT", 1.0),)


@pytest.mark.parametrize(
    "entry", ["AAPL", ":5", "AAPL:", "AAPL:0", "AAPL:-1", "AAPL:x", "AAPL:1e3", "AAPL:604801", "", "X" * 33 + ":1"]
)
def test_a_wrong_entry_is_named_and_the_others_are_not(entry: str) -> None:
    fault = faults(f"MSFT:5,{entry}")
    assert fault.startswith(f"STALE_AFTER_BY_SYMBOL: {entry!r}, expected symbol:seconds pairs")


def test_a_symbol_given_twice_is_refused() -> None:
    assert faults("AAPL:5,AAPL:6").startswith("STALE_AFTER_BY_SYMBOL: 'AAPL:6', expected")


@pytest.mark.parametrize(
    "value", [{"AAPL": 5.0}, ("AAPL",), (("AAPL", "5"),), (("AAPL", 5.0), ("AAPL", 6.0)), ((5.0, 5.0),)]
)
def test_a_config_made_directly_is_judged_too(value: object) -> None:
    with pytest.raises(ConfigError):
        Config(stale_after_by_symbol=value)  # type: ignore[arg-type]
