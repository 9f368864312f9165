"""The commands beside `serve`: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certified import FIRST, SECOND
from observability.cli.main import COMMANDS
from server_process import ROOT, TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]


def send(lines: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "observability", "send", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'core'}{os.pathsep}{ROOT / 'http'}"},
        check=False,
    )


def test_every_command_teaches_how_to_use_it() -> None:
    listed = run_command("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in listed
        shown = run_command(command, "--help")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert f"usage: observability {command}" in shown.stdout
        assert "  observability " in shown.stdout or command in ("version", "bench")


def test_a_command_that_is_not_there_is_answered_with_the_nearest_one() -> None:
    mistyped = run_command("chek")
    assert (mistyped.returncode, mistyped.stdout) == (2, "")
    assert mistyped.stderr == "observability: there is no command 'chek'; did you mean check?\n"
    forgotten = run_command()
    assert forgotten.returncode == 2
    assert "  serve " in forgotten.stderr


def test_ctrl_c_before_a_command_has_begun_ends_it_without_a_traceback(tmp_path: Path) -> None:
    # An import of Python at which the signal comes.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'observability.cli.version':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    path = os.pathsep.join(map(str, (tmp_path, ROOT / "core", ROOT / "http")))
    interrupted = run_command("version", PYTHONPATH=path)
    assert (interrupted.returncode, interrupted.stdout, interrupted.stderr) == (130, "", "")


@pytest.mark.parametrize("command", [("send", "--url"), ("top", "--once", "--url"), ("replay", "absent", "--to")])
def test_an_address_that_is_none_is_refused_at_once(command: tuple[str, ...]) -> None:
    refused = run_command(*command, "localhost:port")
    assert refused.returncode == 2
    assert "'localhost:port': expected an address like http://localhost:8000" in refused.stderr


def test_config_names_the_source_of_each_value_and_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "desk.toml"
    path.write_text('API_TOKENS = ["read:do-not-show-this"]\nMAX_SYMBOLS = 50\n')
    shown = run_command("config", "--json", "--port", "0", OBSERVABILITY_CONFIG=str(path), LOG_LEVEL="debug")
    settings = json.loads(shown.stdout)
    assert settings["API_PORT"] == {"value": "0", "source": "--port"}
    assert settings["LOG_LEVEL"] == {"value": "DEBUG", "source": "LOG_LEVEL"}
    assert settings["MAX_SYMBOLS"] == {"value": "50", "source": "MAX_SYMBOLS in the file"}
    assert settings["API_WORKERS"]["source"] == "default"
    assert "do-not-show-this" not in shown.stdout + run_command("config", OBSERVABILITY_CONFIG=str(path)).stdout


def test_check_finds_nothing_wrong_with_a_server_that_could_start(tmp_path: Path) -> None:
    found = run_command("check", "--data-dir", str(tmp_path / "new"), "--replay", str(ROOT / "tests" / "nothing"))
    assert found.returncode == 2
    found = run_command("check", "--data-dir", str(tmp_path / "new"))
    assert (found.returncode, found.stderr) == (0, "")
    assert not (tmp_path / "new").exists()


def test_check_reports_the_faults_of_everything_at_once(tmp_path: Path) -> None:
    rules, recording = tmp_path / "alerts.toml", tmp_path / "notes.txt"
    rules.write_text("[drawdown]\nmetric = 1\n")
    recording.write_text("no recording\n")
    (tmp_path / "observability.db").write_bytes(b"not a database, but longer than nothing" * 100)
    cert, key = FIRST[0], SECOND[1]
    found = run_command(
        *("check", "--alerts", str(rules), "--data-dir", str(tmp_path), "--replay", str(recording)),
        *("--tls-cert", str(cert), "--tls-key", str(key)),
    )
    assert found.returncode == 2
    faulty = {line.split(":")[0] for line in found.stdout.splitlines() if "FAULT" in line}
    assert faulty == {"alert rules", "certificate", "store", "recordings"}
    assert "Traceback" not in found.stderr


def test_check_reads_the_store_of_a_running_server(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(DATA_DIR=str(tmp_path))
    fill = '{"type":"fill","trade_id":"t1","order_id":"o1","symbol":"A","side":"buy","quantity":1,"price":2}\n'
    assert send(fill, "--url", server.url("")).returncode == 0
    found = run_command("check", "--data-dir", str(tmp_path))
    assert found.returncode == 0
    assert "every page can be read, 1 fill\n" in found.stdout


def test_send_reports_each_refused_event_and_fails(start_server: StartServer) -> None:
    server = start_server()
    good = [f'{{"type": "quote", "symbol": "A", "bid": {n}, "ask": {n + 1}}}' for n in range(1, 3001)]
    sent = send("\n".join([*good, '{"type": "quote"}', "not JSON"]), "--url", server.url(""))
    assert sent.returncode == 1
    assert sent.stderr.splitlines()[-1] == "3000 accepted, 0 duplicates, 2 refused"
    assert sum(line.startswith("refused: ") for line in sent.stderr.splitlines()) == 2
    assert server.next_snapshot()["market_data"]["A"]["bid"] == 3000


def test_send_keeps_the_digits_of_a_price(start_server: StartServer) -> None:
    server = start_server()
    fill = '{"type":"fill","trade_id":"t1","order_id":"o1","symbol":"A","side":"buy","quantity":1,"price":%s}'
    # A repetition with any other price would be a conflict.
    sent = send("\n".join((fill % "0.123456789012345678", fill % '"0.123456789012345678"')), "--url", server.url(""))
    assert sent.stderr == "1 accepted, 1 duplicates, 0 refused\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_prints_a_script_of_the_shell(shell: str) -> None:
    script = run_command("completion", shell).stdout
    assert "--data-dir" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, "-n"], input=script, text=True, timeout=TIMEOUT_SECONDS, check=False).returncode == 0


def test_bash_completes_commands_and_flags() -> None:
    script = run_command("completion", "bash").stdout
    ask = 'COMP_WORDS=(observability {0}); COMP_CWORD={1}; _observability; echo "${{COMPREPLY[@]}}"'
    for words, index, expected in (
        ("ch", 1, "check"),
        ("serve --data", 2, "--data-dir"),
        ("bench --h", 2, "--help"),
        ("replay --as", 2, "--as-recorded"),
        ("completion z", 2, "zsh"),
    ):
        ran = subprocess.run(
            ["bash", "-c", f"{script}\n{ask.format(words, index)}"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert ran.stdout.strip() == expected


def test_version_names_what_the_server_runs_on() -> None:
    named = {line.split()[0] for line in run_command("version").stdout.splitlines()}
    assert {"observability", "CPython", "uvloop", "picows", "SQLite"} <= named
