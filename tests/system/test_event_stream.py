"""The stream as server-sent events over a real server: by an HTTP client, by curl, and by EventSource in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from browser import browser_page
from certified import FIRST, trusting
from cutting_proxy import CuttingProxy
from event_reader import Event, EventParser, event_stream
from hosts import exposed, fill, post, wait_until
from observability.clients import Sender
from observability.clients.snapshot import HeldSnapshot
from server_process import NO_RULES, TIMEOUT_SECONDS, Server
from ws_client import connect, connect_async, open_socket, receive, receive_text

StartServer = Callable[..., Server]

one_and_two_workers = pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, scope="module")

FAST = {"METRIC_COLLECTION_INTERVAL": "0.02"}


def ask(server: Server, method: str, path: str, **fields: str) -> tuple[int, dict[str, str]]:
    """Returns status and fields (names in lower case) of an answer whose content is not read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        response.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


# -- what it brings


@one_and_two_workers
@pytest.mark.broadcast
@pytest.mark.parametrize("query", ["", "?channels=market_data,system", "?symbols=AAPL&mode=delta"])
def test_events_have_the_bytes_of_the_websockets_messages(demo_server: Server, query: str) -> None:
    with (
        event_stream(demo_server.port, f"/stream{query}") as stream,
        connect(f"{demo_server.websocket_url}{query}") as websocket,
    ):
        events: dict[tuple[str, int], bytes] = {}
        messages: dict[tuple[str, int], bytes] = {}
        while len(common := events.keys() & messages.keys()) < 5:
            event = stream.next("metrics_update", "metrics_delta")
            events[event.kind, json.loads(event.data)["seq"]] = event.data
            text = receive_text(websocket, "metrics_update", "metrics_delta")
            message = json.loads(text)
            messages[message["type"], message["seq"]] = text.encode()
    assert [events[key] for key in common] == [messages[key] for key in common]


def test_a_client_is_greeted_and_gets_every_snapshot_with_its_id(demo_server: Server) -> None:
    with event_stream(demo_server.port) as stream:
        greeting = json.loads(stream.next("connected").data)
        events = [stream.next() for _ in range(5)]
        assert 500 <= (stream.parser.retry_ms or 0) <= 1500
    seqs = [json.loads(event.data)["seq"] for event in events]
    assert {event.kind for event in events} == {"metrics_update"}
    assert seqs == list(range(seqs[0], seqs[0] + 5))
    assert [event.last_id for event in events] == [f"{greeting['epoch']}:{seq}" for seq in seqs]
    assert stream.response.headers["Content-Type"] == "text/event-stream"
    assert stream.response.headers["Cache-Control"] == "no-store"
    assert stream.response.headers["X-Accel-Buffering"] == "no"


def test_curl_reads_the_stream(demo_server: Server) -> None:
    process = subprocess.Popen(
        ["curl", "--silent", "--no-buffer", demo_server.url("/stream?channels=system")], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        kinds = [event.kind for event, _ in zip(EventParser().events(process.stdout), range(4), strict=False)]
    finally:
        process.kill()
        process.communicate()
    assert kinds == ["connected", *["metrics_update"] * 3]


def test_a_quiet_stream_has_comments_and_stays(start_server: StartServer) -> None:
    server = start_server(WS_HEARTBEAT_INTERVAL="0.1")
    with event_stream(server.port, "/stream?channels=alerts") as stream:
        lines = iter(stream.response)
        while stream.parser.comments < 8:
            stream.parser.feed(next(lines))


def test_lanes_come_once_each_and_alone(start_server: StartServer) -> None:
    server = start_server()
    with event_stream(server.port, "/stream?channels=trades") as stream:
        stream.next("connected")
        post(server, "/api/ingest", [fill(number, "buy", "100") for number in range(3)])
        trades = [json.loads(stream.next().data) for _ in range(3)]
    assert [trade["type"] for trade in trades] == ["trade"] * 3
    assert [trade["prev"] for trade in trades] == [0, *(trade["seq"] for trade in trades[:2])]


# -- coming back


@one_and_two_workers
@pytest.mark.parametrize(("since", "recovered"), [(0, True), (-5, True), (10**6, False)])
def test_a_client_that_comes_back_gets_what_it_missed(demo_server: Server, since: int, recovered: bool) -> None:
    with event_stream(demo_server.port) as stream:
        events = [stream.next("metrics_update") for _ in range(10)]
    epoch, _, seq = events[-1].last_id.partition(":")
    last = max(0, int(seq) + since)
    with event_stream(demo_server.port, Last_Event_ID=f"{epoch}:{last}") as stream:
        assert json.loads(stream.next("connected").data)["recovered"] is recovered
        first = json.loads(stream.next("metrics_update").data)["seq"]
    assert (first == last + 1) is recovered


@pytest.mark.parametrize("last_id", ["0:1", "nonsense", "e:1;orders=3"])
def test_an_id_that_is_not_known_gets_the_newest_snapshot(demo_server: Server, last_id: str) -> None:
    with event_stream(demo_server.port, Last_Event_ID=last_id) as stream:
        greeting = json.loads(stream.next("connected").data)
        assert greeting["recovered"] is False
        assert json.loads(stream.next("metrics_update").data)["seq"] == greeting["seq"]


async def follow(port: Callable[[], int], path: str, events: asyncio.Queue[Event]) -> None:
    """Reads a stream as EventSource does: comes back with the last id whenever the connection ends."""
    last_id = ""
    while True:
        parser = EventParser()
        parser.last_id = last_id
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port(), limit=1 << 24)
            try:
                back = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{back}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")), head
                while head.startswith(b"HTTP/1.1 200 "):
                    event = parser.feed(await reader.readuntil(b"\n"))
                    if event is not None:
                        last_id = event.last_id
                        events.put_nowait(event)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        await asyncio.sleep(0.01)


async def record(url: str, into: dict[int, Any]) -> None:
    """Keeps the whole snapshots that come by WebSocket."""
    async with connect_async(url, max_size=None) as connection:
        async for data in connection:
            message = json.loads(data)
            if message["type"] == "metrics_update":
                into[message["seq"]] = message


@one_and_two_workers
@pytest.mark.parametrize("mode", ["full", "delta"])
def test_the_state_is_the_servers_over_cut_and_stalled_connections(start_server: StartServer, mode: str) -> None:
    async def compare() -> None:
        server = start_server("--demo", **FAST)
        reference: dict[int, Any] = {}
        events: asyncio.Queue[Event] = asyncio.Queue()
        held = HeldSnapshot()
        connections = compared = 0
        async with CuttingProxy(server.port).running() as proxy:
            tasks = [
                asyncio.create_task(record(server.websocket_url, reference)),
                asyncio.create_task(follow(lambda: proxy.port, f"/stream?mode={mode}", events)),
            ]
            storm = asyncio.create_task(proxy.disturb(len(mode), 15))
            while not storm.done() or compared < 50:
                event = await events.get()
                message = json.loads(event.data)
                if event.kind == "connected":
                    connections += 1
                    held.set_groups(message["groups"])
                elif event.kind.startswith("metrics_"):
                    snapshot = held.apply(message)
                    assert snapshot is not None, "a delta without the snapshot before it"
                    if snapshot["seq"] in reference:
                        assert snapshot == reference[snapshot["seq"]]
                        compared += 1
            for task in (*tasks, storm):
                task.cancel()
            await asyncio.wait(tasks)
        assert connections > 2

    asyncio.run(asyncio.wait_for(compare(), 2 * TIMEOUT_SECONDS))


@one_and_two_workers
def test_every_trade_comes_once_though_the_server_is_killed(start_server: StartServer, tmp_path: Path) -> None:
    fills = 200

    async def trade() -> None:
        def start() -> Server:
            return start_server(DATA_DIR=str(tmp_path), **FAST)

        server = start()
        events: asyncio.Queue[Event] = asyncio.Queue()
        seen: list[str] = []
        async with CuttingProxy(server.port).running() as proxy:
            reading = asyncio.create_task(follow(lambda: proxy.port, "/stream?channels=metrics,trades", events))
            await events.get()
            storm = asyncio.create_task(proxy.disturb(3, 15))
            with Sender(proxy.url) as sender:
                for number in range(fills):
                    sender.fill(f"t{number}", f"o{number}", "AAPL", "buy", 1, 100)
                    await asyncio.sleep(0.01)
                    if number == fills // 2:
                        server.stop(signal.SIGKILL)
                        server = await asyncio.to_thread(start)
                        proxy.target = server.port
                while len(seen) < fills:
                    event = await events.get()
                    if event.kind == "trade":
                        seen.append(json.loads(event.data)["trade_id"])
            await storm
            reading.cancel()
            await asyncio.wait([reading])
        assert seen == [f"t{number}" for number in range(fills)]

    asyncio.run(asyncio.wait_for(trade(), 4 * TIMEOUT_SECONDS))


def test_a_lane_that_counts_anew_is_sent_from_its_first_entry(start_server: StartServer) -> None:
    with event_stream(start_server().port, "/stream?channels=trades") as stream:
        epoch = stream.next("connected").last_id.partition(":")[0]
    server = start_server()
    post(server, "/api/ingest", [fill(number, "buy", "100") for number in range(3)])
    with event_stream(server.port, "/stream?channels=trades", Last_Event_ID=f"{epoch}:0;trades=2") as stream:
        assert len([stream.next("trade") for _ in range(3)]) == 3


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_follows_and_comes_back_by_itself(start_server: StartServer) -> None:
    async def cut_twice() -> list[str]:
        # Ten seconds of frames are kept for the browser to come back to.
        server = start_server("--demo", METRIC_COLLECTION_INTERVAL="0.2")
        async with CuttingProxy(server.port).running() as proxy:
            done = asyncio.Event()
            watching = asyncio.create_task(asyncio.to_thread(watch, proxy.url, done.set, asyncio.get_running_loop()))
            for _ in range(2):
                await asyncio.wait([asyncio.create_task(done.wait()), watching], return_when=asyncio.FIRST_COMPLETED)
                done.clear()
                proxy.cut()
            return await watching

    def watch(url: str, want_cut: Callable[[], None], loop: asyncio.AbstractEventLoop) -> list[str]:
        with browser_page() as page:
            page.open(f"{url}/docs")
            page.evaluate("""void (() => {
                window.seen = []; window.connections = 0;
                const source = new EventSource("/stream");
                source.addEventListener("connected", event => { window.connections++ });
                source.addEventListener("metrics_update", event => {
                    const snapshot = JSON.parse(event.data);
                    window.seen.push([snapshot.seq, event.lastEventId, snapshot.epoch + ":" + snapshot.seq]);
                });
            })()""")
            for connections in (1, 2):
                page.wait_for(f"window.connections === {connections} && window.seen.length > {5 * connections}")
                loop.call_soon_threadsafe(want_cut)
            before = page.wait_for("window.connections === 3 && window.seen.length")
            page.wait_for(f"window.seen.length > {before} + 5")
            seen: list[str] = page.evaluate("window.seen")
            return seen

    seen = asyncio.run(asyncio.wait_for(cut_twice(), 2 * TIMEOUT_SECONDS))
    seqs = [int(seq) for seq, _, _ in seen]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert all(last_id == own for _, last_id, own in seen)


# -- readers that do not read, and the end


def test_a_slow_reader_is_told_of_the_snapshots_it_missed(start_server: StartServer) -> None:
    server = start_server("--demo", METRIC_COLLECTION_INTERVAL="0.01")
    with open_socket(server.port, receive_buffer=4096) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: server.get("/api/system/performance")["frames_skipped"] > 20)
        while lines.readline() != b"\r\n":
            pass
        before = 0
        for event in EventParser().events(lines):
            message = json.loads(event.data)
            if event.kind == "lag":
                break
            before = message["seq"]
        snapshot = json.loads(next(EventParser().events(lines)).data)
    assert message["skipped"] == snapshot["seq"] - before - 1


def test_a_reader_too_slow_for_its_lane_is_ended(start_server: StartServer) -> None:
    server = start_server(WS_MESSAGE_QUEUE_SIZE="50", **FAST)
    with open_socket(server.port, receive_buffer=4096) as sock:
        sock.sendall(b"GET /stream?channels=metrics,trades HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(1024)
        numbers = iter(range(10**6))

        def has_ended() -> bool:
            post(server, "/api/ingest", [fill(next(numbers), "buy", "100") for _ in range(100)])
            return 'websocket_disconnects_total{by="server",code="1013"} 1' in server.get_bytes("/metrics").decode()

        wait_until(has_ended)


@one_and_two_workers
def test_a_shutdown_is_told_and_ends_the_stream(start_server: StartServer) -> None:
    server = start_server("--demo")
    with event_stream(server.port) as stream:
        stream.next("metrics_update")
        server.process.terminate()
        events = list(stream)
    assert events[-1].kind == "close"
    assert json.loads(events[-1].data) == {"type": "close", "code": 1001, "reason": "server shutdown"}
    assert server.process.wait(TIMEOUT_SECONDS) == 0


def test_a_reader_that_leaves_is_counted_as_one_that_said_goodbye(start_server: StartServer) -> None:
    server = start_server("--demo")
    with event_stream(server.port) as stream:
        stream.next("metrics_update")
    wait_until(
        lambda: 'websocket_disconnects_total{by="client",code="1005"} 1' in server.get_bytes("/metrics").decode()
    )
    assert exposed(server)["websocket_connections_active"] == 0


def test_bytes_behind_the_request_end_a_stream_that_sends_too_many(demo_server: Server) -> None:
    with open_socket(demo_server.port) as sock, sock.makefile("rb") as answer:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # The connection is ended, or reset if bytes came that nobody has read.
        with contextlib.suppress(ConnectionError):
            while answer.readline():
                sock.sendall(bytes(1 << 16))


# -- who may read, and how many


def test_head_has_the_fields_of_get(demo_server: Server) -> None:
    status, fields = ask(demo_server, "HEAD", "/stream")
    assert (status, fields["content-type"]) == (200, "text/event-stream")
    assert "content-length" not in fields


@pytest.mark.parametrize("query", ["mode=some", "channels=nothing", "since=x", "color=red"])
def test_parameters_are_those_of_the_websocket(demo_server: Server, query: str) -> None:
    assert ask(demo_server, "GET", f"/stream?{query}")[0] == 422


def test_a_stream_takes_a_place_among_all_clients(start_server: StartServer) -> None:
    server = start_server("--demo", WS_MAX_CONNECTIONS="2")
    with event_stream(server.port) as stream, connect(server.websocket_url) as websocket:
        stream.next("connected")
        receive(websocket, "connected")
        status, fields = ask(server, "GET", "/stream")
        assert (status, fields["retry-after"]) == (503, "5")
    with event_stream(server.port) as stream:
        stream.next("connected")


def test_one_address_gets_so_many_streams(start_server: StartServer) -> None:
    server = start_server(MAX_CONNECTIONS_PER_ADDRESS="2")
    with ExitStack() as stack:
        streams = [stack.enter_context(event_stream(server.port)) for _ in range(2)]
        assert [stream.next().kind for stream in streams] == ["connected"] * 2
        assert ask(server, "GET", "/stream")[0] == 429


def test_a_read_token_opens_the_stream(start_server: StartServer) -> None:
    server = start_server(API_TOKENS="read:secret-of-the-reader")
    assert ask(server, "GET", "/stream")[0] == 401
    for path, fields in (
        ("/stream?token=secret-of-the-reader", {}),
        ("/stream", {"Authorization": "Bearer secret-of-the-reader"}),
    ):
        with event_stream(server.port, path, **fields) as stream:
            assert stream.next().kind == "connected"


def test_a_page_of_a_listed_origin_reads_and_no_other(start_server: StartServer) -> None:
    server = start_server(CORS_ORIGINS="https://desk.example")
    assert ask(server, "GET", "/stream", Origin="https://evil.example")[0] == 403
    with event_stream(server.port, Origin="https://desk.example") as stream:
        assert stream.response.headers["Access-Control-Allow-Origin"] == "https://desk.example"
        assert stream.next().kind == "connected"


def test_the_stream_is_there_over_tls(start_server: StartServer, pair: tuple[Path, Path]) -> None:
    server = start_server("--demo", "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]), **NO_RULES)
    with event_stream(server.port, context=trusting(FIRST[0])) as stream:
        seqs = [json.loads(stream.next("metrics_update").data)["seq"] for _ in range(5)]
        assert seqs == list(range(seqs[0], seqs[0] + 5))
        server.process.terminate()
        assert list(stream)[-1].kind == "close"
    assert not [line for line in server.stop() if re.search("WARNING|ERROR", line)]
