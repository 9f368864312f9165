"""Batches of events that engines send over NATS, without HTTP: request and reply to the hub.

request   obs.NAME.in.SOURCE      a batch as `POST /api/ingest` takes it; `Nats-Msg-Id` is its idempotency key
reply     Obs-Status              the same status and body as over HTTP, once all that must be durable is on disk
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from observability.cluster.link import Link
from observability.ingest.answers import BUSY_RETRY_SECONDS, IngestAnswer, refusal
from observability.sources.brokers.nats_connection import Message, NatsConnection

logger = logging.getLogger(__name__)

STATUS: Final = "Obs-Status"
RETRY_AFTER: Final = "Retry-After"
MESSAGE_ID: Final = "Nats-Msg-Id"
# Beyond what the gate takes at a time; these are answered with 503 at once.
MAX_WAITING: Final = 2048

Take = Callable[[bytes, str | None], Awaitable[IngestAnswer]]
"""Takes a batch under a key, and returns the answer to it."""


class BatchAnswerer:
    """The hub's side. Batches are taken in the order in which they come."""

    def __init__(self, link: Link, take: Take) -> None:
        self._link = link
        self._take_batch = take
        self._is_open = False
        self._connection: NatsConnection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix = link.desk.batch_subject("")
        link.add_handler(self._prefix, self._take)
        link.add_opener(self._begin)

    def start(self) -> None:
        """Begins to take batches. Until then, and once they are drained, they are refused at once."""
        self._is_open = True

    async def drain(self, timeout_seconds: float) -> None:
        """Takes no further batch, and waits until every one that has come is answered."""
        self._is_open = False
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)

    async def _begin(self, connection: NatsConnection) -> None:
        # Batches come before the link says that it has a connection.
        self._connection = connection
        await connection.subscribe(f"{self._prefix}*")

    def _take(self, message: Message) -> None:
        connection = self._connection
        if connection is None:
            return
        task = asyncio.get_running_loop().create_task(self._reply(connection, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, connection: NatsConnection, message: Message) -> None:
        try:
            ident = (message.headers or {}).get(MESSAGE_ID)
            key = None if ident is None else f"{message.subject.removeprefix(self._prefix)}/{ident}"
            if not self._is_open:
                answer = refusal(503, "the hub starts or stops; nothing was taken, send it again", BUSY_RETRY_SECONDS)
            elif len(self._tasks) > MAX_WAITING:
                answer = refusal(503, "too many batches wait", BUSY_RETRY_SECONDS)
            else:
                answer = await self._take_batch(message.data, key)
            headers = {STATUS: str(answer.status)}
            if answer.retry_after_seconds is not None:
                headers[RETRY_AFTER] = str(answer.retry_after_seconds)
            if message.reply:
                await connection.publish(message.reply, answer.body, headers=headers)
        except EOFError as error:
            logger.debug("a batch is not answered: %s", error)
        except Exception:
            logger.exception("a batch of an engine failed")
