"""Questions to a server over REST: trades, orders, positions, history. Answers are the server's JSON, or data frames.

rest = Rest("http://localhost:8000")
for trade in rest.trades(symbol="AAPL"):
    print(trade["price"])
rest.history(time_range="1h", metric_types=["strategy"]).to_frame()
"""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import orjson

from observability.clients.backoff import Backoff
from observability.clients.connection import server_url
from observability.clients.tables import to_frame

if TYPE_CHECKING:
    import pandas

TIMEOUT_SECONDS: Final = 30.0
# A question asked again gets the same answer, so asking is repeated.
ATTEMPTS: Final = 4
PAGE_ROWS: Final = 1000

_RETRIED: Final = frozenset({429, 503})


class RestError(Exception):
    """The server refused a question, or could not be reached (`status` is None then)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class History(list[dict[str, Any]]):
    """The rows of an answer to a question about history, oldest first."""

    interval: str
    truncated: bool
    corrections: list[dict[str, Any]] | None
    """Busts and corrections of fills whose fault is in these rows; None if the server cannot know them now."""

    def to_frame(self) -> pandas.DataFrame:
        """Returns the rows as a data frame by time."""
        return to_frame(self, "timestamp")


class Rest:
    """Asks one server. Every method raises RestError."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        """Raises ValueError."""
        parts = server_url(url)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout

    def get(self, path: str, **parameters: Any) -> Any:
        """Returns the document at `path`; parameters that are None are left out."""
        return self._ask(_target(path, parameters))

    def snapshot(self) -> dict[str, Any]:
        """Returns the snapshot of the last tick."""
        document: dict[str, Any] = self.get("/api/metrics/current")
        return document

    def trades(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yields our trades, newest first, page by page; `filters` are those of `GET /api/trades`."""
        return self._rows("trades", filters)

    def trade(self, trade_id: str) -> dict[str, Any]:
        """Returns one trade."""
        document: dict[str, Any] = self.get(f"/api/trades/{quote(trade_id, safe='')}")
        return document

    def trades_frame(self, **filters: Any) -> pandas.DataFrame:
        """Returns our trades as a data frame."""
        return to_frame(self.trades(**filters))

    def orders(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yields our orders, newest first, page by page; `filters` are those of `GET /api/orders`, such as
        `open=True`."""
        return self._rows("orders", filters)

    def order(self, order_id: str, symbol: str | None = None) -> dict[str, Any]:
        """Returns the whole life of one order. `symbol` selects one if several have that id."""
        document: dict[str, Any] = self.get(f"/api/orders/{quote(order_id, safe='')}", symbol=symbol)
        return document

    def orders_frame(self, **filters: Any) -> pandas.DataFrame:
        """Returns our orders as a data frame."""
        return to_frame(self.orders(**filters))

    def export_orders(self, path: str | os.PathLike[str], **filters: Any) -> None:
        """Writes our orders to a file, as `export_trades` does."""
        target = Path(path)
        self._export(target, _target("/api/orders", {**filters, "format": _format(target)}))

    def bookings(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yields what has changed the book and is no fill, newest first, page by page; `filters` are those of
        `GET /api/bookings`, such as `kind="funding"`."""
        return self._rows("bookings", filters)

    def positions(self, *, strategy: str | None = None, symbol: str | None = None) -> list[dict[str, Any]]:
        """Returns the open positions."""
        document = self.get("/api/positions", strategy=strategy, symbol=symbol)
        positions: list[dict[str, Any]] = document["positions"]
        return positions

    def positions_frame(self, *, strategy: str | None = None, symbol: str | None = None) -> pandas.DataFrame:
        """Returns the open positions as a data frame by their keys."""
        return to_frame(self.positions(strategy=strategy, symbol=symbol), "key")

    def export_trades(self, path: str | os.PathLike[str], **filters: Any) -> None:
        """Writes our trades to a file, newest first; its name ends in the format: `.csv`, `.arrow` or `.parquet`. An
        export that fails leaves the file that was there."""
        target = Path(path)
        self._export(target, _target("/api/trades", {**filters, "format": _format(target)}))

    def history(self, **question: Any) -> History:
        """Returns what the snapshots said over a time; `question` is the body of `POST /api/metrics/history`."""
        answer = self._ask("/api/metrics/history", question)
        rows = History(answer["data"])
        rows.interval, rows.truncated = answer["interval"], answer.get("truncated", False)
        rows.corrections = answer.get("corrections")
        return rows

    def export_history(self, path: str | os.PathLike[str], **question: Any) -> bool:
        """Writes what the snapshots said over a time to a file, oldest first; its name ends in the format, as that of
        `export_trades`. Returns whether older points were left out."""
        target = Path(path)
        return self._export(target, "/api/metrics/history", {**question, "format": _format(target)})

    # -- requests

    def _rows(self, name: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = self.get(f"/api/{name}", **{"limit": PAGE_ROWS, **filters}, cursor=cursor)
            yield from page[name]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _export(self, target: Path, path: str, body: Mapping[str, Any] | None = None) -> bool:
        part = target.with_name(target.name + ".part")
        data = None if body is None else orjson.dumps(body)
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            with self._open(path, data, headers) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
                is_truncated: bool = answer.headers.get("Export-Truncated") == "true"
            part.replace(target)
            return is_truncated
        except urllib.error.HTTPError as error:
            name = path.partition("?")[0]
            raise RestError(f"{name}: HTTP {error.code}: {_detail(error)}", error.code) from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise RestError(f"{self._url}: the export was cut: {error}") from None
        finally:
            part.unlink(missing_ok=True)

    def _open(self, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(self._url + path, data=data, headers={**(headers or self._headers)})
        return urllib.request.urlopen(request, timeout=self._timeout)

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        data = None if body is None else orjson.dumps(body)
        backoff = Backoff()
        while True:
            try:
                with self._open(path, data, headers) as answer:
                    return orjson.loads(_decoded(answer))
            except urllib.error.HTTPError as error:
                fault = RestError(f"{path}: HTTP {error.code}: {_detail(error)}", error.code)
                retry_after = error.headers.get("Retry-After", "")
            except (OSError, EOFError, ValueError) as error:
                fault, retry_after = RestError(f"{self._url}: {error}"), ""
            if (fault.status not in _RETRIED and fault.status is not None) or backoff.attempts + 1 >= ATTEMPTS:
                raise fault from None
            time.sleep(backoff.next_delay(float(retry_after) if retry_after.isdigit() else 0.0))


def _target(path: str, parameters: Mapping[str, Any]) -> str:
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{path}?{query}" if query else path


def _format(target: Path) -> str:
    return target.suffix.removeprefix(".")


def _decoded(answer: Any) -> bytes:
    data: bytes = answer.read()
    return gzip.decompress(data) if answer.headers.get("Content-Encoding") == "gzip" else data


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        problem = orjson.loads(_decoded(error))
        faults = "; ".join(f"{fault['parameter']}: {fault['error']}" for fault in problem.get("errors", ()))
        return faults or str(problem.get("detail", error.reason))
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return str(error.reason)
