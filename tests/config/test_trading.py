"""The kinds of values that concern trading: parsed strictly, and every wrong entry named."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import UTC, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.config.config import Config
from observability.config.setting import shown
from observability.config.trading import PositiveAmount, zone_of
from observability.errors import ConfigError

D = Decimal


def read(**environ: str) -> Config:
    return Config.from_environment(environ, {})


def fault(**environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(**environ)
    (only,) = raised.value.faults
    return only


def test_durations_are_parsed_by_symbol() -> None:
    config = read(STALE_AFTER="2.5", STALE_AFTER_BY_SYMBOL="BTCUSDT:1, AAPL:30.5")
    assert (config.stale_after, config.stale_after_by_symbol) == (2.5, (("BTCUSDT", 1.0), ("AAPL", 30.5)))


def test_a_symbol_may_contain_a_colon() -> None:
    config = read(STALE_AFTER_BY_SYMBOL="spot:BTCUSDT:1")
    assert config.stale_after_by_symbol == (("spot:BTCUSDT", 1.0),)


@pytest.mark.parametrize(
    "entry", ["AAPL", ":5", "AAPL:", "AAPL:0", "AAPL:-1", "AAPL:x", "AAPL:1e3", "AAPL:604801", "", "X" * 129 + ":1"]
)
def test_a_fault_names_only_the_wrong_durations(entry: str) -> None:
    wrong = fault(STALE_AFTER_BY_SYMBOL=f"MSFT:5,{entry}")
    assert wrong.startswith(f"STALE_AFTER_BY_SYMBOL: {shown(entry)}, expected symbol:seconds pairs")


def test_a_symbol_given_twice_is_refused() -> None:
    assert fault(STALE_AFTER_BY_SYMBOL="AAPL:5,AAPL:6").startswith("STALE_AFTER_BY_SYMBOL: 'AAPL:6', expected")


def test_a_session_is_a_utc_day_by_default() -> None:
    assert (Config().session_timezone, Config().session_start) == ("UTC", time(0))


def test_a_session_can_begin_in_any_zone_at_any_minute() -> None:
    config = read(SESSION_TIMEZONE="America/New_York", SESSION_START="17:00")
    assert (config.session_timezone, config.session_start) == ("America/New_York", time(17))
    assert str(zone_of(config.session_timezone)) == "America/New_York"


@pytest.mark.parametrize(
    "name", ["Nowhere", "america/new_york ", "Europe", "../etc/passwd", "/etc/localtime", "+01:00"]
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    assert fault(SESSION_TIMEZONE=name) == (
        f"SESSION_TIMEZONE: {name!r}, expected UTC or a time zone of the IANA database, such as America/New_York"
    )


def test_a_host_without_time_zones_says_so_and_knows_utc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("tzdata", *(name for name in sys.modules if name.startswith("tzdata."))):
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert "(this host has no time zones: install tzdata)" in fault(SESSION_TIMEZONE="America/New_York")
        assert zone_of("UTC") is UTC
    finally:
        zoneinfo.reset_tzpath()


@pytest.mark.parametrize("text", ["24:00", "9:30", "09:60", "0930", "09:30:00", " 09:30", "\u0660\u0669:30"])
def test_text_that_is_not_a_time_of_day_is_refused(text: str) -> None:
    assert fault(SESSION_START=text) == f"SESSION_START: {text!r}, expected a time from 00:00 to 23:59"


def test_amounts_are_exact() -> None:
    config = read(STARTING_CAPITAL="100000.10", CONTRACT_MULTIPLIERS="ES:50, spot:BTC:0.01")
    assert config.starting_capital == D("100000.10")
    assert config.contract_multipliers == (("ES", D(50)), ("spot:BTC", D("0.01")))


@pytest.mark.parametrize("text", ["0", "-1", "+1", "1e5", "nan", "1_000", "1,000", ".5", "0.0", "1" * 19])
def test_text_that_is_not_an_amount_is_refused(text: str) -> None:
    assert fault(STARTING_CAPITAL=text).startswith(f"STARTING_CAPITAL: {text!r}, expected a decimal number above 0")


@pytest.mark.parametrize("entry", ["ES", ":50", "ES:", "ES:0", "ES:-1", "ES:1e3", "", "NQ:3", "X" * 129 + ":1"])
def test_a_fault_names_only_the_wrong_multipliers(entry: str) -> None:
    assert fault(CONTRACT_MULTIPLIERS=f"NQ:20,{entry}").startswith(
        f"CONTRACT_MULTIPLIERS: {shown(entry)}, expected symbol:"
    )


@given(st.decimals(min_value=D("1e-18"), max_value=D(10**18 - 1), places=18))
def test_a_formatted_amount_parses_to_the_same_amount(amount: Decimal) -> None:
    assert PositiveAmount().parse(PositiveAmount().format(amount)) == amount


def test_a_year_has_252_or_365_daily_returns() -> None:
    assert (read(ANNUALIZATION="252").annualization, Config().annualization) == (252, 365)
    assert fault(ANNUALIZATION="360") == "ANNUALIZATION: '360', expected 252 or 365"


def test_a_risk_free_rate_is_a_fraction_of_any_sign() -> None:
    assert [read(RISK_FREE_RATE=text).risk_free_rate for text in ("0.045", "-0.005", "0")] == [
        D("0.045"), D("-0.005"), D(0)
    ]  # fmt: skip
    assert fault(RISK_FREE_RATE="4.5").startswith("RISK_FREE_RATE: '4.5', expected a fraction from -0.5 to 1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_timezone": 1},
        {"session_start": time(9, 30, 1)},
        {"session_start": time(9, 30, tzinfo=timezone(timedelta(hours=1)))},
        {"starting_capital": D("NaN")},
        {"starting_capital": 5.0},
        {"contract_multipliers": (("ES", D(0)),)},
        {"contract_multipliers": (("ES", D(1)), ("ES", D(2)))},
        {"annualization": 365.0},
        {"risk_free_rate": 0.05},
        {"risk_free_rate": D("NaN")},
        {"stale_after_by_symbol": {"AAPL": 5.0}},
        {"stale_after_by_symbol": ("AAPL",)},
        {"stale_after_by_symbol": (("AAPL", "5"),)},
        {"stale_after_by_symbol": (("AAPL", 5.0), ("AAPL", 6.0))},
        {"stale_after_by_symbol": ((5.0, 5.0),)},
    ],
)
def test_a_config_created_directly_is_validated_too(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Config(**wrong)  # type: ignore[arg-type]
