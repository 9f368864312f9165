"""The configuration and its command line."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import SETTINGS, Config
from observability.errors import ConfigError

ROOT = Path(__file__).parents[2]


def read(environ: dict[str, str] | None = None, *arguments: str) -> Config:
    return Sources(build_argument_parser().parse_args(arguments), environ or {}).config()


def faults(environ: dict[str, str] | None = None, *arguments: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        read(environ, *arguments)
    return raised.value.faults


# -- the source of a value


def test_an_empty_environment_yields_the_defaults() -> None:
    assert read() == Config()


def test_idle_connections_outlive_the_pools_of_proxies_by_default() -> None:
    assert Config().http_idle_timeout > 90


def test_the_default_address_is_reachable_from_this_host_only() -> None:
    assert Config().host == "127.0.0.1"


def test_every_variable_of_the_specification_is_read() -> None:
    config = read(
        {
            "API_HOST": "0.0.0.0",
            "API_PORT": "8001",
            "API_WORKERS": "4",
            "CORS_ORIGINS": "http://localhost:3000,http://localhost:5173",
            "WS_MAX_CONNECTIONS": "100",
            "WS_HEARTBEAT_INTERVAL": "15",
            "WS_MESSAGE_QUEUE_SIZE": "10",
            "METRIC_COLLECTION_INTERVAL": "0.25",
            "LOG_LEVEL": "debug",
        }
    )
    assert config == Config(
        host="0.0.0.0",
        port=8001,
        workers=4,
        cors_origins=("http://localhost:3000", "http://localhost:5173"),
        ws_max_connections=100,
        ws_heartbeat_interval=15,
        ws_message_queue_size=10,
        metric_collection_interval=0.25,
        log_level="DEBUG",
    )


def test_every_flag_is_read(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    first.touch()
    second.touch()
    config = read(
        None,
        *(
            "--host",
            "::1",
            "--port",
            "0",
            "--workers",
            "2",
            "--log-level",
            "error",
            "--data-dir",
            str(tmp_path / "new"),
        ),
        *("--demo", "--replay", str(first), str(second), "--speed", "max", "--loop", "--reload"),
    )
    assert config == Config(
        host="::1",
        port=0,
        workers=2,
        log_level="ERROR",
        data_dir=tmp_path / "new",
        demo=True,
        replay=(first, second),
        speed="max",
        loop=True,
        reload=True,
    )


def test_a_flag_takes_precedence_over_its_variable() -> None:
    assert read({"API_PORT": "1111"}, "--port", "2222").port == 2222


def test_a_variable_overridden_by_a_flag_is_not_validated() -> None:
    assert read({"API_PORT": "nonsense"}, "--port", "2222").port == 2222


def test_an_empty_variable_counts_as_unset() -> None:
    assert read({"API_HOST": "", "API_PORT": "", "LOG_DIR": ""}) == Config()


def test_an_empty_list_of_origins_allows_none() -> None:
    assert read({"CORS_ORIGINS": ""}).cors_origins == ()


def test_an_override_can_be_a_value_instead_of_a_text() -> None:
    assert Config.from_environment({}, {"port": 0, "speed": 2.5}) == Config(port=0, speed=2.5)


def test_an_override_without_a_setting_is_a_bug() -> None:
    with pytest.raises(TypeError, match="prot"):
        Config.from_environment({}, {"prot": 1})


# -- faults


def test_all_faults_are_reported_with_name_value_and_expectation(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert faults(
        {"API_PORT": "99999", "WS_MAX_CONNECTIONS": "many"}, "--workers", "0", "--replay", str(missing), str(tmp_path)
    ) == (
        "API_PORT: '99999', expected an integer from 0 to 65535",
        "--workers: '0', expected an integer from 1 to 256",
        "WS_MAX_CONNECTIONS: 'many', expected an integer from 1 to 1000000",
        f"--replay: {str(missing)!r}, expected existing files or directories",
    )


def test_a_config_created_directly_reports_all_faults() -> None:
    with pytest.raises(ConfigError) as raised:
        Config(port=-1, metric_collection_interval=float("nan"), shutdown_grace_seconds=True, demo=1)  # type: ignore[arg-type]
    blamed = [fault.split(":")[0] for fault in raised.value.faults]
    assert blamed == ["port", "metric_collection_interval", "shutdown_grace_seconds", "demo"]


def test_a_loop_without_a_recording_is_refused() -> None:
    assert faults(None, "--loop") == ("--loop: given without a recording, expected --replay PATH with it",)


def test_a_missing_recording_is_not_reported_for_loop_too(tmp_path: Path) -> None:
    assert [fault.split(":")[0] for fault in faults(None, "--loop", "--replay", str(tmp_path / "missing"))] == [
        "--replay"
    ]


def test_a_fault_escapes_control_characters_and_cuts_long_values() -> None:
    (fault,) = faults({"API_HOST": "a\x1b[31m" + "x" * 10_000})
    assert "\\x1b" in fault
    assert len(fault) < 300


@given(st.dictionaries(st.sampled_from([s.env for s in SETTINGS if s.env]), st.text()))
def test_any_text_in_any_variable_is_accepted_or_refused(environ: dict[str, str]) -> None:
    blamed: set[str] = set()
    config = Config()
    try:
        config = Config.from_environment(environ, {})
    except ConfigError as error:
        blamed = {fault.split(":")[0] for fault in error.faults}
    assert blamed <= environ.keys()
    assert all(setting.kind.accepts(getattr(config, setting.name)) for setting in SETTINGS)


# -- misspelt names


def test_a_misspelt_variable_is_warned_about_with_the_right_name(caplog: pytest.LogCaptureFixture) -> None:
    read({"WS_MAX_CONECTIONS": "5", "api_port": "1", "LOG_LEVELS": "x", "CORS_ORIGIN": "y"})
    meant = {record.getMessage().split()[0]: record.getMessage().split()[-1] for record in caplog.records}
    assert meant == {
        "'WS_MAX_CONECTIONS'": "WS_MAX_CONNECTIONS?",
        "'api_port'": "API_PORT?",
        "'LOG_LEVELS'": "LOG_LEVEL?",
        "'CORS_ORIGIN'": "CORS_ORIGINS?",
    }
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_variables_of_other_programs_are_ignored_silently(caplog: pytest.LogCaptureFixture) -> None:
    assert read({"PATH": "/bin", "API_KEY": "x", "LOG_TARGET": "x", "DATABASE_URL": "x", "MYAPI_PORT": "1"}) == Config()
    assert caplog.records == []


# -- help and documentation


def test_every_setting_has_a_variable_or_a_flag() -> None:
    assert [setting.name for setting in SETTINGS if setting.env is None and setting.flag is None] == []


def test_every_default_is_valid_and_parses_from_its_text() -> None:
    for setting in SETTINGS:
        assert setting.kind.accepts(setting.default), setting.name
        if setting.env is not None and setting.default_text:
            assert setting.kind.parse(setting.default_text) == setting.default


def test_the_help_explains_every_setting() -> None:
    text = " ".join(build_argument_parser().format_help().split())
    for setting in SETTINGS:
        assert setting.meaning in text
        assert setting.env is None or re.search(rf"\b{setting.env}\b", text)
        assert setting.flag is None or setting.flag in text


def test_an_abbreviated_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_argument_parser().parse_args(["--work", "2"])
    assert "--work" in capsys.readouterr().err


def test_the_proxy_protocol_is_taken_from_named_proxies_only() -> None:
    with pytest.raises(ConfigError, match="PROXY_PROTOCOL: on without TRUSTED_PROXIES"):
        Config.from_environment({"PROXY_PROTOCOL": "true"}, {})
    environment = {"PROXY_PROTOCOL": "true", "TRUSTED_PROXIES": "10.0.0.0/8"}
    assert Config.from_environment(environment, {}).proxy_protocol


def test_the_container_passes_on_the_tokens_of_its_environment() -> None:
    # Through a published port nobody is local, so without tokens nothing could be written at all.
    assert 'API_TOKENS: "${API_TOKENS:-}"' in (ROOT / "compose.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml"])
def test_the_container_sets_only_variables_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    used = set(re.findall(r"\b((?:API|WS|CORS|METRIC|LOG|DATA|MAX|SHUTDOWN)_[A-Z_]+)\b", text))
    assert used
    assert used <= {setting.env for setting in SETTINGS}
