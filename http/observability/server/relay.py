"""What only the hub can do, asked by the worker that was asked for it: requests, and batches of events.

No channel here (see `channel.py` of `core`), no routing table (see `route_table.py`).

    client --> worker: head, limits, access, body --> hub: the route's handler --> worker: encodes and sends --> client

What crosses is the request as it was sent, less what belongs to the connection, and the answer as the handler gave it.
Events that come over WebSocket cross as batches, to the gate that those of requests go to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from observability.errors import HubUnavailable
from observability.http11.documents import ReadyDocument
from observability.http11.heads import RequestHead, parse_head
from observability.http11.messages import Request, Response, problem_response
from observability.http11.refusals import Refusal, Unavailable
from observability.ingest.answers import BUSY_RETRY_SECONDS, IngestAnswer, refusal
from observability.ingest.gate import Gate, Transport
from observability.routing.router import Answer, Router

logger = logging.getLogger(__name__)

# The longest that an answer may wait: what must be durable is waited for.
TIMEOUT_SECONDS: Final = 30.0

# RFC 9110 section 7.6.1, and what is about the content's way here: it has arrived whole.
_OF_THE_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"upgrade", b"te", b"expect", b"content-length", b"transfer-encoding"}
)

Call = Callable[[bytes], Awaitable[bytes]]


class RelayedRequest(msgspec.Struct, array_like=True, tag="request"):
    """A request on its way to the hub."""

    head: bytes
    body: bytes
    peer: str
    client_address: str


class RelayedBatch(msgspec.Struct, array_like=True, tag="batch"):
    """Events on their way to the hub's gate."""

    data: bytes
    source: Transport
    is_lines: bool | None
    key: str | None


class RelayedAnswer(msgspec.Struct, array_like=True):
    """A handler's answer on its way to the worker; `refusal` is the reason of one, for the log."""

    status: int
    body: bytes
    content_type: bytes
    headers: list[tuple[bytes, bytes]]
    closes: bool
    refusal: str | None = None


_decode_message = msgspec.msgpack.Decoder(RelayedRequest | RelayedBatch).decode
_decode_ingest_answer = msgspec.msgpack.Decoder(IngestAnswer).decode
_decode_answer = msgspec.msgpack.Decoder(RelayedAnswer).decode


class Relay:
    """The worker's side. `handle` stands in the place of the handlers that only the hub can run."""

    def __init__(self, call: Call, on_refused: Callable[[str, str], None]) -> None:
        """`on_refused` logs a refusal: the peer's address, and the reason."""
        self._call = call
        self._on_refused = on_refused

    async def handle(self, request: Request, **_params: str) -> Response:
        """Returns the hub's answer; raises Unavailable without one. What was asked may then be done or not: whoever
        sent an event may send it again, as it is taken once."""
        message = msgspec.msgpack.encode(
            RelayedRequest(_head_bytes(request.head), request.body, request.peer, request.client_address)
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = _decode_answer(await self._call(message))
        except HubUnavailable as error:
            raise Unavailable(f"the hub does not answer: {error}", BUSY_RETRY_SECONDS) from None
        except TimeoutError:
            raise Unavailable(f"the hub did not answer within {TIMEOUT_SECONDS:g} s", BUSY_RETRY_SECONDS) from None
        if answer.refusal is not None:
            self._on_refused(request.client_address, answer.refusal)
        return Response(answer.status, answer.body, answer.content_type, tuple(answer.headers), answer.closes)


class RelayedGate:
    """The worker's side of the gate."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        """Has the hub take a batch; 503 without an answer: it may be taken or not, and sent again."""
        message = msgspec.msgpack.encode(RelayedBatch(data, source, is_lines, key))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return _decode_ingest_answer(await self._call(message))
        except HubUnavailable as error:
            return refusal(503, f"the hub does not answer: {error}", BUSY_RETRY_SECONDS)
        except TimeoutError:
            return refusal(503, f"the hub did not answer within {TIMEOUT_SECONDS:g} s", BUSY_RETRY_SECONDS)


class HubCalls:
    """The hub's side: runs the handlers of its routing table and its gate for the workers. Access was checked
    where the request was received."""

    def __init__(self, router: Router, gate: Gate) -> None:
        self._router = router
        self._gate = gate

    async def answer(self, message: bytes) -> bytes:
        """Returns the encoded answer to an encoded message; never raises for anything a client can send."""
        relayed = _decode_message(message)
        if isinstance(relayed, RelayedBatch):
            answer = await self._gate.take(
                relayed.data, source=relayed.source, is_lines=relayed.is_lines, key=relayed.key
            )
            return msgspec.msgpack.encode(answer)
        return await self._answer_request(relayed)

    async def _answer_request(self, relayed: RelayedRequest) -> bytes:
        request = Request(parse_head(relayed.head), relayed.body, relayed.peer)
        request.client_address = relayed.client_address
        reason: str | None = None
        try:
            head = request.head
            route, params = self._router.match(head.method, head.path, head.segments)
            answer: Answer | Awaitable[Answer] = route.handler(request, **params)
            if not isinstance(answer, (Response, ReadyDocument)):
                answer = await answer
            response = _response(answer)
        except Refusal as refused:
            response = problem_response(refused)
            reason = f"{refused.status} {ascii(refused.detail)[1:-1]}"
        except Exception as error:
            logger.error("the handler of %s %s failed", request.method, ascii(request.path), exc_info=error)
            response = problem_response(Refusal(500, "the server failed to answer; the fault is in its log"))
        return msgspec.msgpack.encode(
            RelayedAnswer(
                response.status,
                response.body,
                response.content_type,
                list(response.headers),
                response.closes,
                reason,
            )
        )


def _response(answer: Answer) -> Response:
    if isinstance(answer, Response):
        return answer
    # Workers answer with ready documents of their own; one that comes this way is sent whole.
    return Response(200, answer.body, answer.content_type, ((b"ETag", answer.etag),))


def _head_bytes(head: RequestHead) -> bytes:
    fields = [(name, value) for name, value in head.headers.items() if name not in _OF_THE_CONNECTION]
    lines = [f"{head.method} {head.target} HTTP/1.1".encode(), *(name + b": " + value for name, value in fields)]
    if b"host" not in head.headers:
        lines.append(b"host: localhost")  # HTTP/1.0 needs none
    return b"\r\n".join(lines) + b"\r\n\r\n"
