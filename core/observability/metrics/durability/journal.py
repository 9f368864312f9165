"""The journal: puts into the store what must survive, in the order in which it was taken, and tells when it has.

No SQL here (see `observability.store.schema`), no rows (see `journal_rows.py`), and nothing is taken again after a
restart (see `recovery.py`).

    bus --> collectors
        --> journal --- rows, checkpoints --> store --- committed --> journal --> lanes

Without a store everything is told at once, as it is while the store cannot write: then marked `durable: false`.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from observability.bus import Bus
from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MINUTE, NS_PER_S
from observability.encoding import encode_json
from observability.events import Equity, Fill, Order, Position
from observability.ingest.gate import Verdict
from observability.memory.layout import ALERTS_LANE, TRADES_LANE
from observability.metrics.alerts.book import Action, AlertState, transition_document
from observability.metrics.assembly import Collectors
from observability.metrics.durability import rows
from observability.metrics.market.bar_table import Bar
from observability.metrics.trades.rows import fill_row
from observability.metrics.trades.trade import Trade
from observability.metrics.trades.trade_log import Reader, Rejection
from observability.snapshot.frames import Frame
from observability.store import schema
from observability.store.checkpoint import Checkpoint, EventSequence, Stateful, pack
from observability.store.store import Store

# What a restart has to take again is at most this old, or this much.
CHECKPOINT_SECONDS: Final = 10
CHECKPOINT_RECORDS: Final = 20_000
WRITTEN_SECONDS: Final = 5.0

_VERDICTS: Final = {Rejection.DUPLICATE: Verdict.DUPLICATE, Rejection.CONFLICT: Verdict.CONFLICT}

Record = tuple[str, int, str | None, dict[str, Any]]
"""What is told of a record: channel, sequence number, symbol (None for every one), document."""

Listener = Callable[[str, int, str | None, dict[str, Any]], None]


class Journal:
    """One per hub. `stateful` are those whose state a checkpoint holds; `start` subscribes behind the collectors."""

    def __init__(
        self,
        bus: Bus,
        collectors: Collectors,
        sequence: EventSequence,
        stateful: Sequence[Stateful],
        store: Store | None,
        host_clock: Clock,
        event_clock: Clock,
    ) -> None:
        self.last_verdict = Verdict.ACCEPTED
        """What became of the fill that was published last."""
        self._bus = bus
        self._collectors = collectors
        self._trades = collectors.execution.trades
        self._sequence = sequence
        self.stateful = tuple(stateful)
        self._store = store
        self._host_clock = host_clock
        self._event_clock = event_clock
        self._listeners: list[Listener] = []
        # Position in the store's queue, and what is to be told once that is committed.
        self._untold: deque[tuple[int, Callable[[], Record]]] = deque()
        self._checkpoint_seq = sequence.newest
        self._checkpoint_due_ns = 0
        self._minute = 0
        self._session_end_ns: int | None = None

    # -- what the gate of ingest wants to know

    @property
    def position(self) -> int:
        """Of the newest row, in the store's queue."""
        return 0 if self._store is None else self._store.position

    @property
    def has_room(self) -> bool:
        return self._store is None or self._store.has_room

    @property
    def fault(self) -> str | None:
        """Why nothing can be written now."""
        return None if self._store is None else self._store.fault

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        """Returns whether everything up to `position` is on disk, at the latest after `timeout_seconds`."""
        return self._store is None or await self._store.durable(position, timeout_seconds)

    def begin_batch(self) -> None:
        """Has everything up to `end_batch` committed together."""
        if self._store is not None:
            self._store.begin_unit()

    def end_batch(self) -> None:
        if self._store is not None:
            self._store.end_unit()

    async def is_written(self) -> bool:
        """Returns whether everything so far is on disk, at the latest after WRITTEN_SECONDS."""
        return await self.durable(self.position, WRITTEN_SECONDS)

    def remember(self, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        """Writes down what was answered under a key, behind the rows of its batch."""
        if self._store is not None:
            self._store.put(schema.UPSERT_IDEMPOTENCY, (key, self._host_clock.time_ns(), fingerprint, status, body))

    async def recall(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Returns fingerprint, status and body that are on disk under a key. Raises StoreError."""
        return None if self._store is None else await self._store.reader.run(_recall, key)

    # -- life

    def add_announcement_listener(self, listener: Listener) -> None:
        """Calls `listener` with each trade and each change of an alert once it is on disk, in order."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begins to write; to be called once the collectors have subscribed."""
        self._bus.subscribe(Fill, self.on_fill)
        self._collectors.system.add_transition_listener(self.on_transition)
        store = self._store
        if store is not None:
            self._bus.subscribe(Order, self.on_order)
            self._bus.subscribe(Equity, self.on_equity)
            self._bus.subscribe(Position, self.on_position)
            self._trades.add_amended_listener(self.on_amended)
            self._collectors.market.add_bar_listener(self.on_bar)
            store.add_commit_listener(self._tell)
            store.add_fault_listener(self._on_fault)
            self.checkpoint()

    def stop(self) -> None:
        """Writes the last checkpoint; the store must still be stopped."""
        self.checkpoint(is_clean=True)

    # -- events

    def on_fill(self, event: Fill) -> None:
        # hot: once per fill (benchmarks/bench_intake.py)
        trade = self._trades.admit(event, Reader.JOURNAL)
        if isinstance(trade, Rejection):
            self.last_verdict = _VERDICTS[trade]
            if trade is Rejection.CONFLICT:
                self._keep_conflict(event)
            return
        self.last_verdict = Verdict.ACCEPTED
        if self._store is not None:
            self._store.put(schema.INSERT_FILL, fill_row(trade, event.ts_init))
        self._tell_durable(lambda: (TRADES_LANE, trade.seq, trade.symbol, trade.to_json()))

    def on_amended(self, trade: Trade) -> None:
        """Takes a trade whose slippage became known after it was written."""
        self._put(schema.UPDATE_FILL, (trade.slippage_bps, trade.seq))

    def on_order(self, event: Order) -> None:
        # hot: once per order report (benchmarks/bench_intake.py)
        self._put(schema.INSERT_ORDER_REPORT, rows.order_row(self._sequence.draw(), event))

    def on_equity(self, event: Equity) -> None:
        self._put(schema.INSERT_EQUITY_REPORT, rows.equity_report_row(self._sequence.draw(), event))

    def on_position(self, event: Position) -> None:
        self._put(schema.INSERT_POSITION_REPORT, rows.position_report_row(self._sequence.draw(), event))

    def on_bar(self, symbol: str, bar: Bar) -> None:
        """Takes a finished minute of the market, again when it was amended."""
        self._put(schema.UPSERT_BAR, (symbol, *bar))

    def on_transition(self, state: AlertState, action: Action) -> None:
        """Takes a change of an alert."""
        seq = self._sequence.draw()
        document = transition_document(state, action)
        if self._store is not None:
            text = encode_json(document).decode()
            self._store.put(
                schema.INSERT_ALERT_TRANSITION, (seq, self._event_clock.time_ns(), state.alert_id, action, text)
            )
        self._tell_durable(lambda: (ALERTS_LANE, seq, None, document))

    def _keep_conflict(self, event: Fill) -> None:
        conflict = self._trades.number_conflict(event)
        if conflict is not None and self._store is not None:
            self._store.put(schema.INSERT_CONFLICT, fill_row(conflict, event.ts_init))

    # -- the tick

    def on_frame(self, frame: Frame) -> None:
        """Writes what is due: the minute's equity, a checkpoint."""
        if self._store is None:
            return
        minute = frame.ts_ns // NS_PER_MINUTE
        if minute != self._minute:
            self._minute = minute
            for strategy, *money in self._collectors.strategy.equity_rows(frame.ts_ns):
                self._put(schema.UPSERT_EQUITY, rows.account_row(minute * NS_PER_MINUTE, strategy, money))
        session_end_ns = self._collectors.strategy.session_end_ns
        if (
            self._host_clock.mono_ns() >= self._checkpoint_due_ns
            # What the daily P&L counts from is not to be made again of other prices.
            or session_end_ns != self._session_end_ns
            or self._sequence.newest - self._checkpoint_seq >= CHECKPOINT_RECORDS
        ):
            self._session_end_ns = session_end_ns
            self.checkpoint()

    def checkpoint(self, *, is_clean: bool = False) -> None:
        """Writes the state of every keeper, as of the newest record."""
        if self._store is None:
            return
        self._checkpoint_seq = self._sequence.newest
        self._checkpoint_due_ns = self._host_clock.mono_ns() + CHECKPOINT_SECONDS * NS_PER_S
        state = Checkpoint(self._checkpoint_seq, is_clean, {part.name: part.save() for part in self.stateful})
        self._put(schema.UPSERT_CHECKPOINT, (schema.CHECKPOINT_KEY, state.seq, self._host_clock.time_ns(), pack(state)))

    # -- the store

    def _put(self, statement: str, row: tuple[Any, ...]) -> None:
        assert self._store is not None, "subscribed with a store only"
        self._store.put(statement, row)

    def _tell_durable(self, record: Callable[[], Record]) -> None:
        """Tells the listeners once all that was put is on disk; at once where nothing gets there."""
        store = self._store
        if store is None or store.fault is not None:
            self._announce(record(), is_durable=store is None)
        else:
            self._untold.append((store.position, record))

    def _tell(self, durable_position: int) -> None:
        untold = self._untold
        while untold and untold[0][0] <= durable_position:
            self._announce(untold.popleft()[1](), is_durable=True)

    def _on_fault(self, fault: str | None) -> None:
        if fault is not None:
            # Who watches a running system is told all the same, and that it may not survive.
            while self._untold:
                self._announce(self._untold.popleft()[1](), is_durable=False)

    def _announce(self, record: Record, *, is_durable: bool) -> None:
        channel, seq, symbol, document = record
        if not is_durable:
            document = {**document, "durable": False}
        for listener in self._listeners:
            listener(channel, seq, symbol, document)


def _recall(connection: sqlite3.Connection, key: str) -> tuple[bytes, int, bytes] | None:
    found: tuple[bytes, int, bytes] | None = connection.execute(schema.SELECT_IDEMPOTENCY, (key,)).fetchone()
    return found
