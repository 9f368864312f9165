"""Venues on loopback, which speak each venue's protocol through another WebSocket implementation than ours."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from socket import SHUT_RDWR
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

TIMEOUT_SECONDS = 60
Json = dict[str, Any]
Answers = Iterator[Json | str]

MAX_BYBIT_ARGUMENTS = 10
MESSAGES_AT_A_TIME = 100


class Session:
    """One connection of a client, and what it has sent."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self.requests: Queue[str] = Queue()
        self.ended = threading.Event()
        self.sequence = -1

    def send(self, *messages: str | bytes | Json) -> None:
        """Sends text messages, many at a time."""
        connection = self._connection
        for start in range(0, len(messages), MESSAGES_AT_A_TIME):
            with connection.protocol_mutex:
                for message in messages[start : start + MESSAGES_AT_A_TIME]:
                    text = json.dumps(message) if isinstance(message, dict) else message
                    connection.protocol.send_text(text if isinstance(text, bytes) else text.encode())
                connection.socket.sendall(b"".join(connection.protocol.data_to_send()))

    def send_in_pieces(self, *pieces: str) -> None:
        """Sends one text message, a frame for each piece."""
        self._connection.send(pieces)

    def numbered(self, message: Json) -> Json:
        """Returns a message of Coinbase with the next number of this connection."""
        self.sequence += 1
        return {**message, "client_id": "", "sequence_num": self.sequence}

    def next_request(self) -> str:
        """Returns what the client has sent next."""
        try:
            return self.requests.get(timeout=TIMEOUT_SECONDS)
        except Empty:
            raise AssertionError("the client sends nothing more") from None

    def ping(self) -> bool:
        """Sends a ping frame; returns whether a pong has answered it."""
        return self._connection.ping().wait(TIMEOUT_SECONDS)

    def close(self, code: int = 1001, reason: str = "") -> None:
        """Begins to close the connection as RFC 6455 has it; the client may be in this thread, so nothing waits for
        it."""
        threading.Thread(target=self._connection.close, args=(code, reason)).start()

    def cut(self) -> None:
        """Ends the TCP connection without a word."""
        with suppress(OSError):
            self._connection.socket.shutdown(SHUT_RDWR)


class Exchange:
    """A venue that has some symbols. While it is mute, it takes what it is sent and answers nothing."""

    def __init__(
        self,
        venue: str,
        symbols: Iterable[str],
        *,
        is_mute: bool = False,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.venue = venue
        self.symbols = set(symbols)
        self.is_mute = is_mute
        self._subscribed: Queue[Session] = Queue()
        self.sessions: list[Session] = []
        self._answer: Callable[[Session, Json], Answers] = getattr(self, f"_{venue.partition('-')[0]}")
        self._server = serve(self._serve, "127.0.0.1", port, compression=None, ssl=tls)
        self.port: int = self._server.socket.getsockname()[1]
        self.url = f"{'ws' if tls is None else 'wss'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the venue and cuts all of its connections."""
        for session in self.sessions:
            session.cut()
        self._server.shutdown(close_connections=False)
        self._thread.join(TIMEOUT_SECONDS)

    def next_session(self) -> Session:
        """Waits for the next connection that has subscribed; unless the venue is mute, it is answered."""
        try:
            return self._subscribed.get(timeout=TIMEOUT_SECONDS)
        except Empty:
            raise AssertionError(f"nothing has subscribed to {self.venue}") from None

    def _serve(self, connection: ServerConnection) -> None:
        session = Session(connection)
        self.sessions.append(session)
        is_subscribed = False
        try:
            if self.venue == "kraken":
                session.send({"channel": "status", "type": "update", "data": [{"system": "online"}]})
            for request in connection:
                text = request if isinstance(request, str) else request.decode()
                session.requests.put(text)
                if text == "ping" and not self.is_mute:
                    session.send("pong")
                elif not self.is_mute:
                    session.send(*self._answer(session, json.loads(text)))
                if not is_subscribed:
                    is_subscribed = True
                    self._subscribed.put(session)
        except (ConnectionClosed, OSError):
            pass
        finally:
            session.ended.set()

    def _binance(self, session: Session, request: Json) -> Answers:
        # A stream of a symbol that is not listed is confirmed like any other.
        if all("@" in stream for stream in request["params"]):
            yield {"result": None, "id": request["id"]}
        else:
            yield {"error": {"code": 2, "msg": "Invalid request: stream name"}, "id": request["id"]}

    def _coinbase(self, session: Session, request: Json) -> Answers:
        if self.symbols.issuperset(request.get("product_ids", ())):
            subscriptions = {request["channel"]: request.get("product_ids", ["heartbeats"])}
            yield session.numbered({"channel": "subscriptions", "events": [{"subscriptions": subscriptions}]})
        else:
            yield {"type": "error", "message": "failure to subscribe"}

    def _kraken(self, session: Session, request: Json) -> Answers:
        if request["method"] == "ping":
            yield {"method": "pong", "time_in": "2026-01-01T00:00:00.000000Z"}
            return
        for symbol in request["params"]["symbol"]:
            answer = {"method": "subscribe", "time_in": "2026-01-01T00:00:00.000000Z"}
            if symbol in self.symbols:
                result = {"channel": request["params"]["channel"], "symbol": symbol, "snapshot": True}
                yield {**answer, "success": True, "result": result}
            else:
                yield {**answer, "success": False, "error": f"Currency pair not supported {symbol}", "symbol": symbol}

    def _bybit(self, session: Session, request: Json) -> Answers:
        answer = {"conn_id": "c", "op": request["op"]}
        if request["op"] == "ping":
            yield {**answer, "success": True, "ret_msg": "pong"}
        elif len(request["args"]) > MAX_BYBIT_ARGUMENTS:
            yield {**answer, "success": False, "ret_msg": "args size >10"}
        else:
            unknown = [topic for topic in request["args"] if topic.rpartition(".")[2] not in self.symbols]
            message = f"Invalid symbol :[{','.join(unknown)}]" if unknown else ""
            yield {**answer, "success": not unknown, "ret_msg": message}

    def _okx(self, session: Session, request: Json) -> Answers:
        for argument in request["args"]:
            if argument["instId"] in self.symbols:
                yield {"event": "subscribe", "arg": argument, "connId": "c"}
            else:
                wrong = f"channel:{argument['channel']},instId:{argument['instId']} doesn't exist"
                yield {"event": "error", "msg": wrong, "code": "60018", "connId": "c"}
