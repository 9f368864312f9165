"""The JavaScript client in node, over connections that are cut and stall, and in a browser on the live page."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

import example_source
from browser import browser_page
from cutting_proxy import CuttingProxy
from example_source import EventFile
from observability.clients import Sender
from server_process import ROOT, TIMEOUT_SECONDS, Server

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
        async with connect(url, max_size=None) as connection:
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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_live_page_follows_the_server_in_a_browser(start_server: StartServer) -> None:
    server = start_server("--demo")
    with browser_page() as page:
        page.open(server.url("/"))
        first = int(page.wait_for("document.getElementById('clock').textContent.split('#')[1]"))
        page.wait_for(f"+document.getElementById('clock').textContent.split('#')[1] > {first + 5}")
        page.wait_for("document.getElementById('state').textContent === 'live'")
        # The document may be newer than the page.
        symbols = server.get("/api/metrics/symbols")["symbols"]
        rows = "[...document.querySelectorAll('#market td:first-child')].map(cell => cell.textContent)"
        page.wait_for(f"JSON.stringify({rows}) === JSON.stringify({json.dumps(symbols)})")
        assert page.errors == []
        server.stop()
        page.wait_for("document.getElementById('state').textContent === 'connection lost, trying again'")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_live_page_says_that_it_needs_a_token(start_server: StartServer) -> None:
    server = start_server(API_TOKENS="read:secret-of-the-reader")
    with browser_page() as page:
        page.open(server.url("/"))
        page.wait_for("document.getElementById('state').textContent.includes('/#token=TOKEN')")
        page.open(server.url("/#token=secret-of-the-reader"))
        page.wait_for("document.getElementById('state')?.textContent === 'live'")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_live_page_lists_sources_with_their_states(start_server: StartServer, tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.append({"type": "quote", "symbol": "A", "bid": 1, "ask": 2})
    absent = f"file:{tmp_path / '<b>absent'}"
    path = example_source.install(tmp_path / "package")
    server = start_server("--source", file.url, "--source", absent, PYTHONPATH=path)
    with browser_page() as page:
        page.open(server.url("/"))
        page.wait_for("document.getElementById('live-sources').hidden === false")
        rows = "[...document.querySelectorAll('#sources tr')].map(row => [...row.cells].map(cell => cell.textContent))"
        page.wait_for(f"{rows}.some(([name, state]) => name === {json.dumps(file.url)} && state === 'connected')")
        failed = f"{rows}.find(([name, state]) => name === {json.dumps(absent)} && state === 'failed')"
        assert "No such file" in page.wait_for(failed)[-1]
        # A long name leaves room for the state on a telephone.
        page.ask("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=True)
        page.wait_for("document.querySelector('#sources td:nth-child(2)').getBoundingClientRect().right <= 400")
        assert page.errors == []
