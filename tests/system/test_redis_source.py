"""A server that follows streams of a real Redis server, over kills of both."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

import nautilus_bus as bus
from hosts import trade_ids, wait_until
from redis_server import RedisServer, needs_redis
from server_process import TIMEOUT_SECONDS, Server

pytestmark = needs_redis
StartServer = Callable[..., Server]
POLL_SECONDS = 0.02
LIVES = 2
PER_LIFE = 150
STREAM = "trader-TESTER-001:stream:events.order"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    running = RedisServer(folder)
    try:
        yield running
    finally:
        running.stop()


def counted(server: Server, name: str) -> float:
    """Returns a metric that has no labels, or the sum over its labels."""
    text = server.get_bytes("/metrics").decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def add_fills(broker: RedisServer, numbers: range) -> None:
    """Adds a fill each under an id of its own, until the server says that it has it."""
    with broker.client() as client:
        for number in numbers:
            fields = bus.entry(bus.filled(f"t{number}", f"o{number}"))
            while True:
                try:
                    client.xadd(STREAM, fields, id=f"{number + 1}-0")  # type: ignore[arg-type]
                    break
                except redis.ResponseError as error:
                    if "equal or smaller" in str(error):
                        break
                    time.sleep(POLL_SECONDS)
                except redis.RedisError:
                    time.sleep(POLL_SECONDS)


def test_kills_of_both_sides_lose_no_fill_and_read_none_twice(
    start_server: StartServer, tmp_path: Path, broker: RedisServer
) -> None:
    arguments = (
        "--source", f"redis://{broker.address}?prefix=trader-&from=start", "--data-dir", str(tmp_path / "data"),
    )  # fmt: skip
    with ThreadPoolExecutor(1) as writers:
        for life in range(LIVES):
            server = start_server(*arguments)
            first = life * PER_LIFE
            writing = writers.submit(add_fills, broker, range(first, first + PER_LIFE))
            wait_until(lambda: len(trade_ids(server)) > first + 20)  # noqa: B023 - called at once
            broker.kill()
            broker.start()
            wait_until(lambda: len(trade_ids(server)) > first + 60)  # noqa: B023 - called at once
            assert counted(server, "ingest_duplicates_total") == 0
            server.stop(signal.SIGKILL)
            writing.result(TIMEOUT_SECONDS)
    server = start_server(*arguments)
    wait_until(lambda: len(trade_ids(server)) == LIVES * PER_LIFE)
    assert sorted(trade_ids(server)) == sorted(f"t{number}" for number in range(LIVES * PER_LIFE))
    assert counted(server, "ingest_duplicates_total") == 0
    assert counted(server, "source_gaps_total") == 0
    (strategy,) = server.next_snapshot()["strategy"]["strategies"].values()
    assert strategy["fills"] == LIVES * PER_LIFE


def test_an_engines_order_is_followed_over_a_restart_of_the_server(
    start_server: StartServer, tmp_path: Path, broker: RedisServer
) -> None:
    arguments = (
        "--source", f"redis://{broker.address}?stream={STREAM}&from=start", "--data-dir", str(tmp_path / "data"),
    )  # fmt: skip
    with broker.client() as client:
        for message in (bus.account(), bus.initialized(), bus.order("OrderSubmitted"), bus.order("OrderAccepted")):
            client.xadd(STREAM, bus.entry(message))  # type: ignore[arg-type]
        server = start_server(*arguments)
        wait_until(lambda: server.next_snapshot()["execution"]["open_orders"] == 1)
        server.stop()
        for message in (bus.filled("T1"), bus.position("PositionOpened"), bus.order("OrderCanceled")):
            client.xadd(STREAM, bus.entry(message))  # type: ignore[arg-type]
        client.xadd(STREAM, bus.entry(bus.filled("R1", reconciliation=True)))  # type: ignore[arg-type]
    server = start_server(*arguments)
    wait_until(lambda: server.next_snapshot()["system"]["metrics"])
    snapshot = server.next_snapshot()
    execution, strategy = snapshot["execution"], snapshot["strategy"]
    assert execution["open_orders"] == 0
    assert (strategy["fills"], strategy["starting_capital"], strategy["position_breaks"]) == (1, 1_000_000.0, 0)
    (position,) = strategy["positions"]
    assert (position["symbol"], position["quantity"], position["avg_price"]) == ("BTCUSDT-PERP", 1.0, 61_000.1)
    assert trade_ids(server) == ["T1"]
    (line,) = [line for line in server.get("/api/system/logs/recent")["logs"] if "reconciled" in line["message"]]
    assert line["fields"]["trade_id"] == "R1"
