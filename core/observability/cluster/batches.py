"""Batches of events that engines send over NATS, without HTTP: request and reply to the hub.

request   obs.NAME.in.SOURCE      a batch as `POST /api/ingest` takes it; `Nats-Msg-Id` is its idempotency key
reply     Obs-Status              the same status and body as over HTTP, once all that must be durable is on disk
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from observability.cluster.link import Link
from observability.cluster.message_answerer import MessageAnswerer
from observability.ingest.answers import BUSY_RETRY_SECONDS, IngestAnswer, refusal
from observability.sources.brokers.nats_connection import Message, NatsConnection

STATUS: Final = "Obs-Status"
RETRY_AFTER: Final = "Retry-After"
MESSAGE_ID: Final = "Nats-Msg-Id"
# Batches that wait for the gate, which takes one at a time. Further ones are answered with 503 at once.
MAX_WAITING: Final = 2048

Take = Callable[[bytes, str | None], Awaitable[IngestAnswer]]
"""Takes a batch under a key, and returns the answer to it."""


class BatchAnswerer(MessageAnswerer):
    """The hub's side."""

    def __init__(self, link: Link, take: Take) -> None:
        super().__init__(link, link.desk.batch_subject("*"), MAX_WAITING, "a batch", "an engine")
        self._take_batch = take
        self._prefix = link.desk.batch_subject("")

    async def _answer(self, connection: NatsConnection, message: Message) -> None:
        ident = (message.headers or {}).get(MESSAGE_ID)
        key = None if ident is None else f"{message.subject.removeprefix(self._prefix)}/{ident}"
        await _reply(connection, message, await self._take_batch(message.data, key))

    async def _refuse(self, connection: NatsConnection, message: Message, *, is_busy: bool) -> None:
        why = "too many batches wait" if is_busy else "the hub starts or stops; nothing was taken, send it again"
        await _reply(connection, message, refusal(503, why, BUSY_RETRY_SECONDS))


async def _reply(connection: NatsConnection, message: Message, answer: IngestAnswer) -> None:
    headers = {STATUS: str(answer.status)}
    if answer.retry_after_seconds is not None:
        headers[RETRY_AFTER] = str(answer.retry_after_seconds)
    if message.reply:
        await connection.publish(message.reply, answer.body, headers=headers)
