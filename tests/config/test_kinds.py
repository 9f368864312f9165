"""The general kinds of values: parsed strictly, and wrong text quoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.config.config import SETTINGS, Config
from observability.config.kinds import ByteSize
from observability.errors import ConfigError

SIZE = ByteSize(16_000_000, 100 * 10**12)


def faults(**environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        Config.from_environment(environ, {})
    return raised.value.faults


@pytest.mark.parametrize("text", ["1_0", "+5", "-1", " 5", "5 ", "\u0665", "5.0", "1e3", "0x10", "010", "5\n", "nan"])
def test_an_integer_has_plain_digits_only(text: str) -> None:
    assert len(faults(API_WORKERS=text)) == 1


@pytest.mark.parametrize("text", ["nan", "inf", "1e1", "+1", "-1", "1_0", " 1", ".5", "1.", "0.009", "60.1", "1,5"])
def test_a_duration_is_a_plain_decimal_in_range(text: str) -> None:
    assert len(faults(METRIC_COLLECTION_INTERVAL=text)) == 1


@pytest.mark.parametrize("text", ["0", "-1", "inf", "MAX", "fast", "1000001"])
def test_a_speed_is_above_zero_or_max(text: str) -> None:
    with pytest.raises(ConfigError):
        Config.from_environment({}, {"speed": text})


@pytest.mark.parametrize("text", ["verbose", "20", "INFO "])
def test_an_unknown_log_level_is_refused(text: str) -> None:
    assert len(faults(LOG_LEVEL=text)) == 1


def test_a_file_is_refused_as_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert len(faults(LOG_DIR=str(file), DATA_DIR=str(file))) == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    assert faults(TLS_CERT=missing, TLS_KEY=str(tmp_path)) == (
        f"TLS_CERT: {missing!r}, expected a file that can be read",
        f"TLS_KEY: {str(tmp_path)!r}, expected a file that can be read",
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("500mb", 500 * 10**6), ("16000000", 16_000_000), ("20000KB", 20_000_000), ("1TB", 10**12)],
)
def test_a_size_can_have_any_unit(text: str, size: int) -> None:
    assert SIZE.parse(text) == size


@pytest.mark.parametrize(
    "text", ["", "4 GB", "4G", "-1", "+4GB", "0.5GB", "15MB", "101TB", "1e9", "\u0664GB", "04GB", "4_0GB"]
)
def test_text_that_is_not_a_size_in_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        SIZE.parse(text)


@given(st.integers(16_000_000, 100 * 10**12))
def test_a_formatted_size_parses_to_the_same_size(size: int) -> None:
    assert SIZE.parse(SIZE.format(size)) == size


def test_a_store_that_is_too_small_is_a_configuration_fault() -> None:
    with pytest.raises(ConfigError, match=r"STORE_MAX_BYTES: '1MB', expected bytes, .* from 16MB to 100TB"):
        Config.from_environment({"STORE_MAX_BYTES": "1MB"}, {})


def test_the_maximum_age_is_in_days() -> None:
    assert Config.from_environment({"STORE_MAX_AGE": "7"}, {}).store_max_age == 7


def valid_values(name: str, kind: Any) -> st.SearchStrategy[object]:
    match type(kind).__name__:
        case "Integer":
            return st.integers(kind.low, kind.high)
        case "Seconds":
            steps = st.integers(round(kind.low * 100), round(kind.high * 100))
            return steps.map(lambda hundredths: hundredths / 100)
        case "Speed":
            return st.just("max") | st.integers(1, 100_000).map(lambda hundredths: hundredths / 100)
        case "Choice":
            return st.sampled_from(kind.words)
    raise AssertionError(name)


@given(st.data())
def test_a_value_written_as_text_parses_to_itself(data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from([s for s in SETTINGS if type(s.kind).__name__ in NUMERIC]))
    value = data.draw(valid_values(setting.name, setting.kind))
    text = repr(value) if isinstance(value, float) else str(value)
    assert setting.kind.parse(text) == value


NUMERIC = ("Integer", "Seconds", "Speed", "Choice")
