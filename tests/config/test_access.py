"""The kinds of values that concern access: parsed strictly, and secrets never shown."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from observability.config.access import ApiToken
from observability.config.command_line import build_argument_parser
from observability.config.config import Config
from observability.errors import ConfigError


def read(**environ: str) -> Config:
    return Config.from_environment(environ, {})


def faults(**environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        read(**environ)
    return raised.value.faults


def test_several_hosts_are_separated_by_commas() -> None:
    config = read(API_HOST="127.0.0.1, ::1,localhost,::1")
    assert (config.host, config.hosts) == ("127.0.0.1,::1,localhost", ("127.0.0.1", "::1", "localhost"))
    with pytest.raises(ConfigError, match=r"API_HOST: 'a b', '', expected host names"):
        read(API_HOST="::1,a b,")


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1", "::", "fe80::1", "api-1.example.com"])
def test_a_host_is_a_name_or_an_address(text: str) -> None:
    assert read(API_HOST=text).host == text


@pytest.mark.parametrize("text", ["256.1.1.1", "a b", "http://a", "-a", "a:80", "[::1]", "a..b", "a\n", "x" * 64])
def test_a_host_that_is_neither_is_refused(text: str) -> None:
    assert len(faults(API_HOST=text)) == 1


def test_a_star_alone_allows_every_origin() -> None:
    assert read(CORS_ORIGINS="*").cors_origins == ("*",)


@pytest.mark.parametrize(
    "text", ["*,http://a", "http://a/", "http://a/b", "a", "http://", "//a", "null", "http://a:0", "http://a:65536",
             "http://*.a", "http://u@a", "http://a,,http://b", "http://a;http://b", "http://a?b", "http://256.1.1.1"]
)  # fmt: skip
def test_text_that_is_not_an_origin_is_refused(text: str) -> None:
    assert len(faults(CORS_ORIGINS=text)) == 1


def test_a_fault_names_only_the_wrong_origins() -> None:
    (fault,) = faults(CORS_ORIGINS="http://fine,http://a/,b")
    assert fault.startswith("CORS_ORIGINS: 'http://a/', 'b', expected")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("HTTP://LocalHost:3000", "http://localhost:3000"),
        ("http://a:80", "http://a"),
        ("https://a:443", "https://a"),
        ("https://a:80", "https://a:80"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("app://desk", "app://desk"),
    ],
)
def test_an_origin_is_stored_as_browsers_send_it(text: str, sent: str) -> None:
    assert read(CORS_ORIGINS=text).cors_origins == (sent,)


def test_spaces_around_commas_and_repeated_origins_do_not_matter() -> None:
    assert read(CORS_ORIGINS="http://a , http://b,http://a").cors_origins == ("http://a", "http://b")


def test_tokens_are_parsed_with_their_roles() -> None:
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
def test_a_wrong_list_of_tokens_is_refused_but_not_shown(text: str) -> None:
    (fault,) = faults(API_TOKENS=text)
    assert fault.startswith("API_TOKENS: entry ")
    assert "hunter2" not in fault and "hünter2" not in fault


def test_a_fault_gives_the_numbers_of_the_wrong_tokens() -> None:
    assert "entry 2, 3 of 3 (not shown)" in faults(API_TOKENS="read:a,b,read:a")[0]


def test_too_many_tokens_are_refused() -> None:
    assert "101 entries" in faults(API_TOKENS=",".join(f"read:t{number}" for number in range(101)))[0]


def test_an_invalid_config_does_not_show_its_tokens_either() -> None:
    with pytest.raises(ConfigError) as raised:
        Config(api_tokens=(ApiToken("admin", "hunter2"),))
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(Config(api_tokens=(ApiToken("read", "hunter2"),)))


def test_an_empty_variable_means_no_tokens() -> None:
    assert read(API_TOKENS="").api_tokens == ()


def test_tokens_have_no_flag_because_process_lists_show_flags() -> None:
    assert "--api-token" not in build_argument_parser().format_help()


def test_proxies_are_addresses_or_networks() -> None:
    proxies = read(TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.1,2001:db8::/32").trusted_proxies
    assert proxies == (ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*", "10.0.0.1,", "0x0a000001"])
def test_text_that_is_not_a_network_is_refused(text: str) -> None:
    assert faults(TRUSTED_PROXIES=text)[0].startswith("TRUSTED_PROXIES: ")


def test_a_certificate_and_its_key_are_given_together(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    assert faults(TLS_CERT=str(file)) == ("TLS_CERT: given without TLS_KEY, expected both or neither",)
    assert faults(TLS_KEY=str(file)) == ("TLS_KEY: given without TLS_CERT, expected both or neither",)
    assert read(TLS_CERT=str(file), TLS_KEY=str(file)).tls_cert == file


def test_all_rate_limits_but_that_of_messages_are_off_by_default() -> None:
    config = read()
    assert (config.http_rate_limit, config.max_connections_per_address, config.ws_rate_limit) == (0, 0, 50)
