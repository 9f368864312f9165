"""Requests that another host answers: taken apart at an edge, and put together again for the routes of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from observability.clocks.slices import in_slices
from observability.http11.documents import ReadyDocument
from observability.http11.heads import parse_head
from observability.http11.messages import JSON, Request, Response, problem_response
from observability.http11.refusals import Refusal, Unavailable
from observability.routing.router import Handler, Router, StreamedResponse

# What an answer depends on beside method, target and content.
_PASSED_ON: Final = (b"content-type", b"accept")
MAX_ANSWER_BYTES: Final = 48 * 1024 * 1024


class ForwardedRequest(msgspec.Struct, array_like=True):
    """A request whose sender may make it: that was checked where it was received."""

    method: str
    target: str
    fields: dict[bytes, bytes]
    body: bytes


class ForwardedAnswer(msgspec.Struct, array_like=True):
    """The whole answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    etag: bytes = b""
    """Of a ready document; empty for any other answer."""


def forwarded(request: Request) -> ForwardedRequest:
    """Returns what the hub needs to answer a request."""
    fields = {name: value for name in _PASSED_ON if (value := request.header(name)) is not None}
    return ForwardedRequest(request.method, request.target, fields, request.body)


def forwarder(ask: Callable[[ForwardedRequest], Awaitable[ForwardedAnswer]], slices: asyncio.Lock) -> Handler:
    """Returns the handler of a route that the hub answers. It raises Unavailable without one. `slices` is shared by
    everything that works in slices."""

    async def handle(request: Request, **_: str) -> Response | ReadyDocument:
        answer = await ask(forwarded(request))
        if not answer.etag:
            return Response(answer.status, answer.body, answer.content_type, answer.headers)
        document = ReadyDocument(answer.body, answer.etag, answer.content_type, headers=answer.headers)
        if document.must_be_compressed(request):
            await in_slices(document.compressing(), slices)
        return document

    return handle


class RequestAnswerer:
    """The hub's side: answers by its own routes."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def answer_request(self, forwarded_request: ForwardedRequest) -> ForwardedAnswer:
        try:
            response = await self._answer(forwarded_request)
        except Refusal as refusal:
            response = problem_response(refusal)
        if isinstance(response, ReadyDocument):
            return ForwardedAnswer(200, response.body, response.content_type, response.headers, response.etag)
        return ForwardedAnswer(response.status, response.body, response.content_type, tuple(response.headers))

    async def _answer(self, asked: ForwardedRequest) -> Response | ReadyDocument:
        request = _request(asked)
        route, params = self._router.match(request.method, request.path, request.segments)
        found = route.handler(request, **params)
        answer = await found if isinstance(found, Awaitable) else found
        if isinstance(answer, StreamedResponse):
            pieces, size = [], 0
            async for piece in answer.pieces:
                size += len(piece)
                if size > MAX_ANSWER_BYTES:
                    raise Unavailable(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes; ask the hub itself")
                pieces.append(piece)
            head = answer.head
            return Response(head.status, b"".join(pieces), head.content_type, head.headers)
        assert isinstance(answer, Response | ReadyDocument), (
            f"{asked.target}: a {type(answer).__name__}, expected a response"
        )
        return answer


def _request(asked: ForwardedRequest) -> Request:
    line = f"{asked.method} {asked.target} HTTP/1.1\r\nHost: hub\r\n".encode()
    fields = b"".join(b"%b: %b\r\n" % field for field in asked.fields.items())
    return Request(parse_head(line + fields + b"\r\n"), asked.body)
