"""The configuration of several machines: what is refused, with what is expected, and without a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from observability.cluster.desk import Desk
from observability.config.config import Config
from observability.errors import ConfigError
from server_process import ROOT, run_command


def faults_of(**settings: object) -> str:
    with pytest.raises(ConfigError) as raised:
        Desk.of(Config(**settings))  # type: ignore[arg-type]
    return str(raised.value)


def test_several_servers_share_the_login_of_the_first() -> None:
    desk = Desk.of(Config(engine="nats://desk:secret@a,b:4223,[::1]:9?tls=1", desk="fx"))
    assert desk is not None
    address = desk.address
    assert (address.url, address.further_urls) == ("nats://a:4222", ("nats://b:4223", "nats://[::1]:9"))
    assert (address.user, address.password, address.is_encrypted) == ("desk", "secret", True)
    assert desk.frame_subject == "obs.fx.frame"


def test_a_host_without_servers_has_no_desk() -> None:
    assert Desk.of(Config()) is None


AGGREGATOR: dict[str, object] = {"role": "aggregator", "sites": ("a",), "engine": "nats://a"}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"engine": "http://a"}, "engine: 'http://a', expected nats://HOST:PORT"),
        ({"engine": "nats://"}, "engine: 'nats://', expected nats://HOST:PORT"),
        ({"engine": "nats://a,u:secret@b"}, "a login belongs before the first host"),
        ({"engine": "nats://u:secret@a?creds=/none"}, "expected one of USER:PASSWORD@, token= and creds="),
        ({"engine": "nats://a:b"}, "expected a port from 1 to 65535"),
        ({"desk": "a.b"}, "desk: 'a.b', expected 1 to 32 letters, digits, _ and -"),
        ({"role": "edge"}, "--role: edge without --engine"),
        ({"role": "edge", "engine": "nats://a", "data_dir": Path("/x")}, "--data-dir: given with --role edge"),
        ({"role": "aggregator", "engine": "nats://a"}, "--role aggregator: given without --sites, expected both"),
        ({"sites": ("london",), "engine": "nats://a"}, "--sites: given without --role aggregator, expected both"),
        ({"sites": ("a", "a")}, "sites: ('a', 'a'), expected up to 64 names of desks, each once"),
        ({"sites": ("a.b",)}, "sites: ('a.b',), expected up to 64 names of desks"),
        ({"role": "aggregator", "sites": ("a",)}, "--role: aggregator without --engine"),
        (
            {"role": "aggregator", "sites": ("a",), "engine": "nats://a", "data_dir": Path("/x")},
            "--data-dir: given with --role aggregator, expected at the hub",
        ),
        ({"role": "edge", "engine": "nats://a", "demo": True}, "--demo: given with --role edge, expected at the hub"),
        ({**AGGREGATOR, "alert_rules": Path(__file__)}, "--alerts: given with --role aggregator, expected at the hub"),
        ({**AGGREGATOR, "record_max_age": 1}, "RECORD_MAX_AGE: given with --role aggregator, expected at the hub"),
        ({**AGGREGATOR, "record": False}, "RECORD: given with --role aggregator, expected at the hub"),
        ({**AGGREGATOR, "stale_after": 1.0}, "STALE_AFTER: given with --role aggregator, expected at the hub"),
        ({**AGGREGATOR, "desk": "a"}, "--desk: given with --role aggregator, expected only the names of its --sites"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_expected(settings: dict[str, object], fault: str) -> None:
    said = faults_of(**settings)
    assert fault in said
    assert "secret" not in said


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "nats.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join((str(tmp_path), str(ROOT / "core"), str(ROOT / "http")))
    ended = run_command("serve", "--port", "0", "--engine", "nats://u:secret@h", PYTHONPATH=path)
    assert ended.returncode == 1
    assert "pip install 'observability[cluster]'" in ended.stderr
    assert "secret" not in ended.stderr


def test_a_host_that_is_alone_imports_nothing_of_nats() -> None:
    path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
    code = "import sys, observability.cli.serve; print([name for name in sys.modules if name.split('.')[0] == 'nats'])"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"


def test_check_names_the_desk_and_no_secret() -> None:
    ended = run_command("check", "--engine", "nats://u:secret@a,b", "--role", "edge", "--desk", "fx")
    assert "desk:         fx, of which this host is an edge, over nats://a:4222 nats://b:4222" in ended.stdout
    assert "secret" not in ended.stdout + run_command("config", CLUSTER_ENGINE="nats://u:secret@a").stdout
