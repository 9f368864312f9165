"""What is asked of the hub over the NATS servers: each message is answered in a task of its own, or refused at once."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from observability.cluster.link import Link
from observability.sources.brokers.nats_connection import Message, NatsConnection

logger = logging.getLogger(__name__)

# Subjects of the servers and of desks. An answer that is published there under the rights of a hub would be a command
# to the servers, or a record of a log, that its sender may not write.
_NO_INBOX: Final = ("$", "obs.")

Answer = Callable[[NatsConnection, Message], Awaitable[None]]


class MessageAnswerer(ABC):
    """Answers the messages of one subject, begun in the order in which they come."""

    def __init__(self, link: Link, subject: str, most: int, what: str, sender: str) -> None:
        """At most so many messages are answered at a time. What they are, and of whom, is for the log."""
        self._subject = subject
        self._most = most
        self._what = what
        self._sender = sender
        self._is_open = False
        self._connection: NatsConnection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        link.add_handler(subject, self._take)
        link.add_opener(self._begin)

    def start(self) -> None:
        """Begins to answer. Until then, and once they are drained, messages are refused at once."""
        self._is_open = True

    async def drain(self, timeout_seconds: float) -> None:
        """Takes no further message, and waits until every one that has come is answered."""
        self._is_open = False
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)

    @abstractmethod
    async def _answer(self, connection: NatsConnection, message: Message) -> None:
        """Answers a message. Raises EOFError."""

    @abstractmethod
    async def _refuse(self, connection: NatsConnection, message: Message, *, is_busy: bool) -> None:
        """Refuses a message, because too many others wait or because the hub starts or stops. Raises EOFError."""

    async def _begin(self, connection: NatsConnection) -> None:
        # Messages come before the link says that it has a connection.
        self._connection = connection
        await connection.subscribe(self._subject)

    def _take(self, message: Message) -> None:
        connection = self._connection
        if connection is None:
            return
        if message.reply.startswith(_NO_INBOX):
            logger.debug("%s is left out: it wants its answer at %r, which is no inbox", self._what, message.reply)
            return
        answer: Answer
        if self._is_open and len(self._tasks) < self._most:
            answer = self._answer
        else:
            answer = partial(self._refuse, is_busy=self._is_open)
        task = asyncio.get_running_loop().create_task(self._finish(answer, connection, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, answer: Answer, connection: NatsConnection, message: Message) -> None:
        try:
            await answer(connection, message)
        except EOFError as error:
            logger.debug("%s is not answered: %s", self._what, error)
        except Exception:
            logger.exception("%s of %s failed", self._what, self._sender)
