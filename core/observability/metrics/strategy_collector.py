"""The strategy section: P&L, exposure and drawdown of the whole account, of each strategy and of each open position."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from observability.bus import Bus, EventHandler, Remark
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import NS_PER_DAY, iso_or_none
from observability.errors import CapacityError, EventRefused
from observability.events import (
    BookingEvent,
    Cash,
    Dividend,
    Equity,
    Event,
    Fill,
    Funding,
    Instrument,
    Position,
    Rate,
    Settlement,
    Signal,
    Split,
    code_of,
    event_time_ns,
)
from observability.history.history import History
from observability.history.standing import StandingSeries
from observability.instruments.instrument import renamed
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.decimals import EXACT, ZERO, add, subtract, to_float, to_float_or_none
from observability.metrics.arithmetic.ledger import sum_or_none
from observability.metrics.arithmetic.rates import MAX_CURRENCIES, MAX_RATES, Conversion, Rates
from observability.metrics.arithmetic.rates import Rate as KnownRate
from observability.metrics.arithmetic.sessions import UTC_DAYS, Session, SessionCalendar
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.collectors import MAX_REFUSED_NAMES, BusCollector
from observability.metrics.market.touch import Mark, mark_of
from observability.metrics.market.tracked_symbol import TrackedSymbol
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.strategy.account import CURVE_FIELDS, CURVES, StrategyAccount, differences
from observability.metrics.strategy.book.adoption import Adoption
from observability.metrics.strategy.book.amender import Amender
from observability.metrics.strategy.book.bookkeeper import Bookkeeper, Flow
from observability.metrics.strategy.book.closings import Closings, Moment, MomentKind, shift_of
from observability.metrics.strategy.book.equity_path import (
    Booked,
    Capitals,
    Divided,
    EquityPath,
    Looked,
    Paid,
    PathState,
)
from observability.metrics.strategy.book.fold import Refold
from observability.metrics.strategy.book.path import FIGURES, CorrectedPath
from observability.metrics.strategy.book.path_state import path_state
from observability.metrics.strategy.book.path_walk import Amendment, PathRun
from observability.metrics.strategy.book.rate_markets import RateMarkets
from observability.metrics.strategy.capital import Capital
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.holding import Holding, Holdings
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.strategy.reconciliation import Reconciliation
from observability.metrics.strategy.state import StrategyState
from observability.metrics.strategy.symbol_part import SymbolPart, SymbolSums
from observability.metrics.strategy.totals import SERIES_FIELDS, StrategyTotals, earned_by
from observability.metrics.trades.booking import BookedEvent, Booking
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.position_side import HeldSide, held_side, is_reducing, place_of
from observability.metrics.trades.trade import DEFAULT_STRATEGY
from observability.metrics.trades.trade_log import ACCOUNTING, CONFLICT, DUPLICATE, TradeLog, ids_of
from observability.snapshot.sections import Group, JsonPart
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

# The account of all strategies beyond `max_strategies`, so that the total is complete.
OTHER_STRATEGIES = "(other)"
# Likewise the sums of all symbols beyond as many as there may be positions.
OTHER_SYMBOLS = "(other)"


EquityRow = tuple[str, Decimal | None, Decimal | None, Decimal | None, Decimal | None]
"""Strategy, total P&L, realised P&L, unrealised P&L, capital with what was paid in and out since; None where a rate is
missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySettings:
    """The limits of the strategy section and the conventions of its accounting."""

    max_strategies: int = 64
    max_positions: int = 1024
    multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    """Contract multipliers by symbol; 1 for every other symbol."""
    calendar: SessionCalendar = UTC_DAYS
    starting_capital: Decimal | None = None
    annualization: int = 365
    """How many daily returns a year has."""
    reporting_currency: str = "USD"
    risk_free_rate: Decimal = ZERO
    """Per year, as a fraction."""


class StrategyCollector(BusCollector):
    """Accounts for every fill once, by strategy, symbol and position side, at average cost.

    `daily_pnl` counts from the last session boundary of the event clock, marked with the last prices before it; so do
    UTC days, whose ends make the daily returns. Drawdown is that of the equity after every fill and every event that
    moves the mark of an open position, however often the section ticks. Without `starting_capital` the first
    equity event determines the capital, as the equity of that moment; later ones are shown beside our own equity.
    """

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        market: MarketDataCollector | None = None,
        trades: TradeLog | None = None,
        bookings: BookingLog | None = None,
        settings: StrategySettings | None = None,
        instruments: InstrumentTable | None = None,
    ) -> None:
        """Without `bus` the process's default one is used, without `clock` one that follows the events, and without
        `history` none is written. Without `market` positions are marked to their own last fill. `trades` and `bookings`
        are the logs that other collectors share, `instruments` the table."""
        super().__init__("strategy", bus)
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.trades = TradeLog() if trades is None else trades
        self.bookings = BookingLog(self.bus) if bookings is None else bookings
        self.settings = StrategySettings() if settings is None else settings
        if instruments is None:
            instruments = InstrumentTable(self.settings.reporting_currency, self.settings.multipliers)
        self.instruments = instruments
        self.rates = Rates(instruments.reporting)
        self._adoption = Adoption(self, self.bookings)
        self._bookkeeper = Bookkeeper(self, self.bookings)
        self.path: EquityPath = EquityPath(self._path_state)
        self.rates.on_conversion = lambda conversion: self.path.rate(0, conversion)
        self._rate_markets = RateMarkets(self.rates, instruments, self._watch_rate)
        instruments.is_held = self._is_held
        instruments.add_terms_listener(self._on_terms)
        self.bookings.add_check(Instrument, self._check_instrument)
        for kind in (Cash, Dividend, Funding):
            self.bookings.add_check(kind, self._check_currency)
        self.bookings.add_check(Rate, self._check_rate)
        self.fields = JsonPart()
        self._accounts: dict[str, StrategyAccount] = {}
        self._open: dict[str, PositionPart] = {}
        self._symbols: dict[str, SymbolPart] = {}
        self.groups: tuple[Group, ...] = (
            Group("strategies", self._accounts),
            Group("positions", self._open, as_list=True),
            Group("symbols", self._symbols),
        )
        self.last_input_ns: int | None = None
        self.is_touched = True
        self.duplicate_fills = 0
        self.fills_refused = 0
        self.overclosing_fills = 0
        """Fills that were refused because they would have closed more than their side of the position held."""
        self.corrections = 0
        """Corrections of fills that were applied."""
        self.pending_corrections = 0
        """Corrections that wait for their fill, or are in progress."""
        self.position_breaks = 0
        """Positions whose quantity in the engine's newest report differed from ours at the last tick."""
        self._market = market
        self._history = history
        if market is not None:
            self._rate_markets.attach(market)
        self._rates_json: list[dict[str, Any]] = []
        self._shown_generation = 0
        self._session = Session(self.settings.calendar)
        self._day = Session()
        self.left_by_faults = CorrectedPath()
        self.closings = Closings()
        self.amender = Amender(self, self._accounts, instruments, self.rates)
        self._rollover_ns = 0
        """When the session or the UTC day ends next; 0 before the first event, which begins both. A tick alone begins
        neither."""
        self._totals = StrategyTotals(self.settings.annualization, self.rates, self.settings.risk_free_rate)
        self._n_positions = 0
        self._holdings = Holdings(self._on_move, self._catch_up)
        # The symbols whose positions have moved since they were shown.
        self._moved: set[str] = set()
        # Whether a flat position may be found among them; looking for one takes as long as there are positions.
        self._may_be_flat = False
        self._strategies_refused: set[str] = set()
        self._reconciliation = Reconciliation(self.settings.max_positions)
        self._capital = Capital(self.settings.starting_capital, self.settings.max_strategies)
        self._totals.drawdown.set_capital(self.capital)
        self._has_input = True
        self._is_restoring = False
        self._is_resumed = False
        """Whether the section was restored and has not ticked since: days that end now lie between two runs."""
        self._series: StandingSeries | None = None
        if history is not None:
            self._series = history.open_standing(self.name, "", SERIES_FIELDS)

    @property
    def strategy_count(self) -> int:
        """How many strategies have an account."""
        return len(self._accounts)

    @property
    def strategies_refused(self) -> int:
        """How many strategies share the account of all others, as far as they are known by name."""
        return len(self._strategies_refused)

    @property
    def reports_dropped(self) -> int:
        """How many of the engine's reports of open positions are not compared, because others came after them."""
        return self._reconciliation.dropped

    @property
    def session_end_ns(self) -> int | None:
        """The first moment after the current session; None before the first event."""
        return self._session.end_ns

    @property
    def capital(self) -> Decimal | None:
        """The starting capital of the account: as configured, else as reported, else the sum of the strategies'."""
        return self._capital.of_account

    @property
    def capitals(self) -> int:
        """How many starting capitals were reported: the account's, and those of strategies."""
        return len(self._capital.known)

    def breaks(self) -> list[dict[str, Any]]:
        """Returns the positions whose quantity in the engine's newest report differs from ours."""
        return self._reconciliation.breaks(self.find, self._strategies_refused)

    def performance(self) -> dict[str, Any]:
        """Returns ratios, outcomes, holding time and drawdown of the account and of each strategy, with sample counts.
        Only figures whose inputs have changed are derived again."""
        capital = self._capital
        session = self._session
        annualization = self._totals.annualization
        return {
            "annualization": annualization,
            "risk_free_rate": to_float(self.settings.risk_free_rate),
            "session": {
                "timezone": str(session.calendar.zone),
                "start": f"{session.calendar.start:%H:%M}",
                "ends": iso_or_none(session.end_ns),
            },
            "account": self._totals.to_json(self._accounts.values(), capital.of_account),
            "strategies": {
                name: account.performance_json(capital.of(name), annualization, self.settings.risk_free_rate)
                for name, account in self._accounts.items()
            },
        }

    def equity_rows(self, now_ns: int) -> Iterator[EquityRow]:
        """Yields the exact figures of the account, under an empty name, and of each strategy, as of `now_ns`."""
        self._update(now_ns)
        accounts = self._accounts.values()
        ledger = self._totals.ledger
        yield "", ledger.total, ledger.realized, ledger.unrealized, sum_or_none((self.capital, ledger.flows))
        for account in accounts:
            paid_in = sum_or_none((self._capital.of(account.name), account.ledger.flows))
            yield account.name, account.total, account.realized, account.unrealized, paid_in

    def save(self) -> bytes:
        return pack(
            StrategyState(
                accounts=[account.to_state() for account in self._accounts.values()],
                open=[(part.strategy, part.place) for part in self._open.values()],
                session_end_ns=self._session.end_ns,
                day_end_ns=self._day.end_ns,
                drawdown=self._totals.drawdown,
                days=self._totals.days.to_state(),
                capital=self._capital.known,
                reported_equity=self._capital.reported,
                views=[(strategy, report) for (strategy, _, _), report in self._reconciliation.reports.items()],
                strategies_refused=sorted(self._strategies_refused),
                fills_refused=self.fills_refused,
                duplicate_fills=self.duplicate_fills,
                last_input_ns=self.last_input_ns,
                symbols=[part.sums for part in self._symbols.values()],
                reports_dropped=self.reports_dropped,
                path_reason=self.left_by_faults.reason,
                path_left=self.left_by_faults.left,
                bookings=self.bookings.counts,
                duplicate_bookings=self.bookings.duplicates,
                overclosing_fills=self.overclosing_fills,
                currency=self.rates.reporting,
                rates=list(self.rates.known.values()),
                unassigned=self._totals.unassigned.to_state(),
                instruments=self.instruments.described,
                seq=self.path.seq,
                path=pack(self.path.to_state()),
                closings=self.closings.to_state(),
            )
        )

    def load(self, data: bytes) -> None:
        """Restores the section. A session that began under other settings lasts until its own end."""
        self._is_restoring = True
        try:
            self._load(unpack(data, StrategyState))
        finally:
            self._is_restoring = False

    def _load(self, state: StrategyState) -> None:
        self.rates.load(state.rates)
        for instrument in state.instruments:
            self.instruments.put(renamed(instrument))
        accounts = {each.name: StrategyAccount.from_state(each, self.rates) for each in state.accounts}
        totals = StrategyTotals.from_state(self.settings.annualization, self.rates, self.settings.risk_free_rate, state)
        path, closings = EquityPath(self._path_state), Closings()
        path.load_state(state.path, state.seq)
        closings.load_state(state.closings, state.seq)
        if code_of(state.currency) not in ("", self.rates.reporting):
            _begin_paths_anew(accounts.values(), totals, state.currency)
            path.clear()
            closings.clear(path.seq)
        # Nothing can fail from here on.
        self._accounts.update(accounts)
        self._totals = totals
        self.path, self.closings = path, closings
        for account in accounts.values():
            self._open_curve(account)
        self._may_be_flat = True
        self._n_positions = sum(len(account.positions) for account in accounts.values())
        for strategy, place in state.open:
            part = accounts[strategy].positions[place]
            self._open[part.key] = part
        for account in accounts.values():
            for part in account.positions.values():
                self._hold(part)
        self._totals.add_up(accounts.values())
        self._session.end_ns, self._day.end_ns = state.session_end_ns, state.day_end_ns
        self._schedule_rollover()
        self._capital.known, self._capital.reported = state.capital, state.reported_equity
        capital = self._totals.drawdown.capital
        self._totals.drawdown.set_capital(self.capital)
        self._reconciliation.dropped = state.reports_dropped
        for strategy, report in state.views:
            self._reconciliation.add(strategy, report, self.find)
        self._strategies_refused = set(state.strategies_refused)
        self.fills_refused, self.duplicate_fills = state.fills_refused, state.duplicate_fills
        self.overclosing_fills = state.overclosing_fills
        self.last_input_ns = state.last_input_ns
        self.bookings.counts, self.bookings.duplicates = state.bookings, state.duplicate_bookings
        self.left_by_faults.reason, self.left_by_faults.left = state.path_reason, state.path_left
        self._load_symbols(state)
        if path.base and self.capital != capital:
            # It is configured, and the settings have changed.
            path.add(Capitals(state.last_input_ns or 0, self._capitals()))
        self._has_input = self._is_resumed = True

    def restore_path(self, rows: Iterable[bytes], seq: int) -> None:
        """Restores the complete chunks of the path, once the section is restored; `seq` is the newest record of its
        state, from which the path begins if an earlier version kept none."""
        if not self.path.base:
            self.path.seq = max(self.path.seq, seq)
            self.closings.horizon_seq = max(self.closings.horizon_seq, seq)
        self.path.restore(rows)

    def positions(self) -> list[dict[str, Any]]:
        """Returns the open positions as the snapshot shows them, each with its figures as exact decimals."""
        return [{**part.to_json(), "exact": part.exact_json()} for part in self._open.values()]

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return {
            **self.fields.to_json(),
            "strategies": {name: dict(account.to_json()) for name, account in self._accounts.items()},
            "positions": [dict(part.to_json()) for part in self._open.values()],
            "symbols": {symbol: dict(part.to_json()) for symbol, part in self._symbols.items()},
        }

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        if (
            self._has_input
            or self._accounts
            or self.rates.conversions
            or now_ns >= self._holdings.next_expiry_ns
            or now_ns >= self._rollover_ns > 0
        ):
            self._update(now_ns)
        if is_recorded and self._series is not None:
            self._series.follow(now_ns, self._totals.row)
            for account in self._accounts.values():
                account.record(now_ns)

    def on_fill(self, event: Fill) -> None:
        """Accounts for one fill; a duplicate or conflicting one changes no account. Raises EventRefused if it needs a
        position and all are in use, or would close more than its side of the position holds."""
        # hot: once per fill (benchmarks/bench_intake.py)
        if event.position_side and is_reducing(event):
            self._check_side(event)
        if self._n_positions >= self.settings.max_positions and not self._has_room(event):
            self._refuse(event)
        if event.commission_asset:
            self._check_room("commission_asset", event.commission_asset)
        if len(self.rates.conversions) >= MAX_CURRENCIES:
            self._check_room("symbol", self.instruments.terms(event.symbol).currency)
        trade = self.trades.admit(event, ACCOUNTING)
        if trade is DUPLICATE or trade is CONFLICT:
            self.duplicate_fills += trade is DUPLICATE
            self._has_input = True
            return
        self._note_input(event)
        account = self._accounts.get(trade.strategy) or self.account_for(event, trade.strategy)
        part = account.positions.get(place_of(event.symbol, trade.position_side))
        part = part or self.open_position(account, event.symbol, trade.position_side)
        if part is None:
            # It was in the store, and there is room for fewer positions than when it came.
            self._count_refused(event)
            return
        path, totals = self.path, self._totals
        path.seq = trade.seq
        if account.days.first is None or totals.days.first is None:
            self._begin_days(account)
        amounts, unrealized, cost = part.amounts, part.unrealized, part.position.open_cost
        was_open = bool(part.position.quantity)
        gross, fee = account.apply(event, trade, part)
        moved_ns = event.ts_init or self.clock.time_ns()
        trade.is_flat = not part.position.quantity
        if self._market is not None and not trade.is_flat:
            tracked = self._market.symbol(event.symbol)
            if tracked is not None:
                part.take_mark(tracked, moved_ns)
                self._record_mark(part, moved_ns)
        moved = subtract(part.unrealized, unrealized)
        amounts.unrealized = add(amounts.unrealized, moved)
        account.observe(moved_ns)
        earned = subtract(moved, fee) if fee else moved
        totals.move(amounts, earned if gross is ZERO else add(earned, gross))
        symbol = self._symbols.get(event.symbol) or self._symbol(event.symbol)
        symbol.add(amounts, gross, fee)
        paid_for = subtract(cost, part.position.open_cost)
        paid_for = subtract(paid_for, fee) if fee else paid_for
        cash = {amounts.currency: paid_for if gross is ZERO else add(paid_for, gross)}
        if fee is ZERO and event.commission:
            paid = account.ledger.of(event.commission_asset)
            symbol.add(paid, ZERO, event.commission, 0)
            charged = event.commission.copy_negate()
            totals.move(paid, charged)
            cash[paid.currency] = charged
        path.add(
            Booked(
                moved_ns, trade.seq, account.name, part.place, part.symbol, part.terms, part.position.quantity,
                event.price, cash,
            )
        )  # fmt: skip
        totals.observe(moved_ns)
        if trade.is_flat or not was_open:
            self._hold(part)
            self._may_be_flat |= trade.is_flat

    def on_instrument(self, event: Instrument) -> None:
        if self._booked(event) is not None:
            self.instruments.put(self.instruments.described_by(event))
            fault = self.instruments.calendars.fault(event.calendar)
            if fault is not None:
                self.bus.remark = Remark(event, "calendar", fault)
                logger.warning("the calendar %s of %s is not used: %s", event.calendar, event.symbol, fault)

    def on_rate(self, event: Rate) -> None:
        if self._booked(event) is not None:
            now_ns = event.ts_init or self.clock.time_ns()
            pair = self.rates.pair_of((event.base, event.quote))
            # A date ahead of its arrival would hold off those that come after it.
            updated_ns, known = min(event_time_ns(event) or now_ns, now_ns), self.rates.known.get(pair)
            if known is None or known.updated_ns <= updated_ns:
                self._revalue(self.rates.put(pair, event.rate, updated_ns), now_ns)

    def on_booking(self, event: BookingEvent) -> None:
        """Applies one booking; a duplicate or conflicting one changes no account."""
        booking = self._booked(event)
        if booking is not None:
            self._bookkeeper.apply(booking, event.ts_init or self.clock.time_ns())

    @property
    def day(self) -> int:
        """The current UTC day, numbered from the epoch."""
        if self._day.end_ns is None:
            # A publisher inside this process may leave `ts_init` unset.
            self._roll_over(self.clock.time_ns())
        assert self._day.end_ns is not None
        return self._day.end_ns // NS_PER_DAY - 1

    def earn(self, account: StrategyAccount, symbol: str, amount: Decimal, now_ns: int, currency: str = "") -> None:
        self._begin_days(account)
        if not currency:
            currency = self.instruments.terms(symbol).currency if symbol else self.rates.reporting
        amounts = account.ledger.of(currency)
        amounts.earn(amount)
        account.observe(now_ns)
        self._totals.move(amounts, amount)
        self._totals.observe(now_ns)
        self.path.add(Booked(now_ns, self.path.seq, account.name, "", "", None, ZERO, None, {currency: amount}))
        if symbol:
            self._symbol(symbol).earn(amounts, amount)

    def pay(self, account: StrategyAccount | None, currency: str, amount: Decimal, flow: Flow, now_ns: int) -> None:
        amounts = (self._totals.unassigned if account is None else account.ledger).of(currency or self.rates.reporting)
        amounts.flows = add(amounts.flows, amount)
        if account is not None:
            account.has_input = True
        if flow.value is None:
            return
        seq = self.path.seq
        self._keep_moment("flow", self.day)
        if account is not None and flow.of_strategy is not None:
            account.add_flow(self.day, flow.of_strategy, flow.value, now_ns, seq)
            self.path.add(Paid(now_ns, seq, account.name, flow.value))
        if flow.of_all is not None:
            self._totals.add_flow(self.day, flow.of_all, flow.value, now_ns, seq)
            self.path.add(Paid(now_ns, seq, "", flow.value))

    def flow_of(self, account: StrategyAccount | None, currency: str, amount: Decimal) -> Flow:
        value = self.rates.value(amount, currency or self.rates.reporting, self.rates.reporting)
        return Flow(value, self._totals.total, None if account is None else account.total)

    def may_pay(self, strategy: str) -> bool:
        account = self._accounts.get(strategy)
        return self._totals.days.has_room(self.day) and (account is None or account.days.has_room(self.day))

    def settle(self, part: PositionPart, price: Decimal, venue: str, now_ns: int) -> Decimal:
        account, amounts, unrealized = self._accounts[part.strategy], part.amounts, part.unrealized
        cost = part.position.open_cost
        gross = account.settle(part, price, venue, now_ns)
        moved = subtract(part.unrealized, unrealized)
        amounts.unrealized = add(amounts.unrealized, moved)
        account.observe(now_ns)
        self._totals.move(amounts, add(moved, gross))
        self._totals.observe(now_ns)
        self._record(part, subtract(gross, subtract(part.position.open_cost, cost)), now_ns)
        self._hold(part)
        self._symbol(part.symbol).add(amounts, gross, ZERO, 0)
        self._may_be_flat |= not part.position.quantity
        return gross

    def split(self, part: PositionPart, ratio: Ratio, now_ns: int) -> None:
        tracked = self._tracked(part.symbol)
        unrealized = part.unrealized
        part.split(ratio, tracked, now_ns)
        assert part.unrealized == unrealized, "a split changes no value"
        path = self.path
        path.add(Divided(now_ns, path.seq, part.strategy, part.place, part.position.quantity))

    def end_split(self, symbol: str, ratio: Ratio, now_ns: int) -> None:
        self._reconciliation.forget(symbol)
        holding, tracked = self._holdings.get(symbol), self._tracked(symbol)
        mark = None if tracked is None else mark_of(tracked.mark_inputs(now_ns))
        self.path.scale(now_ns, symbol, ratio, None if mark is None else mark[0])
        if holding is not None and tracked is not None:
            holding.split(tracked, now_ns)

    def holders(self, symbol: str) -> Iterator[PositionPart]:
        holding = self._holdings.get(symbol)
        return iter(()) if holding is None else iter(tuple(holding.parts.values()))

    def check_place(self, strategy: str, symbol: str) -> None:
        self._check_room("symbol", self.instruments.terms(symbol).currency)
        if strategy not in self._accounts and len(self._accounts) >= self.settings.max_strategies:
            raise EventRefused("strategy", f"no room: all {self.settings.max_strategies} strategies are in use")
        if self._n_positions >= self.settings.max_positions and self._flat_position() is None:
            raise self.no_room()

    def bring_in(self, account: StrategyAccount, part: PositionPart, flow: Flow | None, now_ns: int) -> None:
        self._begin_days(account)
        tracked = self._tracked(part.symbol)
        if tracked is not None:
            part.take_mark(tracked, now_ns)
            self._record_mark(part, now_ns)
        amounts = part.amounts
        if flow is not None:
            self.pay(account, amounts.currency, part.position.open_cost, flow, now_ns)
        amounts.unrealized = add(amounts.unrealized, part.unrealized)
        account.observe(now_ns)
        self._totals.move(amounts, part.unrealized)
        self._totals.observe(now_ns)
        price = part.mark if part.mark_source == "fill" else None
        self._record(part, part.position.open_cost.copy_negate(), now_ns, price)
        self._symbol(part.symbol)
        self._hold(part)

    def days_begun(self, name: str) -> int:
        """Returns the fill or booking with which the days of an account have begun; 0 if they have not."""
        account = self._accounts.get(name)
        return 0 if account is None or account.days.first is None else account.days.first_seq

    def account_of(self, strategy: str) -> str:
        """Returns the account that the fills of a strategy are in."""
        return strategy if strategy in self._accounts else OTHER_STRATEGIES

    def follow(self, part: PositionPart, now_ns: int) -> None:
        tracked = self._tracked(part.symbol)
        if tracked is not None and part.position.quantity:
            part.take_mark(tracked, now_ns)
            self._record_mark(part, now_ns)
        self._hold(part)
        self._may_be_flat |= not part.position.quantity

    def replace_sums(
        self, account: StrategyAccount, part: PositionPart, before: StrategyAccount, after: StrategyAccount
    ) -> None:
        self._totals.add_up(self._accounts.values())
        sums = self._symbol(part.symbol)
        for currency, gross, fee, income in differences(before, after):
            amounts = account.ledger.of(currency)
            sums.add(amounts, gross, fee, 0)
            if income:
                sums.earn(amounts, income)
        sums.fills += after.fills - before.fills
        sums.has_input = True
        self._drop_if_empty(account, part)
        self._has_input = True

    def amend_path(self, account: StrategyAccount, refold: Refold, run: PathRun | None, now_ns: int) -> None:
        """Makes drawdown and daily figures those of a run without a fault. `run` has walked most of the path; it is
        None for a fill whose position could not be added up anew, and then the path begins anew."""
        correction, amendment = refold.correction, refold.amendment
        if run is None:
            self.path.clear()
            self._leave(FIGURES, correction.seq, now_ns)
            return
        deque(run.advance(), maxlen=0)
        run.install()
        for each in self._accounts.values():
            walked = run.walk.accounts.get(each.name)
            if walked is not None:
                each.drawdown = walked.drawdown
            elif each is account:
                each.drawdown = Drawdown()
                each.drawdown.set_capital(self._capital.of(each.name))
        self._totals.drawdown = run.walk.all.drawdown
        left = [] if run.is_reaching else ["drawdown"]
        if correction.seq <= self.closings.horizon_seq:
            left += ["daily P&L", "daily returns"]
        else:
            left += self._shift_days(account, amendment, correction.seq)
        if refold.has_first:
            first = refold.first
            account.days.begin_anew(*((None, 0) if first is None else first))
            begun = [(each.days.first, each.days.first_seq) for each in self._accounts.values() if each.days.first]
            self._totals.days.begin_anew(*min(begun, key=lambda each: (each[0] or 0, each[1]), default=(None, 0)))
        self._leave(left, correction.seq, now_ns)

    def _shift_days(self, account: StrategyAccount, amendment: Amendment, seq: int) -> list[str]:
        """Shifts the ends of days, the payments and the start of the session after a corrected fill; returns which
        figures cannot be made right, because a mark or a rate is not known."""
        reporting, left = self.rates.reporting, []
        ends: dict[int, Decimal] = {}
        flows: dict[int, Decimal] = {}
        for moment in self.closings.since(seq):
            shift = shift_of(amendment, moment, reporting)
            if shift is None:
                left = ["daily returns"]
            elif moment.kind == "day":
                ends[moment.day] = shift
            else:
                flows[moment.seq] = shift
        for days in (account.days, self._totals.days):
            days.shift(ends, flows)
        session = self.closings.session
        if session is not None and session.seq >= seq and account.anchor is not None:
            shift = shift_of(amendment, session, reporting)
            if shift is None:
                left.append("daily P&L")
            else:
                account.anchor = add(account.anchor, shift)
        return left

    def _leave(self, figures: Iterable[str], seq: int, now_ns: int) -> None:
        """Notes what a correction could not make right. A session and a day that began before the fill are right."""
        left = set(figures)
        moments = {"daily P&L": self.closings.session, "daily returns": next(self.closings.since(seq), None)}
        for name, moment in moments.items():
            if seq > self.closings.horizon_seq and (moment is None or moment.seq < seq):
                left.discard(name)
        self.left_by_faults.note(left, now_ns)

    def _drop_if_empty(self, account: StrategyAccount, part: PositionPart) -> None:
        """Drops an account, a position and a symbol that nothing but a busted fill has made."""
        sums = self._symbols.get(part.symbol)
        if sums is not None and sums.is_empty and not self._is_held(part.symbol):
            del self._symbols[part.symbol]
        if part.position.is_untouched:
            # It can be adopted again.
            self._drop(part)
        if account.is_empty:
            for each in tuple(account.positions.values()):
                self._drop(each)
            del self._accounts[account.name]

    def note_corrections(self, applied: int, pending: int) -> None:
        """Notes how many corrections were applied, and how many were not yet."""
        self.corrections, self.pending_corrections = applied, pending
        self._has_input = True

    def on_signal(self, event: Signal) -> None:
        self._note_input(event)
        self.account_for(event, event.strategy).add_signal(event)

    def on_position(self, event: Position) -> None:
        """Keeps the engine's report, which is compared with our position at the next tick; adopts a position if that
        is wanted."""
        if event.adopt:
            booking = self._booked(event)
            if booking is not None:
                self._adoption.apply(booking, event, event.ts_init or self.clock.time_ns())
            return
        self._note_input(event)
        strategy = event.strategy or DEFAULT_STRATEGY
        dropped = self._reconciliation.add(strategy, event, self.find)
        if strategy in self._strategies_refused:
            self.bus.remark = Remark(
                event, "strategy", f"not compared: it has no account of its own and shares {OTHER_STRATEGIES}"
            )
        if dropped is not None:
            other, symbol, side = dropped
            self.bus.remark = Remark(
                event, "symbol",
                f"compared in place of {place_of(symbol, held_side(side))} of {other}: only the "
                f"{self.settings.max_positions} positions reported last (MAX_POSITIONS) are",
            )  # fmt: skip

    def on_equity(self, event: Equity) -> None:
        """Keeps a report of equity; the first one, minus the P&L until then, is the starting capital."""
        self._note_input(event)
        name = event.strategy
        earned: Decimal | None = ZERO
        if self._capital.is_open(name):
            accounts = [account for account in self._accounts.values() if name in ("", account.name)]
            flows = [account.ledger.flows for account in accounts]
            earned = sum_or_none((earned_by(accounts), *flows, ZERO if name else self._totals.unassigned.flows))
        if earned is None:
            raise EventRefused("value", "not the capital: the P&L until now is not known, because a rate is missing")
        if not self._capital.report(name, event.value, earned):
            raise EventRefused(
                "strategy", f"no room: the capital of {self.settings.max_strategies} strategies is known"
            )
        if name in self._accounts:
            # From now on its drawdown is also shown in percent of that capital.
            self._accounts[name].drawdown.set_capital(self._capital.of(name))
            self._accounts[name].has_input = True
        self._totals.drawdown.set_capital(self.capital)
        self.path.add(Capitals(event.ts_init, self._capitals()))

    def _handlers(self) -> dict[type[Event], EventHandler]:
        return {
            Fill: self.on_fill,
            Signal: self.on_signal,
            Position: self.on_position,
            Equity: self.on_equity,
            **dict.fromkeys((Cash, Dividend, Funding, Settlement, Split), self.on_booking),
            Instrument: self.on_instrument,
            Rate: self.on_rate,
        }

    def _booked(self, event: BookedEvent) -> Booking | None:
        """Returns the booking of an event; None if it changes nothing, because it is known or in conflict."""
        self._has_input = True
        booking = self.bookings.booking_of(event)
        if booking is not None:
            self._note_input(event)
            self.path.note(event.ts_init or self.clock.time_ns(), booking.seq)
        return booking

    def _begin_days(self, account: StrategyAccount) -> None:
        """Begins the days of an account and of all with the day of the first P&L."""
        if account.days.first is None or self._totals.days.first is None:
            day, seq = self.day, self.path.seq
            account.days.begin(day, seq)
            self._totals.days.begin(day, seq)

    def _note_input(self, event: Event) -> None:
        if self.path.is_due:
            self.path.begin()
        now_ns = event.ts_init
        if now_ns > (self.last_input_ns or 0):
            self.last_input_ns = now_ns
            # Before the event is added: it belongs to the new session, and everything before it to the old one.
            if self._rollover_ns:
                self._catch_up(now_ns)
            else:
                self._roll_over(now_ns)
        self._has_input = True

    def _catch_up(self, now_ns: int) -> None:
        """Observes what time alone has changed until `now_ns`, in its order: mids that have expired, and sessions and
        days that have ended."""
        if now_ns >= self._holdings.next_expiry_ns:
            for holding in self._holdings.due(now_ns):
                if holding.expires_ns > self._rollover_ns > 0:
                    self._roll_over(holding.expires_ns)
                holding.expire(self._mark)
        if now_ns >= self._rollover_ns > 0:
            self._roll_over(now_ns)

    def _roll_over(self, now_ns: int) -> None:
        """Begins the session and the UTC day of `now_ns`, unless they are current."""
        accounts = self._accounts.values()
        session_end_ns = self._session.end_ns
        if self._session.roll_over(now_ns):
            self._has_input = True
            for account in accounts:
                account.begin_session()
        if self._session.end_ns != session_end_ns:
            self._keep_moment("session", now_ns // NS_PER_DAY)
        ended_ns = self._day.end_ns
        if self._day.roll_over(now_ns) and ended_ns is not None:
            self._has_input = True
            ended, last = ended_ns // NS_PER_DAY - 1, now_ns // NS_PER_DAY - 1
            self._totals.close_day(ended, last, accounts, is_gap=self._is_resumed)
            self._keep_moment("day", ended)
        self._schedule_rollover()

    def _keep_moment(self, kind: MomentKind, day: int) -> None:
        """Keeps the marks and rates of a moment that daily figures are measured from."""
        marks = self.path.marks
        known = {symbol: marks.get(symbol) for symbol in sorted(self._holdings) if self._holdings[symbol].known}
        factors = {name: each.fraction for name, each in self.rates.conversions.items()}
        self.closings.add(Moment(kind, self.path.seq, day, known, factors))

    def _path_state(self) -> PathState:
        """Returns what the equity is made of now."""
        path, accounts = self.path, tuple(self._accounts.values())
        return path_state(accounts, self._totals.drawdown, self.rates, path.marks, self._capitals(), path.seq)

    def _capitals(self) -> dict[str, Decimal]:
        """Returns the capital of each strategy, and of all under the empty name."""
        capitals = {name: capital for name, capital in self._capital.known.items() if name}
        return capitals if self.capital is None else capitals | {"": self.capital}

    def _record(self, part: PositionPart, cash: Decimal, now_ns: int, price: Decimal | None = None) -> None:
        """Records what a booking has made of a position."""
        path = self.path
        path.add(
            Booked(
                now_ns, path.seq, part.strategy, part.place, part.symbol, part.terms, part.position.quantity,
                price, {part.amounts.currency: cash},
            )
        )  # fmt: skip

    def _record_mark(self, part: PositionPart, now_ns: int) -> None:
        """Records the mark that a position has found, unless it is that of before."""
        path, mark = self.path, part.mark
        if part.mark_source != "fill" and path.marks.get(part.symbol) != mark and part.mark_scale is None:
            path.mark(now_ns, part.symbol, mark, is_joint=True)

    def _schedule_rollover(self) -> None:
        self._rollover_ns = min(self._session.end_ns or 0, self._day.end_ns or 0)

    def account_for(self, event: Event, strategy: str) -> StrategyAccount:
        """Returns the account of a strategy; that of all others if as many as there may be are in use."""
        name = strategy or DEFAULT_STRATEGY
        account = self._accounts.get(name)
        if account is not None:
            return account
        max_strategies = self.settings.max_strategies
        if len(self._accounts) >= max_strategies:
            if name not in self._strategies_refused and len(self._strategies_refused) < MAX_REFUSED_NAMES:
                self._strategies_refused.add(name)
                logger.warning(
                    "strategy %r is accounted for under %s: all %d strategies are in use",
                    name, OTHER_STRATEGIES, max_strategies,
                )  # fmt: skip
            name = OTHER_STRATEGIES
            self.bus.remark = Remark(
                event, "strategy", f"accounted for under {name}: all {max_strategies} strategies are in use"
            )
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = StrategyAccount(name, self.rates)
            self._open_curve(account)
            account.drawdown.set_capital(self._capital.of(name))
        return account

    def _open_curve(self, account: StrategyAccount) -> None:
        """Opens the series of a strategy in the history."""
        if self._history is not None:
            try:
                account.series = self._history.open_standing(CURVES, account.name, CURVE_FIELDS)
            except CapacityError:
                # Those of an earlier run, with other strategies, are still in the memory.
                logger.warning("strategy %r has no series of its own: the history is full", account.name)

    def _has_room(self, event: Fill) -> bool:
        """Returns whether a fill has a position, could take a flat one's place, or would change none because it is
        known."""
        if self._part_of(event) is not None:
            return True
        return self._flat_position() is not None or self.trades.is_known(event)

    def _part_of(self, event: Fill) -> PositionPart | None:
        """Returns the position of a fill, if it has one already."""
        account = self._accounts.get(self.trades.strategy_of(event)) or self._accounts.get(OTHER_STRATEGIES)
        place = place_of(event.symbol, held_side(event.position_side))
        return None if account is None else account.positions.get(place)

    def _check_side(self, event: Fill) -> None:
        """Raises EventRefused for a fill that would take a side of a position through zero: what opened that side is
        not known, so neither is what the fill has realised."""
        part = self._part_of(event)
        held = ZERO if part is None else part.position.quantity.copy_abs()
        closed, terms = event.quantity, self.instruments.terms(event.symbol) if part is None else part.terms
        if event.commission_asset and event.commission_asset == terms.base:
            # What is sold beside it closes the long side, too; a short one is closed by what is left of a purchase.
            closed = (EXACT.add if event.side == "sell" else EXACT.subtract)(closed, event.commission)
        if closed <= held or self.trades.is_known(event):
            return
        self.overclosing_fills += 1
        self._has_input = True
        if self.overclosing_fills == 1:
            logger.error(
                "fill %r is refused: it closes %s of the %s side of %s, which holds %s; further ones are only counted",
                event.trade_id, closed, event.position_side, event.symbol, held, extra={"ids": ids_of(event)},
            )  # fmt: skip
        raise EventRefused(
            "quantity",
            f"closes {closed} of the {event.position_side} side, which holds {held}: send what opened it first",
        )

    def _refuse(self, event: Fill) -> NoReturn:
        self._count_refused(event)
        self._has_input = True
        raise self.no_room()

    def no_room(self) -> EventRefused:
        return EventRefused("symbol", f"no room: all {self.settings.max_positions} positions (MAX_POSITIONS) are open")

    def _count_refused(self, event: Fill) -> None:
        self.fills_refused += 1
        if self.fills_refused == 1:
            logger.error(
                "fill %r of %s is refused: all %d positions are open; further ones are only counted",
                event.trade_id, event.symbol, self.settings.max_positions, extra={"ids": ids_of(event)},
            )  # fmt: skip

    def open_position(self, account: StrategyAccount, symbol: str, side: HeldSide) -> PositionPart | None:
        """Opens a position, in place of a flat one if all are in use; None if none is flat."""
        if self._n_positions >= self.settings.max_positions and not self._drop_flat_position():
            return None
        part = PositionPart(account.name, symbol, self.instruments.terms(symbol), account.ledger, side)
        account.positions[part.place] = part
        self._n_positions += 1
        return part

    def _drop_flat_position(self) -> bool:
        part = self._flat_position()
        if part is None:
            return False
        self._drop(part)
        return True

    def _drop(self, part: PositionPart) -> None:
        """Drops a flat position; its results stay in the account."""
        self._accounts[part.strategy].drop(part.place)
        self._open.pop(part.key, None)
        self._n_positions -= 1
        holding = self._holdings.get(part.symbol)
        if holding is not None:
            holding.known.discard(part.key)
            holding.parts.pop(part.key, None)
            self._close_holding(part.symbol, holding)

    def _flat_position(self) -> PositionPart | None:
        if self._may_be_flat:
            for account in self._accounts.values():
                for part in account.positions.values():
                    if not part.position.quantity:
                        return part
            self._may_be_flat = False
        return None

    def _update(self, now_ns: int) -> None:
        self._catch_up(now_ns)
        self._is_resumed = False
        path, n_entries = self.path, len(self.path.entries)
        if self._has_input:
            self.position_breaks = self._reconciliation.compare(self.find, self._strategies_refused)
        is_moved = self._show_rates(now_ns) or self._has_input
        for account in self._accounts.values():
            if self._refresh_positions(account, now_ns) or account.has_input:
                account.refresh(now_ns, self._capital.of(account.name))
                is_moved = True
        if len(path.entries) != n_entries:
            path.add(Looked(now_ns))
        if is_moved:
            self._has_input = False
            self.is_touched = True
            self._show_symbols()
            self._derive(now_ns)

    def _show_rates(self, now_ns: int) -> bool:
        """Brings the rates up to `now_ns`; returns whether what is shown of them has changed."""
        if not self.rates.conversions:
            return False
        shown = self.rates.to_json(lambda rate: self._is_rate_stale(rate, now_ns))
        is_changed = shown != self._rates_json
        self._rates_json = shown
        return is_changed

    def _is_rate_stale(self, rate: KnownRate, now_ns: int) -> bool:
        """Returns whether a rate is too old: one of a market as its mark is, one of an event after a day."""
        tracked = self._tracked(rate.symbol) if rate.source == "market" else None
        if tracked is None:
            return rate.source != "assumed" and now_ns - rate.updated_ns >= NS_PER_DAY
        mark = mark_of(tracked.mark_inputs(now_ns))
        return mark is None or tracked.is_source_stale(mark[1], now_ns)

    def _refresh_positions(self, account: StrategyAccount, now_ns: int) -> bool:
        """Marks the open positions and removes flat ones from the section; returns whether any value has changed."""
        # hot: once per open position per tick (benchmarks/bench_tick.py)
        is_moved = False
        tracked_symbols: Mapping[str, TrackedSymbol] = {} if self._market is None else self._market.tracked
        for part in account.positions.values():
            if part.position.quantity:
                tracked = tracked_symbols.get(part.symbol)
                if (
                    tracked is not None
                    and tracked.version == part.market_version
                    and not (part.is_marked or part.has_input or tracked.has_input)
                    and now_ns <= tracked.fresh_until_ns
                ):
                    # It shows what it is at the prices of now.
                    continue
                shown = part.version
                if part.refresh(tracked, now_ns):
                    is_moved = True
                    self._moved.add(part.symbol)
                    self._record_mark(part, now_ns)
                # Becoming stale moves no value.
                self.is_touched |= part.version != shown
                self._open.setdefault(part.key, part)
                if tracked is not None and part.symbol in self._holdings:
                    # A restart may have brought the prices, or a publisher inside this process no times.
                    self._holdings[part.symbol].quoted = None
            elif part.has_input or part.is_marked:
                part.refresh(None, now_ns)
                self._moved.add(part.symbol)
                self._open.pop(part.key, None)
                self.is_touched = True
        return is_moved

    def _hold(self, part: PositionPart) -> None:
        """Lets the market mark a position while it is open, and be followed while it is known: a correction may find
        that it was open."""
        symbol = part.symbol
        holding = self._holdings.get(symbol)
        if holding is None:
            holding = self._open_holding(symbol)
        holding.known.add(part.key)
        if part.position.quantity:
            holding.parts[part.key] = part
        else:
            holding.parts.pop(part.key, None)

    def _tracked(self, symbol: str) -> TrackedSymbol | None:
        """Returns what the market knows of a symbol; None if it knows nothing."""
        return None if self._market is None else self._market.symbol(symbol)

    def _open_holding(self, symbol: str) -> Holding:
        """Lets the market tell of each price of a symbol."""
        holding = self._holdings.open(symbol)
        market = self._market
        if market is not None:
            market.hold(symbol, holding)
            tracked = market.symbol(symbol)
            if tracked is not None:
                holding.watch(tracked)
        return holding

    def _close_holding(self, symbol: str, holding: Holding) -> None:
        """Lets the market be silent again about a symbol in which no price matters."""
        if not holding.known and not holding.is_rate:
            del self._holdings[symbol]
            self.path.marks.pop(symbol, None)
            if self._market is not None:
                self._market.hold(symbol, None)

    def _watch_rate(self, symbol: str, is_wanted: bool) -> None:
        """Takes a rate from the market of a symbol from now on, or no longer."""
        holding = self._holdings.get(symbol)
        if holding is None:
            holding = self._open_holding(symbol)
        holding.is_rate = is_wanted
        self._close_holding(symbol, holding)
        tracked = self._tracked(symbol)
        pair = self._rate_markets.pair_of(symbol)
        if not is_wanted or tracked is None or pair is None:
            return
        known = self.rates.known.get(pair)
        # A restored rate is the one that stood.
        if known is None or not self._is_restoring:
            now_ns = self.last_input_ns or self.clock.time_ns()
            mark = mark_of(tracked.mark_inputs(now_ns))
            if mark is not None:
                arrived_ns = tracked.source_arrived_ns(mark[1])
                if known is None or known.updated_ns < arrived_ns:
                    self._take_rate(symbol, mark, arrived_ns, now_ns)

    def _take_rate(self, symbol: str, mark: Mark, arrived_ns: int, now_ns: int) -> None:
        pair, (price, _) = self._rate_markets.pair_of(symbol), mark
        if pair is None or price <= 0:
            return
        known = self.rates.known.get(self.rates.pair_of(pair))
        # A price of before takes the place of a quote that is stale, or of what was restored, but of no event.
        if known is None or known.source != "event" or known.updated_ns < arrived_ns or arrived_ns == now_ns:
            self._revalue(self.rates.put(pair, price, arrived_ns, "market", symbol), now_ns)

    def _revalue(self, changed: Sequence[Conversion], now_ns: int) -> None:
        """Observes the equity that changed rates make."""
        if not changed:
            return
        for each in changed:
            self.path.rate(now_ns, each)
        self.path.add(Looked(now_ns))
        for account in self._accounts.values():
            if any(amounts.conversion in changed for amounts in account.ledger.foreign):
                account.look(now_ns)
        self._totals.look(now_ns)
        self._has_input = True

    def _is_held(self, symbol: str) -> bool:
        holding = self._holdings.get(symbol)
        return holding is not None and bool(holding.parts)

    def _check_instrument(self, event: Instrument) -> None:
        instrument = self.instruments.described_by(event)
        fault = self.instruments.fault(instrument)
        if fault is not None:
            raise EventRefused("symbol", fault)
        self._check_room("settlement_currency" if event.settlement_currency else "quote_currency", instrument.currency)

    def _check_currency(self, event: Cash | Dividend | Funding) -> None:
        self._check_room("currency", event.currency or self.rates.reporting)

    def _check_rate(self, event: Rate) -> None:
        known = self.rates.known
        if len(known) >= MAX_RATES and self.rates.pair_of((event.base, event.quote)) not in known:
            raise EventRefused("base", f"no room: the rates of {MAX_RATES} pairs are kept")

    def _check_room(self, field: str, currency: str) -> None:
        """Refuses an amount in a further currency, of which there is a sum in every account."""
        if not self.rates.has_room(currency):
            raise EventRefused(field, f"no room: amounts in {MAX_CURRENCIES} currencies are kept")

    def _on_terms(self, symbol: str) -> None:
        """Lets the next position in a symbol begin under its new terms."""
        terms = self.instruments.terms(symbol)
        for account in self._accounts.values():
            for part in tuple(account.positions.values()):
                if part.symbol == symbol and part.terms != terms and not part.position.quantity:
                    self._drop(part)
        if symbol in self._symbols:
            self._symbols[symbol].describe(self.instruments.find(symbol))
        self._has_input = True

    def _symbol(self, symbol: str) -> SymbolPart:
        """Returns the sums of a symbol; those of all symbols beyond `max_positions` are one."""
        part = self._symbols.get(symbol)
        if part is None:
            part = self._symbol_named(symbol if len(self._symbols) < self.settings.max_positions else OTHER_SYMBOLS)
        return part

    def _symbol_named(self, name: str) -> SymbolPart:
        part = self._symbols.get(name)
        if part is None:
            part = self._symbols[name] = self._symbol_part(SymbolSums(name))
        return part

    def _symbol_part(self, sums: SymbolSums) -> SymbolPart:
        is_one = sums.symbol != OTHER_SYMBOLS
        return SymbolPart(sums, self.rates, self.instruments.find(sums.symbol) if is_one else None)

    def _load_symbols(self, state: StrategyState) -> None:
        for sums in state.symbols:
            self._symbols[sums.symbol] = self._symbol_part(sums)
        if state.symbols:
            return
        # An earlier version kept none, and one currency only: no symbol gets what its dropped positions have realised.
        for account in self._accounts.values():
            own = account.ledger.own
            rest_gross, rest_fees = own.realized_gross, own.fees
            for each in account.positions.values():
                position = each.position
                self._symbol(each.symbol).add(own, position.realized_gross, position.fees, 0)
                rest_gross = subtract(rest_gross, position.realized_gross)
                rest_fees = subtract(rest_fees, position.fees)
            if account.fills:
                self._symbol_named(OTHER_SYMBOLS).add(own, rest_gross, rest_fees, account.fills)

    def _show_symbols(self) -> None:
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        moved, self._moved = self._moved, set()
        is_converted_anew = self.rates.generation != self._shown_generation
        self._shown_generation = self.rates.generation
        symbols, holdings = self._symbols, self._holdings
        if not is_converted_anew and OTHER_SYMBOLS not in symbols:
            moved.update([symbol for symbol, part in symbols.items() if part.has_input])
            for symbol in moved:
                part, holding = symbols.get(symbol), holdings.get(symbol)
                if part is not None:
                    part.show(() if holding is None else holding.parts.values())
            return
        others: list[PositionPart] = []
        for symbol, holding in self._holdings.items():
            part = self._symbols.get(symbol)
            if part is not None:
                if symbol in moved or part.has_input or (is_converted_anew and part.ledger.foreign):
                    part.show(holding.parts.values())
            else:
                others += holding.parts.values()
        for symbol, part in self._symbols.items():
            is_changed = part.has_input or (is_converted_anew and part.ledger.foreign) or symbol == OTHER_SYMBOLS
            if symbol not in self._holdings and is_changed:
                part.show(others if symbol == OTHER_SYMBOLS else ())

    def _on_move(self, holding: Holding, mark: Mark, arrived_ns: int, now_ns: int) -> None:
        """Marks the open positions in a symbol whose prices have changed, and observes what that makes of the
        equity."""
        # hot: once per event that moves the prices of a symbol that is held (benchmarks/bench_intake.py)
        if self.path.is_due:
            self.path.begin()
        moved_ns = now_ns or self.clock.time_ns()
        if moved_ns >= self._holdings.next_expiry_ns or moved_ns >= self._rollover_ns:
            # Marks and totals are still those before the event.
            self._catch_up(moved_ns)
        self._mark(holding, mark, arrived_ns, moved_ns)

    def _mark(self, holding: Holding, mark: Mark, arrived_ns: int, moved_ns: int) -> None:
        if holding.is_rate:
            self._mark_rate(holding, mark, arrived_ns, moved_ns)
            return
        self.path.mark(moved_ns, holding.symbol, mark[0])
        for account in self._mark_parts(holding, mark, arrived_ns):
            account.observe(moved_ns)
        # Once for all strategies: in between, some positions in the symbol have the old mark.
        self._totals.look(moved_ns)

    def _mark_rate(self, holding: Holding, mark: Mark, arrived_ns: int, moved_ns: int) -> None:
        """Does the same where the price is a rate, too: marks and rate move at once, and then the equity is looked
        at."""
        if holding.known:
            self.path.mark(moved_ns, holding.symbol, mark[0], is_joint=True)
        marked = self._mark_parts(holding, mark, arrived_ns)
        self._take_rate(holding.symbol, mark, arrived_ns, moved_ns)
        self.path.add(Looked(moved_ns))
        for account in marked:
            account.observe(moved_ns)
        self._totals.look(moved_ns)

    def _mark_parts(self, holding: Holding, mark: Mark, arrived_ns: int) -> list[StrategyAccount]:
        """Marks the open positions in a symbol; returns the accounts of those that have moved. Both sides of a hedged
        position move before the equity is looked at."""
        marked: list[StrategyAccount] = []
        accounts, totals = self._accounts, self._totals
        for part in holding.parts.values():
            unrealized = part.unrealized
            if part.mark_to(mark, arrived_ns):
                moved = subtract(part.unrealized, unrealized)
                amounts = part.amounts
                amounts.unrealized = add(amounts.unrealized, moved)
                totals.move(amounts, moved)
                marked.append(accounts[part.strategy])
        return marked

    def find(self, strategy: str, place: str) -> PositionPart | None:
        account = self._accounts.get(strategy)
        return None if account is None else account.positions.get(place)

    def _derive(self, now_ns: int) -> None:
        self.fields.offer(
            self._totals.derive(self._accounts.values(), self.capital, now_ns)
            | {
                "rates": self._rates_json,
                "reported_equity": to_float_or_none(self._capital.reported.get("")),
                "duplicate_fills": self.duplicate_fills,
                "conflicting_fills": self.trades.conflicts,
                "bookings": sum(self.bookings.counts.values()),
                "duplicate_bookings": self.bookings.duplicates,
                "conflicting_bookings": self.bookings.conflicts,
                "fills_refused": self.fills_refused,
                "overclosing_fills": self.overclosing_fills,
                "strategies_refused": self.strategies_refused,
                "positions_at_fill_price": len([0 for part in self._open.values() if part.mark_source == "fill"]),
                "position_breaks": self.position_breaks,
                "corrections": self.corrections,
                "pending_corrections": self.pending_corrections,
                "path_reason": self.left_by_faults.reason,
            }
        )


def _begin_paths_anew(accounts: Iterable[StrategyAccount], totals: StrategyTotals, before: str) -> None:
    """Forgets drawdown, days and anchors, which are in the reporting currency of before: what it was worth at each of
    those moments is not known."""
    logger.warning(
        "the reporting currency was %s until now; drawdown, daily returns and daily P&L begin anew in %s",
        before, totals.rates.reporting,
    )  # fmt: skip
    totals.begin_path_anew()
    for account in accounts:
        account.begin_path_anew()
