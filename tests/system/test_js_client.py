"""The JavaScript client in node, over connections that are cut and stall."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutting_proxy import CuttingProxy
from observability.clients import Sender
from server_process import ROOT, TIMEOUT_SECONDS, Server
from ws_client import connect_async

StartServer = Callable[..., Server]

CLIENT = ROOT / "http/observability/web/static/client.js"
MAX_COMPRESSED_BYTES = 6 * 1024

# Prints every snapshot and entry that comes as one line.
PROGRAM = """
import { Stream } from "CLIENT";
const [url, options] = [process.argv[2], JSON.parse(process.argv[3])];
const print = message => console.log(JSON.stringify(message));
new Stream(url, { ...options, onsnapshot: print, onentry: print });
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.mjs"
    path.write_text(PROGRAM.replace("CLIENT", CLIENT.as_uri()), encoding="utf-8")
    return path


def ordered(text: str | bytes) -> Any:
    """Returns JSON with the order of its keys, as JavaScript writes 1.0 as 1."""
    return json.loads(text, object_pairs_hook=list)


async def start(program: Path, url: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("node", "--experimental-websocket", "--no-warnings", str(program), url, json.dumps(options)),
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )


async def end(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.communicate()


@pytest.mark.parametrize("mode", ["full", "delta"])
def test_snapshots_are_the_servers_over_cut_and_stalled_connections(
    start_server: StartServer, program: Path, mode: str
) -> None:
    reference: dict[int, Any] = {}

    async def record(url: str) -> None:
        async with connect_async(url, max_size=None) as connection:
            async for data in connection:
                message = json.loads(data)
                if message["type"] == "metrics_update":
                    reference[message["seq"]] = ordered(data)

    async def follow() -> None:
        server = start_server("--demo", METRIC_COLLECTION_INTERVAL="0.03", WS_RATE_LIMIT="0")
        recording = asyncio.create_task(record(server.websocket_url))
        compared = 0
        async with CuttingProxy(server.port).running() as proxy:
            node = await start(program, proxy.url, mode=mode)
            assert node.stdout is not None
            storm = asyncio.create_task(proxy.disturb(12, 12))
            while not storm.done() or compared < 50:
                line = await node.stdout.readline()
                same = reference.get(json.loads(line)["seq"])
                if same is not None:
                    assert ordered(line) == same
                    compared += 1
            await end(node)
        recording.cancel()
        await asyncio.wait([recording])

    asyncio.run(asyncio.wait_for(follow(), 2 * TIMEOUT_SECONDS))


def test_every_trade_comes_once_over_cut_and_stalled_connections(start_server: StartServer, program: Path) -> None:
    fills = 200

    async def follow() -> list[str]:
        server = start_server()
        seen: list[str] = []
        async with CuttingProxy(server.port).running() as proxy:
            node = await start(program, proxy.url, channels=["trades"], laneSince={"trades": 0})
            assert node.stdout is not None
            storm = asyncio.create_task(proxy.disturb(12, 12))
            with Sender(server.url("")) as sender:
                for number in range(fills):
                    sender.fill(f"t{number}", f"o{number}", "AAPL", "buy", 1, 100)
                    await asyncio.sleep(0.01)
                while len(seen) < fills:
                    seen.append(json.loads(await node.stdout.readline())["trade_id"])
            await storm
            await end(node)
        return seen

    assert asyncio.run(asyncio.wait_for(follow(), 2 * TIMEOUT_SECONDS)) == [f"t{number}" for number in range(fills)]


def test_the_client_is_small_and_served_as_a_module(demo_server: Server) -> None:
    served = demo_server.get_bytes("/static/client.js")
    assert served == CLIENT.read_bytes()
    assert len(gzip.compress(served, 9)) <= MAX_COMPRESSED_BYTES
