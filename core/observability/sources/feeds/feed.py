"""A live feed as a source: `binance:BTCUSDT,ETHUSDT`, `okx:BTC/USDT=BTCUSDT?url=ws://127.0.0.1:1234`.

    connect   open, subscribe, wait until every subscription is confirmed
    read      what has come, decoded; a message that cannot be read costs only itself

What a venue sent while there was no connection is lost, but for the last trades that some begin with. The missing trade
ids are counted. Before a venue ends a connection, as Binance does after a day, another takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from observability.clocks.clock import Clock, HostClock
from observability.config.setting import shown
from observability.config.source_urls import without_secrets
from observability.errors import MAX_FAULT_CHARACTERS, ConfigError, SourceError
from observability.events import MAX_SYMBOL_LENGTH
from observability.sources.feeds.dialect import BAD_MESSAGE, Dialect, MarketEvent
from observability.sources.feeds.venues import VENUES
from observability.sources.feeds.websocket import MAX_WAITING_MESSAGES, Connection, Message, open_connection
from observability.sources.source import Batch

logger = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 8.0
# After this long it is said of which symbols nothing has come: not every venue refuses a symbol that it does not have.
UNHEARD_SECONDS: Final = 60.0
# A connection that the venue limits the age of is replaced when it has this much to live, or up to twice as much: feeds
# that were started together are not to connect together again.
RENEWAL_PART: Final = 0.05
RENEWAL_RETRY_SECONDS: Final = 60.0
MAX_SYMBOLS_NAMED: Final = 5
MAX_BYTES_SHOWN: Final = 80

_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9/:._-]*", re.ASCII)
_WEBSOCKET_SCHEMES: Final = ("ws", "wss")


class Feed:
    """One connection at a time to a venue, for any number of symbols. A `Source`.

    `symbols` are the venue's own names, each with the name that its events get.
    """

    def __init__(
        self, name: str, dialect: Dialect, symbols: Mapping[str, str], url: str, clock: Clock | None = None
    ) -> None:
        self.name = name
        self.venue = dialect.venue
        """The venue that its events name."""
        self.names = tuple(symbols.values())
        """The symbols that they are of."""
        self._dialect = dialect
        self._symbols = tuple(symbols)
        # None where the events keep the names that the venue sends.
        self._names = dict(symbols) if any(own != given for own, given in symbols.items()) else None
        self._url = url
        self._clock = HostClock() if clock is None else clock
        self._connection: Connection | None = None
        self._early: _Reading | None = None
        """What came with the confirmations of the subscriptions."""
        self._renewal: asyncio.Task[_Opened] | None = None
        self._renew_at = math.inf
        self._unheard: set[str] = set()
        self._unheard_at = 0.0

    async def connect(self, cursor: str | None) -> None:
        """Connects and subscribes. Raises SourceError, with what the venue said, if it refuses a symbol."""
        opened = await self._open()
        self._early = _Reading()
        self._continue_with(opened, self._early)
        self._unheard = set(self._symbols)
        self._unheard_at = asyncio.get_running_loop().time() + UNHEARD_SECONDS

    async def read(self) -> Batch:
        """Waits for quotes or prints, or for a message that cannot be read."""
        reading, self._early = self._early or _Reading(), None
        while not reading.messages:
            if self._connection is None:
                raise EOFError("there is no connection")
            if self._renewal is not None and self._renewal.done():
                self._replace(reading)
                continue
            if self._renewal is None and self._is_renewal_due():
                self._dialect.is_leaving = False
                self._renewal = asyncio.ensure_future(self._open())
                self._renewal.add_done_callback(self._connection.wake)
            try:
                self._decode(await self._connection.receive(), reading)
            except EOFError:
                if self._renewal is None:
                    raise
                await asyncio.wait([self._renewal])
        gaps, self._dialect.gaps = self._dialect.gaps, 0
        if self._unheard:
            self._note_heard(reading.events)
        return Batch(events=reading.events, messages=reading.messages, gaps=gaps, rejected=reading.rejected)

    async def acknowledge(self) -> None:
        """Does nothing: a venue sends nothing twice."""

    async def close(self) -> None:
        """Ends the connection."""
        if self._renewal is not None:
            self._renewal.cancel()
            for opened in await asyncio.gather(self._renewal, return_exceptions=True):
                if isinstance(opened, _Opened):
                    opened.connection.close()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._renewal = self._early = None

    async def _open(self) -> _Opened:
        """Returns a connection on which every subscription is confirmed."""
        # Finds confirmations and refusals only: what else has come is decoded in its turn by the feed's own.
        dialect = type(self._dialect)()
        connection = await open_connection(self._url, dialect.heartbeat, self._clock)
        messages: list[Message] = []
        try:
            for request in dialect.subscribe(self._symbols):
                connection.send(request)
            async with asyncio.timeout(CONFIRM_SECONDS):
                while dialect.unconfirmed:
                    received = await connection.receive()
                    messages += received
                    if len(messages) > MAX_WAITING_MESSAGES:
                        raise SourceError(f"{dialect.venue} sends much and does not confirm the subscriptions")
                    for ts_init, message in received:
                        with suppress(*BAD_MESSAGE):
                            dialect.decode(message, ts_init)
        except TimeoutError:
            connection.close()
            raise SourceError(
                f"{dialect.venue} has not confirmed {dialect.unconfirmed} subscriptions within {CONFIRM_SECONDS:g} s"
            ) from None
        except BaseException:
            connection.close()
            raise
        return _Opened(connection, messages)

    def _continue_with(self, opened: _Opened, reading: _Reading) -> None:
        self._connection = opened.connection
        self._dialect.subscribe(self._symbols)
        self._decode(opened.messages, reading)
        age = self._dialect.max_age_seconds
        if age is not None:
            due = age * random.uniform(1 - 2 * RENEWAL_PART, 1 - RENEWAL_PART)
            self._renew_at = asyncio.get_running_loop().time() + due

    def _is_renewal_due(self) -> bool:
        return self._dialect.is_leaving or asyncio.get_running_loop().time() >= self._renew_at

    def _replace(self, reading: _Reading) -> None:
        """Continues with the connection that was opened beside this one, after all that this one has brought. What both
        have brought is there twice: prints have ids, and the newest quote is the same."""
        renewal, self._renewal = self._renewal, None
        assert renewal is not None and self._connection is not None
        error = renewal.exception()
        if error is not None:
            logger.warning("source %s: no new connection in place of this one: %s", self.name, error)
            self._renew_at = asyncio.get_running_loop().time() + RENEWAL_RETRY_SECONDS
            return
        while rest := self._connection.take():
            self._decode(rest, reading)
        self._connection.close()
        self._continue_with(renewal.result(), reading)
        logger.info("source %s: continues over a new connection, before the venue ends the old one", self.name)

    def _decode(self, messages: Sequence[Message], reading: _Reading) -> None:
        # hot: once per message (benchmarks/bench_feeds.py)
        decode, names = self._dialect.decode, self._names
        for ts_init, message in messages:
            try:
                decoded = decode(message, ts_init)
            except BAD_MESSAGE as error:
                reading.messages += 1
                reading.rejected.append(f"{str(error)[:MAX_FAULT_CHARACTERS]}: {message[:MAX_BYTES_SHOWN]!r}")
                continue
            if isinstance(decoded, str):
                continue
            reading.messages += 1
            if names is not None:
                for event in decoded:
                    event.symbol = names.get(event.symbol, event.symbol)
            reading.events += decoded

    def _note_heard(self, events: Sequence[MarketEvent]) -> None:
        """Logs, once for each connection, of which symbols nothing has come for a while."""
        given = self._names or {}
        heard = {event.symbol for event in events}
        self._unheard = {symbol for symbol in self._unheard if given.get(symbol, symbol) not in heard}
        if self._unheard and asyncio.get_running_loop().time() >= self._unheard_at:
            logger.warning(
                "source %s: nothing has come of %s for %.0f s: does %s have it?",
                self.name, _listed(sorted(self._unheard)), UNHEARD_SECONDS, self._dialect.venue,
            )  # fmt: skip
            self._unheard = set()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A new connection, and what has come up to the last confirmation."""

    connection: Connection
    messages: list[Message]


@dataclass(slots=True)
class _Reading:
    """What messages have brought."""

    events: list[MarketEvent] = field(default_factory=list)
    messages: int = 0
    """Of those that are no events, only the ones that cannot be read: a venue that sends heartbeats alone is silent."""
    rejected: list[str] = field(default_factory=list)


def from_url(text: str) -> Feed:
    """Returns the feed of `VENUE:SYMBOL,SYMBOL=NAME,...`, with `?url=` for another address than the venue's own.

    Raises ConfigError.
    """
    scheme, _, rest = text.partition(":")
    listed, _, query = rest.partition("?")
    dialect = VENUES[scheme]()
    faults = []
    symbols: dict[str, str] = {}
    for word in listed.split(","):
        symbol, equals, name = word.partition("=")
        own = dialect.symbol(symbol)
        name = name if equals else own
        if _SYMBOL.fullmatch(symbol) is None or not 1 <= len(name) <= MAX_SYMBOL_LENGTH or len(own) > MAX_SYMBOL_LENGTH:
            faults.append(f"symbol {shown(without_secrets(word))}, expected {scheme}:SYMBOL,SYMBOL or SYMBOL=NAME")
        elif own in symbols or name in symbols.values():
            faults.append(f"symbol {shown(word)} is there twice")
        symbols[own] = name
    url = dialect.url
    for parameter, value in parse_qsl(query, keep_blank_values=True):
        if parameter != "url":
            faults.append(f"{shown(parameter)} is not a parameter, expected url")
            continue
        url = value
    try:
        address = urlsplit(url)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in _WEBSOCKET_SCHEMES or not address.hostname:
        faults.append(f"url: {shown(without_secrets(url))}, expected ws://HOST:PORT or wss://HOST")
    if faults:
        raise ConfigError(faults)
    if address.path in ("", "/"):
        url = urlunsplit(address._replace(path=urlsplit(dialect.url).path))
    where = "" if address.hostname == urlsplit(dialect.url).hostname else f"@{address.netloc.rpartition('@')[2]}"
    return Feed(f"{scheme}:{_listed(list(symbols))}{where}", dialect, symbols, url)


def _listed(symbols: Sequence[str]) -> str:
    """Returns the first of some symbols, and how many more there are."""
    more = len(symbols) - MAX_SYMBOLS_NAMED
    return ",".join(symbols[:MAX_SYMBOLS_NAMED]) + (f",+{more}" if more > 0 else "")
