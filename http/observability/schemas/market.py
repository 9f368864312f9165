"""The section `market_data` of a snapshot."""

from __future__ import annotations

from typing import Final

from observability.schemas.builders import (
    PRICE,
    count,
    flag,
    mapping,
    moment,
    number,
    price,
    quantity,
    record,
)

_FEED_OFFSET: Final = number(
    "The smallest arrival - exchange time of the last 30 to 60 seconds: mostly how much two clocks disagree.",
    0.84,
    null=True,
)

VENUE_STATE: Final = record(
    "VenueState",
    "The market of a symbol at one of several venues.",
    {
        "bid": price("Best bid of the venue's newest quote.", 585.25, null=True),
        "ask": price("Best ask of the venue's newest quote.", 585.27, null=True),
        "bid_size": quantity("Size at the best bid.", null=True),
        "ask_size": quantity("Size at the best ask.", null=True),
        "last_price": price("Price of the venue's newest print.", null=True),
        "volume": quantity("Size of its prints.", 51900.0),
        "trades": count("Prints."),
        "vwap": price("Average price of its prints, weighted by size.", null=True),
        "locked": count("Quotes with bid = ask.", 0),
        "crossed": count("Quotes with bid > ask.", 0),
        "clock_offset_ms": _FEED_OFFSET,
        "feed_latency_p99_ms": number("How much later than the fastest event the others came.", 3.2, null=True),
        "late": count("Quotes and prints that were older than the newest when they arrived.", 0),
        "ahead": count("Quotes and prints that were dated ahead of their arrival.", 0),
        "updated": moment("When its last quote or print arrived.", null=True),
        "stale": flag("Its newest quote is stale, or its source is lost; without quotes, its newest print is stale."),
    },
)

SYMBOL_STATE: Final = record(
    "SymbolState",
    "The market of one symbol.",
    {
        "last_price": price("Price of the newest print, by the exchange's time.", null=True),
        "bid": price("Best bid; null where there is none.", 585.25, null=True),
        "ask": price("Best ask; null where there is none.", 585.27, null=True),
        "bid_size": quantity("Size at the best bid.", null=True),
        "ask_size": quantity("Size at the best ask.", null=True),
        "volume": quantity("Size of the session's prints.", 51900.0),
        "buy_volume": quantity("Of those with a buying aggressor.", 29800.0),
        "sell_volume": quantity("Of those with a selling aggressor.", 22100.0),
        "unknown_volume": quantity("Of those whose aggressor is unknown.", 0.0),
        "trades": count("Prints of the session.", 92),
        "vwap": price("Average price of the prints, weighted by size.", null=True),
        "high": price("Highest price of a print.", null=True),
        "low": price("Lowest price of a print.", null=True),
        "spread_bps": number("(ask - bid) / mid, now; negative while crossed, null while stale.", 0.34, null=True),
        "time_weighted_spread": number(
            "ask - bid, weighted by how long it stood by the exchange's time.", 0.031, PRICE, null=True
        ),
        "locked": count("Quotes with bid = ask.", 0),
        "crossed": count("Quotes with bid > ask.", 0),
        "update_rate": number("Quotes and prints per second over the last five whole seconds.", 57.0, "1/s", null=True),
        "clock_offset_ms": _FEED_OFFSET,
        "feed_latency_p50_ms": number("How much later than the fastest event the others came: median.", 0.9, null=True),
        "feed_latency_p99_ms": number("The same: 99th percentile.", 3.2, null=True),
        "feed_latency_max_ms": number("The same: the largest.", 7.5, null=True),
        "n_feed_latency": count("Events behind these percentiles.", 2218),
        "late": count("Quotes and prints that were older than the newest when they arrived.", 0),
        "ahead": count("Quotes and prints that were dated ahead of their arrival.", 0),
        "updated": moment("When the last quote or print arrived.", null=True),
        "quote_updated": moment("When the newest quote arrived; null without one.", null=True),
        "print_updated": moment("When the newest print arrived; null without one.", null=True),
        "quote_stale": flag("Whether the newest quote is older than STALE_AFTER.") | {"type": ["boolean", "null"]},
        "print_stale": flag("Whether the newest print is older than STALE_AFTER.") | {"type": ["boolean", "null"]},
        "stale": flag("`quote_stale` or, where nothing was ever quoted, `print_stale`."),
        "closed": flag("Whether the market is closed by its calendar; null if its hours are not known.")
        | {"type": ["boolean", "null"]},
        "venues": mapping(VENUE_STATE, "Each venue, where there are several.", "BINANCE"),
    },
    optional=("venues",),
)

MARKET_DATA: Final = mapping(SYMBOL_STATE, "Each tracked symbol.", "AAPL")
