"""A connection to a NATS server through nats-py: what arrives lies in one queue, in order, and what ends it is an
error.

nats-py would connect again by itself, and keep what it was to send meanwhile. That is switched off: after a lost
connection a source has to look where it stands, so the one loop that connects again is the runner's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from observability.errors import SourceError
from observability.sources.brokers.nats_address import NatsAddress
from observability.sources.source import import_package

EXTRA: Final = "nats"
CONNECT_SECONDS: Final = 5
REQUEST_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 1.0
PING_SECONDS: Final = 10
# Of messages that have arrived and are not read. What comes on top of these is dropped and counted.
MAX_QUEUED_MESSAGES: Final = 65_536
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024

NO_RESPONDERS: Final = "503"
# As nats-py has it, in lower case.
_DENIED: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')

log = logging.getLogger(__name__)


class Message(NamedTuple):
    """A message as it arrived. `headers` is None if it has none; a status of the server is the header `Status`."""

    subject: str
    reply: str
    data: bytes
    headers: Mapping[str, str] | None


class NatsConnection:
    """One connection, from `open` to `close`; then a new one is needed."""

    def __init__(
        self,
        address: NatsAddress,
        is_wanted: Callable[[Message], bool] | None = None,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        """`is_wanted` is asked about each message as it arrives; only those that are wanted come into the queue. A
        server that leaves two pings without an answer is lost. Raises MissingPackage."""
        client = import_package("nats.aio.client", EXTRA)
        self._error_class: type[Exception] = import_package("nats.errors", EXTRA).Error
        self.queue: deque[Message] = deque()
        self.dropped = 0
        """Messages that arrived while the queue was full."""
        self.denied: set[str] = set()
        """The subjects that the user of this connection may not publish to, as far as it has tried, in lower case; and
        those of `may_subscribe`."""
        self.ended = asyncio.Event()
        """Set once the connection is lost."""
        self._tried: set[str] = set()
        self._address = address
        self._is_wanted = is_wanted
        self._ping_seconds = ping_seconds
        self._client: Any = client.Client()
        # nats-py makes every message by this, in the order of arrival, and does no more with one that is None.
        self._client._build_message = self._on_message
        # It would read nothing more after a message whose headers it cannot read, which anybody may send.
        self._read_headers = self._client._process_headers
        self._client._process_headers = self._headers_of
        self._queued_bytes = 0
        self._inbox = ""
        self._subscription: Any = None
        self._requests = 0
        self._answers: dict[str, Callable[[Message], None]] = {}
        self._unanswered: dict[asyncio.Future[list[Message]], str] = {}
        self._arrived = asyncio.Event()
        self._has_begun = False
        self._fault: Exception | None = None
        self._last_error = ""

    @property
    def is_lost(self) -> bool:
        return self._fault is not None or not self._client.is_connected

    @property
    def fault(self) -> Exception | None:
        """What ended the connection; None if nothing has."""
        return self._fault

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes."""
        return int(self._client.max_payload)

    @property
    def server(self) -> Mapping[str, Any]:
        """What the server said of itself when the connection was made: `version`, `jetstream`, `cluster` and more."""
        return dict(self._client._server_info)

    async def open(self) -> None:
        """Connects and logs in. Raises OSError or SourceError."""
        address, client = self._address, self._client
        if address.credentials_file is not None:
            _check_credentials(address.credentials_file)
        if address.is_encrypted:
            self._refuse_plain_servers()
        self._has_begun = True
        try:
            await client.connect(
                servers=[address.url, *address.further_urls],
                name="observability",
                user=address.user,
                password=address.password,
                token=address.token,
                user_credentials=address.credentials_file,
                tls=_tls_context(address),
                allow_reconnect=False,
                # The least that it can be told: two attempts without a pause.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=self._ping_seconds,
                error_cb=self._on_error,
                closed_cb=self._on_closed,
                skip_subject_validation=True,
                inbox_prefix=address.inbox,
            )
        except self._error_class as error:
            raise OSError(self._last_error or str(error)) from None
        self._inbox = client.new_inbox()
        self._subscription = await self.subscribe(f"{self._inbox}.*")

    async def subscribe(self, subject: str) -> Any:
        """Returns once the server has subscribed it. Raises EOFError or SourceError."""
        try:
            subscription = await self._client.subscribe(subject)
        except self._error_class as error:
            raise self._lost(error) from None
        await self.settle()
        return subscription

    async def may_subscribe(self, subject: str) -> bool:
        """Returns whether the user may read a subject. Raises EOFError and SourceError."""
        self._tried.add(subject.lower())
        subscription = await self.subscribe(subject)
        try:
            await subscription.unsubscribe()
        except self._error_class as error:
            raise self._lost(error) from None
        return subject.lower() not in self.denied

    async def settle(self) -> None:
        """Returns once the server has done, or refused, everything that was sent. Raises EOFError or SourceError."""
        try:
            # nats-py writes a ping ahead of what it has gathered, so only the second one follows that.
            await self._client.flush(REQUEST_SECONDS)
            await self._client.flush(REQUEST_SECONDS)
        except self._error_class as error:
            raise self._lost(error) from None
        if self._fault is not None:
            raise self._fault

    async def unsubscribe(self) -> None:
        """Nothing comes to an inbox of this connection any more. Raises EOFError."""
        try:
            await self._subscription.unsubscribe()
        except self._error_class as error:
            raise self._lost(error) from None

    def inbox(self, name: str) -> str:
        """Returns a subject of this connection alone; what is sent to it comes into the queue."""
        return f"{self._inbox}.{name}"

    async def publish(
        self, subject: str, data: bytes = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Raises EOFError."""
        # hot: once per message, to acknowledge it (benchmarks/bench_nats.py)
        try:
            await self._client.publish(subject, data, reply, headers)
        except self._error_class as error:
            raise self._lost(error) from None

    async def request(self, subject: str, question: object = None, seconds: float = REQUEST_SECONDS) -> dict[str, Any]:
        """Asks JetStream; returns its answer, which has a key `error` if it is a refusal. Raises EOFError, and
        SourceError if nothing answers."""
        data = b"" if question is None else msgspec.json.encode(question)
        (message,) = await self.ask(subject, data, seconds=seconds)
        if is_unanswered(message):
            raise SourceError(f"nothing answers {subject}: JetStream is off, or not for this user")
        document: dict[str, Any] = msgspec.json.decode(message.data)
        return document

    async def ask(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = REQUEST_SECONDS,
        parts_of: Callable[[Message], int] = lambda _: 1,
    ) -> list[Message]:
        """Asks who listens to a subject; returns the messages of the answer, as many as `parts_of` its first one.
        Raises EOFError, and SourceError if there is no answer in time."""
        self._requests += 1
        reply = self.inbox(f"r{self._requests}")
        parts: list[Message] = []
        answer: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()

        def on_answer(message: Message) -> None:
            if answer.done():
                # Servers that are about to form a cluster may answer twice.
                return
            parts.append(message)
            if len(parts) >= parts_of(parts[0]):
                answer.set_result(parts)

        self._answers[reply] = on_answer
        self._unanswered[answer] = subject.lower()
        try:
            await self.publish(subject, data, reply, headers)
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise SourceError(f"no answer from {subject}{self._because()}") from None
        finally:
            del self._unanswered[answer]
            del self._answers[reply]

    async def wait(self, seconds: float | None = None) -> bool:
        """Waits until something has arrived, unless there is a message in the queue; returns False after `seconds` in
        which nothing has. Raises what ended the connection, once the queue is empty."""
        if self.queue:
            return True
        if self._fault is not None:
            raise self._fault
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def pop(self) -> Message:
        """Removes the oldest message from the queue."""
        message = self.queue.popleft()
        self._queued_bytes -= len(message.data)
        return message

    def end(self, error: Exception) -> None:
        """Lets every further wait raise an error."""
        if self._fault is None:
            self._fault = error
        self._arrived.set()
        self.ended.set()
        for answer in self._unanswered:
            if not answer.done():
                answer.set_exception(self._fault)

    async def close(self) -> None:
        if not self._has_begun:
            return
        try:
            # After a failed handshake of TLS, nats-py waits for ever.
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.close()
        except (self._error_class, OSError) as error:
            log.debug("closing a connection to NATS failed: %r", error)

    async def _headers_of(self, headers: bytes) -> Mapping[str, str] | None:
        """Returns the headers of a message, None for those that cannot be read."""
        if not headers:
            return None
        try:
            found: Mapping[str, str] | None = await self._read_headers(headers)
        except (ValueError, IndexError) as error:
            log.debug("the headers of a message cannot be read: %r", error)
            return None
        return found

    def _on_message(self, _: int, subject: bytes, reply: bytes, data: bytes, headers: Mapping[str, str] | None) -> None:
        # hot: once per message (benchmarks/bench_nats.py)
        # The servers pass on subjects of any bytes.
        message = Message(subject.decode(errors="replace"), reply.decode(errors="replace"), data, headers)
        if self._answers:
            answer = self._answers.get(message.subject)
            if answer is not None:
                answer(message)
                return
        self._arrived.set()
        if self._is_wanted is not None and not self._is_wanted(message):
            return
        if len(self.queue) >= MAX_QUEUED_MESSAGES or self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        self._queued_bytes += len(data)
        self.queue.append(message)

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        found = _DENIED.search(self._last_error)
        if found is None:
            return
        # The connection stays, but what was asked for would never come.
        if found[1] == "subscription" and found[2] not in self._tried:
            hint = "allow it in the permissions of the user"
            if self._inbox and found[2].startswith(self._inbox.lower()):
                hint += ", or give the prefix of inboxes that it may read, as inbox=PREFIX"
            self.end(SourceError(f"{self._last_error}; {hint}"))
            return
        self.denied.add(found[2])
        for answer, subject in self._unanswered.items():
            if subject == found[2] and not answer.done():
                answer.set_exception(SourceError(f"{self._last_error}; allow it in the permissions of the user"))

    async def _on_closed(self) -> None:
        error = self._client.last_error
        self.end(EOFError(f"the connection was lost{f': {error}' if error else self._because()}"))

    def _lost(self, error: Exception) -> Exception:
        return self._fault or EOFError(f"the connection was lost: {error}")

    def _because(self) -> str:
        return f": {self._last_error}" if self._last_error else ""

    def _refuse_plain_servers(self) -> None:
        """nats-py encrypts if the server says that it must, and tells its secrets to one that does not say so."""
        client, make_command = self._client, self._client._connect_command

        def connect_command() -> Any:
            if not client._server_info.get("tls_required"):
                raise self._error_class("the server does not encrypt, and tls=1 is given")
            return make_command()

        client._connect_command = connect_command


def is_unanswered(message: Message) -> bool:
    """Returns whether a message says that nothing listens to the subject that was asked."""
    return message.headers is not None and message.headers.get("Status") == NO_RESPONDERS


def check_packages(address: NatsAddress, extra: str = EXTRA) -> None:
    """Raises MissingPackage for a package without which a connection cannot be made."""
    import_package("nats", extra)
    if address.credentials_file is not None:
        import_package("nkeys", extra)


def _tls_context(address: NatsAddress) -> ssl.SSLContext | None:
    """Raises OSError for a file that cannot be read, or is no certificate."""
    if address.ca_file is None and address.certificate_file is None:
        return None
    context = ssl.create_default_context(cafile=address.ca_file)
    if address.certificate_file is not None:
        context.load_cert_chain(address.certificate_file, address.key_file)
    return context


def _check_credentials(file: str) -> None:
    """Raises SourceError for a file that holds no token and no key that can sign; nats-py would search it for ever."""
    lines = Path(file).read_text("utf-8", "replace").splitlines()
    seeds = [after for line, after in pairwise(lines) if "BEGIN USER NKEY SEED" in line]
    if not seeds or not any("BEGIN NATS USER JWT" in line for line in lines[:-1]):
        raise SourceError(f"{file}: expected a token and a seed, as nsc writes them")
    nkeys = import_package("nkeys", EXTRA)
    try:
        nkeys.from_seed(bytearray(seeds[0].encode())).wipe()
    except (nkeys.NkeysError, ValueError):
        raise SourceError(f"{file}: the seed is not that of a key") from None
