"""What a client asks for: messages and URL parameters in, the subscription in force out.

No sockets here and no views (see `views.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import msgspec

from observability.errors import ObservabilityError
from observability.events import MAX_SYMBOL_LENGTH
from observability.http11.messages import Request
from observability.http11.refusals import Unprocessable
from observability.memory.layout import LANES
from observability.routing.parameters import parse_query
from observability.stream.views import ViewKey

EVERY_METRIC: Final = "metrics"
MAX_CHANNELS: Final = 64
MAX_FAULT_LENGTH: Final = 200
MAX_SYMBOLS: Final = 256

_TEXT_FORM: Final = "subscribe:"

# What goes back must fit what JSON is encoded to: 64 bits.
MessageId = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
ChannelName = Annotated[str, msgspec.Meta(max_length=64)]
SymbolName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SYMBOL_LENGTH)]


class SubscriptionError(ObservabilityError):
    """A client asks for what there is not; `code` is the one of the error message it gets."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class ClientMessage(msgspec.Struct, frozen=True):
    """What a client sends as JSON. The seed's dashboard asks for `health` where others `ping`."""

    type: Annotated[str, msgspec.Meta(max_length=64)]
    id: MessageId | Annotated[str, msgspec.Meta(max_length=64)] | None = None
    channels: Annotated[list[ChannelName], msgspec.Meta(max_length=MAX_CHANNELS)] | None = None
    symbols: Annotated[list[SymbolName], msgspec.Meta(max_length=MAX_SYMBOLS)] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )
    mode: Literal["full", "delta"] | None = None
    lane_since: dict[str, MessageId] | None = None


_decode = msgspec.json.Decoder(ClientMessage).decode


class StreamQuery(msgspec.Struct, frozen=True):
    """What the URL of a WebSocket may ask for."""

    channels: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    symbols: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    mode: Literal["full", "delta"] | None = None
    since: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,32}:[0-9]{1,18}\Z")] | None = None
    lane_since: Annotated[int, msgspec.Meta(ge=0)] | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is in force for one client: metrics channels (None: all of them), lanes, symbols (None: all), mode."""

    channels: frozenset[str] | None = None
    lanes: frozenset[str] = frozenset()
    symbols: frozenset[str] | None = None
    mode: Literal["full", "delta"] = "full"

    @property
    def view_key(self) -> ViewKey | None:
        """The view of the metrics; None if no metrics are wanted."""
        if self.channels is not None and not self.channels:
            return None
        return ViewKey(self.channels, self.symbols, self.mode == "delta")

    def describe(self, known: tuple[str, ...]) -> dict[str, Any]:
        """Returns what is in force, for `connected` and `subscribed`; `known` are the metrics channels there are."""
        metrics = [name for name in known if self.channels is None or name in self.channels]
        return {
            "channels": [*metrics, *(name for name in LANES if name in self.lanes)],
            "symbols": None if self.symbols is None else sorted(self.symbols),
            "mode": self.mode,
        }


DEFAULT: Final = Subscription()


def subscribed(current: Subscription, message: ClientMessage, known: tuple[str, ...]) -> Subscription:
    """Returns what is in force after a `subscribe`: channels are added (the first metrics channels replace the default
    of all), `symbols` and `mode` are set where given. Raises SubscriptionError."""
    channels, lanes = _split(message.channels or [], known)
    if channels:
        merged = channels if current.channels is None or EVERY_METRIC in channels else current.channels | channels
        current = replace(current, channels=None if EVERY_METRIC in merged else merged)
    if message.symbols is not msgspec.UNSET:
        # Null, or an empty list, is no filter.
        current = replace(current, symbols=frozenset(message.symbols) if message.symbols else None)
    return replace(current, lanes=current.lanes | lanes, mode=message.mode or current.mode)


def unsubscribed(current: Subscription, message: ClientMessage, known: tuple[str, ...]) -> Subscription:
    """Returns what is in force after an `unsubscribe` from channels and symbols; from everything if it names none.
    Raises SubscriptionError."""
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
        rest = current.symbols.difference(message.symbols or current.symbols)
        current = replace(current, symbols=rest or None)
    return replace(current, lanes=current.lanes - lanes)


def parse_message(message: bytes) -> ClientMessage:
    """Returns a client's message; the seed's `subscribe:market_data,execution` is one too. Raises SubscriptionError for
    what is none. `message` is UTF-8."""
    text = message.decode()
    if text.startswith(_TEXT_FORM):
        names = text.removeprefix(_TEXT_FORM).split(",")
        return ClientMessage(type="subscribe", channels=[name.strip() for name in names[:MAX_CHANNELS]])
    try:
        return _decode(message)
    except msgspec.DecodeError as error:
        # A fault may repeat what was sent, at any length.
        fault = str(error)[:MAX_FAULT_LENGTH]
        raise SubscriptionError("bad_message", f"expected ping, or a JSON object with a type: {fault}") from None
    except RecursionError:
        raise SubscriptionError("bad_message", "nested too deeply") from None


def parse_url(request: Request, known: tuple[str, ...]) -> tuple[StreamQuery, Subscription]:
    """Returns the parameters of a WebSocket's URL, and the subscription they make: `channels` is the whole list there.
    Raises Unprocessable."""
    query = parse_query(request, StreamQuery)
    symbols = _listed(query.symbols)
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
        channels=_listed(query.channels) or None,
        symbols=symbols or None,
        mode=query.mode,
    )
    start = DEFAULT if query.channels is None else replace(DEFAULT, channels=frozenset())
    try:
        return query, subscribed(start, message, known)
    except SubscriptionError as error:
        raise Unprocessable([{"parameter": "channels", "error": str(error)}]) from None


def _listed(text: str | None) -> list[str]:
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
