"""Questions of edges, which only the hub can answer: request and reply, bounded on both sides.

An answer larger than one message comes in several, the first of which says how many (`Obs-Parts`).
"""

from __future__ import annotations

import asyncio
from typing import Final

from observability.cluster.link import Link
from observability.cluster.message_answerer import MessageAnswerer
from observability.errors import HubUnavailable, SourceError
from observability.processes.rpc import MAX_MESSAGE_BYTES, RpcHandler
from observability.sources.brokers.nats_connection import Message, NatsConnection, is_unanswered

# Questions that wait for an answer: of one edge, and at the hub of all edges together.
MAX_ASKED: Final = 256
MAX_ANSWERING: Final = 1024
ANSWER_SECONDS: Final = 20.0

PARTS: Final = "Obs-Parts"
REFUSAL: Final = "Obs-Refusal"
# Room in a message for its headers.
_HEADERS_BYTES: Final = 1024


class Questions:
    """The edge's side: asks the hub that publishes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._asked = 0
        self._waiting: set[asyncio.Timeout] = set()

    def abandon(self) -> None:
        """Lets every question that waits for an answer fail: the hub that was asked is gone."""
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            each.reschedule(0)

    async def ask(self, question: bytes) -> bytes:
        """Returns the hub's answer. Raises HubUnavailable; then it is unknown whether the hub did what was asked."""
        connection = self._link.connection
        if connection is None:
            raise HubUnavailable(f"this edge has no connection to the NATS servers: {self._link.trouble}")
        if self._asked >= MAX_ASKED:
            raise HubUnavailable("too many questions wait for it")
        if len(question) + _HEADERS_BYTES > connection.max_payload:
            raise HubUnavailable(f"a question of {len(question):,} bytes is larger than the NATS servers take")
        self._asked += 1
        waiting = asyncio.timeout(None)
        try:
            async with waiting:
                self._waiting.add(waiting)
                try:
                    parts = await connection.ask(
                        self._link.desk.question_subject, question, seconds=ANSWER_SECONDS, parts_of=_parts_of
                    )
                finally:
                    self._waiting.discard(waiting)
        except (EOFError, SourceError) as error:
            raise HubUnavailable(str(error)) from None
        except TimeoutError:
            raise HubUnavailable(f"another hub has begun to lead desk {self._link.desk.name}") from None
        finally:
            self._asked -= 1
        refusal = (parts[0].headers or {}).get(REFUSAL)
        if refusal is not None:
            raise HubUnavailable(refusal)
        if is_unanswered(parts[0]):
            raise HubUnavailable(f"desk {self._link.desk.name} has no hub now")
        return b"".join(part.data for part in parts)


class QuestionAnswerer(MessageAnswerer):
    """The hub's side. A question that names no subject for its answer is left out."""

    def __init__(self, link: Link, answer: RpcHandler) -> None:
        super().__init__(link, link.desk.question_subject, MAX_ANSWERING, "a question", "an edge")
        self._answer_question = answer

    async def _answer(self, connection: NatsConnection, message: Message) -> None:
        if not message.reply:
            return
        answer = await self._answer_question(message.data)
        size = connection.max_payload - _HEADERS_BYTES
        parts = [answer[start : start + size] for start in range(0, len(answer), size)] or [b""]
        if len(answer) > MAX_MESSAGE_BYTES:
            await connection.publish(message.reply, headers={REFUSAL: f"its answer has {len(answer):,} bytes"})
            return
        for part in parts:
            await connection.publish(message.reply, part, headers={PARTS: str(len(parts))})

    async def _refuse(self, connection: NatsConnection, message: Message, *, is_busy: bool) -> None:
        if message.reply:
            why = "it is busy" if is_busy else "it starts or stops"
            await connection.publish(message.reply, headers={REFUSAL: why})


def _parts_of(message: Message) -> int:
    return int((message.headers or {}).get(PARTS, "1"))
