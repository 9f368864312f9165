"""Exports of history from a real server: every row of the JSON answer as CSV, Arrow stream and Parquet."""

from __future__ import annotations

import csv
import http.client
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from exported import table
from observability.clients.rest import Rest, RestError
from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect, receive

StartServer = Callable[..., Server]

FORMATS = ("csv", "arrow", "parquet")
LABELS = ("timestamp", "type", "symbol")
QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"metric_types": ["market_data", "system"], "metrics": ["last", "cpu_percent"]},
    {"aggregates": ["first", "mean", "count"]},
    {"limit": 7},
    {"symbols": ["NONE"], "metric_types": ["market_data"]},
)


class Past:
    """A server, and a period of ticks that are over: an answer about it does not change any more."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with connect(server.websocket_url) as client:
            snapshots = [receive(client, "metrics_update") for _ in range(12)]
        self.question = {
            "start_time": snapshots[0]["timestamp"],
            "end_time": snapshots[-1]["timestamp"],
            "interval": "100ms",
        }

    def ask(self, **question: Any) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT_SECONDS)
        try:
            body = json.dumps({**self.question, **question})
            connection.request("POST", "/api/metrics/history", body, {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["one worker", "two workers"])
def past(request: pytest.FixtureRequest) -> Iterator[Past]:
    server = Server("--demo", *(() if request.param == "one worker" else ("--workers", "2")))
    try:
        yield Past(server)
    finally:
        server.stop()


def rows(kind: str, data: bytes) -> list[dict[str, Any]]:
    """Returns the rows with times as the JSON has them."""
    if kind == "csv":
        return [
            {
                "timestamp": f"{row['timestamp'][:23]}Z",
                "type": row["type"],
                "symbol": row["symbol"] or None,
                **{name: float(text) if text else None for name, text in row.items() if name not in LABELS},
            }
            for row in csv.DictReader(io.StringIO(data.decode(), newline=""))
        ]
    read = table(kind, data)
    times = read["timestamp"].cast("int64").to_pylist()
    return [
        {
            **row,
            "timestamp": f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 10**6 % 1000:03d}Z",
        }
        for row, ns in zip(read.drop_columns(["timestamp"]).to_pylist(), times, strict=True)
    ]


def flat_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of a JSON answer, an aggregate as FIELD.AGGREGATE."""
    flat = []
    for row in answer["data"]:
        cells: dict[str, Any] = {}
        for name, value in row.items():
            cells |= (
                {f"{name}.{one}": each for one, each in value.items()} if isinstance(value, dict) else {name: value}
            )
        flat.append(cells)
    return flat


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("question", QUESTIONS, ids=["all", "fields", "aggregates", "limit", "nothing"])
def test_an_export_has_every_row_of_the_json_answer(past: Past, kind: str, question: dict[str, Any]) -> None:
    answer = json.loads(past.ask(**question)[2])
    status, fields, data = past.ask(**question, format=kind)
    assert status == 200
    assert 'filename="history-2' in fields["content-disposition"]
    assert fields["content-disposition"].endswith(f'.{kind}"')
    exported, expected = rows(kind, data), flat_rows(answer)
    names = list(exported[0]) if exported else list(LABELS)
    assert exported == [{**dict.fromkeys(names), **row} for row in expected]
    assert len(exported) == answer["count"]
    assert exported or question.get("symbols") == ["NONE"]
    assert fields.get("export-truncated", "false") == str(answer["truncated"]).lower()


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_columns_have_the_types_that_the_documents_say(past: Past, kind: str) -> None:
    schema = table(kind, past.ask(format=kind, aggregates=["mean", "count"])[2]).schema
    assert schema.names[:3] == list(LABELS)
    types = {name: str(schema.field(name).type) for name in ("timestamp", "symbol", "last.mean", "total_pnl.count")}
    assert list(types.values()) == ["timestamp[ns, tz=UTC]", "string", "double", "int64"]


def test_csv_begins_with_what_every_row_has(past: Past) -> None:
    header, row, *_ = past.ask(format="csv", metric_types=["system"], metrics=["cpu_percent"])[2].decode().split("\r\n")
    assert header == "timestamp,type,symbol,cpu_percent"
    assert datetime.fromisoformat(row.partition(",")[0]).tzinfo is UTC
    assert row.split(",")[1:3] == ["system", ""]


def test_pandas_reads_an_export(past: Past) -> None:
    question: dict[str, Any] = {"metric_types": ["market_data"], "metrics": ["last"]}
    expected = [row["last"] for row in json.loads(past.ask(**question)[2])["data"]]
    frame = pandas.read_csv(io.BytesIO(past.ask(**question, format="csv")[2]), parse_dates=["timestamp"])
    read = table("parquet", past.ask(**question, format="parquet")[2]).to_pandas()
    assert frame["timestamp"].dt.tz is not None
    assert list(read["timestamp"]) == list(frame["timestamp"])
    assert list(read["last"].dropna()) == [value for value in expected if value is not None] != []


@pytest.mark.parametrize(
    "bad", [{"interval": "150ms"}, {"limit": 10_001}, {"time_range": "24h"}, {"end_time": 1}, {"metric_types": ["x"]}]
)
def test_an_export_is_refused_as_the_json_answer_is(past: Past, bad: dict[str, Any]) -> None:
    refused, exported = past.ask(**bad), past.ask(**bad, format="parquet")
    assert refused[0] == exported[0] == 422
    assert json.loads(refused[2])["errors"] == json.loads(exported[2])["errors"]


def test_the_python_client_writes_an_export_to_a_file(past: Past, tmp_path: Path) -> None:
    rest = Rest(past.server.url(""))
    assert not rest.export_history(tmp_path / "all.parquet", **past.question)
    assert pyarrow.parquet.ParquetFile(tmp_path / "all.parquet").metadata.num_rows == len(rest.history(**past.question))
    assert rest.export_history(tmp_path / "short.csv", **past.question, limit=3)
    assert len((tmp_path / "short.csv").read_bytes().splitlines()) == 1 + 3
    with pytest.raises(RestError, match="format"):
        rest.export_history(tmp_path / "all.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet", "short.csv"]


def test_without_pyarrow_the_answer_says_what_to_install(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('none here')")
    past = Past(start_server(PYTHONPATH=str(tmp_path)))
    status, _, data = past.ask(format="parquet")
    assert (status, "pip install 'observability[arrow]'" in json.loads(data)["detail"]) == (501, True)
    assert past.ask(format="csv")[0] == 200
