"""Exports of trades from a real server: every row of the JSON pages, exactly, as CSV, Arrow stream and Parquet."""

from __future__ import annotations

import csv
import http.client
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from exported import table
from hosts import post
from observability.clients.rest import Rest, RestError
from pages import read_pages
from server_process import TIMEOUT_SECONDS, Server
from ws_client import open_socket

StartServer = Callable[..., Server]

FILLS = 1200
FIRST_NS = 1_760_000_000_123_456_789
FORMATS = ("csv", "arrow", "parquet")


def fill(number: int) -> dict[str, Any]:
    return {
        "type": "fill", "trade_id": f"t{number}", "order_id": f'o,"{number}"', "symbol": ("AAPL", "AMZN")[number % 2],
        "side": "sell" if number % 3 == 0 else "buy", "quantity": "3", "price": f"100.{number:04d}0",
        "commission": "0.000000000000000001", "strategy": "d\u00e9sk", "ts": FIRST_NS + number * 10**9,
        **({"latency_ms": 1.5} if number % 5 == 0 else {}),
    }  # fmt: skip


@pytest.fixture(scope="module", params=["store", "memory", "workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = {
        "store": ("--data-dir", str(tmp_path_factory.mktemp("data"))),
        "memory": (),
        "workers": ("--workers", "2"),
    }[request.param]
    server = Server(*options)
    try:
        for start in range(0, FILLS, 200):
            post(server, "/api/ingest", [fill(number) for number in range(start, start + 200)])
        yield server
    finally:
        server.stop()


def ask(server: Server, path: str, method: str = "GET", version: str = "HTTP/1.1") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    connection._http_vsn_str = version  # type: ignore[attr-defined]
    try:
        connection.request(method, path)
        with connection.getresponse() as response:
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def rows(kind: str, data: bytes) -> list[dict[str, Any]]:
    """Returns the rows with decimals as Decimal, and times as nanoseconds."""
    if kind != "csv":
        read = table(kind, data)
        return [
            {**row, "timestamp": ns}
            for row, ns in zip(
                read.drop_columns(["timestamp"]).to_pylist(), read["timestamp"].cast("int64").to_pylist(), strict=True
            )
        ]
    found = []
    for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
        known: dict[str, Any] = {name: text or None for name, text in row.items()}
        for name in ("quantity", "price", "commission", "pnl", "gross_pnl"):
            known[name] = None if known[name] is None else Decimal(known[name])
        for name in ("latency_ms", "slippage_bps"):
            known[name] = None if known[name] is None else float(known[name])
        known["round_trip"] = None if known["round_trip"] is None else int(known["round_trip"])
        moment, fraction = row["timestamp"].removesuffix("Z").split(".")
        seconds = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
        known["timestamp"] = seconds * 10**9 + int(fraction)
        found.append(known)
    return found


def pages(server: Server, query: str) -> list[dict[str, Any]]:
    """Returns the trades of all JSON pages."""
    found = read_pages(server.get, f"/api/trades?limit=500&{query}", "trades")
    # What was delivered before a correction is in the JSON only.
    return [{name: value for name, value in each.items() if name != "original"} for each in found]


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """Returns an exported row as the JSON has it."""
    known = {name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()}
    known["timestamp"] = datetime.fromtimestamp(row["timestamp"] // 10**9, UTC).strftime(
        f"%Y-%m-%dT%H:%M:%S.{row['timestamp'] // 10**6 % 1000:03d}Z"
    )
    # CSV has no empty text that is not null.
    return known | {name: known[name] or "" for name in ("venue", "liquidity", "position_side", "reason")}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("query", ["", "symbol=AAPL&side=sell", f"start_time={FIRST_NS + 700 * 10**9}", "symbol=NONE"])
def test_an_export_has_every_row_of_the_json_pages(server: Server, kind: str, query: str) -> None:
    status, fields, data = ask(server, f"/api/trades?format={kind}&{query}")
    assert status == 200
    assert 'filename="trades-2' in fields["content-disposition"] and fields["content-disposition"].endswith(f'.{kind}"')
    exported = rows(kind, data)
    assert [as_json(row) for row in exported] == pages(server, query)
    assert len(exported) == FILLS or query


@pytest.mark.parametrize("kind", FORMATS)
def test_amounts_and_times_are_exact(server: Server, kind: str) -> None:
    exported = {row["trade_id"]: row for row in rows(kind, ask(server, f"/api/trades?format={kind}")[2])}
    for number in (0, 7, FILLS - 1):
        sent, row = fill(number), exported[f"t{number}"]
        assert row["price"] == Decimal(sent["price"])
        assert row["commission"] == Decimal("0.000000000000000001")
        assert row["timestamp"] == sent["ts"]
        assert (row["order_id"], row["strategy"]) == (sent["order_id"], sent["strategy"])
        assert row["latency_ms"] == sent.get("latency_ms")


def test_csv_has_amounts_as_they_were_sent(server: Server) -> None:
    data = ask(server, "/api/trades?format=csv&limit=1")[2].decode()
    header, row, rest = data.split("\r\n")
    assert header.startswith("trade_id,order_id,symbol,side,quantity,price,timestamp")
    assert row.startswith(f't{FILLS - 1},"o,""{FILLS - 1}""",AMZN,buy,3,100.{FILLS - 1:04d}0,2025-10-09T')
    assert rest == ""


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_columns_have_the_types_that_the_documents_say(server: Server, kind: str) -> None:
    schema = table(kind, ask(server, f"/api/trades?format={kind}&symbol=NONE")[2]).schema
    assert {str(schema.field(name).type) for name in ("quantity", "price", "commission", "pnl")} == {
        "decimal128(38, 18)"
    }
    assert str(schema.field("timestamp").type) == "timestamp[ns, tz=UTC]"
    assert str(schema.field("round_trip").type) == "int64"


def test_pandas_reads_an_export(server: Server) -> None:
    frame = pandas.read_csv(io.BytesIO(ask(server, "/api/trades?format=csv")[2]), parse_dates=["timestamp"])
    assert len(frame) == FILLS
    assert frame["timestamp"].dt.tz is not None
    assert frame["latency_ms"].notna().sum() == FILLS / 5
    read = table("parquet", ask(server, "/api/trades?format=parquet")[2]).to_pandas()
    assert read["quantity"].sum() == 3 * FILLS


def test_a_limit_an_offset_and_a_cursor_select_as_they_do_in_json(server: Server) -> None:
    everything = pages(server, "")
    cursor = server.get("/api/trades?limit=100")["next_cursor"]
    for query, expected in (
        ("limit=7&offset=3", everything[3:10]),
        ("offset=1100", everything[1100:]),
        (f"cursor={cursor}", everything[100:]),
    ):
        exported = rows("csv", ask(server, f"/api/trades?format=csv&{query}")[2])
        assert [row["trade_id"] for row in exported] == [trade["trade_id"] for trade in expected]


@pytest.mark.parametrize("kind", FORMATS)
def test_head_has_the_fields_of_an_export_and_no_content(server: Server, kind: str) -> None:
    status, fields, data = ask(server, f"/api/trades?format={kind}", "HEAD")
    assert (status, data) == (200, b"")
    assert fields["content-type"].startswith({"csv": "text/csv"}.get(kind, "application/vnd.apache."))
    assert "content-length" not in fields


def test_an_http_1_0_client_gets_an_export_that_ends_with_the_connection(server: Server) -> None:
    _, fields, data = ask(server, "/api/trades?format=csv", version="HTTP/1.0")
    assert "transfer-encoding" not in fields
    assert data == ask(server, "/api/trades?format=csv")[2]


def test_the_python_client_writes_an_export_to_a_file(server: Server, tmp_path: Path) -> None:
    rest = Rest(server.url(""))
    rest.export_trades(tmp_path / "trades.parquet", symbol="AAPL")
    assert pyarrow.parquet.ParquetFile(tmp_path / "trades.parquet").metadata.num_rows == FILLS / 2
    with pytest.raises(RestError, match="format"):
        rest.export_trades(tmp_path / "trades.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["trades.parquet"]


def test_a_format_that_is_not_known_is_refused(server: Server) -> None:
    status, _, data = ask(server, "/api/trades?format=xml")
    assert (status, json.loads(data)["errors"][0]["parameter"]) == (422, "format")


def test_without_pyarrow_the_answer_says_what_to_install(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('none here')")
    server = start_server(PYTHONPATH=str(tmp_path))
    status, _, data = ask(server, "/api/trades?format=parquet")
    assert (status, "pip install 'observability[arrow]'" in json.loads(data)["detail"]) == (501, True)
    assert ask(server, "/api/trades?format=csv")[0] == 200


def test_a_shutdown_lets_an_export_end_or_cuts_it(start_server: StartServer) -> None:
    server = start_server("--demo", SHUTDOWN_GRACE="0.2")
    with open_socket(server.port, receive_buffer=4096) as sock:
        sock.sendall(b"GET /api/trades?format=csv HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(1)
        server.process.terminate()
        assert server.process.wait(TIMEOUT_SECONDS) == 0
