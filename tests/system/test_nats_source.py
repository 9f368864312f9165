"""The source of NATS in a running server; a long storm: `PYTHONPATH=tests/support python -m storms.nats_kills`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosts import source_of, trade_ids, wait_until
from nats_server import NatsServer, make_stream, publish
from server_process import NO_RULES, ROOT, Server, run_command
from storms import nats_kills

StartServer = Callable[..., Server]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    broker = NatsServer(tmp_path)
    yield broker
    broker.kill()


def fill(number: int) -> str:
    return (
        f'{{"type": "fill", "trade_id": "t{number}", "order_id": "o", "symbol": "A", "side": "buy", "quantity": 1, '
        '"price": 100}'
    )


def test_no_message_is_lost_or_counted_twice_over_kills_of_both_sides() -> None:
    reported: list[str] = []
    asyncio.run(nats_kills.run(kills=20, seed=1, report=reported.append))
    assert reported[-1].endswith("nothing lost, nothing twice")


def test_events_come_as_an_object_an_array_or_lines_and_nonsense_costs_only_itself(
    start_server: StartServer, broker: NatsServer
) -> None:
    server = start_server("--source", f"nats://{broker.address}?subjects=fills")
    server.wait_for_log("is connected")
    payloads = [fill(1), f"[{fill(2)}, {fill(3)}]", f"{fill(4)}\n{fill(5)}\n", "{nonsense", fill(6)]

    async def send() -> None:
        async with broker.client() as client:
            for payload in payloads:
                await client.publish("fills", payload.encode())
            await client.flush()

    asyncio.run(send())
    assert "fills: expected an event" in server.wait_for_log("1 message is rejected")
    assert trade_ids(server, 6) == ["t6", "t5", "t4", "t3", "t2", "t1"]
    # A document may be older than the trades.
    source = wait_until(lambda: found if (found := source_of(server))["messages"] == 5 else None)
    assert (source["events"], source["rejected"]) == (6, 1)


def test_a_source_without_its_package_ends_the_start_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "nats.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join((str(tmp_path), str(ROOT / "core"), str(ROOT / "http")))
    ended = run_command("serve", "--port", "0", "--source", "nats://u:secret@h?subjects=a", PYTHONPATH=path)
    assert ended.returncode == 1
    assert "pip install 'observability[nats]'" in ended.stderr
    assert "secret" not in ended.stderr


def test_what_was_sent_while_the_server_was_stopped_comes_once_it_runs(
    start_server: StartServer, broker: NatsServer, tmp_path: Path
) -> None:
    async def send(*numbers: int) -> None:
        async with broker.client() as client:
            await make_stream(client, "S")
            await publish(client, "S.fills", *[fill(number).encode() for number in numbers])

    arguments = ("--source", f"nats://{broker.address}?stream=S&durable=d", "--data-dir", str(tmp_path / "data"))
    asyncio.run(send(1, 2))
    first = start_server(*arguments)
    first.wait_for_log("is connected")
    first.stop()
    asyncio.run(send(3))
    assert trade_ids(start_server(*arguments), 3) == ["t3", "t2", "t1"]


def test_a_fill_and_an_order_from_two_sources_count_once_and_a_difference_is_a_break(
    start_server: StartServer, broker: NatsServer
) -> None:
    urls = [f"nats://{broker.address}?subjects={subject}" for subject in ("engine", "dropcopy")]
    server = start_server("--source", urls[0], "--source", urls[1], **NO_RULES)
    for _ in urls:
        server.wait_for_log("is connected")
    report = '{"type": "order", "order_id": "o", "symbol": "A", "side": "buy", "status": "new", '
    reports = [report + f'"ts": "2026-01-01T00:00:00Z", "quantity": {quantity}}}' for quantity in (1, 2)]

    async def send(subject: str, *events: str) -> None:
        async with broker.client() as client:
            for event in events:
                await client.publish(subject, event.encode())
            await client.flush()

    asyncio.run(send("engine", reports[0], fill(1), fill(2)))
    assert trade_ids(server, 2) == ["t2", "t1"]
    asyncio.run(send("dropcopy", reports[1], fill(1), fill(2).replace("100", "101"), fill(3)))
    assert trade_ids(server, 3) == ["t3", "t2", "t1"]
    server.next_snapshot()
    found = server.get("/api/strategy/breaks")
    (broken_fill,), (broken_order,) = found["fills"], found["orders"]
    assert (broken_fill["trade_id"], broken_fill["differs"]) == ("t2", ["price"])
    assert (broken_order["order_id"], broken_order["differs"]) == ("o", ["quantity"])
    assert (broken_order["counted"]["quantity"], broken_order["delivered"]["quantity"]) == (1.0, 2.0)
    titles = {alert["title"] for alert in alerts(server, 2)}
    assert titles == {"Order reports differ between deliveries", "Fills are lost: other content under a known key"}


def alerts(server: Server, number: int) -> list[dict[str, str]]:
    """Returns the active alerts, once there are so many."""
    wait_until(lambda: len(server.get("/api/system/alerts")["alerts"]) >= number)
    active: list[dict[str, str]] = server.get("/api/system/alerts")["alerts"]
    return active
