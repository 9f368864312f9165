"""Follows a stream: every message from a place on, in order, each once, over any number of connections.

A consumer of the server's pushes the messages and is forgotten with the connection. Its deliveries are numbered without
gaps; after a gap, or a silence in which not even a heartbeat came, the connection is ended, and the next one continues
after the last message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_S, parse_iso_ns
from observability.cluster.link import Link, checked
from observability.errors import SourceError
from observability.sources.brokers.nats_connection import Message, NatsConnection

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 0.5
SILENCE_SECONDS: Final = 5.0
# The server drops a consumer that has had no subscriber for this long.
FORGET_SECONDS: Final = 30

NO_STREAM: Final = 10059
_TO_ACKNOWLEDGE: Final = "$JS.ACK."
_FLOW_CONTROL: Final = "FlowControl Request"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies in its stream."""

    seq: int
    stored_ns: int
    """When the server stored it, by its clock."""
    pending: int
    """How many messages of the stream follow it."""


class StreamFollower:
    """Calls `on_message` with each message of a stream that a subject matches."""

    def __init__(
        self,
        link: Link,
        stream: str,
        subject: str,
        on_message: Callable[[Message, Place], None],
        *,
        seq: int = 0,
        is_from_now: bool = False,
        on_begin: Callable[[], None] | None = None,
        may_rewind: bool = True,
    ) -> None:
        """Begins after the message `seq`; with the oldest one if that is not kept any more, if the stream has been made
        anew, or if it ends before `seq`: then only if it `may_rewind`. With `is_from_now` it begins after the newest
        one of the first connection, or with the oldest one of a stream that is younger than the follower. Calls
        `on_begin` when the stream is not the one that was followed before."""
        self.seq = seq
        """The number of the newest message that has come."""
        self._link = link
        self._stream = stream
        self._subject = subject
        self._on_message = on_message
        self._on_begin = on_begin
        self._may_rewind = may_rewind
        self._is_from_now = is_from_now
        self._made_ns = link.server_ns() - link.clock_offset_ns
        self._created = ""
        self._consumer = ""
        self._delivered = 0
        self._connection: NatsConnection | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._replies: set[asyncio.Task[None]] = set()
        link.add_handler(subject, self._take)
        link.add_opener(self._begin)

    async def _begin(self, connection: NatsConnection) -> None:
        """Makes a consumer that continues where the last one ended. Raises EOFError and SourceError."""
        found = await self._link.ask_engine(connection, f"$JS.API.STREAM.INFO.{self._stream}")
        if found.get("error", {}).get("err_code") == NO_STREAM:
            raise SourceError(
                f"there is no stream {self._stream}: no hub of desk {self._link.desk.name} has made it yet"
            )
        info = checked(found, f"stream {self._stream}")
        if info["created"] != self._created:
            if self._created:
                self.seq = 0
            elif self._is_from_now and self._is_older_than_this(info["created"]):
                self.seq = info["state"]["last_seq"]
            self._created = info["created"]
            if self._on_begin is not None:
                self._on_begin()
        if self.seq > info["state"]["last_seq"]:
            # The servers have lost what was in memory, or in no copy that is left; or the one that answers is behind.
            if not self._may_rewind:
                last = info["state"]["last_seq"]
                raise SourceError(f"stream {self._stream} ends with message {last}, and {self.seq} has come already")
            self.seq = 0
        # Below the connection's own inbox: the servers see no interest in what only a wildcard matches.
        inbox = self._link.add_inbox(connection, f"follow.{self._stream}", self._take_status)
        await connection.subscribe(inbox)
        config: dict[str, Any] = {
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "filter_subject": self._subject,
            "idle_heartbeat": round(HEARTBEAT_SECONDS * NS_PER_S),
            "flow_control": True,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": FORGET_SECONDS * NS_PER_S,
            "deliver_policy": "all",
        }
        if self.seq:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self.seq + 1}
        # Messages come while the answer with the consumer's name is on its way.
        self._consumer, self._delivered, self._connection = "", 0, connection
        made = await connection.request(
            f"$JS.API.CONSUMER.CREATE.{self._stream}", {"stream_name": self._stream, "config": config}
        )
        checked(made, f"a consumer of stream {self._stream}")
        self._expect()

    def _is_older_than_this(self, created: str) -> bool:
        # What differs is measured better with each answer, so both are compared by the offset of now.
        return parse_iso_ns(created) < self._made_ns + self._link.clock_offset_ns

    def _take(self, message: Message) -> None:
        # hot: once per message
        # $JS.ACK.[domain.account.]stream.consumer.deliveries.stream's.consumer's.ns.pending[.random]
        if not message.reply.startswith(_TO_ACKNOWLEDGE):
            return
        tokens = message.reply.split(".")
        at = 2 if len(tokens) < 11 else 4
        stream, consumer, number = tokens[at], tokens[at + 1], int(tokens[at + 4])
        if stream != self._stream:
            return
        if not self._consumer:
            self._consumer = consumer
        if consumer != self._consumer:
            return
        if number != self._delivered + 1:
            self._end(f"messages {self._delivered + 1} to {number - 1} of stream {stream} did not come")
            return
        self._delivered = number
        self.seq = int(tokens[at + 3])
        self._expect()
        self._on_message(message, Place(self.seq, int(tokens[at + 5]), int(tokens[at + 6])))

    def _take_status(self, message: Message) -> None:
        self._expect()
        headers = message.headers or {}
        reply = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if (
            reply
            and self._connection is not None
            and (headers.get("Description") == _FLOW_CONTROL or not message.reply)
        ):
            task = asyncio.get_running_loop().create_task(self._reply(self._connection, reply))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    async def _reply(self, connection: NatsConnection, subject: str) -> None:
        try:
            await connection.publish(subject)
        except EOFError as error:
            logger.debug("stream %s: %s", self._stream, error)

    def _expect(self) -> None:
        """Ends the connection unless this is called again in time."""
        if self._silence is not None:
            self._silence.cancel()
        text = f"stream {self._stream} has been silent for {SILENCE_SECONDS:g} s"
        self._silence = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._end, text)

    def _end(self, why: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end(EOFError(why))
