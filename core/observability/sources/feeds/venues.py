"""The venues that have a feed, by the scheme of their URL, and which of them a captured message is from."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from observability.sources.feeds.binance import BinanceDialect, BinanceUsdmDialect
from observability.sources.feeds.bybit import BybitDialect
from observability.sources.feeds.coinbase import CoinbaseDialect
from observability.sources.feeds.dialect import Dialect
from observability.sources.feeds.kraken import KrakenDialect
from observability.sources.feeds.okx import OkxDialect

VENUES: Final[dict[str, type[Dialect]]] = {
    dialect.venue.lower(): dialect
    for dialect in (BinanceDialect, BinanceUsdmDialect, CoinbaseDialect, KrakenDialect, BybitDialect, OkxDialect)
}


class _Shape(msgspec.Struct):
    """Fields that only messages of one venue have."""

    stream: str | None = None
    topic: str | None = None
    arg: dict[str, Any] | None = None
    channel: str | None = None
    sequence_num: int | None = None


_decode_shape = msgspec.json.Decoder(_Shape).decode


def venue_of(message: bytes) -> type[Dialect] | None:
    """Returns the dialect of a captured message; None if it may be of any, such as an answer to a subscription."""
    try:
        shape = _decode_shape(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if shape.stream is not None:
        return BinanceDialect
    if shape.topic is not None:
        return BybitDialect
    if shape.arg is not None:
        return OkxDialect
    if shape.channel is not None:
        return KrakenDialect if shape.sequence_num is None else CoinbaseDialect
    return None
