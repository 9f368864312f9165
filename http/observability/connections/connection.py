"""One HTTP/1.1 connection: feeds the parser, writes the answers in order, and keeps the peer within its limits.

Its states, and what leads from one to the next, are the table in `states.py`. It has no timers: the listener calls
`check_deadline` once a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final, cast

from observability.access.addresses import limited_as
from observability.access.limits import FREE_BYTES
from observability.access.peer_user import peer_user
from observability.clocks.slices import Slice
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.connections.registry import Registry
from observability.connections.states import TRANSITIONS, ConnectionEvent, ConnectionState
from observability.connections.turn import Turn
from observability.http11.codings import gunzip, is_gzip
from observability.http11.documents import ReadyDocument
from observability.http11.heads import HTTP_1_1
from observability.http11.messages import CONTINUE, Request, Response, problem_response
from observability.http11.parser import MAX_DROPPED_BYTES, RequestParser
from observability.http11.refusals import Refusal, Timeout, Unavailable
from observability.routing.application import OTHER_METHOD, UNMATCHED, Admission, Application, method_label
from observability.routing.ready_answers import ALIKE_NS, ReadyAnswer
from observability.routing.router import Answer, HandOver, StreamedResponse, TakeTransport

logger = logging.getLogger(__name__)

# A peer that pipelines gets at most this many answers in a row, and fewer if they take long (`turn.py`); then the other
# connections have their turn.
REQUESTS_PER_TURN: Final = 64
# The answers of one turn are joined into one write, up to about this size.
FLUSH_BYTES: Final = 64 * 1024
# Bytes that arrive after the last answer are read and dropped, up to this many.
LINGER_BYTES: Final = MAX_DROPPED_BYTES
# A peer that reads at least this much before each deadline is slow, not stalled.
MIN_DRAINED_BYTES: Final = 16 * 1024

_NEVER: Final = 1 << 63
_CHUNKED: Final = (b"Transfer-Encoding", b"chunked")
# Hot paths use these: a member is found by way of its class, which takes longer than to compare it.
_HEAD: Final = ConnectionState.HEAD
_IDLE: Final = ConnectionState.IDLE
_LINGER: Final = ConnectionState.LINGER
_DONE: Final = ConnectionState.DONE
_HEAD_DUE: Final = ConnectionEvent.HEAD_DUE
_BODY_DUE: Final = ConnectionEvent.BODY_DUE
_ANSWER_DUE: Final = ConnectionEvent.ANSWER_DUE
_ANSWERED: Final = ConnectionEvent.ANSWERED
_UPGRADED: Final = ConnectionEvent.UPGRADED
_LOST: Final = ConnectionEvent.LOST


def _log_access(request: Request, status: int, spent_ns: int) -> None:
    path = ascii(request.path)[1:-1]
    milliseconds = spent_ns / NS_PER_MS
    logger.info(
        "%s %s %s %d %.3f ms", request.client_address, request.method, path, status, milliseconds,
        extra={"ids": request.log_ids(), "is_limited": False},
    )  # fmt: skip


def _get_none(data: bytes) -> ReadyAnswer | None:
    """Returns no ready answer."""
    return None


class HttpConnection(asyncio.Protocol):
    """Serves one peer until either side ends the connection, or an upgrade hands the transport to another protocol."""

    __slots__ = (
        "_admission",
        "_allowed_ns",
        "_application",
        "_content_bytes",
        "_continued",
        "_counted_bytes",
        "_deadline_ns",
        "_deferred",
        "_draining",
        "_get_ready",
        "_has_asked_user",
        "_has_just_served",
        "_has_proxy_header",
        "_has_served",
        "_idle_ns",
        "_is_proxied",
        "_linger_bytes",
        "_loop",
        "_mono_ns",
        "_out",
        "_out_bytes",
        "_parser",
        "_peer",
        "_peer_done",
        "_pending",
        "_reading",
        "_registry",
        "_resumed",
        "_source",
        "_state",
        "_transport",
        "_turn",
        "_turn_over",
        "_unsent_bytes",
        "_user",
        "_write_paused",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        application: Application,
        registry: Registry,
        turn: Turn,
        loop: asyncio.AbstractEventLoop,
        allowed_ns: Mapping[ConnectionState, int | None],
        source: str | None = None,
    ) -> None:
        """`allowed_ns` is how long each state may last. `source` is the address that a PROXY header named, empty if it
        named none; None without a header."""
        # Per connection.
        self._application = application
        self._registry = registry
        self._turn = turn
        self._loop = loop
        self._mono_ns = application.clock.mono_ns
        self._get_ready: Callable[[bytes], ReadyAnswer | None] = application.ready_answers.get
        self._parser = RequestParser(application.memo)
        self._peer = ""
        self._source = source or ""
        self._has_proxy_header = source is not None
        self._has_asked_user = False
        self._user: int | None = None
        self._is_proxied = False
        self._state = _HEAD
        self._allowed_ns = allowed_ns
        self._idle_ns = allowed_ns[_IDLE] or 0
        self._deadline_ns = _NEVER
        self._has_served = False
        self._has_just_served = False
        self._draining = False
        self._peer_done = False
        self._reading = True
        self._write_paused = False
        self._unsent_bytes = 0
        self._linger_bytes = 0
        # Per turn.
        self._turn_over = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._counted_bytes = 0
        # Per request.
        self._admission: Admission | None = None
        self._content_bytes = 0
        self._deferred: Request | None = None
        self._continued = False
        self._pending: asyncio.Task[None] | None = None
        self._resumed: asyncio.Future[None] | None = None

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        self._peer = peername[0] if isinstance(peername, tuple) else ""
        self._source = self._source or self._peer
        self._is_proxied = self._has_proxy_header or self._application.proxies.trusts(self._source)
        if self._application.request_rate is not None:
            # Behind a proxy, the head decides which client a request comes from.
            self._get_ready = _get_none if self._is_proxied else self._get_ready_within_rate
        self._on(_HEAD_DUE)
        refusal = self._registry.admit(self, self._peer)
        if refusal is not None:
            self._refuse(refusal)

    def data_received(self, data: bytes) -> None:
        # hot: once per request (observability bench --only rest)
        turn = self._turn
        if self._state is _IDLE and not turn.is_over and (ready := self._get_ready(data)) is not None:
            # The same request, to the byte, as one that was answered since the last frame. The counters, and the
            # deadline of this connection, learn of it later: on the next frame, and on the next sweep.
            if turn.untimed and ready.is_small and ready.sent:
                turn.untimed -= 1
                self._transport.write(ready.data)
                ready.sent += 1
                self._has_just_served = True
            else:
                self._send_timed(ready)
        elif self._state is _LINGER:
            self._linger_bytes += len(data)
            if self._linger_bytes > LINGER_BYTES:
                self.abort()
        elif self._state is not _DONE:
            if len(data) > FREE_BYTES or self._state is not _IDLE:
                self._take(data)
            else:
                self._parser.feed(data)
            if self._is_blocked():
                # At most one segment is accepted beyond what can be answered now.
                self._pause_reading()
            else:
                self._advance()
            if self._counted_bytes or self._state not in (_IDLE, _DONE):
                self._count_bytes()

    def eof_received(self) -> bool:
        """Keeps the sending side open while answers are due."""
        self._peer_done = True
        self._close(ConnectionEvent.PEER_ENDED)
        # TLS has no half-closed state.
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._unsent_bytes = self._transport.get_write_buffer_size()
        if self._on(ConnectionEvent.PAUSED):
            self._pause_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        if self._on(ConnectionEvent.RESUMED) and not self._is_blocked():
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on(_LOST)
        self._get_ready = _get_none
        self._deferred = None
        self._parser.discard()
        self._out.clear()
        self._release_bytes()
        if self._pending is not None:
            self._pending.cancel()
        self._registry.release(self, self._peer)

    # Called by the listener.

    def check_deadline(self, now_ns: int) -> None:
        """Ends the connection if its state has lasted too long."""
        if self._has_just_served:
            self._has_just_served = False
            if self._state is _IDLE:
                self._deadline_ns = now_ns + self._idle_ns
        if now_ns < self._deadline_ns:
            return
        limits = self._application.limits
        match self._state:
            case ConnectionState.IDLE:
                self._close()
            case ConnectionState.HEAD if self._parser.is_idle:
                self._close()
            case ConnectionState.HEAD:
                self._refuse(Timeout(f"head: expected whole within {limits.head_seconds} s"))
            case ConnectionState.BODY if self._parser.is_dropping:
                # Its request has been answered; a second answer would be taken for that of the next one.
                self._close()
            case ConnectionState.BODY:
                self._refuse(Timeout(f"content: expected whole within {limits.body_seconds} s"))
            case ConnectionState.STALLED | ConnectionState.LINGER:
                self._check_stall()

    def drain(self) -> None:
        """Ends the connection: now if it is idle, otherwise after the answer that is due."""
        self._draining = True
        if self._state in (_IDLE, _HEAD) and self._parser.is_idle:
            self._close()

    def abort(self) -> None:
        """Ends the connection now and drops whatever is unsent."""
        self._on(_LOST)
        self._transport.abort()

    # From a request to its answer.

    def _advance(self) -> None:
        """Answers the requests received, until it has to wait for a handler or for the peer."""
        # hot: once per request (observability bench --only rest)
        parser, turn, mono_ns = self._parser, self._turn, self._mono_ns
        served = False
        self._application.count_ready()
        started_ns = mono_ns()
        try:
            for _ in range(REQUESTS_PER_TURN):
                request = self._deferred or parser.next_request(self._content_limit)
                if request is None:
                    self._maybe_continue()
                    break
                if turn.is_over:
                    self._deferred = request
                    self._wait_for_turn()
                    break
                self._deferred = None
                served = True
                self._serve(request, started_ns)
                ended_ns = mono_ns()
                turn.spend(ended_ns - started_ns)
                started_ns = ended_ns
                if self._is_blocked():
                    break
            else:
                self._wait_for_turn()
        except Refusal as refusal:
            self._refuse(refusal)
        self._flush()
        self._settle(served)

    def _content_limit(self, request: Request) -> int | None:
        """Returns how much content of `request` is kept, None for none of it: it is refused, or has no use for any."""
        application = self._application
        self._introduce(request)
        if request.method == "GET" and request.head.is_upgrade and application.router.is_websocket(request.path):
            admission = Admission(request.path, None, {}, Refusal(400, "a WebSocket handshake has no content"))
        else:
            admission = application.admit(request)
        content = admission.content
        size = request.head.content_length
        if (
            content is not None
            and FREE_BYTES < size <= content.max_bytes
            # A part of it may have come with the head.
            and not self._has_room(size - self._parser.held_bytes, admission)
        ):
            admission = Admission(admission.pattern, None, {}, self._no_room())
            content = None
        self._admission = admission
        return None if content is None else content.max_bytes

    def _introduce(self, request: Request) -> None:
        """Tells a request where it comes from."""
        request.peer = request.client_address = self._source
        request.peer_user = self._peer_user
        if self._is_proxied:
            request.is_forwarded = self._has_proxy_header
            proxies = self._application.proxies
            if proxies.trusts(self._source):
                forwarded_for = request.header(b"x-forwarded-for")
                request.client_address = proxies.client_address(self._source, forwarded_for)

    def _peer_user(self) -> int | None:
        if not self._has_asked_user:
            peer, own = (self._transport.get_extra_info(name) for name in ("peername", "sockname"))
            if isinstance(peer, tuple) and isinstance(own, tuple):
                self._user = peer_user(peer[:2], own[:2])
            self._has_asked_user = True
        return self._user

    def _serve(self, request: Request, started_ns: int) -> None:
        # hot: once per request (observability bench --only rest)
        application = self._application
        admission = self._admission
        self._continued = False
        self._has_served = True
        if admission is None:
            self._introduce(request)
            if request.head.is_upgrade and self._upgrade(request, started_ns):
                return
        else:
            self._admission = None
            self._content_bytes = len(request.body)
            if request.body and b"content-encoding" in request.head.headers and is_gzip(request.head):
                decoding = self._decode(request, admission)
                self._pending = self._loop.create_task(
                    self._await_answer(request, admission.pattern, started_ns, decoding)
                )
                return
        pattern, answer = application.dispatch(request, admission)
        if isinstance(answer, (Response, ReadyDocument)):
            self._write_answer(request, pattern, started_ns, answer, is_immediate=True)
            self._content_bytes = 0
        elif isinstance(answer, HandOver):
            status, head, _ = application.encode(request, pattern, answer.head, keep_alive=False)
            take = partial(application.hand_over, partial(answer.take, head))
            self._hand_over(request, pattern, status, started_ns, take)
        else:
            assert not isinstance(answer, StreamedResponse), "a handler of pieces is a coroutine"
            self._pending = self._loop.create_task(self._await_answer(request, pattern, started_ns, answer))

    async def _decode(self, request: Request, admission: Admission) -> Answer:
        """Decompresses the content of a request, and returns its answer."""
        application = self._application
        assert admission.content is not None
        parts = []
        async with Slice(application.slices) as work:
            for part in gunzip(request.body, admission.content.max_bytes):
                parts.append(part)
                if not self._has_room(len(part), admission):
                    raise self._no_room()
                self._content_bytes += len(part)
                self._count_bytes()
                await work.offer()
        request.body = b"".join(parts)
        self._content_bytes = len(request.body)
        _, answer = application.dispatch(request, admission)
        assert not isinstance(answer, HandOver), "a request with content gets no event stream"
        return await answer if isinstance(answer, Awaitable) else answer

    async def _await_answer(
        self, request: Request, pattern: str, started_ns: int, awaitable: Awaitable[Answer]
    ) -> None:
        answer = await self._application.settle(request, pattern, awaitable)
        if isinstance(answer, StreamedResponse):
            await self._write_pieces(request, pattern, started_ns, answer)
        self._pending = None
        if self._state is _DONE:
            return
        if not isinstance(answer, StreamedResponse):
            self._write_answer(request, pattern, started_ns, answer)
        self._content_bytes = 0
        if self._counted_bytes:
            self._count_bytes()
        if self._is_blocked():
            self._flush()
            self._settle(served=True)
        else:
            self._advance()

    def _write_answer(
        self, request: Request, pattern: str, started_ns: int, answer: Answer, *, is_immediate: bool = False
    ) -> None:
        # hot: once per request (observability bench --only rest)
        application = self._application
        keep_alive = request.head.keep_alive and not (self._draining or self._parser.has_ended)
        status, data, keep_alive = application.encode(request, pattern, answer, keep_alive)
        if is_immediate and keep_alive and request.head.memoised is not None:
            application.keep_ready(request, pattern, answer, status, data)
        self._out.append(data)
        self._out_bytes += len(data)
        spent_ns = self._mono_ns() - started_ns
        application.on_answers(method_label(request.head.method), pattern, status, spent_ns, 1)
        if application.access_log:
            _log_access(request, status, spent_ns)
        if not keep_alive:
            self._finish()
        elif self._out_bytes >= FLUSH_BYTES:
            self._flush()

    async def _write_pieces(self, request: Request, pattern: str, started_ns: int, answer: StreamedResponse) -> None:
        """Writes an answer while it is made, no faster than the peer reads it."""
        application = self._application
        # RFC 9112 section 7: an HTTP/1.0 client knows no chunks; there, the end of the connection ends the content.
        is_chunked = request.version == HTTP_1_1
        keep_alive = is_chunked and request.keep_alive and not (self._draining or self._parser.has_ended)
        head = replace(answer.head, headers=(*answer.head.headers, _CHUNKED)) if is_chunked else answer.head
        status, data, keep_alive = application.encode(request, pattern, head, keep_alive)
        self._out.append(data)
        self._flush()
        try:
            async with aclosing(answer.pieces) as pieces:
                async for piece in pieces:
                    if self._write_paused:
                        self._resumed = self._loop.create_future()
                        await self._resumed
                    if piece:
                        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        except Exception as error:
            # The head has been sent: only a cut tells the peer that this is not all.
            if isinstance(error, Refusal):
                application.refused(request, error)
            else:
                application.failed(request, pattern, error)
            self.abort()
            return
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")
        spent_ns = self._mono_ns() - started_ns
        application.on_answers(method_label(request.head.method), pattern, status, spent_ns, 1)
        if application.access_log:
            _log_access(request, status, spent_ns)
        if not keep_alive:
            self._finish()

    def _send_timed(self, ready: ReadyAnswer) -> None:
        """Sends a ready answer, and notes how long that took."""
        started_ns = self._mono_ns()
        self._transport.write(ready.data)
        spent_ns = self._mono_ns() - started_ns
        self._has_just_served = True
        if spent_ns >= ALIKE_NS:
            self._turn.spend(spent_ns)
            self._application.on_answers(ready.method, ready.pattern, ready.status, spent_ns, 1)
            return
        if ready.is_small and not self._turn.untimed:
            self._turn.spend_on_small(spent_ns)
        else:
            self._turn.spend(spent_ns)
        self._application.ready_answers.add_timed(ready, spent_ns)

    def _get_ready_within_rate(self, data: bytes) -> ReadyAnswer | None:
        """Returns the ready answer, if there is one and the limit of requests allows it."""
        ready = self._application.ready_answers.get(data)
        rate = self._application.request_rate
        if ready is None or rate is None or rate.wait_ns(limited_as(self._source), self._mono_ns()):
            return None
        return ready

    def _upgrade(self, request: Request, started_ns: int) -> bool:
        """Offers an upgrade to the application; returns False for a request that is to be answered like any other."""
        application = self._application
        if (
            application.upgrade is None
            or request.method != "GET"
            or not application.router.is_websocket(request.path)
            or b"websocket" not in request.head.upgrades
        ):
            return False
        self._hand_over(request, request.path, 101, started_ns, application.begin_upgrade)
        return True

    def _hand_over(self, request: Request, pattern: str, status: int, started_ns: int, take: TakeTransport) -> None:
        """Offers the transport to `take`, and answers with its refusal, if any."""
        application = self._application
        self._flush()
        self._resume_reading()
        answer: Response | None
        try:
            if self._draining:
                raise Unavailable("shutting down", application.limits.retry_after_seconds)
            answer = take(request, self._transport, self._parser.leftover(), self)
        except Refusal as refusal:
            answer = application.refused(request, refusal)
        except Exception as error:
            answer = application.failed(request, pattern, error)
            if self._transport.get_protocol() is not self:
                # Another protocol has the transport, and this one will not be told of its end.
                self.abort()
                self._parser.discard()
                self._release_bytes()
                self._registry.release(self, self._peer)
        if answer is not None:
            self._write_answer(request, pattern, started_ns, answer)
            return
        self._on(_UPGRADED)
        self._get_ready = _get_none
        # What came behind the request is the other protocol's.
        self._parser.discard()
        self._release_bytes()
        self._registry.release(self, self._peer)
        application.on_answers("GET", pattern, status, self._mono_ns() - started_ns, 1)

    def _maybe_continue(self) -> None:
        """Sends 100 to a peer that waits with its content (RFC 9110 section 10.1.1)."""
        parser = self._parser
        head = parser.awaited_head
        if head is not None and head.expects_continue and not self._continued and not parser.has_body_bytes:
            self._continued = True
            self._out.append(CONTINUE)

    def _refuse(self, refusal: Refusal) -> None:
        """Answers bytes that are not a request, or a connection beyond the limit, and ends the connection."""
        application = self._application
        application.refusal_log.write(self._source, refusal)
        self._out.append(application.encoder.encode(None, problem_response(refusal), keep_alive=False))
        application.on_answers(OTHER_METHOD, UNMATCHED, refusal.status, 0, 1)
        self._finish()

    # The memory of all connections together.

    def _take(self, data: bytes) -> None:
        """Gives the parser what was received, unless there is no memory for it."""
        # hot: once per segment
        parser = self._parser
        if (
            parser.held_bytes + len(data) > FREE_BYTES
            and not parser.is_dropping
            and not self._has_room(len(data), self._admission)
        ):
            parser.end_with(self._no_room())
        else:
            parser.feed(data)

    def _has_room(self, size: int, admission: Admission | None) -> bool:
        """Returns whether this connection may hold `size` more bytes for the request that was admitted."""
        held = self._parser.held_bytes + self._content_bytes + size - FREE_BYTES
        if held <= self._counted_bytes:
            return True
        for_writing = admission is not None and admission.route is not None and admission.route.role == "write"
        return self._application.content_memory.has_room(held - self._counted_bytes, for_writing=for_writing)

    def _no_room(self) -> Refusal:
        return Unavailable("the server holds as much content as it may", self._application.limits.retry_after_seconds)

    def _count_bytes(self) -> None:
        """Counts what this connection holds of content, beyond what each may."""
        counted = self._parser.held_bytes + self._content_bytes - FREE_BYTES
        if counted < 0:
            counted = 0
        if counted != self._counted_bytes:
            self._application.content_memory.held_bytes += counted - self._counted_bytes
            self._counted_bytes = counted

    def _forget_requests(self) -> None:
        """Releases what has come of requests that will not be answered any more."""
        self._parser.discard()
        if self._counted_bytes:
            self._count_bytes()

    def _release_bytes(self) -> None:
        self._application.content_memory.held_bytes -= self._counted_bytes
        self._counted_bytes = 0

    # The state of the connection.

    def _is_blocked(self) -> bool:
        return (
            self._pending is not None
            or self._write_paused
            or self._turn_over
            or self._state is _LINGER
            or self._state is _DONE
        )

    def _wait_for_turn(self) -> None:
        self._turn_over = True
        self._turn.wait(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_over = False
        if not self._is_blocked():
            self._advance()

    def _settle(self, served: bool) -> None:
        """Moves to the state that says what is waited for now; `served` says that a request has been answered."""
        if self._state in (_LINGER, _DONE) or self._write_paused:
            return
        if self._pending is not None or self._turn_over:
            self._on(_ANSWER_DUE)
            return
        parser = self._parser
        if self._peer_done or (self._draining and parser.is_idle):
            self._close()
            return
        if parser.has_ended:
            self._finish()
            return
        if parser.awaited_head is not None or parser.is_dropping:
            event = _BODY_DUE
        elif parser.is_idle and self._has_served:
            event = _ANSWERED
        else:
            event = _HEAD_DUE
        # Deadlines are absolute: bytes that complete nothing do not move them.
        if served or TRANSITIONS[self._state][event] is not self._state:
            self._on(event)
        self._resume_reading()

    def _on(self, event: ConnectionEvent) -> bool:
        """Enters the state that `event` leads to, with a new deadline; returns False if it changes nothing."""
        state = TRANSITIONS[self._state].get(event)
        if state is None:
            return False
        self._state = state
        allowed = self._allowed_ns[state]
        self._deadline_ns = _NEVER if allowed is None else self._mono_ns() + allowed
        return True

    def _flush(self) -> None:
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._out_bytes = 0
            self._transport.write(data)

    def _finish(self) -> None:
        """Ends the connection after the last answer, once the peer has had time to read it."""
        if not self._on(ConnectionEvent.ENDED):
            return
        self._forget_requests()
        self._flush()
        self._unsent_bytes = self._transport.get_write_buffer_size()
        if self._peer_done or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self._resume_reading()

    def _close(self, event: ConnectionEvent = ConnectionEvent.ENDED) -> None:
        """Ends the connection, unless `event` changes nothing, as soon as everything written has been sent."""
        if not self._on(event):
            return
        self._forget_requests()
        self._flush()
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._transport.close()

    def _check_stall(self) -> None:
        unsent_bytes = self._transport.get_write_buffer_size()
        drained_bytes = self._unsent_bytes - unsent_bytes
        lingered = self._state is _LINGER and unsent_bytes == 0
        if lingered or drained_bytes < MIN_DRAINED_BYTES:
            self.abort()
            return
        self._unsent_bytes = unsent_bytes
        self._deadline_ns = self._mono_ns() + self._application.limits.stall_seconds * NS_PER_S

    def _pause_reading(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading and not self._peer_done and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
