"""The strategy section: P&L, exposure and drawdown of the whole account, of each strategy, and of each open position.

No order states here (see `execution_collector.py`) and no quotes: marks are read from the market data section.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from observability.core.bus import Bus, Handler
from observability.core.clock import Clock, EventClock, HostClock
from observability.core.events import Equity, Event, Fill, Position, Signal
from observability.core.parts import Group
from observability.core.rings import History, Series
from observability.metrics.collectors import BusCollector
from observability.metrics.drawdown import Drawdown
from observability.metrics.json_part import JsonPart
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.money import EXACT, ZERO, to_float, to_float_or_none
from observability.metrics.position_part import PositionPart
from observability.metrics.sessions import Session
from observability.metrics.strategy_account import StrategyAccount
from observability.metrics.trade_log import DEFAULT_STRATEGY, Reader, Refusal, TradeLog

logger = logging.getLogger(__name__)

# What strategies beyond `max_strategies` are added up under: one row less in the table, not a cent less in the total.
OTHER_STRATEGIES = "(other)"

# Names of refused strategies that are kept, so that each is logged once.
MAX_REFUSED_NAMES = 1024

SERIES_FIELDS = (
    "total_pnl", "daily_pnl", "realized_pnl", "unrealized_pnl", "gross_exposure", "net_exposure", "drawdown"
)  # fmt: skip

_ONE = Decimal(1)


class StrategyCollector(BusCollector):
    """Accounts for every fill once, by (strategy, symbol), at average cost.

    daily_pnl counts from the last session boundary (UTC midnight of the event clock), at the marks of the last tick
    before it. Drawdown is sampled once per tick. The first equity event tells the starting capital, being the equity of
    that moment; later ones are the engine's view of it and shown beside ours.
    """

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        market: MarketDataCollector | None = None,
        trades: TradeLog | None = None,
        max_strategies: int = 64,
        max_positions: int = 1024,
        multipliers: Mapping[str, Decimal] | None = None,
    ) -> None:
        super().__init__("strategy", bus)
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.trades = TradeLog() if trades is None else trades
        self.max_strategies = max_strategies
        self.max_positions = max_positions
        self.fields = JsonPart()
        self._accounts: dict[str, StrategyAccount] = {}
        self._open: dict[str, PositionPart] = {}
        self.groups: tuple[Group, ...] = (
            Group("strategies", self._accounts),
            Group("positions", self._open, as_list=True),
        )
        self.last_input_ns: int | None = None
        self.duplicate_fills = 0
        self.fills_refused = 0
        self.position_breaks = 0
        """Positions whose quantity in the engine's newest view differs from ours, as of the last tick."""
        self._market = market
        self._multipliers = dict(multipliers or {})
        self._session = Session()
        self._drawdown = Drawdown()
        self._n_positions = 0
        self._strategies_refused: set[str] = set()
        self._engine_views: dict[tuple[str, str], Position] = {}
        self._capital: dict[str, Decimal] = {}
        self._reported_equity: dict[str, Decimal] = {}
        self._has_input = True
        self._row: tuple[float, ...] = (0.0,) * len(SERIES_FIELDS)
        self._series: Series | None = None if history is None else history.open(self.name, "", SERIES_FIELDS)

    @property
    def strategy_count(self) -> int:
        """Strategies with an account."""
        return len(self._accounts)

    def account(self, strategy: str) -> StrategyAccount | None:
        """Returns the live account of one strategy."""
        return self._accounts.get(strategy)

    def engine_view(self, strategy: str, symbol: str) -> Position | None:
        """Returns the engine's newest position event."""
        return self._engine_views.get((strategy or DEFAULT_STRATEGY, symbol))

    @property
    def capital(self) -> Decimal | None:
        """Starting capital of the account: as reported, else the sum of what strategies reported, else None."""
        if "" in self._capital:
            return self._capital[""]
        return _total(self._capital.values()) if self._capital else None

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return {
            **self.fields.to_json(),
            "strategies": {name: dict(account.to_json()) for name, account in self._accounts.items()},
            "positions": [dict(part.to_json()) for part in self._open.values()],
        }

    def refresh(self, now_ns: int) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        self._update(now_ns)
        if self._series is not None:
            self._series.record(now_ns, self._row)

    def on_fill(self, event: Fill) -> None:
        """Accounts for one fill; a repeated or conflicting one changes nothing."""
        trade = self.trades.admit(event, Reader.ACCOUNTING)
        if isinstance(trade, Refusal):
            self.duplicate_fills += trade is Refusal.DUPLICATE
            self._has_input = True
            return
        self._note_input(event)
        account = self._account(event.strategy)
        part = account.positions.get(event.symbol) or self._open_position(account, event.symbol)
        if part is None:
            self.fills_refused += 1
            if self.fills_refused == 1:
                logger.error(
                    "fill %r of %s is not accounted for: all %d positions are open; later ones are only counted",
                    event.trade_id, event.symbol, self.max_positions,
                )  # fmt: skip
            return
        trade.pnl = account.apply(event, part)

    def on_signal(self, event: Signal) -> None:
        self._note_input(event)
        self._account(event.strategy).note_signal(event)

    def on_position(self, event: Position) -> None:
        """Keeps the engine's own view, to be compared with ours at the next tick."""
        self._note_input(event)
        key = (event.strategy or DEFAULT_STRATEGY, event.symbol)
        if key not in self._engine_views and len(self._engine_views) >= self.max_positions:
            del self._engine_views[next(iter(self._engine_views))]
        self._engine_views[key] = event

    def on_equity(self, event: Equity) -> None:
        """Takes the first report for the starting capital: equity then, less what was earned by then."""
        self._note_input(event)
        name = event.strategy
        if name in self._capital:
            self._reported_equity[name] = event.value
        elif len(self._capital) <= self.max_strategies:
            account = self._accounts.get(name)
            earned = self._total_pnl() if name == "" else ZERO if account is None else account.total
            self._capital[name] = EXACT.subtract(event.value, earned)

    def _handlers(self) -> dict[type[Event], Handler]:
        return {
            Fill: self.on_fill,
            Signal: self.on_signal,
            Position: self.on_position,
            Equity: self.on_equity,
        }

    def _note_input(self, event: Event) -> None:
        now_ns = event.ts_init
        if now_ns > (self.last_input_ns or 0):
            self.last_input_ns = now_ns
            # Before the event counts: it belongs to the new session, what was there belongs to the old one.
            self._turn_session(now_ns)
        self._has_input = True

    def _turn_session(self, now_ns: int) -> None:
        if self._session.has_turned(now_ns):
            self._has_input = True
            for account in self._accounts.values():
                account.begin_session()

    def _account(self, strategy: str) -> StrategyAccount:
        name = strategy or DEFAULT_STRATEGY
        account = self._accounts.get(name)
        if account is not None:
            return account
        if len(self._accounts) >= self.max_strategies:
            if name not in self._strategies_refused and len(self._strategies_refused) < MAX_REFUSED_NAMES:
                self._strategies_refused.add(name)
                logger.warning(
                    "strategy %r is added to %s: all %d are in use", name, OTHER_STRATEGIES, self.max_strategies
                )
            name = OTHER_STRATEGIES
        return self._accounts.setdefault(name, StrategyAccount(name))

    def _open_position(self, account: StrategyAccount, symbol: str) -> PositionPart | None:
        """Makes room by forgetting a flat position if it must; None if there is none."""
        if self._n_positions >= self.max_positions and not self._forget_flat_position():
            return None
        part = PositionPart(account.name, symbol, self._multipliers.get(symbol, _ONE))
        account.positions[symbol] = part
        self._n_positions += 1
        return part

    def _forget_flat_position(self) -> bool:
        for account in self._accounts.values():
            for symbol, part in account.positions.items():
                if not part.position.quantity:
                    del account.positions[symbol]
                    self._open.pop(_key(part), None)
                    self._n_positions -= 1
                    return True
        return False

    def _update(self, now_ns: int) -> None:
        self._turn_session(now_ns)
        if self._has_input:
            self._compare_with_engine()
        is_moved = self._has_input
        for account in self._accounts.values():
            if self._refresh_positions(account, now_ns) or account.has_input:
                account.refresh()
                is_moved = True
        if is_moved:
            self._has_input = False
            self._derive()

    def _refresh_positions(self, account: StrategyAccount, now_ns: int) -> bool:
        """Marks the open positions and drops those that went flat; returns whether any value has changed."""
        is_moved = False
        market = self._market
        for part in account.positions.values():
            if part.position.quantity:
                state = None if market is None else market.symbol_state(part.symbol)
                is_moved |= part.refresh(state, now_ns)
                self._open.setdefault(_key(part), part)
            elif part.has_input:
                part.refresh(None, now_ns)
                self._open.pop(_key(part), None)
        return is_moved

    def _compare_with_engine(self) -> None:
        breaks = 0
        for (strategy, symbol), view in self._engine_views.items():
            if strategy in self._strategies_refused:
                continue
            account = self._accounts.get(strategy)
            part = None if account is None else account.positions.get(symbol)
            breaks += view.quantity != (ZERO if part is None else part.position.quantity)
            if part is not None and part.engine_quantity != view.quantity:
                part.engine_quantity = view.quantity
                part.has_input = True
        self.position_breaks = breaks

    def _total_pnl(self) -> Decimal:
        for account in self._accounts.values():
            account.value_positions()
        return _total(account.total for account in self._accounts.values())

    def _derive(self) -> None:
        accounts = self._accounts.values()
        total = _total(account.total for account in accounts)
        daily = _total(account.daily for account in accounts)
        realized = _total(account.realized for account in accounts)
        unrealized = _total(account.unrealized for account in accounts)
        gross = _total(account.gross_exposure for account in accounts)
        net = _total(account.net_exposure for account in accounts)
        drawdown = self._drawdown
        drawdown.observe(total)
        capital = self.capital
        self._row = tuple(
            to_float(value) for value in (total, daily, realized, unrealized, gross, net, drawdown.current)
        )
        self.fields.offer(
            {
                "total_pnl": self._row[0],
                "daily_pnl": self._row[1],
                "realized_pnl": self._row[2],
                "realized_gross_pnl": to_float(_total(account.realized_gross for account in accounts)),
                "unrealized_pnl": self._row[3],
                "fees": to_float(_total(account.fees for account in accounts)),
                "open_positions": sum(account.open_positions for account in accounts),
                "gross_exposure": self._row[4],
                "net_exposure": self._row[5],
                "starting_capital": to_float_or_none(capital),
                "equity": None if capital is None else to_float(EXACT.add(capital, total)),
                "reported_equity": to_float_or_none(self._reported_equity.get("")),
                "drawdown": self._row[6],
                "max_drawdown": to_float(drawdown.maximum),
                "drawdown_pct": to_float_or_none(drawdown.current_pct(capital)),
                "max_drawdown_pct": to_float_or_none(drawdown.maximum_pct(capital)),
                "signals": sum(account.signals for account in accounts),
                "fills": sum(account.fills for account in accounts),
                "duplicate_fills": self.duplicate_fills,
                "conflicting_fills": self.trades.conflicts,
                "fills_refused": self.fills_refused,
                "strategies_refused": len(self._strategies_refused),
                "position_breaks": self.position_breaks,
            }
        )


def _total(values: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def _key(part: PositionPart) -> str:
    return f"{part.strategy}/{part.symbol}"
