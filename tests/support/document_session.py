"""Runs the blocks of one document as a reader would type them: in order, in one folder, against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from documents import ROOT, Block
from server_process import TIMEOUT_SECONDS

SERVES = re.compile(r"(?:observability|python serve\.py|python -m observability) serve(?!.*--help)")
# What a first line names is a file that a later command uses.
_FILE_NAME = re.compile(r"# ([\w-]+\.(?:py|toml))\n")
_DEFAULT_ADDRESS: Final = "localhost:8000"

# A refusal fails the command that met it.
_CURLRC: Final = f"fail-with-body\nsilent\nshow-error\nmax-time = {TIMEOUT_SECONDS}\nnoproxy = *\n"


class Session:
    """One reader. `port` is that of a server that runs already; a server that the document starts takes its place."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.output = ""
        """What the last command printed."""
        self._folder = folder / "here"
        self._folder.mkdir()
        # The reader stands in the repository; what commands write stays in this folder.
        for path in ROOT.iterdir():
            if path.name not in (".git", "data"):
                (self._folder / path.name).symlink_to(path)
        self._environment = {**os.environ, "HOME": str(folder), "PATH": f"{_commands(folder)}:{os.environ['PATH']}"}
        self._state = folder / "state"
        self._log = folder / "log"
        self._servers: list[subprocess.Popen[str]] = []
        (folder / ".curlrc").write_text(_CURLRC)

    def run(self, block: Block) -> None:
        """Runs a block of commands or of Python, keeps a file, or compares an answer."""
        # The reader's environment is that of the tests.
        text = block.text.replace(".venv/bin/", "")
        if named := _FILE_NAME.match(text):
            (self._folder / named[1]).write_text(text)
        elif block.language == "python":
            (self._folder / "block.py").write_text(self._addressed(text))
            self._call(["python", "-W", "error", "block.py"], block)
        elif block.language == "js":
            (self._folder / "block.mjs").write_text(self._addressed(text))
            self._call(["node", "--experimental-websocket", "--no-warnings", "block.mjs"], block)
        elif block.language == "sh":
            for part in _parts(text):
                if SERVES.search(part):
                    self.stop()
                    self._servers = [self._begin(part)]
                    self.port = self._port_of(self._servers[0])
                else:
                    self._bash(part, block)
        elif block.language == "json":
            self._compare(json.loads(text), block)

    def run_together(self, commands: Sequence[str]) -> None:
        """Runs commands that do not build on each other; the servers among them at the same time."""
        for command in commands:
            if SERVES.search(command):
                self._servers.append(self._begin(command))
            else:
                self._bash(command, command)
        for server in self._servers:
            self._port_of(server)

    def stop(self) -> None:
        """Stops the servers that the document has started."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.send_signal(signal.SIGTERM)
        for server in servers:
            server.communicate(timeout=TIMEOUT_SECONDS)
        assert [server.args for server in servers if server.returncode != 0] == [], self._log.read_text()

    def _begin(self, command: str) -> subprocess.Popen[str]:
        """Starts a server as the command says, but on a free port."""
        with self._log.open("a") as log:
            return subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", _on_a_free_port(command)],
                cwd=self._folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def _port_of(self, server: subprocess.Popen[str]) -> int:
        """Waits until a server has started."""
        assert server.stdout is not None
        found = re.search(r"https?://[^/]*:(\d+)/", server.stdout.readline())
        if found is None:
            raise AssertionError(f"{server.args} did not start:\n{self._log.read_text()}")
        return int(found[1])

    def _bash(self, text: str, where: object) -> None:
        # Variables that one block sets are there in the next.
        script = f"set -a\n{self._addressed(text)}\nenv -0 > {self._state}"
        self._call(["bash", "-euo", "pipefail", "-c", script], where)
        pairs = self._state.read_text().split("\0")
        self._environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def _call(self, command: list[str], where: object) -> None:
        result = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == 0, f"{where}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        self.output = result.stdout

    def _compare(self, documented: Any, block: Block) -> None:
        """Raises AssertionError unless some line of the last output has the form that the document shows."""
        answers = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        assert any(_has_form(answer, documented) for answer in answers), f"{block}: not of this form:\n{self.output}"

    def _addressed(self, text: str) -> str:
        return text.replace(_DEFAULT_ADDRESS, f"localhost:{self.port}")


def _commands(folder: Path) -> Path:
    """Returns a folder with `observability` and `python`, which are those of the tests."""
    commands = folder / "bin"
    commands.mkdir()
    python_path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
    for name, arguments in (("observability", "-W error -m observability"), ("python", "")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nPYTHONPATH={python_path} exec {sys.executable} {arguments} "$@"\n')
        command.chmod(0o755)
    return commands


def _parts(text: str) -> list[str]:
    """Returns the lines of a block, each that starts a server by itself and those between them together."""
    lines = groupby(text.splitlines(), lambda line: SERVES.search(line) is not None)
    return [part for serves, group in lines for part in (group if serves else ["\n".join(group)])]


def _on_a_free_port(command: str) -> str:
    # `exec`, so that the signal that stops the server reaches it.
    served = SERVES.sub(lambda match: f"exec {match[0]}", command)
    return f"{re.sub(r' --port [0-9]+', '', served)} --port 0"


def _has_form(answer: Any, documented: Any) -> bool:
    """Whether an answer has the fields that the document shows, with values of the same kinds."""
    if isinstance(documented, dict):
        return isinstance(answer, dict) and all(
            name in answer and _has_form(answer[name], value) for name, value in documented.items()
        )
    if isinstance(documented, list):
        return isinstance(answer, list) and all(map(_has_form, answer, documented))
    # Any number may be undefined.
    return answer is None or type(answer) is type(documented)
