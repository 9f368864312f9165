"""The connection of a host to the NATS servers of its desk, made again whenever it is lost.

nats-py would connect again by itself and then send what it had kept: frames and answers of a hub that may have been
replaced meanwhile. Here nothing is kept. What a connection was for begins anew with the next one (`add_opener`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S, parse_iso_ns
from observability.cluster.desk import Desk
from observability.cluster.server_check import check_server, is_clock_off, log_clock
from observability.errors import EventError, SourceError
from observability.sources.brokers.nats_connection import Message, NatsConnection, is_unanswered

logger = logging.getLogger(__name__)

# A server that leaves two pings without an answer is lost.
PING_SECONDS: Final = 1.0
OPEN_SECONDS: Final = 10.0
# Servers that elect a leader answer nothing, and what was asked meanwhile is never answered: it is asked again.
ASK_SECONDS: Final = 1.0
ASK_TIMES: Final = 5
# How often the servers' clock is measured while a connection lasts, and by how many answers.
CLOCK_SECONDS: Final = 60.0
CLOCK_ASKED: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.1
LAST_PAUSE_SECONDS: Final = 2.0

Handler = Callable[[Message], None]
Opener = Callable[[NatsConnection], Awaitable[None]]


class Link:
    """One connection at a time. Handlers are called as messages arrive, in order, and must not raise."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self.desk = desk
        self.connection: NatsConnection | None = None
        """None while there is none, or while what needs it has not begun yet."""
        self.trouble: str | None = "not connected yet"
        """Why there is no connection; None if there is one."""
        self.connections = 0
        """How many have been made so far."""
        self.clock_offset_ns = 0
        """What the servers' clock is ahead of the host's, as last measured."""
        self._clock = clock
        self._is_clock_off = False
        self._fastest_ns = NS_PER_S
        self._handlers: dict[str, Handler] = {}
        self._inboxes: dict[str, Handler] = {}
        self._openers: list[Opener] = []
        self._keeping: asyncio.Task[None] | None = None
        self._is_closing = False

    def add_handler(self, subject: str, handler: Handler) -> None:
        """Calls `handler` with each message of a subject, whose last token may be `*`."""
        self._handlers[subject.removesuffix("*")] = handler

    def add_inbox(self, connection: NatsConnection, name: str, handler: Handler) -> str:
        """Calls `handler` with each message that comes to an inbox of this connection; returns its subject."""
        subject = connection.inbox(name)
        self._inboxes[subject] = handler
        return subject

    def add_opener(self, opener: Opener) -> None:
        """Awaits `opener` with each new connection, in the order in which openers were added. It may raise OSError,
        EOFError and SourceError, after which the connection is made again."""
        self._openers.append(opener)

    async def open(self) -> None:
        """Makes a connection, and checks the servers. Raises OSError or SourceError."""
        connection = NatsConnection(self.desk.address, self._is_queued, PING_SECONDS)
        self._inboxes.clear()
        self._fastest_ns = NS_PER_S
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await connection.open()
                check_server(connection)
                for opener in self._openers:
                    await opener(connection)
        except BaseException as error:
            await connection.close()
            if isinstance(error, TimeoutError) and not str(error):
                raise SourceError(f"no answer within {OPEN_SECONDS:g} s") from None
            if isinstance(error, EOFError):
                raise SourceError(str(error)) from None
            raise
        self.connection, self.trouble = connection, None
        self.connections += 1
        # Openers have asked, and measured the clock by the answers.
        self._look_at_clock()

    def start(self) -> None:
        """Keeps the connection from now on, and makes it if there is none yet."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        self._is_closing = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self.connection is not None:
            await self.connection.close()
            self.connection = None

    def server_ns(self) -> int:
        """Returns the time by the servers' clock."""
        return self._clock.time_ns() + self.clock_offset_ns

    async def ask_engine(self, connection: NatsConnection, subject: str, question: object = None) -> dict[str, Any]:
        """Asks JetStream, again if there is no answer, and measures its clock by the answer. The question must be one
        that changes nothing the second time. Raises EOFError and SourceError."""
        for left in reversed(range(ASK_TIMES)):
            asked_ns = self._clock.time_ns()
            try:
                answer = await connection.request(subject, question, ASK_SECONDS)
                break
            except SourceError:
                if not left or connection.is_lost:
                    raise
        answered_ns = self._clock.time_ns()
        # The faster the answer, the less its time can be wrong by.
        if "ts" in answer and answered_ns - asked_ns < self._fastest_ns:
            self._fastest_ns, middle_ns = answered_ns - asked_ns, (asked_ns + answered_ns) // 2
            try:
                self.clock_offset_ns = parse_iso_ns(answer["ts"]) - middle_ns
            except EventError:
                raise SourceError(f"{subject}: expected a time, got {answer['ts']!r}") from None
        return answer

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        # A cancellation may be swallowed: by `asyncio.wait_for` of Python 3.11, which nats-py uses to connect.
        while not self._is_closing:
            if self.connection is None:
                try:
                    await self.open()
                except (OSError, SourceError) as error:
                    self._note(str(error) or repr(error))
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LAST_PAUSE_SECONDS)
                    continue
                logger.info("connected to the NATS servers of desk %s", self.desk.name)
            assert self.connection is not None
            made = time.monotonic()
            await self._hold(self.connection)
            lost, self.connection = self.connection, None
            self._note(str(lost.fault))
            await lost.close()
            if time.monotonic() - made > LAST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            else:
                # What ended it may do so again at once.
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _hold(self, connection: NatsConnection) -> None:
        """Returns once a connection is lost; until then it measures the servers' clock again and again."""
        while not connection.ended.is_set():
            try:
                async with asyncio.timeout(CLOCK_SECONDS):
                    await connection.ended.wait()
            except TimeoutError:
                await self._measure_clock(connection)

    async def _measure_clock(self, connection: NatsConnection) -> None:
        # Only answers of now count.
        self._fastest_ns = NS_PER_S
        try:
            for _ in range(CLOCK_ASKED):
                await self.ask_engine(connection, f"$JS.API.STREAM.INFO.{self.desk.frame_stream}")
        except (EOFError, SourceError) as error:
            logger.debug("the clock of the servers is not measured: %s", error)
            return
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        is_off = is_clock_off(self.clock_offset_ns)
        if is_off != self._is_clock_off:
            self._is_clock_off = is_off
            log_clock(self.clock_offset_ns)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            logger.warning("no connection to the NATS servers of desk %s: %s; trying again", self.desk.name, trouble)
        self.trouble = trouble

    def _is_queued(self, message: Message) -> bool:
        # hot: once per message
        subject = message.subject
        handler = (
            self._handlers.get(subject)
            or self._inboxes.get(subject)
            or self._handlers.get(subject[: subject.rfind(".") + 1])
        )
        if handler is not None:
            handler(message)
        return False


async def last_message(connection: NatsConnection, stream: str, subject: str) -> Message:
    """Returns the newest message of a subject; one that is empty if there is none. Raises EOFError and SourceError."""
    question = msgspec.json.encode({"last_by_subj": subject})
    (message,) = await connection.ask(f"$JS.API.DIRECT.GET.{stream}", question)
    if is_unanswered(message):
        raise SourceError(f"no server answers for stream {stream} yet")
    return message


def checked(answer: dict[str, Any], what: str) -> dict[str, Any]:
    """Returns an answer of JetStream; raises SourceError if it is a refusal."""
    if "error" in answer:
        raise SourceError(f"{what}: {answer['error'].get('description', answer['error'])}")
    return answer
