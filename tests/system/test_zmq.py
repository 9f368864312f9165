"""The ZeroMQ source of a running server, over kills on both sides: every fill once, and every gap counted."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from example_source import fill
from hosts import source_of, trade_ids, wait_until
from server_process import Server
from zmq_publisher import Publisher

StartServer = Callable[..., Server]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    made.kill()


def trades_of(server: Server, number: int) -> list[str]:
    """Returns the ids of all trades, newest last, once there are that many."""
    return trade_ids(server, number)[::-1]


def ids(numbers: range) -> list[str]:
    return [f"t{number}" for number in numbers]


def publish(publisher: Publisher, numbers: range) -> None:
    """Publishes fills, each numbered as its message."""
    publisher.send("order", *map(fill, numbers), first_number=numbers.start)


def test_a_publisher_that_is_killed_is_found_again_and_what_was_missed_is_counted(
    start_server: StartServer, publisher: Publisher
) -> None:
    server = start_server("--source", f"zmq://127.0.0.1:{publisher.port}?topics=order")
    publisher.wait_for_subscriber()
    publish(publisher, range(1, 101))
    assert trades_of(server, 100) == ids(range(1, 101))
    publisher.kill()
    server.wait_for_log("has lost its connection")
    other = Publisher(publisher.port)
    try:
        other.wait_for_subscriber()
        publish(other, range(111, 121))
        assert trades_of(server, 110) == ids(range(1, 101)) + ids(range(111, 121))
        # A document may be older than the trades.
        source = wait_until(lambda: found if (found := source_of(server))["gaps"] else None)
        assert (source["gaps"], source["rejected"], source["reconnects"]) == (10, 0, 1)
        # What comes again counts once.
        publish(other, range(115, 121))
        publish(other, range(121, 122))
        assert trades_of(server, 111)[-1] == "t121"
        assert len(trades_of(server, 111)) == 111
    finally:
        other.kill()


@pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True)
def test_what_was_published_while_the_server_was_dead_is_counted_as_a_gap(
    start_server: StartServer, publisher: Publisher, tmp_path: Path
) -> None:
    arguments = ("--source", f"zmq://127.0.0.1:{publisher.port}", "--data-dir", str(tmp_path))
    server = start_server(*arguments)
    publisher.wait_for_subscriber()
    publish(publisher, range(1, 51))
    trades_of(server, 50)
    server.process.kill()
    publisher.wait_for_leaving()
    server.stop()
    publish(publisher, range(51, 61))
    server = start_server(*arguments)
    publisher.wait_for_subscriber()
    publish(publisher, range(61, 71))
    assert trades_of(server, 60) == ids(range(1, 51)) + ids(range(61, 71))
    wait_until(lambda: source_of(server)["gaps"] == 10)


def test_the_fills_of_an_engine_add_up_over_kills(
    start_server: StartServer, publisher: Publisher, tmp_path: Path
) -> None:
    arguments = ("--source", f"zmq://127.0.0.1:{publisher.port}?strategy=mm", "--data-dir", str(tmp_path))

    def order(filled: float) -> dict[str, Any]:
        return {
            "type": "OrderRequest", "order_id": "o1", "client_order_id": "c1", "symbol": "BTCUSDT", "side": "Bid",
            "order_type": "Limit", "quantity": 1.0, "price": 100.5, "stop_price": None, "status": "PartiallyFilled",
            "filled_quantity": filled, "average_price": 100.1, "created_at": "2025-10-21T22:00:00Z",
            "updated_at": "2025-10-21T22:00:01Z",
        }  # fmt: skip

    for life in range(4):
        server = start_server(*arguments)
        publisher.wait_for_subscriber()
        # The same again, as an engine that repeats what it knows, and then more.
        publisher.send("order", *(order(filled / 10) for filled in (life, life + 1, life + 1) if filled))
        trades_of(server, life + 1)
        server.stop(signal.SIGKILL)
        publisher.wait_for_leaving()
    server = start_server(*arguments)
    publisher.wait_for_subscriber()
    publisher.send("order", order(1.0))
    assert trades_of(server, 5) == ["o1:0.1", "o1:0.2", "o1:0.3", "o1:0.4", "o1:1"]
    (position,) = server.next_snapshot()["strategy"]["positions"]
    assert (position["quantity"], position["avg_price"]) == (1.0, 100.1)


def test_events_of_two_publishers_are_one_account(start_server: StartServer, publisher: Publisher) -> None:
    other = Publisher()
    try:
        server = start_server("--source", f"zmq://127.0.0.1:{publisher.port}", f"zmq://127.0.0.1:{other.port}")
        for each in (publisher, other):
            each.wait_for_subscriber()
            publish(each, range(1, 11))
        other.send("order", fill(1, price="2.5"))
        publish(other, range(11, 12))
        assert len(trades_of(server, 11)) == 11
        (different,) = server.get("/api/strategy/breaks")["fills"]
        assert (different["trade_id"], different["differs"]) == ("t1", ["price"])
        assert [different[which]["price"] for which in ("counted", "delivered")] == [2.0, 2.5]
        assert len(server.get("/api/system/sources")["sources"]) == 2
    finally:
        other.kill()


def test_a_missing_package_ends_the_start_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "zmq").mkdir()
    (tmp_path / "zmq" / "__init__.py").write_text("raise ImportError('not here')\n")
    with pytest.raises(AssertionError, match=r"pip install 'observability\[zmq\]'"):
        # The folder is searched before those of installed packages.
        Server("--source", "zmq://127.0.0.1:1", PYTHONPATH=str(tmp_path))
