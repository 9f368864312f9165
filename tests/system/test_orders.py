"""Orders over a real server: the list, the life of one order, and what a restart and several workers leave of them."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pyarrow.ipc
import pyarrow.parquet
import pytest

from hosts import post, wait_until
from observability.clients import Rest
from server_process import Server
from ws_client import connect, receive

StartServer = Callable[..., Server]
NOON = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
MS = 10**6
LONG_AGO = NOON - 40 * 365 * 86_400_000 * MS


def order(number: int, status: str, at_ms: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "type": "order", "order_id": f"o{number}", "symbol": "AAPL", "side": "buy", "quantity": "10", "status": status,
        "price": "100.5", "strategy": "alpha", "venue": "XNAS", "ts": NOON + number * 1000 * MS + at_ms * MS, **fields,
    }  # fmt: skip


def fill(number: int, order_number: int, quantity: str, price: str, at_ms: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "fill", "trade_id": f"t{number}", "order_id": f"o{order_number}", "symbol": "AAPL", "side": "buy",
        "quantity": quantity, "price": price, "commission": "0.1", "venue": "XNAS",
        "ts": NOON + order_number * 1000 * MS + at_ms * MS, **fields,
    }  # fmt: skip


LIFE = [
    order(1, "pending_new", arrival_price="100"),
    order(1, "new", 4),
    fill(1, 1, "4", "100.25", 10),
    fill(2, 1, "6", "100.5", 20),
    order(1, "filled", 21),
    order(2, "rejected", reason="no money", strategy="beta"),
    order(3, "new", symbol="ES"),
    order(3, "new", 5),
]


def send(server: Server, events: list[dict[str, Any]]) -> None:
    assert post(server, "/api/ingest", events)["rejected_count"] == 0


def refusal(server: Server, path: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(HTTPError) as refused:
        server.get(path)
    with refused.value as error:
        return error.code, json.loads(error.read())


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def filled_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    workers = () if request.param == 1 else ("--workers", str(request.param))
    server = Server(*workers, "--data-dir", str(tmp_path_factory.mktemp("data")))
    try:
        send(server, LIFE)
        yield server
    finally:
        server.stop()


def ids(server: Server, query: str = "") -> list[str]:
    return [f"{each['symbol']} {each['order_id']}" for each in server.get(f"/api/orders?{query}")["orders"]]


def test_orders_are_listed_newest_first_page_by_page(filled_server: Server) -> None:
    assert ids(filled_server) == ["AAPL o3", "ES o3", "AAPL o2", "AAPL o1"]
    page = filled_server.get("/api/orders?limit=3")
    assert len(page["orders"]) == page["limit"] == 3
    page = filled_server.get(f"/api/orders?limit=3&cursor={page['next_cursor']}")
    assert ([each["order_id"] for each in page["orders"]], page["next_cursor"]) == (["o1"], None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("open=true", ["AAPL o3", "ES o3"]),
        ("open=false", ["AAPL o2", "AAPL o1"]),
        ("status=rejected", ["AAPL o2"]),
        ("strategy=beta", ["AAPL o2"]),
        ("symbol=ES", ["ES o3"]),
        ("venue=XLON", []),
        (f"start_time={NOON + 2000 * MS}&end_time={NOON + 3000 * MS}", ["AAPL o2"]),
    ],
)
def test_a_filter_selects_orders(filled_server: Server, query: str, expected: list[str]) -> None:
    assert ids(filled_server, query) == expected


def test_the_life_of_an_order_has_its_reports_and_fills(filled_server: Server) -> None:
    life = filled_server.get("/api/orders/o1")
    assert [(each["status"], each["timestamp"]) for each in life["reports"]] == [
        ("pending_new", "2026-01-01T12:00:01.000Z"),
        ("new", "2026-01-01T12:00:01.004Z"),
        ("filled", "2026-01-01T12:00:01.021Z"),
    ]
    assert [(each["trade_id"], each["price"], each["commission"]) for each in life["fills"]] == [
        ("t1", 100.25, 0.1),
        ("t2", 100.5, 0.1),
    ]
    assert (life["status"], life["average_price"], life["commission"], life["slippage_bps"]) == (
        ("filled", 100.4, 0.2, 40.0)
    )
    assert life["latency"]["send_to_ack"] == life["latency_ms"] == 4.0
    assert life["latency"]["send_to_complete"] == 20.0
    assert life["complete"]


def test_an_unknown_order_is_not_found(filled_server: Server) -> None:
    assert refusal(filled_server, "/api/orders/o9")[0] == 404


def test_an_ambiguous_id_is_refused_with_the_candidates(filled_server: Server) -> None:
    status, problem = refusal(filled_server, "/api/orders/o3")
    assert (status, [each["symbol"] for each in problem["candidates"]]) == (409, ["ES", "AAPL"])
    assert filled_server.get("/api/orders/o3?symbol=ES")["symbol"] == "ES"


def test_a_report_that_is_delivered_again_is_one_report(filled_server: Server) -> None:
    send(filled_server, LIFE)
    assert len(filled_server.get("/api/orders/o1")["reports"]) == filled_server.get("/api/orders/o1")["n_reports"] == 3


def lane(server: Server, count: int, query: str = "lane_since=0") -> list[dict[str, Any]]:
    """Returns the first `count` messages of the lane."""
    with connect(f"{server.websocket_url}?channels=orders&{query}") as client:
        return [receive(client, "order") for _ in range(count)]


def test_the_lane_brings_every_report_once_and_in_order(filled_server: Server) -> None:
    send(filled_server, LIFE)
    reports = lane(filled_server, 6)
    assert [(each["order_id"], each["status"]) for each in reports] == [
        (event["order_id"], event["status"]) for event in LIFE if event["type"] == "order"
    ]
    assert [each["prev"] for each in reports] == [0, *(each["seq"] for each in reports[:-1])]
    assert reports[3]["reason"] == "no money"
    (only,) = lane(filled_server, 1, "lane_since=0&symbols=ES")
    assert (only["symbol"], only["prev"]) == ("ES", 0)
    life = filled_server.get("/api/orders/o1")["reports"]
    assert [each["seq"] for each in life] == [each["seq"] for each in reports[:3]]


def test_the_lane_is_no_default(filled_server: Server) -> None:
    with connect(filled_server.websocket_url) as client:
        assert "orders" not in receive(client)["channels"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_acknowledged_report_is_there_once_after_kills(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    batches = [[order(n, status, k) for k, status in enumerate(("pending_new", "new"))] for n in range(1, 31)]
    seen: list[dict[str, Any]] = []
    for run in range(3):
        server = start_server("--workers", workers, "--data-dir", str(tmp_path))
        # What was sent last may have been taken or not; it is sent again.
        for batch in batches[max(0, run * 10 - 2) : run * 10 + 10]:
            send(server, batch)
        since = seen[-1]["seq"] if seen else 0
        seen += lane(server, run * 20 + 20 - len(seen), f"lane_since={since}")
        server.stop(signal.SIGKILL)
    server = start_server("--workers", workers, "--data-dir", str(tmp_path))
    expected = [(event["order_id"], event["status"]) for batch in batches for event in batch]
    assert [(each["order_id"], each["status"]) for each in seen] == expected
    assert [each["seq"] for each in lane(server, len(expected))] == [each["seq"] for each in seen]
    listed = server.get("/api/orders?limit=1000")["orders"]
    assert [(each["order_id"], each["n_reports"]) for each in listed] == [(f"o{n}", 2) for n in range(30, 0, -1)]


def test_orders_survive_a_kill(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path))
    send(server, LIFE)
    before = server.get("/api/orders")["orders"], server.get("/api/orders/o1")
    server.stop(signal.SIGKILL)
    server = start_server("--data-dir", str(tmp_path))
    send(server, LIFE)
    assert (server.get("/api/orders")["orders"], server.get("/api/orders/o1")) == before


def test_orders_of_a_clock_that_was_never_set_stop_no_restart(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path))
    # Latencies of forty years add up to more nanoseconds than 64 bits have.
    send(
        server,
        [order(n, status, ts=ts) for n in range(40) for status, ts in (("pending_new", LONG_AGO), ("new", NOON))],
    )
    wait_until(lambda: b'execution_latency_seconds_count{leg="send_to_ack"} 40' in server.get_bytes("/metrics"))
    server.stop(signal.SIGKILL)
    server = start_server("--data-dir", str(tmp_path))
    assert len(server.get("/api/orders")["orders"]) == 40


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_order_names_the_chain_of_its_replacements(start_server: StartServer, workers: str) -> None:
    server = start_server("--workers", workers)
    send(server, [order(1, "new"), *(order(n, "new", replaces=f"o{n - 1}") for n in (2, 3)), order(4, "new")])
    lives = [server.get(f"/api/orders/o{n}") for n in (1, 2, 3, 4)]
    assert [life["chain"] for life in lives] == [["o1", "o2", "o3"]] * 3 + [["o4"]]
    assert [(life["status"], life["replaces"], life["replaced_by"]) for life in lives] == [
        ("replaced", "", "o2"), ("replaced", "o1", "o3"), ("new", "o2", ""), ("new", "", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("workers", ["1", "2"])
def test_positions_have_exact_figures(start_server: StartServer, workers: str) -> None:
    server = start_server("--workers", workers)
    send(
        server,
        [
            fill(1, 1, "0.1", "0.10", 0, strategy="alpha"),
            fill(2, 1, "0.2", "0.40", 1, strategy="alpha"),
            fill(3, 2, "5", "10", 0, strategy="beta", symbol="ES"),
        ],
    )
    # Another worker may have an older copy than the one that answered before.
    (position,) = wait_until(lambda: server.get("/api/positions?strategy=alpha")["positions"])
    assert position["exact"] == {
        "quantity": "0.3", "avg_price": "0.3", "mark": "0.4", "unrealized_pnl": "0.03", "realized_pnl": "-0.2",
        "fees": "0.2",
    }  # fmt: skip
    assert all(position["exact"][name] in (None, str(position[name])) for name in ("quantity", "mark", "realized_pnl"))
    shown = next(each for each in server.next_snapshot()["strategy"]["positions"] if each["strategy"] == "alpha")
    assert {name: value for name, value in position.items() if name != "exact"} == shown
    wait_until(lambda: [each["symbol"] for each in server.get("/api/positions?symbol=ES")["positions"]] == ["ES"])
    assert server.get("/api/positions?symbol=ES&strategy=alpha")["positions"] == []


def test_reject_reasons_are_in_the_quality_and_for_prometheus(filled_server: Server) -> None:
    expected = {"reason": "no money", "venue": "XNAS", "orders": 1}
    wait_until(lambda: filled_server.get("/api/trades/execution/quality")["reject_reasons"] == [expected])
    line = b'execution_session_rejects{reason="no money",venue="XNAS"} 1'
    wait_until(lambda: line in filled_server.get_bytes("/metrics"))


def test_a_program_asks_for_orders_and_positions(filled_server: Server, tmp_path: Path) -> None:
    rest = Rest(filled_server.url("/"))
    assert [each["order_id"] for each in rest.orders(limit=1, open=False)] == ["o2", "o1"]
    assert rest.order("o3", symbol="ES")["symbol"] == "ES"
    frame = rest.orders_frame(status="filled")
    assert (frame["filled_quantity"].sum(), str(frame["created"].dt.tz)) == (10, "UTC")
    wait_until(lambda: rest.positions(symbol="AAPL"))
    assert list(rest.positions_frame(symbol="AAPL")["quantity"]) == [10]
    rest.export_orders(tmp_path / "orders.csv", symbol="AAPL", strategy=None)
    rows = list(csv.DictReader((tmp_path / "orders.csv").read_text().splitlines()))
    assert [(row["order_id"], row["open"], row["average_price"]) for row in rows] == [
        ("o3", "1", ""), ("o2", "0", ""), ("o1", "0", "100.40"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_an_export_of_orders_is_exact(filled_server: Server, kind: str) -> None:
    data = filled_server.get_bytes(f"/api/orders?format={kind}&status=filled")
    read = pyarrow.ipc.open_stream(data).read_all() if kind == "arrow" else pyarrow.parquet.read_table(io.BytesIO(data))
    (row,) = read.to_pylist()
    assert (row["quantity"], row["average_price"], row["commission"]) == (Decimal(10), Decimal("100.4"), Decimal("0.2"))
    assert (row["n_fills"], row["created"].nanosecond) == (2, 0)
