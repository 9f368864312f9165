"""`observability top` in a real terminal, and what it prints without one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from server_process import ROOT, TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]

# ECMA-48: what moves the cursor, or sets colours and modes.
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?<>=]*\$?[a-zA-Z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[a-zA-Z=>])")


class Terminal:
    """A pseudo-terminal of 80 columns and 24 rows, in which `observability top` runs."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "observability", "top", *arguments],
            env={**os.environ, "PYTHONPATH": path, "TERM": "xterm-256color", **environment},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self.raw = ""

    def wait_for(self, pattern: str) -> None:
        """Waits until what has been written since the last call has some text."""
        seen = len(self.raw)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not re.search(pattern, _CONTROL.sub("", self.raw[seen:])):
            assert time.monotonic() < deadline, f"{pattern!r} is not in {self.raw[-3000:]!r}"
            self._read(0.1)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for_end(self) -> int:
        """Waits until the command has ended; returns its exit code."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self._read(0.1)
        self._read(0.0)
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self, seconds: float) -> None:
        if select.select([self._ours], [], [], seconds)[0]:
            # The terminal ends, with an error on Linux, when its last user has closed it.
            try:
                self.raw += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:
                time.sleep(seconds)


@contextmanager
def terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(*arguments, **environment)
    try:
        yield opened
    finally:
        opened.close()


def behind_a_proxy(server: Server, run: Callable[[CuttingProxy], None]) -> None:
    """Runs a test behind a proxy, so that a server that is started again may have another port."""

    async def main() -> None:
        async with CuttingProxy(server.port).running() as proxy:
            await asyncio.to_thread(run, proxy)

    asyncio.run(main())


def test_the_screen_follows_a_server_through_its_death_and_back(start_server: StartServer) -> None:
    server = start_server("--demo")

    def run(proxy: CuttingProxy) -> None:
        with terminal("--url", proxy.url) as top:
            top.wait_for(r"LIVE   tick \d+")
            top.wait_for(r"ALFA\.SIM")
            top.type("2")
            top.wait_for("Positions")
            server.stop(signal.SIGKILL)
            top.wait_for(r"LOST   the numbers are \d+ s old")
            proxy.target = start_server("--demo").port
            top.wait_for(r"LIVE   tick \d+")
            top.type("q")
            assert top.wait_for_end() == 0
            # The screen is left as it was found.
            assert "\x1b[?1049l" in top.raw

    behind_a_proxy(server, run)


def test_a_server_that_is_not_there_is_waited_for(start_server: StartServer) -> None:
    server = start_server()
    server.stop()

    def run(proxy: CuttingProxy) -> None:
        with terminal("--url", proxy.url) as top:
            top.wait_for("CONNECTING   nothing has come yet")
            proxy.target = start_server().port
            top.wait_for(r"LIVE   tick \d+")
            top.type("\x03")
            assert top.wait_for_end() == 0

    behind_a_proxy(server, run)


def test_it_ends_with_its_terminal(demo_server: Server) -> None:
    with terminal("--url", demo_server.url("")) as top:
        top.wait_for(r"LIVE   tick \d+")
        top.process.send_signal(signal.SIGHUP)
        assert top.wait_for_end() == -signal.SIGHUP


@pytest.mark.parametrize("arguments", [(), ("--once",)], ids=["screen", "once"])
def test_a_server_that_refuses_the_token_ends_it_with_the_reason(
    start_server: StartServer, arguments: tuple[str, ...]
) -> None:
    server = start_server(API_TOKENS="read:" + "r" * 16)
    with terminal(*arguments, "--url", server.url(""), OBSERVABILITY_TOKEN="x" * 16) as top:
        assert top.wait_for_end() == 1
        assert "cannot be read: HTTP 401" in " ".join(_CONTROL.sub("", top.raw).split())


def test_once_prints_a_snapshot_as_text(demo_server: Server) -> None:
    demo_server.next_snapshot()
    for arguments in (("--once",), ()):
        printed = run_command("top", "--url", demo_server.url(""), *arguments)
        assert (printed.returncode, printed.stderr) == (0, "")
        assert printed.stdout.startswith("LIVE   tick ")
        assert "\x1b" not in printed.stdout
        titles = {line for line in printed.stdout.splitlines() if re.fullmatch("[A-Z][a-z]+", line)}
        assert titles == {"Market", "Positions", "Strategies", "Currencies", "Venues", "Execution", "System"}
        assert re.search(r"\nALFA\.SIM +[\d.]+ +[\d.]+ ", printed.stdout)


def test_once_fails_if_no_server_answers(start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    printed = run_command("top", "--once", "--url", server.url(""))
    assert (printed.returncode, printed.stdout) == (1, "")
    assert re.search(r"has sent nothing for 10 s: .*Connect call failed", printed.stderr)


def test_no_color_leaves_out_every_colour(demo_server: Server) -> None:
    with terminal("--url", demo_server.url(""), NO_COLOR="1") as top:
        top.wait_for(r"ALFA\.SIM")
        top.type("q")
        assert top.wait_for_end() == 0
    codes = {int(code) for found in re.findall(r"\x1b\[([0-9;]*)m", top.raw) for code in found.split(";") if code}
    # 39 and 49 are the terminal's own.
    assert {code for code in codes if 30 <= code < 110} <= {39, 49}


def test_a_missing_library_is_told_in_one_line_with_its_installation(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['textual'] = None\n")
    path = os.pathsep.join((str(tmp_path), str(ROOT / "core"), str(ROOT / "http")))
    with terminal(PYTHONPATH=path) as top:
        assert top.wait_for_end() == 1
    (line,) = _CONTROL.sub("", top.raw).splitlines()
    assert line.startswith("observability top: textual") and "pip install 'observability[top]'" in line
