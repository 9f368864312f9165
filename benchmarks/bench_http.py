"""Question: how many requests a second does one worker answer, and how soon, beside a C loop and a FastAPI application?

One load generator (wrk, one thread) requests the same paths from each server in turn over loopback, with one request
per connection at a time and with 16. The ratio is to the C floor, which answers from bytes made once per tick.

    python benchmarks/bench_http.py [--seconds 5] [--connections 32] [--floor floor.c] [--peer-python VENV/bin/python]

--floor is the source of the C server, which gcc compiles; it takes a port and the size of its answer. --peer-python is
an interpreter that has fastapi and uvicorn. A server whose option is not given is left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from running_server import running_server

PATHS = ("/health", "/api/metrics/current")
PIPELINED = 16
START_SECONDS = 20.0

# Sends PIPELINED requests at once; wrk counts each answer.
PIPELINE_SCRIPT = """
init = function(args)
    local requests = {}
    for i = 1, %d do requests[i] = wrk.format() end
    all = table.concat(requests)
end
request = function() return all end
"""

# A FastAPI application in its plainest form: a dictionary, encoded for each request.
PEER_APPLICATION = """
import json, sys
import fastapi, uvicorn

app = fastapi.FastAPI()
snapshot = json.loads(open(sys.argv[2]).read())

@app.get("/health")
async def health():
    return {"status": "healthy", "service": "observability"}

@app.get("/api/metrics/current")
async def current():
    return snapshot

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


@dataclass(frozen=True)
class Result:
    """What wrk measured for one server."""

    requests_per_second: float
    p50: str
    p99: str
    failures: str
    cpu_us_per_request: float


@contextmanager
def other(command: list[str], port: int) -> Iterator[tuple[int, int]]:
    """Runs a server that listens on `port` when it is ready; yields process id and port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"did not start: {' '.join(command)}") from None
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.kill()
        process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def measure(pid: int, url: str, seconds: int, connections: int, script: Path | None) -> Result:
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--latency"]
    command += ["-s", str(script)] if script is not None else []
    before = psutil.Process(pid).cpu_times()
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    after = psutil.Process(pid).cpu_times()
    cpu_seconds = after.user + after.system - before.user - before.system
    requests = int(find(r"(\d+) requests in", text) or 0)
    failures = find(r"Socket errors: (.*)", text) or find(r"(Non-2xx or 3xx responses: \d+)", text) or "none"
    return Result(
        float(find(r"Requests/sec:\s+([\d.]+)", text) or 0),
        percentile(50, text),
        percentile(99, text),
        failures,
        cpu_seconds / max(requests, 1) * 1e6,
    )


def percentile(percent: int, text: str) -> str:
    """Returns a latency as wrk prints it. A zero means that wrk has corrected away all samples of slow answers."""
    latency = find(rf"\n +{percent}% +(\S+)", text) or "-"
    return "-" if latency == "0.00us" else latency


def find(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--floor", type=Path)
    parser.add_argument("--peer-python", type=Path)
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: wrk)")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "pipeline.lua"
        script.write_text(PIPELINE_SCRIPT % PIPELINED)
        results: dict[tuple[str, str, bool], Result] = {}

        def measure_all(server: str, pid: int, port: int) -> None:
            for path in PATHS:
                for pipelined in (False, True):
                    results[server, path, pipelined] = measure(
                        pid,
                        f"http://127.0.0.1:{port}{path}",
                        args.seconds,
                        args.connections,
                        script if pipelined else None,
                    )

        servers = ["ours"]
        with running_server("--log-level", "ERROR") as (pid, port):
            snapshot = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/metrics/current").read()
            measure_all("ours", pid, port)
        (folder / "snapshot.json").write_bytes(snapshot)

        floor = folder / "floor"
        if args.floor is None or shutil.which("gcc") is None:
            print("floor      left out: it needs --floor and gcc")
        else:
            subprocess.run(["gcc", "-O2", "-o", str(floor), str(args.floor), "-lpthread"], check=True)
            servers.insert(0, "floor")
            with other([str(floor), str(port := free_port()), str(len(snapshot))], port) as (pid, port):
                measure_all("floor", pid, port)

        if args.peer_python is None:
            print("fastapi    left out: it needs --peer-python")
        else:
            (folder / "peer.py").write_text(PEER_APPLICATION)
            servers.append("fastapi")
            command = [str(args.peer_python), str(folder / "peer.py"), str(port := free_port())]
            with other([*command, str(folder / "snapshot.json")], port) as (pid, port):
                measure_all("fastapi", pid, port)

    print(f"snapshot {len(snapshot)} bytes, {args.connections} connections, {args.seconds} s each")
    print(
        f"{'path':<22} {'at once':>7} {'server':<8} {'requests/s':>10} {'p50':>9} {'p99':>9} {'CPU us':>7} "
        f"{'ratio':>6}  errors"
    )
    for path in PATHS:
        for pipelined in (False, True):
            base = results[servers[0], path, pipelined].requests_per_second
            for server in servers:
                result = results[server, path, pipelined]
                print(
                    f"{path:<22} {PIPELINED if pipelined else 1:>7} {server:<8} {result.requests_per_second:>10.0f} "
                    f"{result.p50:>9} {result.p99:>9} {result.cpu_us_per_request:>7.1f} "
                    f"{result.requests_per_second / base:>6.2f}  {result.failures}"
                )


if __name__ == "__main__":
    main()
