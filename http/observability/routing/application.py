"""The application that all connections share: routes, limits, hooks, and the way from a request to its answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from observability.access.addresses import TrustedProxies, limited_as
from observability.access.authorization import AccessPolicy
from observability.access.limits import AddressQuota, ContentMemory, Holder, Limits
from observability.access.rates import RequestRate
from observability.clocks.clock import Clock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.http11.codings import is_gzip
from observability.http11.cors import CorsPolicy
from observability.http11.heads import HeadMemo
from observability.http11.messages import Request, Response, ResponseEncoder, problem_response
from observability.http11.refusals import Misdirected, Refusal, TooManyRequests, UnsupportedMediaType
from observability.routing.parameters import check_no_query
from observability.routing.ready_answers import CountAnswers, ReadyAnswer, ReadyAnswers
from observability.routing.refusal_log import RefusalLog
from observability.routing.router import (
    METHODS,
    Answer,
    Content,
    HandOver,
    Route,
    Router,
    StreamedResponse,
    TakeTransport,
)

logger = logging.getLogger(__name__)

UNMATCHED: Final = "unmatched"
OTHER_METHOD: Final = "other"
_SERVER_METHODS: Final = ", ".join(sorted(METHODS - {"TRACE"}))


def _ignore_answers(method: str, route: str, status: int, spent_ns: int, number: int) -> None:
    """Counts nothing."""


def _do_nothing() -> None: ...


class Admission(NamedTuple):
    """What the head of a request decides."""

    pattern: str
    route: Route | None
    """None if the request is refused, or an OPTIONS, which needs no route."""
    params: dict[str, str]
    refusal: Refusal | None = None

    @property
    def content(self) -> Content | None:
        """The content that the handler wants; None if there is no use for any."""
        return None if self.route is None else self.route.content


@dataclass(slots=True)
class Application:
    """The parts of a worker by which it answers requests.

    `upgrade` is called for each GET with `Upgrade: websocket` whose path is one of `Router.add_websocket`.
    `keep_pace` is called for each connection that goes: whatever is due while many go must not wait for all of them.
    `on_answers` is called for each answer, or for several alike, with method, route pattern, status, the nanoseconds
    that they took together, and their number; method and pattern are labels from bounded sets.
    """

    router: Router
    clock: Clock = field(default_factory=HostClock)
    cors: CorsPolicy = field(default_factory=CorsPolicy)
    limits: Limits = field(default_factory=Limits)
    access: AccessPolicy = field(default_factory=AccessPolicy)
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    takes_proxy_protocol: bool = False
    """Whether connections of `proxies` begin with a PROXY header."""
    request_rate: RequestRate | None = None
    is_tls: bool = False
    upgrade: TakeTransport | None = None
    on_answers: CountAnswers = _ignore_answers
    keep_pace: Callable[[], None] = _do_nothing
    access_log: bool = False
    memo: HeadMemo = field(default_factory=HeadMemo)
    slices: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The lock of all work in slices."""
    handler_errors: int = field(default=0, init=False)
    ready_answers: ReadyAnswers = field(default_factory=ReadyAnswers, init=False)
    encoder: ResponseEncoder = field(init=False)
    refusal_log: RefusalLog = field(init=False)
    content_memory: ContentMemory = field(init=False)
    _guarded: frozenset[str] = field(init=False)
    _websockets: AddressQuota | None = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = ResponseEncoder(self.clock, self.cors, is_tls=self.is_tls)
        self.refusal_log = RefusalLog(self.clock)
        self.content_memory = ContentMemory(self.limits.max_content_memory)
        self._guarded = self.access.guarded
        per_address = self.limits.max_connections_per_address
        self._websockets = None if per_address is None else AddressQuota(per_address)

    def admit(self, request: Request) -> Admission:
        """Decides by the head about a request whose content has not come; `dispatch` takes it from there."""
        head = request.head
        pattern = UNMATCHED
        try:
            self._check_client(request)
            if head.method == "OPTIONS":
                return Admission(pattern, None, {})
            route, params = self.router.match(head.method, head.path, head.segments)
            pattern = route.pattern
            self._check_route(request, route)
            return Admission(pattern, route, params)
        except Refusal as refusal:
            return Admission(pattern, None, {}, refusal)

    def dispatch(
        self, request: Request, admission: Admission | None = None
    ) -> tuple[str, Answer | HandOver | Awaitable[Answer]]:
        """Returns the pattern of the route, and the answer or an awaitable of it. Never raises."""
        # hot: once per request (observability bench --only rest)
        head = request.head
        pattern = UNMATCHED
        try:
            if admission is not None:
                pattern, admitted, params, refused = admission
                if refused is not None:
                    raise refused
                if admitted is not None:
                    return pattern, admitted.handler(request, **params)
            elif self.request_rate is not None or head.is_https:
                self._check_client(request)
            if head.method == "OPTIONS":
                return self._options(request)
            route, params = self.router.match(head.method, head.path, head.segments)
            pattern = route.pattern
            if route.role in self._guarded or route.content is not None or head.query:
                self._check_route(request, route)
            return pattern, route.handler(request, **params)
        except Refusal as refusal:
            return pattern, self.refused(request, refusal)
        except Exception as error:
            return pattern, self.failed(request, pattern, error)

    def begin_upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        """Calls `upgrade` if the client may have one; raises Refusal otherwise."""
        role = self.router.websocket_role(request.path)
        assert self.upgrade is not None and role is not None
        self._check_client(request)
        self.access.check(request, role)
        return self.hand_over(self.upgrade, request, transport, received, protocol)

    def hand_over(
        self,
        take: TakeTransport,
        request: Request,
        transport: asyncio.Transport,
        received: bytes,
        protocol: asyncio.Protocol,
    ) -> Response | None:
        """Calls `take`, unless the address has too many clients that took transports; raises Refusal then."""
        websockets = self._websockets
        if websockets is None:
            return take(request, transport, received, protocol)
        address = limited_as(request.client_address)
        if not websockets.has_room(address):
            raise TooManyRequests(
                f"more than {websockets.per_address} streaming clients of one address", self.limits.retry_after_seconds
            )
        answer = take(request, transport, received, protocol)
        if answer is None:
            upgraded = transport.get_protocol()
            websockets.take(address, upgraded if isinstance(upgraded, Holder) else transport)
        return answer

    async def settle(self, request: Request, pattern: str, awaitable: Awaitable[Answer]) -> Answer:
        """Awaits an answer; an exception becomes an answer too."""
        try:
            return await awaitable
        except Refusal as refusal:
            return self.refused(request, refusal)
        except Exception as error:
            return self.failed(request, pattern, error)

    def encode(self, request: Request, pattern: str, answer: Answer, keep_alive: bool) -> tuple[int, bytes, bool]:
        """Returns the status, the bytes, and whether the connection stays open. Never raises."""
        try:
            if isinstance(answer, StreamedResponse):
                return self.encode(request, pattern, answer.head, keep_alive)
            if not isinstance(answer, Response):
                status, data = answer.encode(request, self.encoder, keep_alive=keep_alive)
                return status, data, keep_alive
            keep_alive = keep_alive and not answer.closes
            return answer.status, self.encoder.encode(request, answer, keep_alive=keep_alive), keep_alive
        except Exception as error:
            failure = self.failed(request, pattern, error)
            return failure.status, self.encoder.encode(request, failure, keep_alive=keep_alive), keep_alive

    def keep_ready(self, request: Request, pattern: str, answer: Answer, status: int, data: bytes) -> None:
        """Keeps an answer for the same request if nothing but its head decides about it."""
        if self.access_log or (isinstance(answer, Response) and not answer.is_lasting):
            return
        route = self.router.fixed_route(request.head.method, pattern)
        if route is not None and self.access.is_decided_by_head(request, route.role):
            self.ready_answers.add(request, ReadyAnswer(data, method_label(request.head.method), pattern, status))

    def count_ready(self) -> None:
        """Counts the ready answers that have been sent: on each frame, and before any other request is answered."""
        self.ready_answers.count_sent(self.on_answers)

    def clear_ready(self) -> None:
        """Counts the ready answers that have been sent, and drops them all."""
        self.count_ready()
        self.ready_answers.clear()

    def refused(self, request: Request, refusal: Refusal) -> Response:
        """Logs a refusal and returns its answer."""
        asked = f"{request.method} {request.path}"
        self.refusal_log.write(request.client_address, refusal, asked, request.log_ids())
        return problem_response(refusal)

    def failed(self, request: Request, pattern: str, error: Exception) -> Response:
        """Logs what a handler raised and returns an answer that does not repeat it."""
        self.handler_errors += 1
        ids = request.log_ids()
        request_id = ids.setdefault("request", secrets.token_hex(8))
        logger.error(
            "the handler of %s %s failed", method_label(request.method), pattern, exc_info=error, extra={"ids": ids}
        )
        detail = "the server failed to answer; the fault is in its log"
        return problem_response(Refusal(500, detail, request_id=request_id))

    def _check_client(self, request: Request) -> None:
        """Raises Refusal if the client asks too often, or for something that this connection does not lead to."""
        rate = self.request_rate
        if rate is not None:
            wait_ns = rate.wait_ns(limited_as(request.client_address), self.clock.mono_ns())
            if wait_ns:
                detail = f"more than {rate.per_second} requests a second of one address"
                raise TooManyRequests(detail, -(-wait_ns // NS_PER_S))
        # RFC 9110 section 7.4: unless a trusted gateway sends it, a request for an https URI must be rejected on a
        # connection without TLS.
        if request.head.is_https and not self.is_tls and not self.proxies.trusts(request.peer):
            raise Misdirected("the target is an https URI, and this connection has no TLS")

    def _check_route(self, request: Request, route: Route) -> None:
        """Raises Refusal if the client may not use `route`, or sends parameters or content that it does not take."""
        if route.role in self._guarded:
            self.access.check(request, route.role)
        if route.content is not None:
            _check_content(request, route.content)
        if route.refuses_query and request.query:
            check_no_query(request)

    def _options(self, request: Request) -> tuple[str, Response]:
        head = request.head
        pattern = UNMATCHED
        # RFC 9110 section 9.3.7: OPTIONS * asks about the server as a whole.
        allow = _SERVER_METHODS
        if head.path != "*":
            resource, _ = self.router.find(head.path, head.segments)
            pattern, allow = resource.pattern, resource.allow
        fields: tuple[tuple[bytes, bytes], ...] = ((b"Allow", allow.encode("ascii")),)
        if b"access-control-request-method" in head.headers:
            fields += self.cors.preflight_fields(head.headers.get(b"origin"), fields[0][1])
        return pattern, Response(204, headers=fields)


def _check_content(request: Request, content: Content) -> None:
    """Raises UnsupportedMediaType if the content that `request` announces is of another kind."""
    given = request.head.headers.get(b"content-type")
    if given is not None and given not in content.media_types and request.media_type() not in content.media_types:
        raise UnsupportedMediaType(f"expected {b' or '.join(content.media_types).decode()}")
    if b"content-encoding" in request.head.headers and is_gzip(request.head) is None:
        # RFC 9110 section 15.5.16: a 415 for the coding says which ones are taken.
        refusal = UnsupportedMediaType("content is taken as it is, or compressed by gzip")
        refusal.headers = ((b"Accept-Encoding", b"gzip"),)
        raise refusal


def method_label(method: str) -> str:
    """Returns `method`, or "other" if the server does not know it."""
    return method if method in METHODS else OTHER_METHOD
