"""One WebSocket connection of a client: its address, its messages, its end.

picows calls `on_ws_frame` in the loop for every frame, so nothing here waits. Reading stops while the program that uses
the client is behind; the server then sends it the newest snapshots only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
from picows import (
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
OPEN_TIMEOUT_SECONDS: Final = 10.0
CLOSE_TIMEOUT_SECONDS: Final = 1.0
# A half-open connection is one on which nothing comes for this long, not even the answer to a ping.
PING_AFTER_SECONDS: Final = 10.0

_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
# Trying again does not help until somebody changes something: bad request, token, origin, path, version, parameters.
_FINAL_STATUSES: Final = frozenset({400, 401, 403, 404, 405, 421, 422, 426})


class ConnectionState(StrEnum):
    """What the newest snapshot of a client is worth."""

    CONNECTING = "connecting"
    """Nothing has come yet."""
    LIVE = "live"
    """Snapshots come on time."""
    STALE = "stale"
    """The server is connected and sends no snapshots."""
    LOST = "lost"
    """The connection is lost; the client tries to connect again."""
    CLOSED = "closed"


class Refused(Exception):
    """The server refuses this client, and would refuse it again: wrong address, token or parameters."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(f"HTTP {status}: {detail}")


class Unavailable(Exception):
    """The server could not be reached, or asked to come back later."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


def server_url(url: str) -> SplitResult:
    """Returns scheme, host and port of a server's HTTP address, which may lack the scheme. Raises ValueError."""
    return _address(url, ("http", "https"))


def stream_url(url: str, path: str = "/ws/metrics") -> str:
    """Returns the WebSocket URL for the address of a server. Raises ValueError."""
    parts = _address(url, _SCHEMES)
    chosen = parts.path if parts.path not in ("", "/") else path
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, chosen, parts.query, ""))


def _address(url: str, schemes: Collection[str]) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # The port is no number, or too large.
        is_whole = False
    if not is_whole:
        raise ValueError(f"{url!r}: expected an address like http://localhost:8000")
    return parts


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """Returns `url` with more parameters; those it has stay."""
    parts = urlsplit(url)
    query = urlencode({**dict(parse_qsl(parts.query)), **parameters}, safe=",:")
    return urlunsplit(parts._replace(query=query))


class Connection(WSListener):
    """Passes every JSON message to `on_message`, in the loop."""

    def __init__(self, on_message: Callable[[dict[str, Any]], None]) -> None:
        self._on_message = on_message
        self._transport: WSTransport | None = None
        self._fragments = bytearray()
        self.closed = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""

    @classmethod
    async def open(
        cls,
        url: str,
        on_message: Callable[[dict[str, Any]], None],
        *,
        token: str | None,
        tls: ssl.SSLContext | None,
    ) -> Connection:
        """Returns a connection. Raises Refused, Unavailable."""
        # A URL ends up in logs, so a token does not belong into it.
        headers = {} if token is None else {"Sec-WebSocket-Protocol": f"observability, bearer.{token}"}
        try:
            _, connection = await ws_connect(
                lambda: cls(on_message),
                url,
                ssl_context=tls,
                websocket_handshake_timeout=OPEN_TIMEOUT_SECONDS,
                enable_auto_ping=True,
                auto_ping_idle_timeout=PING_AFTER_SECONDS,
                auto_ping_reply_timeout=PING_AFTER_SECONDS,
                max_frame_size=MAX_MESSAGE_BYTES,
                extra_headers=headers,
            )
        except WSInvalidStatusError as error:
            raise _refusal(error) from None
        except (OSError, WSError, TimeoutError) as error:
            raise Unavailable(str(error) or type(error).__name__) from None
        # What picows 2.3 returns for a connection that ended during the handshake.
        if connection is None:
            raise Unavailable("the connection was lost during the handshake")
        assert isinstance(connection, cls)
        return connection

    def send(self, message: dict[str, Any]) -> None:
        """Sends one JSON message, unless the connection has ended."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, orjson.dumps(message))

    def pause_reading(self) -> None:
        """Stops reading until `resume_reading`."""
        if self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        if self._transport is not None:
            self._transport.underlying_transport.resume_reading()

    async def close(self) -> None:
        """Ends the connection with a Close frame; by force if it has not ended soon."""
        for is_graceful in (True, False):
            if self._transport is not None:
                if is_graceful:
                    self._transport.send_close()
                self._transport.disconnect(is_graceful)
                await asyncio.wait([self.closed], timeout=CLOSE_TIMEOUT_SECONDS)

    # -- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            if frame.fin and not self._fragments:
                self._on_message(orjson.loads(frame.get_payload_as_memoryview()))
                return
            self._fragments += frame.get_payload_as_memoryview()
            if frame.fin:
                message, self._fragments = bytes(self._fragments), bytearray()
                self._on_message(orjson.loads(message))
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)


def _refusal(error: WSInvalidStatusError) -> Refused | Unavailable:
    response = error.response
    status = int(response.status) if response is not None else 0
    detail = _detail(error.raw_body) or f"the server answered {status}"
    if status in _FINAL_STATUSES:
        return Refused(status, detail)
    retry_after = "" if response is None else response.headers.get("Retry-After", "")
    return Unavailable(f"HTTP {status}: {detail}", float(retry_after) if retry_after.isdigit() else 0.0)


def _detail(body: bytes | None) -> str:
    """Returns the reason in an `application/problem+json`."""
    try:
        document = orjson.loads(body or b"")
        faults = "; ".join(f"{fault['parameter']}: {fault['error']}" for fault in document.get("errors", ()))
        return faults or str(document.get("detail", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
