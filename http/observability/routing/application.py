"""The application that all connections share: routes, limits, hooks, and the way from a request to its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from observability.access.addresses import TrustedProxies, limited_as
from observability.access.authorization import AccessPolicy
from observability.access.limits import AddressQuota, Limits
from observability.access.rates import RequestRate
from observability.clocks.clock import Clock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.http11.cors import CorsPolicy
from observability.http11.heads import HeadMemo, RequestHead
from observability.http11.messages import Request, Response, ResponseEncoder, problem_response
from observability.http11.refusals import Refusal, TooManyRequests
from observability.routing.refusal_log import RefusalLog
from observability.routing.router import METHODS, Answer, Router

logger = logging.getLogger(__name__)

UNMATCHED: Final = "unmatched"
OTHER_METHOD: Final = "other"
_SERVER_METHODS: Final = ", ".join(sorted(METHODS - {"TRACE"}))

UpgradeCallback = Callable[[Request, asyncio.Transport, bytes, asyncio.Protocol], Response | None]
RequestHook = Callable[[str, str, int, float], None]


def _ignore_request(method: str, route: str, status: int, seconds: float) -> None:
    """Counts nothing."""


@dataclass(slots=True)
class Application:
    """The parts of a worker by which it answers requests.

    `upgrade` is called for each GET with `Upgrade: websocket` whose path is one of `Router.add_websocket`, with the
    transport and the bytes received after the request. It gives the transport to another protocol and returns None, or
    it returns or raises a refusal.
    `on_request` is called for each answer with method, route pattern, status and seconds; method and pattern are
    labels from bounded sets.
    """

    router: Router
    clock: Clock = field(default_factory=HostClock)
    cors: CorsPolicy = field(default_factory=CorsPolicy)
    limits: Limits = field(default_factory=Limits)
    access: AccessPolicy = field(default_factory=AccessPolicy)
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    request_rate: RequestRate | None = None
    is_tls: bool = False
    upgrade: UpgradeCallback | None = None
    on_request: RequestHook = _ignore_request
    access_log: bool = False
    memo: HeadMemo = field(default_factory=HeadMemo)
    handler_errors: int = field(default=0, init=False)
    encoder: ResponseEncoder = field(init=False)
    refusal_log: RefusalLog = field(init=False)
    _guarded: frozenset[str] = field(init=False)
    _websockets: AddressQuota | None = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = ResponseEncoder(self.clock, self.cors, is_tls=self.is_tls)
        self.refusal_log = RefusalLog(self.clock)
        self._guarded = self.access.guarded
        per_address = self.limits.max_connections_per_address
        self._websockets = None if per_address is None else AddressQuota(per_address)

    def dispatch(self, request: Request) -> tuple[str, Answer | Awaitable[Answer]]:
        """Returns the pattern of the route, and the answer or an awaitable of it. Never raises."""
        # hot: once per request (benchmarks/bench_http.py)
        head = request.head
        pattern = UNMATCHED
        try:
            if self.request_rate is not None:
                self._check_rate(self.request_rate, request)
            if head.method == "OPTIONS":
                return self._options(request)
            route, params = self.router.match(head.method, head.path, head.segments)
            pattern = route.pattern
            if route.role in self._guarded:
                self.access.check(request, route.role)
            return pattern, route.handler(request, **params)
        except Refusal as refusal:
            return pattern, self.refused(request, refusal)
        except Exception as error:
            return pattern, self.failed(request, pattern, error)

    def max_body_bytes(self, head: RequestHead) -> int:
        """Returns how much content a request with `head` may have. Without a route, `dispatch` refuses it later."""
        try:
            route, _ = self.router.match(head.method, head.path, head.segments)
        except Refusal:
            return self.limits.max_body_bytes
        return self.limits.max_body_bytes if route.max_body_bytes is None else route.max_body_bytes

    def check_head(self, request: Request) -> None:
        """Raises the Refusal that `request` would get whatever its content."""
        head = request.head
        if head.method != "OPTIONS":
            route, _ = self.router.match(head.method, head.path, head.segments)
            self.access.check(request, route.role)

    def begin_upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        """Calls `upgrade` if the client may have one; raises Refusal otherwise."""
        role = self.router.websocket_role(request.path)
        assert self.upgrade is not None and role is not None
        if self.request_rate is not None:
            self._check_rate(self.request_rate, request)
        self.access.check(request, role)
        websockets = self._websockets
        if websockets is None:
            return self.upgrade(request, transport, received, protocol)
        address = limited_as(request.client_address)
        if not websockets.has_room(address):
            raise TooManyRequests(
                f"more than {websockets.per_address} WebSocket clients of one address", self.limits.retry_after_seconds
            )
        answer = self.upgrade(request, transport, received, protocol)
        if answer is None:
            websockets.take(address, transport)
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
            if not isinstance(answer, Response):
                status, data = answer.encode(request, self.encoder, keep_alive=keep_alive)
                return status, data, keep_alive
            keep_alive = keep_alive and not answer.closes
            return answer.status, self.encoder.encode(request, answer, keep_alive=keep_alive), keep_alive
        except Exception as error:
            failure = self.failed(request, pattern, error)
            return failure.status, self.encoder.encode(request, failure, keep_alive=keep_alive), keep_alive

    def refused(self, request: Request, refusal: Refusal) -> Response:
        """Logs a refusal and returns its answer."""
        self.refusal_log.write(request.client_address, refusal)
        return problem_response(refusal)

    def failed(self, request: Request, pattern: str, error: Exception) -> Response:
        """Logs what a handler raised and returns an answer that does not repeat it."""
        self.handler_errors += 1
        logger.error("the handler of %s %s failed", method_label(request.method), pattern, exc_info=error)
        return problem_response(Refusal(500, "the server failed to answer; the fault is in its log"))

    def _check_rate(self, rate: RequestRate, request: Request) -> None:
        wait_ns = rate.wait_ns(limited_as(request.client_address), self.clock.mono_ns())
        if wait_ns:
            detail = f"more than {rate.per_second} requests a second of one address"
            raise TooManyRequests(detail, -(-wait_ns // NS_PER_S))

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


def method_label(method: str) -> str:
    """Returns `method`, or "other" if the server does not know it."""
    return method if method in METHODS else OTHER_METHOD
