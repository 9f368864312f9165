"""Subscriptions: what a client asks for by messages and by its URL, and the subscription that results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import msgspec

from observability.errors import ObservabilityError
from observability.events import MAX_SYMBOL_LENGTH
from observability.http11.messages import Request
from observability.http11.refusals import Unprocessable
from observability.memory.layout import LANES
from observability.routing.parameters import TimeNs, parse_query
from observability.stream.views import EVERYTHING, ViewKey

EVERY_METRIC: Final = "metrics"
MAX_CHANNELS: Final = 64
MAX_FAULT_LENGTH: Final = 200
MAX_SYMBOLS: Final = 256
MAX_PAST_SPEED: Final = 3600.0

_TEXT_FORM: Final = "subscribe:"

# An id is sent back, and the JSON encoder is limited to 64 bits.
MessageId = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
ChannelName = Annotated[str, msgspec.Meta(max_length=64)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=60_000)]
SymbolName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SYMBOL_LENGTH)]


class SubscriptionError(ObservabilityError):
    """A client's message cannot be understood or fulfilled; `code` is that of the error message it gets."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class ClientMessage(msgspec.Struct, frozen=True):
    """A client's message as JSON. The first API's dashboard sends `health` where others send `ping`."""

    type: Annotated[str, msgspec.Meta(max_length=64)]
    id: MessageId | Annotated[str, msgspec.Meta(max_length=64)] | None = None
    channels: Annotated[list[ChannelName], msgspec.Meta(max_length=MAX_CHANNELS)] | None = None
    symbols: Annotated[list[SymbolName], msgspec.Meta(max_length=MAX_SYMBOLS)] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )
    mode: Literal["full", "delta"] | None = None
    lane_since: dict[str, MessageId] | None = None
    # Of `painted`, a report of a page.
    epoch: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    paint_ms: Milliseconds | None = None
    rtt_ms: Milliseconds | None = None


_decoder: Final = msgspec.json.Decoder(ClientMessage)


class StreamQuery(msgspec.Struct, frozen=True):
    """The query of a subscriber's URL."""

    channels: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    symbols: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    mode: Literal["full", "delta"] | None = None
    since: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,32}:[0-9]{1,18}\Z")] | None = None
    lane_since: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None


PastTime = Annotated[TimeNs, msgspec.Meta(description="shows the recording from then on")]
PastSpeed = Annotated[float, msgspec.Meta(ge=0, le=MAX_PAST_SPEED, description="of the recording; 0 is paused")]


class WebSocketQuery(StreamQuery, frozen=True):
    """The query of a WebSocket's URL, which may be about the past."""

    at: PastTime | None = None
    speed: PastSpeed | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one client has subscribed to. None means all channels of metrics, or all symbols."""

    channels: frozenset[str] | None = None
    lanes: frozenset[str] = frozenset()
    symbols: frozenset[str] | None = None
    mode: Literal["full", "delta"] = "full"

    @property
    def view_key(self) -> ViewKey | None:
        """The view of the metrics; None for a client that wants no metrics."""
        # hot: once per handshake (observability bench --only storm)
        if self is DEFAULT:
            return EVERYTHING
        if self.channels is not None and not self.channels:
            return None
        return ViewKey(self.channels, self.symbols, self.mode == "delta")

    def describe(self, known: tuple[str, ...]) -> dict[str, Any]:
        """Returns the members of `connected` and `subscribed`; `known` lists all channels of metrics."""
        metrics = [name for name in known if self.channels is None or name in self.channels]
        return {
            "channels": [*metrics, *(name for name in LANES if name in self.lanes)],
            "symbols": None if self.symbols is None else sorted(self.symbols),
            "mode": self.mode,
        }


NO_QUERY: Final = StreamQuery()
DEFAULT: Final = Subscription()


def subscribed(current: Subscription, message: ClientMessage, known: tuple[str, ...]) -> Subscription:
    """Returns the subscription after a `subscribe`. Channels are added, except that the first channels of metrics
    replace the default of all; `symbols` and `mode` replace what was set. Raises SubscriptionError."""
    channels, lanes = _split(message.channels or [], known)
    if channels:
        merged = channels if current.channels is None or EVERY_METRIC in channels else current.channels | channels
        current = replace(current, channels=None if EVERY_METRIC in merged else merged)
    if message.symbols is not msgspec.UNSET:
        # Null and an empty list remove the filter.
        current = replace(current, symbols=frozenset(message.symbols) if message.symbols else None)
    return replace(current, lanes=current.lanes | lanes, mode=message.mode or current.mode)


def unsubscribed(current: Subscription, message: ClientMessage, known: tuple[str, ...]) -> Subscription:
    """Returns the subscription after an `unsubscribe` from channels and symbols, or from everything if it names
    neither. Raises SubscriptionError."""
    if message.channels is None and message.symbols is msgspec.UNSET:
        return replace(current, channels=frozenset(), lanes=frozenset())
    channels, lanes = _split(message.channels or [], known)
    if EVERY_METRIC in channels:
        channels = frozenset(known)
    if channels:
        current = replace(
            current, channels=(frozenset(known) if current.channels is None else current.channels) - channels
        )
    if message.symbols is not msgspec.UNSET and current.symbols is not None:
        # Without the last symbol none is left, which is not the same as having no filter.
        current = replace(current, symbols=current.symbols.difference(message.symbols or current.symbols))
    return replace(current, lanes=current.lanes - lanes)


def parse_message(message: bytes, decoder: msgspec.json.Decoder[ClientMessage] = _decoder) -> ClientMessage:
    """Returns a client's message from UTF-8: JSON, or the first API's `subscribe:market_data,execution`. Raises
    SubscriptionError."""
    text = message.decode()
    if text.startswith(_TEXT_FORM):
        names = text.removeprefix(_TEXT_FORM).split(",")
        return ClientMessage(type="subscribe", channels=[name.strip() for name in names[:MAX_CHANNELS]])
    try:
        return decoder.decode(message)
    except msgspec.DecodeError as error:
        # The decoder's message may quote the client's, which may be long.
        fault = str(error)[:MAX_FAULT_LENGTH]
        raise SubscriptionError("bad_message", f"expected ping, or a JSON object with a type: {fault}") from None
    except RecursionError:
        raise SubscriptionError("bad_message", "nested too deeply") from None


def parse_url(
    request: Request, known: tuple[str, ...], kind: type[StreamQuery] = StreamQuery
) -> tuple[StreamQuery, Subscription]:
    """Returns the query of a subscriber's URL and the subscription it asks for, in which `channels` is the whole list.
    Raises Unprocessable."""
    if not request.query:
        return NO_QUERY, DEFAULT
    query = parse_query(request, kind)
    if query == kind():
        # Most clients; they share these objects.
        return NO_QUERY, DEFAULT
    symbols = _names(query.symbols)
    if len(symbols) > MAX_SYMBOLS or any(len(symbol) > MAX_SYMBOL_LENGTH for symbol in symbols):
        raise Unprocessable(
            [
                {
                    "parameter": "symbols",
                    "error": f"expected up to {MAX_SYMBOLS} names of up to {MAX_SYMBOL_LENGTH} characters",
                }
            ]
        )
    message = ClientMessage(
        type="subscribe",
        channels=_names(query.channels) or None,
        symbols=symbols or None,
        mode=query.mode,
    )
    start = DEFAULT if query.channels is None else replace(DEFAULT, channels=frozenset())
    try:
        return query, subscribed(start, message, known)
    except SubscriptionError as error:
        raise Unprocessable([{"parameter": "channels", "error": str(error)}]) from None


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _split(names: list[str], known: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the metrics channels and the lanes among `names`."""
    wanted = frozenset(names)
    lanes = wanted.intersection(LANES)
    channels = wanted - lanes
    unknown = channels.difference(known, (EVERY_METRIC,))
    if unknown:
        expected = ", ".join((EVERY_METRIC, *known, *LANES))
        raise SubscriptionError(
            "unknown_channel", f"no channel {sorted(unknown)[0][:64]!r}; expected one of {expected}"
        )
    return channels, lanes
