"""Calls from a worker's process that only the hub can answer: their types, and both sides of the exchange.

    client --> worker: head, limits, access, parameters --call--> hub: the object that does it
           <-- worker: encodes and sends                <-answer-

A worker answers everything else itself, from what the hub publishes and from the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from observability.errors import HubUnavailable, ObservabilityError
from observability.http11.refusals import Unavailable
from observability.ingest.answers import BUSY_RETRY_SECONDS, IngestAnswer, refusal
from observability.ingest.gate import Gate, Transport
from observability.metrics.execution.ledger import OrderKey
from observability.metrics.execution.order import OrderState
from observability.metrics.execution.orders.listing import OrderFilter
from observability.metrics.execution.orders.queries import OrderLife, OrderMemory, RecentOrders
from observability.metrics.execution.orders.rows import report_of, report_row
from observability.metrics.trades.booking import BookingFilter
from observability.metrics.trades.booking_queries import BookingPage, BookingSource
from observability.metrics.trades.queries import TradeSource, pages_of
from observability.metrics.trades.stats import TradeStats
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.monitoring.acknowledgements import Acknowledged, Acknowledger
from observability.monitoring.silencing import Silenced, Silencer
from observability.notify.silences import Silence
from observability.routing.forwarding import ForwardedAnswer, ForwardedRequest, RequestAnswerer
from observability.snapshot.frames import FrameSource, PublishedDocument
from observability.stream.lanes import Entry, Lane, Page, SymbolFilter

logger = logging.getLogger(__name__)

# The hub answers once the store has what must be durable, which may take seconds on a slow disk.
TIMEOUT_SECONDS: Final = 30.0

Send = Callable[[bytes], Awaitable[bytes]]
"""Sends an encoded call to the hub and returns the encoded answer; raises HubUnavailable."""
T = TypeVar("T")


class TakeBatch(msgspec.Struct, array_like=True, tag=True):
    """Publish a batch of events."""

    data: bytes
    source: Transport
    is_lines: bool | None
    key: str | None


class Acknowledge(msgspec.Struct, array_like=True, tag=True):
    """Acknowledge an alert."""

    alert_id: str
    author: str = ""
    comment: str = ""


class AddSilence(msgspec.Struct, array_like=True, tag=True):
    """Add a silence of alerts."""

    silence: Silence


class EndSilence(msgspec.Struct, array_like=True, tag=True):
    """End a silence of alerts."""

    silence_id: str


class QueryTrades(msgspec.Struct, array_like=True, tag=True):
    """Return a page of trades, and how many match in all."""

    wanted: TradeFilter
    limit: int
    offset: int
    before_seq: int | None


class FindTrades(msgspec.Struct, array_like=True, tag=True):
    """Return every trade that has an id."""

    trade_id: str


class SumTrades(msgspec.Struct, array_like=True, tag=True):
    """Return what the matching trades add up to."""

    wanted: TradeFilter


class QueryBookings(msgspec.Struct, array_like=True, tag=True):
    """Return a page of bookings, and how many match in all."""

    wanted: BookingFilter
    limit: int
    before_seq: int | None


class ReadDocument(msgspec.Struct, array_like=True, tag=True):
    """Return a published document that is too large for the shared memory."""

    name: str


class ListOrders(msgspec.Struct, array_like=True, tag=True):
    """Return a page of the orders in memory."""

    wanted: OrderFilter
    limit: int
    before_seq: int | None


class FindOrders(msgspec.Struct, array_like=True, tag=True):
    """Return the orders in memory that have an id."""

    order_id: str


class CheckOrders(msgspec.Struct, array_like=True, tag=True):
    """Return which orders are in memory."""

    keys: list[OrderKey]


class AnswerRequest(msgspec.Struct, array_like=True, tag=True):
    """Answer a request by the routes of the hub."""

    request: ForwardedRequest


class DescribeDesk(msgspec.Struct, array_like=True, tag=True):
    """Return the desk as this host sees it."""


class AskSite(msgspec.Struct, array_like=True, tag=True):
    """Have a request answered by the hub of a site; only an aggregator can."""

    site: str
    request: ForwardedRequest


class ReadLane(msgspec.Struct, array_like=True, tag=True):
    """Return a page of the entries that a lane has in the store."""

    lane: str
    after_seq: int
    symbols: frozenset[str] | None
    limit: int


Call = (
    TakeBatch
    | Acknowledge
    | AddSilence
    | EndSilence
    | QueryTrades
    | FindTrades
    | SumTrades
    | QueryBookings
    | ReadDocument
    | ListOrders
    | FindOrders
    | CheckOrders
    | AnswerRequest
    | DescribeDesk
    | AskSite
    | ReadLane
)

TradePage = tuple[list[Trade], int]


class _SentLife(msgspec.Struct, array_like=True):
    """The life of an order; its reports as the store's rows, because an event is checked whenever it is decoded."""

    order: OrderState
    reports: list[tuple[Any, ...]]
    trades: list[Trade]
    is_complete: bool


class _SentPage(msgspec.Struct, array_like=True):
    """A page of a lane: number, symbol and members of each entry."""

    prev: int
    entries: list[tuple[int, str | None, bytes]]


class _NotAsked(msgspec.Struct, array_like=True):
    """Stands for the answer where no hub could be asked."""

    why: str


_encode = msgspec.msgpack.encode
_decode_call = msgspec.msgpack.Decoder(Call).decode
# What a call returned, encoded; None if it failed.
_decode_answer = msgspec.msgpack.Decoder(bytes | _NotAsked | None).decode
_decode_ingest_answer = msgspec.msgpack.Decoder(IngestAnswer).decode
_decode_acknowledged = msgspec.msgpack.Decoder(Acknowledged | None).decode
_decode_silenced = msgspec.msgpack.Decoder(Silenced | None).decode
_decode_trade_page = msgspec.msgpack.Decoder(TradePage).decode
_decode_booking_page = msgspec.msgpack.Decoder(BookingPage).decode
_decode_trades = msgspec.msgpack.Decoder(list[Trade]).decode
_decode_document = msgspec.msgpack.Decoder(PublishedDocument | None).decode
_decode_recent_orders = msgspec.msgpack.Decoder(RecentOrders).decode
_decode_order_lives = msgspec.msgpack.Decoder(list[_SentLife]).decode
_decode_forwarded = msgspec.msgpack.Decoder(ForwardedAnswer).decode
_decode_lane_page = msgspec.msgpack.Decoder(_SentPage).decode
_decode_desk = msgspec.msgpack.Decoder(dict[str, Any]).decode
_decode_flags = msgspec.msgpack.Decoder(list[bool]).decode
_decode_trade_stats = msgspec.msgpack.Decoder(TradeStats).decode


class CallFailed(ObservabilityError):
    """The hub met a defect in answering a call."""


class RemoteHub:
    """The worker's side: takes batches, acknowledges alerts, finds trades, bookings, orders and large documents by
    asking the hub.

    Without an answer, clients get 503. The hub may then have done what was asked: an event or an acknowledgement can be
    sent again, and counts once.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        try:
            return await self._ask(TakeBatch(data, source, is_lines, key), _decode_ingest_answer)
        except Unavailable as unavailable:
            return refusal(unavailable.status, unavailable.detail, BUSY_RETRY_SECONDS)

    async def acknowledge(self, alert_id: str, author: str = "", comment: str = "") -> Acknowledged | None:
        """Raises Unavailable if the hub does not answer, as the methods below do."""
        return await self._ask(Acknowledge(alert_id, author, comment), _decode_acknowledged)

    async def add_silence(self, silence: Silence) -> Silenced | None:
        return await self._ask(AddSilence(silence), _decode_silenced)

    async def end_silence(self, silence_id: str) -> Silenced | None:
        return await self._ask(EndSilence(silence_id), _decode_silenced)

    async def query(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> TradePage:
        return await self._ask(QueryTrades(wanted, limit, offset, before_seq), _decode_trade_page)

    def pages(self, wanted: TradeFilter, before_seq: int | None = None) -> AsyncIterator[list[Trade]]:
        return pages_of(self.query, wanted, before_seq)

    async def find(self, trade_id: str) -> list[Trade]:
        return await self._ask(FindTrades(trade_id), _decode_trades)

    async def stats(self, wanted: TradeFilter) -> TradeStats:
        return await self._ask(SumTrades(wanted), _decode_trade_stats)

    async def bookings(self, wanted: BookingFilter, limit: int = 100, before_seq: int | None = None) -> BookingPage:
        return await self._ask(QueryBookings(wanted, limit, before_seq), _decode_booking_page)

    async def recent_orders(self, wanted: OrderFilter, limit: int, before_seq: int | None) -> RecentOrders:
        return await self._ask(ListOrders(wanted, limit, before_seq), _decode_recent_orders)

    async def find_orders(self, order_id: str) -> list[OrderLife]:
        sent = await self._ask(FindOrders(order_id), _decode_order_lives)
        return [
            OrderLife(life.order, [report_of(row) for row in life.reports], life.trades, life.is_complete)
            for life in sent
        ]

    async def held_orders(self, keys: list[OrderKey]) -> list[bool]:
        return await self._ask(CheckOrders(keys), _decode_flags)

    async def answer_request(self, request: ForwardedRequest) -> ForwardedAnswer:
        return await self._ask(AnswerRequest(request), _decode_forwarded)

    async def ask_site(self, site: str, request: ForwardedRequest) -> ForwardedAnswer:
        return await self._ask(AskSite(site, request), _decode_forwarded)

    async def lane_page(self, lane: str, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        sent = await self._ask(ReadLane(lane, after_seq, symbols, limit), _decode_lane_page)
        return Page(sent.prev, [Entry(*entry) for entry in sent.entries])

    async def document(self, name: str) -> PublishedDocument | None:
        return await self._ask(ReadDocument(name), _decode_document)

    async def describe_desk(self) -> dict[str, Any]:
        """Returns the desk as this host sees it, whether or not a hub leads."""
        return await self._ask(DescribeDesk(), _decode_desk)

    async def _ask(self, call: Call, decode: Callable[[bytes], T]) -> T:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = _decode_answer(await self._send(_encode(call)))
        except HubUnavailable as error:
            raise Unavailable(f"the hub does not answer: {error}", BUSY_RETRY_SECONDS) from None
        except TimeoutError:
            raise Unavailable(f"the hub did not answer within {TIMEOUT_SECONDS:g} s", BUSY_RETRY_SECONDS) from None
        if isinstance(answer, _NotAsked):
            raise Unavailable(f"the hub does not answer: {answer.why}", BUSY_RETRY_SECONDS)
        if answer is None:
            raise CallFailed(f"the hub failed in {type(call).__name__}; its log has the traceback")
        return decode(answer)


_DESCRIBE_DESK: Final = _encode(DescribeDesk())


def answer_about_desk(message: bytes, describe: Callable[[], dict[str, Any]]) -> bytes | None:
    """Returns the answer to a worker that asks about the desk, which every host gives for itself; None if it has asked
    for something else."""
    return _encode(_encode(describe())) if message == _DESCRIBE_DESK else None


def encode_unavailable(why: str) -> bytes:
    """Returns the answer to a call of a worker whose hub cannot be asked."""
    return _encode(_NotAsked(why))


class SiteCalls:
    """The aggregator's side: acknowledges its own alerts, and passes requests on to the hubs of its sites."""

    def __init__(self, acknowledger: Acknowledger, frames: FrameSource, sites: Mapping[str, Send]) -> None:
        """`sites` has, by name, what asks the hub of a site."""
        self._acknowledger = acknowledger
        self._frames = frames
        self._sites = sites

    async def answer(self, message: bytes) -> bytes:
        """Returns the encoded answer to an encoded call."""
        call = _decode_call(message)
        match call:
            case AskSite():
                try:
                    return await self._sites[call.site](_encode(AnswerRequest(call.request)))
                except HubUnavailable as error:
                    return encode_unavailable(f"site {call.site}: {error}")
            case Acknowledge():
                acknowledged = await self._acknowledger.acknowledge(call.alert_id, call.author, call.comment)
                return _encode(_encode(acknowledged))
            case ReadDocument():
                return _encode(_encode(_document(self._frames, call.name)))
            case _:
                return encode_unavailable(
                    "an aggregator takes no events and keeps nothing; ask a hub of one of its sites"
                )


@dataclass(frozen=True, slots=True)
class HubCalls:
    """The hub's side: answers the calls of all workers. Access was checked where the request was received."""

    gate: Gate
    acknowledger: Acknowledger
    silencer: Silencer
    trades: TradeSource
    bookings: BookingSource
    orders: OrderMemory
    frames: FrameSource
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    """Those of the hub, for edges that have no store to read."""
    requests: RequestAnswerer | None = None
    """Answers the requests of edges."""
    desk: Callable[[], dict[str, Any]] | None = None
    """Describes the desk; None if this host is alone."""

    async def answer(self, message: bytes) -> bytes:
        """Returns the encoded answer to an encoded call; a call that fails is logged here and answered as failed."""
        call = _decode_call(message)
        try:
            return _encode(_encode(await self._do(call)))
        except Exception:
            logger.exception("a worker's call %s failed", type(call).__name__)
            return _encode(None)

    async def _do(self, call: Call) -> Any:
        match call:
            case TakeBatch():
                return await self.gate.take(call.data, source=call.source, is_lines=call.is_lines, key=call.key)
            case Acknowledge():
                return await self.acknowledger.acknowledge(call.alert_id, call.author, call.comment)
            case AddSilence():
                return await self.silencer.add_silence(call.silence)
            case EndSilence():
                return await self.silencer.end_silence(call.silence_id)
            case QueryTrades():
                return await self.trades.query(call.wanted, call.limit, call.offset, call.before_seq)
            case FindTrades():
                return await self.trades.find(call.trade_id)
            case SumTrades():
                return await self.trades.stats(call.wanted)
            case QueryBookings():
                return await self.bookings.bookings(call.wanted, call.limit, call.before_seq)
            case ListOrders():
                return await self.orders.recent_orders(call.wanted, call.limit, call.before_seq)
            case FindOrders():
                return [
                    _SentLife(
                        life.order, [report_row(report) for report in life.reports], life.trades, life.is_complete
                    )
                    for life in await self.orders.find_orders(call.order_id)
                ]
            case CheckOrders():
                return await self.orders.held_orders(call.keys)
            case AnswerRequest():
                assert self.requests is not None, "the workers of this host have routes of their own"
                return await self.requests.answer_request(call.request)
            case DescribeDesk():
                assert self.desk is not None, "workers of a host that is alone do not ask"
                return self.desk()
            case AskSite():
                raise AssertionError("a hub has no sites")
            case ReadLane():
                archive = self.lanes[call.lane].archive
                if archive is None:
                    return _SentPage(0, [])
                page = await archive.read_page(call.after_seq, call.symbols, call.limit)
                return _SentPage(page.prev, [(each.seq, each.symbol, each.members) for each in page.entries])
            case ReadDocument():
                return _document(self.frames, call.name)


def _document(frames: FrameSource, name: str) -> PublishedDocument | None:
    """Returns the newest version of a document that this process publishes."""
    documents = frames.documents
    body = documents.by_name.get(name)
    return None if body is None else PublishedDocument(documents.epoch, documents.seq, body)
