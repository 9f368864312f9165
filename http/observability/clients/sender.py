"""Sends events to a server from any thread of a program, in batches, and never raises into it.

    sender = Sender("http://localhost:8000", spool="engine.spool")
    sender.fill("t1", "o1", "AAPL", "buy", Decimal("100"), Decimal("585.27"), strategy="mean_reversion")

    event ──► durable (fill, order, ...) ──► spool, on disk ──┐
         └──► other (quote, print, ...)  ──► queue, newest ───┴─► batch ──► POST /api/ingest ──► removed once answered

A batch keeps its `Idempotency-Key` until it is answered, so that an answer that was lost makes nothing count twice.
"""

from __future__ import annotations

import atexit
import http.client
import logging
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

import orjson

from observability.clients.backoff import Backoff
from observability.clients.connection import server_url
from observability.clients.spool import Spool, SpoolError

logger = logging.getLogger(__name__)

# The server answers these once they are on disk.
DURABLE: Final = frozenset({"fill", "order", "position", "equity", "alert"})
MAX_WAITING: Final = 100_000
BATCH_EVENTS: Final = 1000
BATCH_BYTES: Final = 2 * 1024 * 1024
TIMEOUT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
# Events of one burst go into one batch.
LINGER_SECONDS: Final = 0.002
# The same complaint is logged at most once in this time.
LOG_SECONDS: Final = 10.0

_ENCODING: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
# The batch is what is wrong; sending it again would not help.
_REFUSED_BATCH: Final = frozenset({400, 413, 422})
# The token, its role or the address is what is wrong.
_REFUSED_SENDER: Final = frozenset({401, 403, 404, 405, 421})


@dataclass
class SenderStats:
    """What became of events."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    """Events that the server refused, or that could not be encoded."""
    dropped: int = 0
    """Events that found the queue or the spool full."""
    failed_requests: int = 0


@dataclass
class _Batch:
    """Events under way. Those from the spool come first; `last_number` is that of the last one of them."""

    key: str
    bodies: Sequence[bytes]
    spooled: int
    last_number: int


class Sender:
    """Sends from a thread of its own. A program that forks makes one per process."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        spool: str | Path | None = None,
        tls: ssl.SSLContext | None = None,
        on_rejected: Callable[[bytes, str], None] | None = None,
    ) -> None:
        """`spool` is a file in which fills, orders, positions, equity and alerts survive the program's end until the
        server has them. `on_rejected` is called in the sender's thread with each refused event, as it was sent, and
        the reason; without it the log tells. Raises ValueError, SpoolError."""
        parts = server_url(url)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._address = (parts.hostname or "", parts.port)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._headers = {"Content-Type": "application/x-ndjson"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._on_rejected = on_rejected
        self.stats = SenderStats()
        self.refusal: str | None = None
        """Why the server takes nothing from this sender, such as a wrong token; None if it does. The sender tries again
        all the same: what is wrong may be mended."""

        self._spool = Spool(spool)
        self._queue: deque[bytes] = deque()
        self._batch: _Batch | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._backoff = Backoff()
        self._logged: dict[str, float] = {}
        self._wake = threading.Event()
        self._all_sent = threading.Condition()
        self._is_closing = False
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="observability sender", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- events; any more fields of an event are keyword arguments (docs/sending-events.md)

    def quote(self, symbol: str, bid: Any, ask: Any, **fields: Any) -> None:
        """The touch of a symbol; None is a side without orders."""
        self.send("quote", symbol=symbol, bid=bid, ask=ask, **fields)

    def print(self, symbol: str, price: Any, size: Any, **fields: Any) -> None:
        """A trade of the market."""
        self.send("print", symbol=symbol, price=price, size=size, **fields)

    def order(self, order_id: str, symbol: str, side: str, quantity: Any, status: str, **fields: Any) -> None:
        """A report about one of our orders."""
        self.send("order", order_id=order_id, symbol=symbol, side=side, quantity=quantity, status=status, **fields)

    def fill(
        self, trade_id: str, order_id: str, symbol: str, side: str, quantity: Any, price: Any, **fields: Any
    ) -> None:
        """An execution of one of our orders; `order_id` is empty for one that no order of ours has made."""
        self.send(
            "fill",
            trade_id=trade_id,
            order_id=order_id,
            symbol=symbol,
            side=side,
            quantity=quantity,
            price=price,
            **fields,
        )

    def position(self, symbol: str, quantity: Any, avg_price: Any, **fields: Any) -> None:
        """The engine's own view of a position."""
        self.send("position", symbol=symbol, quantity=quantity, avg_price=avg_price, **fields)

    def signal(self, strategy: str, symbol: str, action: str, **fields: Any) -> None:
        """What a strategy intends to do."""
        self.send("signal", strategy=strategy, symbol=symbol, action=action, **fields)

    def equity(self, value: Any, **fields: Any) -> None:
        """The engine's equity; the first one is the starting capital."""
        self.send("equity", value=value, **fields)

    def log(self, level: str, message: str, **fields: Any) -> None:
        """A line of the engine's log; all other keyword arguments are its fields."""
        self.send("log", level=level, message=message, fields=fields or None)

    def alert(self, severity: str, title: str, **fields: Any) -> None:
        """Raises an alert, or with `state="resolved"` ends it."""
        self.send("alert", severity=severity, title=title, **fields)

    def heartbeat(self, component: str, **fields: Any) -> None:
        """A component is alive."""
        self.send("heartbeat", component=component, **fields)

    def metric(self, name: str, value: float, **labels: str) -> None:
        """A number of the engine's own."""
        self.send("metric", name=name, value=value, labels=labels or None)

    def send(self, kind: str, /, **fields: Any) -> None:
        """Sends an event of type `kind`, dated now unless `ts` is given. Returns at once."""
        try:
            event = {"type": kind, "ts": time.time_ns(), **{n: v for n, v in fields.items() if v is not None}}
            if kind == "quote":
                event |= {"bid": fields["bid"], "ask": fields["ask"]}
            self._append(kind, orjson.dumps(event, default=_encode, option=_ENCODING))
        except Exception as error:
            # Whatever is wrong, the strategy goes on.
            self.stats.rejected += 1
            self._complain("an event cannot be sent", f"{kind}: {error}")
        self._wake.set()

    def send_encoded(self, event: bytes) -> None:
        """Sends an event that is JSON already, by way of the spool. Returns at once."""
        self._append("fill", event)
        self._wake.set()

    def _append(self, kind: str, body: bytes) -> None:
        if kind in DURABLE:
            try:
                is_full = not self._spool.append(body)
            except SpoolError as error:
                self._complain("the spool cannot be written, events stay in memory", str(error))
                self._queue.append(body)
                return
        else:
            # The newest are the ones that matter.
            is_full = len(self._queue) >= MAX_WAITING
            if is_full:
                self._queue.popleft()
            self._queue.append(body)
        if is_full:
            self.stats.dropped += 1
            self._complain("more events wait than can be kept", f"a {kind} is dropped")

    # -- sending

    @property
    def waiting(self) -> int:
        """Events that the server has not acknowledged."""
        batch = self._batch
        queued = 0 if batch is None else len(batch.bodies) - batch.spooled
        return queued + len(self._queue) + self._spool.waiting

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until the server has acknowledged everything; returns whether it has within `timeout` seconds."""
        self._wake.set()
        with self._all_sent:
            return self._all_sent.wait_for(lambda: not self.waiting, timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Sends what waits, for at most `timeout` seconds; returns whether all of it was acknowledged. What is left of
        the spool is sent by the next sender that has it."""
        atexit.unregister(self.close)
        self._deadline = time.monotonic() + timeout
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout + TIMEOUT_SECONDS)
        return not self.waiting

    def _run(self) -> None:
        while not self._is_over():
            try:
                if self._batch is None:
                    self._batch = self._next_batch()
                if self._batch is None:
                    self._rest()
                else:
                    self._post(self._batch)
            except Exception:
                # A fault of ours costs a delay, never the thread.
                logger.exception("%s: sending failed", self._url)
                self._pause(self._backoff.next_delay())
        if self._connection is not None:
            self._connection.close()
        self._spool.close()

    def _is_over(self) -> bool:
        if not self._is_closing:
            return False
        return not self.waiting or (self._deadline is not None and time.monotonic() > self._deadline)

    def _rest(self) -> None:
        with self._all_sent:
            self._all_sent.notify_all()
        if not self._is_closing:
            self._wake.wait()
            self._wake.clear()
            time.sleep(LINGER_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Waits, but not beyond the time that `close` leaves."""
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline - time.monotonic()))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (self._is_closing and self._deadline is None):
            time.sleep(min(left, 0.1))

    def _next_batch(self) -> _Batch | None:
        bodies: list[bytes] = []
        size, last_number = 0, 0
        for number, body in self._spool.first(BATCH_EVENTS):
            if bodies and size + len(body) >= BATCH_BYTES:
                break
            bodies.append(body)
            size += len(body) + 1
            last_number = number
        spooled = len(bodies)
        while self._queue and len(bodies) < BATCH_EVENTS and size < BATCH_BYTES:
            bodies.append(self._queue.popleft())
            size += len(bodies[-1]) + 1
        return _Batch(uuid.uuid4().hex, bodies, spooled, last_number) if bodies else None

    def _post(self, batch: _Batch) -> None:
        """Sends a batch and settles it by its answer; keeps it if there is none."""
        try:
            status, retry_after, answer = self._request(batch)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop_connection()
            self._fail(str(error) or type(error).__name__, 0.0)
            return
        if status == 200 or (status in _REFUSED_BATCH and "rejected" in answer):
            self._settle(batch, answer)
        elif status in _REFUSED_BATCH:
            reason = f"HTTP {status}: {answer.get('detail', '')}"
            self._settle(batch, {"rejected": [{"index": i, "error": reason} for i in range(len(batch.bodies))]})
        else:
            reason = f"HTTP {status}: {answer.get('detail', '')}"
            self.refusal = reason if status in _REFUSED_SENDER else None
            self._fail(reason, retry_after)

    def _request(self, batch: _Batch) -> tuple[int, float, dict[str, Any]]:
        """Returns the status, the seconds to wait that the server asks for, and the answer."""
        if self._connection is None:
            host, port = self._address
            if self._tls is None:
                self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
            else:
                self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=self._tls)
        headers = {**self._headers, "Idempotency-Key": batch.key}
        self._connection.request("POST", "/api/ingest", body=b"\n".join(batch.bodies), headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        try:
            answer = orjson.loads(body)
        except ValueError:
            answer = {"detail": body[:200].decode(errors="replace")}
        retry_after = response.headers.get("Retry-After", "")
        return response.status, float(retry_after) if retry_after.isdigit() else 0.0, answer

    def _settle(self, batch: _Batch, answer: dict[str, Any]) -> None:
        if batch.spooled:
            self._spool.remove_to(batch.last_number)
        self._batch = None
        self.refusal = None
        self._backoff.reset()
        self.stats.accepted += answer.get("accepted", 0)
        self.stats.duplicates += answer.get("duplicates", 0)
        self.stats.rejected += answer.get("rejected_count", len(answer["rejected"]))
        for rejected in answer["rejected"]:
            body = batch.bodies[rejected["index"]]
            if self._on_rejected is None:
                self._complain("the server refused an event", f"{rejected['error']}: {body[:500]!r}")
            else:
                self._on_rejected(body, rejected["error"])

    def _fail(self, reason: str, retry_after: float) -> None:
        self.stats.failed_requests += 1
        delay = self._backoff.next_delay(retry_after)
        self._complain("nothing can be sent", f"{reason}; {self.waiting} events wait")
        self._pause(delay)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _complain(self, what: str, detail: str) -> None:
        """Logs, at a bounded rate."""
        now = time.monotonic()
        if now >= self._logged.get(what, 0.0):
            self._logged[what] = now + LOG_SECONDS
            logger.warning("%s: %s: %s", self._url, what, detail)


def _encode(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
