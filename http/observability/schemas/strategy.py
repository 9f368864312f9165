"""The section `strategy` of a snapshot, and the documents about positions, performance, instruments and breaks."""

from __future__ import annotations

from typing import Final

from observability.schemas.builders import (
    FRACTION,
    MONEY,
    Schema,
    array,
    count,
    flag,
    mapping,
    moment,
    money,
    nullable,
    number,
    price,
    quantity,
    record,
    share,
    text,
    word,
)
from observability.schemas.sites import SITE_FIELDS, UNDEFINED_REASON, of_sites, over_sites
from observability.schemas.trades import BOOKING, BY_CURRENCY, SYMBOL

_STRATEGY: Final = text("The strategy; `(default)` if the events name none.", "mean_reversion")
_POSITION_SIDE: Final = word("The side in hedge mode, else empty or `both`.", ("", "long", "short", "both"))
_WHY_NULL: Final = text("Why sums that need a missing rate are null; null if none does.", "no rate EUR/USD", null=True)

AMOUNTS: Final = record(
    "CurrencyAmounts",
    "The account's sums in one currency, exact and not converted.",
    {
        "realized_gross": money("Realised by fills, before fees."),
        "fees": money("All fees.", 40.1),
        "income": money("P&L that no fill has made: funding, dividends, interest, ...", 0.0),
        "realized": money("Realised, net of fees, income included."),
        "unrealized": money("Open positions at their marks.", 11.8),
        "cash": money("What fills, fees and payments have moved.", -8500.0),
        "equity": money("P&L and flows in this currency."),
    },
)

POSITION_VENUE: Final = record(
    "PositionVenue",
    "What one venue has of a position.",
    {
        "quantity": quantity("Signed quantity."),
        "cash_flow": money("What its fills have paid and received."),
        "fees": money("Its fees.", 1.2),
        "pnl": money("Its share of the P&L."),
    },
)

_POSITION_FIELDS: Final[dict[str, Schema]] = {
    "key": text("Identifies the position in deltas: STRATEGY/SYMBOL.", "mean_reversion/AAPL"),
    "symbol": SYMBOL,
    "strategy": _STRATEGY,
    "position_side": _POSITION_SIDE,
    "quantity": quantity("Signed quantity."),
    "avg_price": price("Average cost of what is open.", 584.9, null=True),
    "mark": price("The price it is valued at.", null=True),
    "mark_source": text("Where the mark comes from: mid, last, ...", "mid", null=True),
    "unrealized_pnl": money("Value at the mark less cost.", 37.0, null=True),
    "realized_pnl": money("Realised so far, net of fees; null while `unvalued_fees` has any.", null=True),
    "currency": text("The currency of both.", "USD"),
    "unvalued_fees": BY_CURRENCY | {"description": "Fees that had no rate into `currency` when their fills came."},
    "engine_quantity": quantity("Of the engine's newest `position` event; null before the first.", null=True),
    "engine_avg_price": price("Of the same event.", null=True),
    "difference": quantity("The engine's quantity less ours.", 0.0, null=True),
    "mark_updated": moment("Since when the mark is what it is.", null=True),
    "updated": moment("Time of the newest fill or mark.", null=True),
    "stale": flag("Whether the mark's source is stale."),
    "venues": mapping(POSITION_VENUE, "Each venue, where it is held at several.", "BINANCE"),
}
POSITION: Final = record("PositionState", "An open position.", _POSITION_FIELDS, optional=("venues",))
EXACT_POSITION: Final = record(
    "ExactPosition",
    "An open position, with its figures as decimals too.",
    {
        **_POSITION_FIELDS,
        "exact": record(
            "ExactFigures",
            "The same figures as decimals.",
            {
                name: text(f"`{name}` as a decimal.", example, null=True)
                for name, example in (
                    ("quantity", "100"),
                    ("avg_price", "584.9"),
                    ("mark", "585.27"),
                    ("unrealized_pnl", "37"),
                    ("realized_pnl", "-2.978976"),
                    ("fees", "2.978976"),
                )
            },
        ),
    },
    optional=("venues",),
)

# Sums that are null where a currency has no rate into the reporting one.
_SUMS: Final[dict[str, Schema]] = {
    "total_pnl": money("Realised and unrealised P&L.", null=True),
    "realized_pnl": money("Realised, net of fees, income included.", null=True),
    "realized_gross_pnl": money("Realised by fills, before fees.", null=True),
    "unrealized_pnl": money("Open positions at their marks.", 11.8, null=True),
    "fees": money("All fees.", 40.1, null=True),
    "income": money("P&L that no fill has made: funding, dividends, interest, ...", 0.0, null=True),
}
_ACCOUNT: Final[dict[str, Schema]] = {
    **_SUMS,
    "gross_exposure": money("Sum of the absolute values of positions.", 79501.7, null=True),
    "net_exposure": money("Sum of the signed values of positions.", -39644.3, null=True),
    "currencies": mapping(AMOUNTS, "Sums by currency, exact and not converted.", "USD"),
    "unconverted": BY_CURRENCY | {"description": "P&L by currency for which no rate is known."},
    "unconverted_reason": _WHY_NULL,
    "equity": money("Capital plus external flows plus total P&L.", 251250.5, null=True),
    "daily_pnl": money("P&L since the session began.", null=True),
    "drawdown": money("How far total P&L is below its peak.", 92.3, null=True),
    "open_positions": count("Positions that are not flat.", 2),
    "external_flows": money("What was paid in since the start, less what was paid out.", 0.0, null=True),
    "max_drawdown": money("The deepest fall.", 298.4, null=True),
    "win_rate": share("Round trips won / (won + lost).", 0.5, null=True),
    "signals": count("Signals that arrived.", 19),
    "fills": count("Fills that arrived.", 25),
}

STRATEGY_STATE: Final = record(
    "StrategyState",
    "One strategy's account.",
    {
        **_ACCOUNT,
        "n_wins": count("Round trips with a gain.", 2),
        "n_losses": count("Round trips with a loss.", 2),
        "n_breakeven": count("Round trips with neither.", 0),
        "last_signal": nullable(
            record(
                "LastSignal",
                "The newest signal.",
                {
                    "symbol": SYMBOL,
                    "action": text("What it wants to do.", "buy"),
                    "confidence": number("As the strategy gave it.", 0.8, "as sent", null=True),
                    "timestamp": moment("Its time."),
                },
            ),
            "The newest signal; null before the first.",
        ),
    },
)

SYMBOL_ACCOUNT: Final = record(
    "SymbolAccount",
    "What one symbol has brought, over all strategies, in its own currency.",
    {
        **_SUMS,
        "unconverted": BY_CURRENCY,
        "fills": count("Fills in it."),
        "instrument": record(
            "InstrumentTerms",
            "How it is accounted for.",
            {
                "currency": text("The currency it is settled in.", "USD"),
                "contract": word("Its form.", ("linear", "inverse", "quanto")),
                "multiplier": number("Units per contract.", 1.0, "1"),
                "tick_size": price("The smallest step of its price.", 0.01, null=True),
                "assumed": flag("Whether no `instrument` event described it."),
            },
        ),
    },
)

RATE: Final = record(
    "UsedRate",
    "A rate that something is converted at.",
    {
        "pair": text("One of the first is `rate` of the second.", "EUR/USD"),
        "rate": number("The rate.", 1.0845, "rate"),
        "updated": moment("When it came.", null=True),
        "stale": flag("Whether it is too old: a day, or as its market."),
        "source": word("Where it comes from.", ("event", "market", "assumed")),
        "symbol": text("The symbol of that market; null for others.", "EURUSD", null=True),
        "site": text("The site that uses it; only an aggregator shows it.", "london"),
    },
    optional=("site",),
)

KNOWN_RATE: Final = record(
    "KnownRate",
    "The newest rate between two currencies.",
    {
        "base": text("One of this currency", "EUR"),
        "quote": text("is so many of this one.", "USD"),
        "rate": text("The rate as a decimal, with the digits that were sent.", "1.0845"),
        "updated": moment("When it came.", null=True),
        "source": word("Where it comes from.", ("event", "market", "assumed")),
        "symbol": text("The symbol of that market; null for others.", "EURUSD", null=True),
    },
)

_TIME_OR_NULL: Final = {
    "drawdown_peak_time": moment("When the peak before the current fall was reached.", null=True),
    "max_drawdown_peak_time": moment("When the deepest fall began.", null=True),
    "max_drawdown_trough_time": moment("When it reached its bottom.", null=True),
    "max_drawdown_recovered_time": moment("When it was made good; null if it was not yet.", null=True),
}

_SECTION_FIELDS: Final[dict[str, Schema]] = {
    **_ACCOUNT,
    "reporting_currency": text(
        "The currency of every sum of the section; null where sites differ in it.", "USD", null=True
    ),
    "starting_capital": money("Capital before the first fill.", 250000.0, null=True),
    "drawdown_pct": number("The current fall in percent of the peak equity.", 0.04, null=True),
    "max_drawdown_pct": number("The deepest fall in percent of the peak equity.", 0.12, null=True),
    **_TIME_OR_NULL,
    "sharpe": number("Sharpe ratio of the days that have ended.", 1.4, "ratio", null=True),
    "sortino": number("Sortino ratio of the same days.", 2.1, "ratio", null=True),
    "n_days": count("How many those are.", 30),
    "profit_factor": number("Gains of winning round trips / losses of losing ones.", 1.6, "ratio", null=True),
    "expectancy": money("What a round trip brings on average.", 40.5, null=True),
    "n_closing": count("Round trips.", 4),
    "rates": array(RATE, "Each rate that something is converted at."),
    "reported_equity": money("What the newest later `equity` event reported.", 250000.0, null=True),
    "duplicate_fills": count("Fills that had been counted already.", 0),
    "conflicting_fills": count("Fills with the key of another and other content; they are in no figure.", 0),
    "bookings": count("Bookings that count.", 0),
    "duplicate_bookings": count("Bookings that were counted already.", 0),
    "conflicting_bookings": count("Bookings with the id of another and other content.", 0),
    "fills_refused": count("Fills that needed a further position when all were open.", 0),
    "overclosing_fills": count("Fills refused because they close more than a side holds.", 0),
    "strategies_refused": count("Strategies without an account of their own.", 0),
    "positions_at_fill_price": count("Open positions marked to their own last fill.", 0),
    "position_breaks": count("Positions that differ from the engine's.", 0),
    "corrections": count("Busts and corrections that were applied.", 0),
    "pending_corrections": count("Those that wait for their fill, or are being applied.", 0),
    "path_reason": text("Why the path of the P&L still has something of a corrected fault.", "...", null=True),
}

STRATEGY_SECTION: Final = record(
    "StrategySection",
    "P&L, exposure and drawdown of the account.",
    {
        **over_sites(_SECTION_FIELDS),
        "strategies": mapping(STRATEGY_STATE, "Each strategy.", "mean_reversion"),
        "positions": array(POSITION, "Open positions."),
        "symbols": mapping(SYMBOL_ACCOUNT, "Each symbol with a fill, over all strategies.", "AAPL"),
        **of_sites(record("SiteStrategy", "The account of one site.", _SECTION_FIELDS)),
        "undefined_reason": UNDEFINED_REASON,
    },
    optional=(*SITE_FIELDS, "undefined_reason"),
)


def figure(meaning: str, example: float, unit: str) -> Schema:
    """Describes a figure with its sample count, and the reason where it is null."""
    return record(
        "",
        meaning,
        {
            "value": number(meaning, example, unit, null=True),
            "n": count("How many samples are behind it."),
            "reason": text("Why it is null; null if it is not.", "no day has ended", null=True),
        },
    )


FALL: Final = record(
    "Fall",
    "A fall of the total P&L from a peak.",
    {
        "value": money("Its depth.", 298.4),
        "percent": number("Its depth in percent of the peak equity.", 0.12, "%", null=True),
        "reason": text("Why `percent` is null.", "no starting capital", null=True),
        "peak_pnl": money("Total P&L at the peak."),
        "peak_time": moment("When it began.", null=True),
        "trough_time": moment("When it reached its bottom.", null=True),
        "recovered_time": moment("When it was made good.", null=True),
    },
)

PERFORMANCE: Final = record(
    "AccountPerformance",
    "Ratios, outcomes, holding time and drawdown of one account.",
    {
        "starting_capital": money("The capital.", 250000.0, null=True),
        "days": count("Days that have ended.", 30),
        "first_day": text("The first of them.", "2025-09-21", null=True),
        "last_day": text("The last of them.", "2025-10-20", null=True),
        "sharpe": figure("Sharpe ratio, annualised.", 1.4, "ratio"),
        "sortino": figure("Sortino ratio, annualised.", 2.1, "ratio"),
        "annual_return": figure("Compound return of a year.", 0.18, FRACTION),
        "volatility": figure("Deviation of daily returns, annualised.", 0.12, FRACTION),
        "calmar": figure("Annual return / deepest fall of the linked returns.", 1.1, "ratio"),
        "win_rate": figure("Round trips won / (won + lost).", 0.5, FRACTION),
        "profit_factor": figure("Gains of winning round trips / losses of losing ones.", 1.6, "ratio"),
        "expectancy": figure("What a round trip brings on average.", 40.5, MONEY),
        "best": figure("The best round trip.", 250.0, MONEY),
        "worst": figure("The worst round trip.", -120.0, MONEY),
        "holding_time_seconds": figure("How long what was closed was held, on average.", 340.0, "s"),
        "n_wins": count("Round trips with a gain.", 2),
        "n_losses": count("Round trips with a loss.", 2),
        "n_breakeven": count("Round trips with neither.", 0),
        "n_unvalued": count("Round trips in no figure, because a fee of theirs had no rate.", 0),
        "drawdown": record(
            "Falls",
            "The current fall, the deepest in currency and the deepest in percent.",
            {"current": FALL, "maximum": FALL, "maximum_percent": FALL},
        ),
    },
)

INSTRUMENT: Final = record(
    "InstrumentState",
    "What a symbol stands for.",
    {
        "symbol": SYMBOL,
        "venue": text("The venue it holds at; empty for all.", ""),
        "kind": text("equity, spot, future, perpetual, option or fx; null if nothing told.", "equity", null=True),
        "contract": word("Its form.", ("linear", "inverse", "quanto")),
        "base_currency": text("What is traded.", "BTC", null=True),
        "quote_currency": text("What its price is in.", "USD"),
        "settlement_currency": text("What its P&L is in.", "USD"),
        "multiplier": number("Units per contract.", 1.0, "1"),
        "tick_size": price("The smallest step of its price.", 0.01, null=True),
        "lot_size": quantity("The smallest step of its quantity.", 1.0, null=True),
        "expiry": moment("When it ends.", null=True),
        "calendar": text("The exchange whose sessions it trades in (ISO 10383).", "XNAS", null=True),
        "calendar_fault": text(
            "Why the calendar is not used; null if it is, or if there is none.",
            "it has no session at that time",
            null=True,
        ),
        "assumed": flag("Whether no event described it, and its name alone tells."),
    },
)

BREAK: Final = record(
    "PositionBreak",
    "A position that differs from the engine's.",
    {
        "strategy": _STRATEGY,
        "symbol": SYMBOL,
        "position_side": text("The side in hedge mode, else empty or `both`.", ""),
        "quantity": quantity("Ours."),
        "engine_quantity": quantity("The engine's.", 90.0),
        "difference": quantity("The engine's less ours.", -10.0),
        "avg_price": price("Ours.", null=True),
        "engine_avg_price": price("The engine's."),
        "reported": moment("When the engine reported it."),
    },
)

_DIFFERS: Final = array(text("A field.", "price"), "The fields that differ.")

_ORDER_TERMS: Final = record(
    "OrderTerms",
    "What two deliveries of one report may differ in.",
    {"quantity": quantity("The quantity.", null=True), "price": price("The price.", null=True)},
)

ORDER_BREAK: Final = record(
    "OrderBreak",
    "A report of an order that was delivered again with other content.",
    {
        "order_id": text("The order.", "o1"),
        "symbol": SYMBOL,
        "venue": text("The venue.", "XNAS"),
        "strategy": _STRATEGY,
        "status": text("The status of both reports.", "new"),
        "timestamp": moment("The time of both."),
        "counted": _ORDER_TERMS,
        "delivered": _ORDER_TERMS,
        "differs": _DIFFERS,
    },
)

_FILL_TERMS: Final = record(
    "FillTerms",
    "What two deliveries of one fill may differ in.",
    {
        "quantity": quantity("The quantity."),
        "price": price("The price."),
        "commission": money("The commission.", 0.5),
        "commission_asset": text("Its currency.", "USD", null=True),
        "strategy": _STRATEGY,
        "position_side": _POSITION_SIDE,
    },
)

FILL_BREAK: Final = record(
    "FillBreak",
    "A fill that was delivered again with other content.",
    {
        "trade_id": text("The trade.", "t1"),
        "order_id": text("Its order.", "o1"),
        "symbol": SYMBOL,
        "side": word("The side of both.", ("buy", "sell")),
        "venue": text("The venue.", "XNAS"),
        "timestamp": moment("When it was executed."),
        "counted": nullable(_FILL_TERMS, "The one that counts; null once it is no longer in memory."),
        "delivered": _FILL_TERMS,
        "differs": nullable(_DIFFERS, "Null where `counted` is."),
    },
)

BOOKING_BREAK: Final = record(
    "BookingBreak",
    "A booking that was delivered again with other content.",
    {
        "kind": text("Its kind.", "funding"),
        "timestamp": moment("Its time."),
        "counted": nullable(BOOKING, "The one that counts; null once it is no longer in memory."),
        "delivered": BOOKING,
    },
)
