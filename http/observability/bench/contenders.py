"""The servers that are compared: ours, the floor, and peers, with what each needs to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from observability.bench.compiler import Programs
from observability.bench.servers import HOST
from observability.config.config import SETTINGS
from observability.stream.batches.io_uring import SendRing

PEERS: Final = Path(__file__).parent / "peers"
INTERVAL_SECONDS: Final = 0.1
NODE_SECONDS: Final = 20

STREAM: Final = "stream"
REST: Final = "rest"
CONDITIONAL: Final = "conditional"
DEFLATE: Final = "deflate"
INGEST: Final = "ingest"

FLOOR: Final = "floor"
OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started."""

    port: int
    snapshot: Path
    """What a peer sends."""
    symbols: int
    """How many symbols ours has to hold."""
    clients: int
    """How many clients it has to let in."""
    folder: Path
    """For its own files."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be measured."""

    key: str
    label: str
    serves: frozenset[str]
    command: Callable[[Launch], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    missing: str = ""
    """Why it cannot run here, and the command that would change that; empty if it can."""

    @property
    def is_ours(self) -> bool:
        return INGEST in self.serves

    def variables(self, launch: Launch) -> dict[str, str]:
        """The environment: this process's, without settings of the server that the user may have made."""
        names = {setting.env for setting in SETTINGS if setting.env}
        inherited = {name: value for name, value in os.environ.items() if name not in names}
        limits = {"MAX_SYMBOLS": str(max(64, launch.symbols)), "WS_MAX_CONNECTIONS": str(launch.clients)}
        return inherited | limits | self.environment


def all_contenders(programs: Programs) -> list[Contender]:
    """The floor, ours, then the peers."""
    return [_floor(programs), *_ours(), *_python_peers(), *_script_peers(), _nginx()]


def with_workers(contender: Contender, workers: int) -> Contender:
    """Returns one of ours with a number of workers, each of them in a process of its own if there are several."""
    return Contender(
        f"{contender.key}-{workers}",
        f"{contender.label}, {workers} workers" if workers > 1 else f"{contender.label}, one process",
        contender.serves,
        lambda launch: [*contender.command(launch), "--workers", str(workers)],
        contender.environment,
        # The supervisor only waits.
        workers + 1 if workers > 1 else 1,
        contender.missing,
    )


def _floor(programs: Programs) -> Contender:
    def command(launch: Launch) -> list[str]:
        return [str(programs.floor), str(launch.port), str(launch.snapshot), str(round(INTERVAL_SECONDS * 1000))]

    serves = frozenset({STREAM, REST, CONDITIONAL})
    return Contender(FLOOR, "floor: C, one send() per client", serves, command, missing=programs.why)


def _ours() -> Iterator[Contender]:
    def command(launch: Launch) -> list[str]:
        serve = [sys.executable, "-m", "observability", "serve"]
        return [*serve, "--host", HOST, "--port", str(launch.port), "--log-level", "ERROR"]

    serves = frozenset({STREAM, REST, CONDITIONAL, DEFLATE, INGEST})
    for engine, label, missing in (("picows", "picows", ""), ("uring", "io_uring", _uring_missing())):
        name = f"observability ({label})"
        yield Contender(f"{OURS}-{engine}", name, serves, command, {"BROADCAST": engine}, missing=missing)


def _uring_missing() -> str:
    try:
        SendRing(1).close()
    except OSError as error:
        return f"the kernel gives no io_uring ({error.strerror}); containers allow it with --security-opt seccomp=..."
    return ""


# Key, label, module in `peers`, what it serves, the modules that it imports and what installs them.
_PYTHON_PEERS: Final = (
    ("fastapi", "FastAPI, uvicorn: encodes per client", "fastapi_encoding", {STREAM, REST, DEFLATE},
     ("fastapi", "uvicorn", "httptools", "uvloop", "websockets"), "fastapi 'uvicorn[standard]'"),
    ("fastapi-shared", "FastAPI, uvicorn: one shared string", "fastapi_shared", {STREAM, REST, DEFLATE},
     ("fastapi", "uvicorn", "httptools", "uvloop", "websockets"), "fastapi 'uvicorn[standard]'"),
    ("websockets", "websockets.broadcast", "websockets_broadcast", {STREAM, DEFLATE}, ("websockets",), "websockets"),
    ("aiohttp", "aiohttp", "aiohttp_shared", {STREAM, REST, DEFLATE}, ("aiohttp",), "aiohttp"),
    ("granian", "granian, RSGI", "granian_rsgi", {STREAM, REST}, ("granian",), "granian"),
    ("picows", "picows, a bare loop", "picows_loop", {STREAM}, ("picows",), "picows"),
)  # fmt: skip


def _python_peers() -> Iterator[Contender]:
    for key, label, module, serves, imports, install in _PYTHON_PEERS:
        lacking = [name for name in imports if find_spec(name) is None]
        missing = f"{' and '.join(lacking)} not installed; run: pip install {install}" if lacking else ""
        yield Contender(key, label, frozenset(serves), _python_command(module), missing=missing)


def _python_command(module: str) -> Callable[[Launch], list[str]]:
    name = f"observability.bench.peers.{module}"
    return lambda launch: [sys.executable, "-m", name, str(launch.port), str(launch.snapshot), str(INTERVAL_SECONDS)]


def _script_peers() -> Iterator[Contender]:
    modules = [str(Path.cwd() / "node_modules"), os.environ.get("NODE_PATH", "")]
    environment = {"NODE_PATH": os.pathsep.join(filter(None, modules))}
    node = shutil.which("node")
    yield Contender(
        "node-ws", "node, ws", frozenset({STREAM, REST, DEFLATE}), _script_command(node, "node_ws.js"), environment,
        missing=_node_missing(node, environment),
    )  # fmt: skip
    bun = shutil.which("bun") or shutil.which("bun", path=str(Path.cwd() / "node_modules" / ".bin"))
    yield Contender(
        "bun", "Bun", frozenset({STREAM, REST, DEFLATE}), _script_command(bun, "bun_publish.js"),
        missing="" if bun else "bun not installed; run: npm install bun",
    )  # fmt: skip


def _script_command(program: str | None, script: str) -> Callable[[Launch], list[str]]:
    path = str(PEERS / script)
    return lambda launch: [str(program), path, str(launch.port), str(launch.snapshot), str(INTERVAL_SECONDS)]


def _node_missing(node: str | None, environment: dict[str, str]) -> str:
    if node is None:
        return "node not installed; run: apt-get install nodejs npm"
    check = [node, "-e", "require.resolve('ws')"]
    variables = {**os.environ, **environment}
    if subprocess.run(check, env=variables, capture_output=True, timeout=NODE_SECONDS, check=False).returncode:
        return "ws not installed for node; run: npm install ws"
    return ""


def _nginx() -> Contender:
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))

    def command(launch: Launch) -> list[str]:
        text = (PEERS / "nginx.conf").read_text("utf-8")
        for name, value in (("FOLDER", launch.folder), ("PORT", launch.port), ("SNAPSHOT", launch.snapshot)):
            text = text.replace(f"@{name}@", str(value))
        path = launch.folder / "nginx.conf"
        path.write_text(text, "utf-8")
        return [str(program), "-p", str(launch.folder), "-c", str(path), "-e", str(launch.folder / "error.log")]

    missing = "" if program else "nginx not installed; run: apt-get install nginx-light"
    return Contender("nginx", "nginx, a static file", frozenset({REST, CONDITIONAL}), command, missing=missing)
