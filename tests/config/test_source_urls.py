"""The URLs of sources as a setting: from flags, variable and file, and what of them is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.config.command_line import Sources, build_argument_parser
from observability.config.config import Config
from observability.config.source_urls import MAX_SOURCES, without_secrets
from observability.errors import ConfigError
from observability.sources.schemes import open_sources

A, B = "zmq://a:1?topics=x,y", "redis://b/0"


def configured(*arguments: str, environ: dict[str, str] | None = None) -> Config:
    return Sources(build_argument_parser().parse_args(arguments), environ or {}).config()


def test_a_flag_may_be_repeated_or_have_several_urls() -> None:
    assert configured("--source", A, "--source", B).sources == (A, B)
    assert configured("--source", A, B).sources == (A, B)


def test_the_variable_has_them_separated_by_spaces() -> None:
    assert configured(environ={"SOURCES": f" {A}\n{B} "}).sources == (A, B)
    assert configured("--source", B, environ={"SOURCES": A}).sources == (B,)


@pytest.mark.parametrize("key", ["SOURCES", "source"])
@pytest.mark.parametrize("value", [f'["{A}", "{B}"]', f'"{A} {B}"'])
def test_a_file_has_them_as_a_list_or_a_text(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "desk.toml"
    path.write_text(f"{key} = {value}\n")
    assert configured("--config", str(path)).sources == (A, B)


@pytest.mark.parametrize(
    ("urls", "fault"),
    [
        (["no-scheme"], "'no-scheme'"),
        ([A, B, A], f"'{A}'"),
        (["zmq://h:1", "Zmq://h:1", "x:é"], "'Zmq://h:1', 'x:é'"),
        ([f"x:{n}" for n in range(MAX_SOURCES + 1)], f"{MAX_SOURCES + 1} URLs"),
        (["oops//user:secret@host"], "expected different URLs of sources"),
    ],
)
def test_what_is_no_list_of_different_urls_is_refused(urls: list[str], fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configured("--source", *urls)
    (only,) = raised.value.faults
    assert only.startswith("--source: ") and fault in only


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:p:a@ss@h:1/0?x=1", "redis://user:***@h:1/0?x=1"),
        ("redis://:pass@h", "redis://:***@h"),
        ("nats://token@h:4222", "nats://***@h:4222"),
        ("nats://h:4222?token=abc&x=1", "nats://h:4222?token=***&x=1"),
        ("binance:BTC/USDT,ETH/USDT", "binance:BTC/USDT,ETH/USDT"),
        ("redis://h:6379/0?key=a@b:c", "redis://h:6379/0?key=a@b:c"),
        ("nats://[::1]:4222?subjects=a@b", "nats://[::1]:4222?subjects=a@b"),
        ("okx:BTC-USDT?url=wss://user:secret@h:1", "okx:BTC-USDT?url=wss://user:***@h:1"),
        ("okx:BTC-USDT?url=ws://h&url=wss://user:secret@h", "okx:BTC-USDT?url=ws://h&url=wss:***@h"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "nats:user:SECRET@host",
        "user:SECRET@host:4222",
        "SECRET@host:4222",
        "redis:/user:SECRET@host",
        "oops//user:SECRET@host",
        "okx:user:SECRET@host?url=ws://h",
        "redis://user:a/SECRET@host",
        "redis://user:12/SECRET@host",
        "redis://user:a?SECRET@host",
        "redis://user:a#SECRET@host",
        "redis://user:a@b/SECRET@host",
        "redis://user:a[SECRET@host",
    ],
)
def test_a_password_in_what_is_no_proper_url_is_in_no_fault(url: str) -> None:
    assert "SECRET" not in without_secrets(url)
    for query in ("", "?stream=a"):
        with pytest.raises(ConfigError) as raised:
            open_sources(configured("--source", url + query).sources)
        assert "SECRET" not in str(raised.value)
