"""What a process is started with: signals that must not kill it, and standard streams that may be closed."""

from __future__ import annotations

import os
import subprocess
import sys

from server_process import ROOT, TIMEOUT_SECONDS


def run(script: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
    return subprocess.run(
        ["sh", "-c", f'{shell}exec "$@"', "sh", sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def test_the_command_settles_before_it_imports_a_server() -> None:
    script = "import sys, observability.cli.main; print([name for name in sys.modules if '.server' in name])"
    assert run(script).stdout == "[]\n"


def test_a_settled_process_survives_signals_that_ask_for_something() -> None:
    ended = run(
        "import os, signal; from observability.processes.surroundings import settle; settle()\n"
        "for number in (signal.SIGHUP, signal.SIGUSR1): os.kill(os.getpid(), number)\n"
        "print('alive')"
    )
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


def test_a_process_that_leaves_is_not_ended_by_one_more_signal() -> None:
    ended = run(
        "import os, signal; from observability.processes.surroundings import leave; leave()\n"
        "for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT): os.kill(os.getpid(), number)\n"
        "print('left')"
    )
    assert (ended.returncode, ended.stdout) == (0, "left\n")


def test_a_file_that_a_settled_process_opens_is_no_standard_stream() -> None:
    ended = run(
        "import os, sys; from observability.processes.surroundings import settle; settle()\n"
        "file = os.open('/dev/null', os.O_RDONLY)\n"
        "print('out'); sys.stdin is None and print('none', file=sys.stderr)\n"
        "sys.exit(file)",
        shell="exec 0>&- 1>&-; ",
    )
    assert (ended.returncode > 2, ended.stdout, ended.stderr) == (True, "", "none\n")
