"""Settings that say who gets in: read strictly, and a secret never shown."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from observability.config.access import ApiToken
from observability.config.command_line import build_argument_parser, settings_table
from observability.config.config import Config
from observability.errors import ConfigError


def read(**environ: str) -> Config:
    return Config.from_environment(environ, {})


def faults(**environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        read(**environ)
    return raised.value.faults


def test_tokens_are_read_with_their_roles() -> None:
    tokens = read(API_TOKENS="write:s3cret, read:abc-._~").api_tokens
    assert tokens == (ApiToken("write", "s3cret"), ApiToken("read", "abc-._~"))


@pytest.mark.parametrize(
    "text",
    [
        "hunter2", "admin:hunter2", "read:", ":hunter2", "read:hunter2,", "READ:hunter2", "read:hunter2 x",
        "read:hunter2=", "read:hunt:er2", "read:hunter2\n", "read:" + "hunter2" * 40, "read:hünter2",
        "read:hunter2,write:hunter2",
    ],
)  # fmt: skip
def test_a_wrong_list_of_tokens_is_refused_without_being_shown(text: str) -> None:
    (fault,) = faults(API_TOKENS=text)
    assert fault.startswith("API_TOKENS: entry ")
    assert "hunter2" not in fault and "hünter2" not in fault


def test_the_fault_says_which_entries_are_wrong() -> None:
    assert "entry 2, 3 of 3 (not shown)" in faults(API_TOKENS="read:a,b,read:a")[0]


def test_more_tokens_than_can_be_compared_each_time_are_refused() -> None:
    assert "101 entries" in faults(API_TOKENS=",".join(f"read:t{number}" for number in range(101)))[0]


def test_a_config_made_directly_does_not_show_its_tokens_either() -> None:
    with pytest.raises(ConfigError) as raised:
        Config(api_tokens=(ApiToken("admin", "hunter2"),))
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(Config(api_tokens=(ApiToken("read", "hunter2"),)))


def test_an_empty_list_of_tokens_is_none() -> None:
    assert read(API_TOKENS="").api_tokens == ()


def test_tokens_are_no_flag_that_a_list_of_processes_would_show() -> None:
    assert "--api-token" not in build_argument_parser().format_help()


def test_proxies_are_addresses_or_networks() -> None:
    proxies = read(TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.1,2001:db8::/32").trusted_proxies
    assert proxies == (ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*", "10.0.0.1,", "0x0a000001"])
def test_what_is_no_network_is_refused(text: str) -> None:
    assert faults(TRUSTED_PROXIES=text)[0].startswith("TRUSTED_PROXIES: ")


def test_a_certificate_needs_its_key_and_the_other_way_round(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    assert faults(TLS_CERT=str(file)) == ("TLS_CERT: given without TLS_KEY, expected both or neither",)
    assert faults(TLS_KEY=str(file)) == ("TLS_KEY: given without TLS_CERT, expected both or neither",)
    assert read(TLS_CERT=str(file), TLS_KEY=str(file)).tls_cert == file


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    assert faults(TLS_CERT=missing, TLS_KEY=str(tmp_path)) == (
        f"TLS_CERT: {missing!r}, expected a file that can be read",
        f"TLS_KEY: {str(tmp_path)!r}, expected a file that can be read",
    )


def test_limits_are_off_but_that_of_messages() -> None:
    config = read()
    assert (config.http_rate_limit, config.max_connections_per_address, config.ws_rate_limit) == (0, 0, 50)


def test_the_table_has_every_one_of_them() -> None:
    for name in (
        "API_TOKENS", "TRUSTED_PROXIES", "TLS_CERT", "TLS_KEY", "HTTP_RATE_LIMIT", "WS_RATE_LIMIT",
        "MAX_CONNECTIONS_PER_ADDRESS",
    ):  # fmt: skip
        assert f"`{name}`" in settings_table()
