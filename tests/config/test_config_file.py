"""The configuration file: TOML behind the environment and the command line."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import Config
from observability.errors import ConfigError


def config_of(path: Path, text: str, *arguments: str, **environ: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return Sources(build_argument_parser().parse_args(["--config", str(path), *arguments]), environ).config()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desk.toml"


def test_keys_are_the_names_of_variables_and_flags(path: Path, tmp_path: Path) -> None:
    config = config_of(
        path,
        f"""
        API_PORT = 8081
        CORS_ORIGINS = ["https://a.example", "https://b.example"]
        CONTRACT_MULTIPLIERS = {{ ES = 50, NQ = 20 }}
        SESSION_START = 09:30:00
        METRIC_COLLECTION_INTERVAL = 0.5
        REFUSE_UNKNOWN_FIELDS = true
        replay = ["{path}"]
        speed = "max"
        """,
    )
    assert (config.port, config.session_start, config.metric_collection_interval) == (8081, time(9, 30), 0.5)
    assert config.cors_origins == ("https://a.example", "https://b.example")
    assert {symbol: str(number) for symbol, number in config.contract_multipliers} == {"ES": "50", "NQ": "20"}
    assert (config.refuse_unknown_fields, config.replay, config.speed) == (True, (path,), "max")


def test_flags_come_before_variables_and_variables_before_the_file(path: Path) -> None:
    text = 'API_PORT = 1\nLOG_LEVEL = "ERROR"\nAPI_WORKERS = 2'
    config = config_of(path, text, "--port", "3", API_PORT="2", LOG_LEVEL="DEBUG")
    assert (config.port, config.log_level, config.workers) == (3, "DEBUG", 2)


def test_all_faults_of_file_variables_and_flags_are_reported_at_once(path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(path, "API_PORTT = 1\nAPI_WORKERS = 0\nMAX_SYMBOLS = 1979-05-27", "--port", "x", LOG_LEVEL="LOUD")
    faults = "\n".join(raised.value.faults)
    for part in (
        "'API_PORTT' is not a setting; did you mean API_PORT?",
        "API_WORKERS in the file: '0'",
        "MAX_SYMBOLS: '1979-05-27'",
        "--port: 'x'",
        "LOG_LEVEL: 'LOUD'",
    ):
        assert part in faults


@pytest.mark.parametrize("text", ["API_PORT = ", "\udcff"])
def test_a_file_that_is_not_toml_is_named_with_its_fault(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"desk\.toml"):
        Sources(build_argument_parser().parse_args(["--config", str(path)]), {}).config()


def test_a_missing_file_is_a_fault_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Sources(build_argument_parser().parse_args([]), {"OBSERVABILITY_CONFIG": str(tmp_path / "none.toml")}).config()


def test_an_empty_variable_leaves_the_file_in_force(path: Path) -> None:
    assert config_of(path, "API_PORT = 8081", API_PORT="").port == 8081
