"""The journal: writes to the store what must survive, in order, and announces it once it is on disk.

    bus --> collectors
        --> journal --- rows, checkpoints --> store --- committed --> journal --- trades, alerts, ... --> lanes

Without a store everything is announced at once. The same holds while the store cannot write; what is then announced is
marked `durable: false`.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final

from observability.bus import Bus
from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MINUTE, NS_PER_S
from observability.encoding import encode_json
from observability.events import BOOKING_TYPES, Equity, Fill, Order, Position
from observability.ingest.gate import Verdict
from observability.listeners import Listeners
from observability.memory.layout import ALERTS_LANE, BOOKINGS_LANE, ORDERS_LANE, TRADES_LANE
from observability.metrics.alerts.book import Action, AlertState, transition_document
from observability.metrics.assembly import Collectors
from observability.metrics.durability import rows
from observability.metrics.durability.corrector import Corrector
from observability.metrics.execution.orders.rows import report_row
from observability.metrics.market.bar_table import Bar
from observability.metrics.market.print_corrections import PrintChange
from observability.metrics.trades.booking import BookedEvent, booking_row
from observability.metrics.trades.rows import fill_row
from observability.metrics.trades.trade import Trade
from observability.metrics.trades.trade_log import CONFLICT, DUPLICATE, JOURNAL, Rejection
from observability.snapshot.frames import Frame, Stamp
from observability.store import schema
from observability.store.checkpoint import Checkpoint, EventSequence, Stateful, pack
from observability.store.store import Store

# The records that a restart has to replay are at most this old and this many.
CHECKPOINT_SECONDS: Final = 10
CHECKPOINT_RECORDS: Final = 20_000
# How long `is_written` waits.
WRITTEN_SECONDS: Final = 5.0

# How many ticks whose trades are not on disk are known; while the disk cannot be written, newer ones are not.
MAX_TICKS: Final = 100

_ACCEPTED: Final = Verdict.ACCEPTED
_VERDICTS: Final = {Rejection.DUPLICATE: Verdict.DUPLICATE, Rejection.CONFLICT: Verdict.CONFLICT}

Document = dict[str, Any] | Callable[[], dict[str, Any]]
"""The JSON object of a lane's entry, or what makes it once somebody wants it."""

Announcement = tuple[str, int, str | None, Document]
"""A trade, a booking, an order report or a transition of an alert: lane, sequence number, symbol (None if it has none),
document."""

Listener = Callable[[str, int, str | None, Document], None]

TransitionWriter = Callable[[int, dict[str, Any], Action], None]
"""Called with the number, the document and the action of a transition."""


class Journal:
    """Writes the records of one hub. A checkpoint holds the state of every `stateful`."""

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
        """The verdict on the fill or booking that was published last."""
        self._bus = bus
        self._collectors = collectors
        self._trades = collectors.execution.trades
        self._bookings = collectors.bookings
        self._reports = collectors.execution.reports
        self._sequence = sequence
        self.corrector = Corrector(collectors, store, event_clock)
        self.stateful: tuple[Stateful, ...] = (*stateful, self.corrector)
        self._store = store
        self._host_clock = host_clock
        self._event_clock = event_clock
        self._listeners: Listeners[str, int, str | None, Document] = Listeners("an announcement")
        self._transition_writers: list[TransitionWriter] = []
        # A position in the store's queue, and what is announced once it is committed.
        self._pending: deque[tuple[int, Trade | Announcement]] = deque()
        self._checkpoint_seq = sequence.newest
        self._checkpoint_due_ns = 0
        self._minute = 0
        self._session_end_ns: int | None = None
        self._capitals = 0
        # Ticks, each with the position up to which its rows are in the store's queue.
        self._ticks: deque[tuple[int, Stamp]] = deque()
        self._stored: Stamp | Frame = Stamp()

    # -- for the ingest gate

    @property
    def position(self) -> int:
        """The position of the newest row in the store's queue."""
        return 0 if self._store is None else self._store.position

    @property
    def has_room(self) -> bool:
        return self._store is None or self._store.has_room

    @property
    def lost(self) -> int:
        """The number of rows that the store has dropped."""
        return 0 if self._store is None else self._store.lost

    @property
    def fault(self) -> str | None:
        """Why the store cannot write; None if it can."""
        return None if self._store is None else self._store.fault

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        """Waits until every row up to `position` is on disk; returns False after `timeout_seconds`."""
        return self._store is None or await self._store.durable(position, timeout_seconds)

    def begin_batch(self) -> None:
        """Begins a unit: the rows queued up to `end_batch` are committed together."""
        if self._store is not None:
            self._store.begin_unit()

    def end_batch(self) -> None:
        if self._store is not None:
            self._store.end_unit()

    async def is_written(self) -> bool:
        """Waits until everything up to now is on disk; returns False after WRITTEN_SECONDS."""
        return await self.durable(self.position, WRITTEN_SECONDS)

    def remember(self, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        """Writes the answer to an idempotency key, after the rows of its batch."""
        if self._store is not None:
            self._store.put(schema.UPSERT_IDEMPOTENCY, (key, self._host_clock.time_ns(), fingerprint, status, body))

    def keep_cursor(self, source: str, cursor: str) -> None:
        """Writes the position of a source, after the rows of its batch."""
        if self._store is not None:
            self._store.put(schema.UPSERT_SOURCE_CURSOR, (source, self._host_clock.time_ns(), cursor))

    async def recall(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Returns fingerprint, status and body stored for an idempotency key; None if there are none. Raises
        StoreError."""
        return None if self._store is None else await self._store.reader.run(_recall, key)

    def stored(self) -> Stamp:
        """Returns the newest tick of which every trade can be queried: with a store it is on disk."""
        return Stamp(self._stored.seq, self._stored.ts_ns)

    # -- start and stop

    def add_announcement_listener(self, listener: Listener) -> None:
        """Calls `listener` with each trade, booking and transition of an alert once it is on disk, in order."""
        self._listeners.add(listener)

    def add_transition_writer(self, writer: TransitionWriter) -> None:
        """Calls `writer` with each transition of an alert; the rows that it puts into the store are committed with the
        transition's."""
        self._transition_writers.append(writer)

    def start(self) -> None:
        """Subscribes and begins to write. Call it after the collectors have subscribed."""
        self._bus.subscribe(Fill, self.on_fill)
        self._bus.subscribe(Order, self.on_order)
        for kind in BOOKING_TYPES:
            self._bus.subscribe(kind, self.on_booking)
        self._bus.subscribe(Position, self.on_position)
        self._collectors.system.alert_book.add_transition_listener(self.on_transition)
        self._collectors.market.add_correction_listener(self.on_print_corrected)
        store = self._store
        if store is not None:
            self._bus.subscribe(Equity, self.on_equity)
            self._trades.add_amended_listener(self.on_amended)
            self._collectors.market.add_bar_listener(self.on_bar)
            store.add_commit_listener(self._on_commit)
            store.add_fault_listener(self._on_fault)
            self.checkpoint()

    def stop(self) -> None:
        """Queues the last checkpoint, which the store writes before it stops."""
        self.checkpoint(is_clean=True)

    # -- events

    def on_fill(self, event: Fill) -> None:
        # hot: once per fill (benchmarks/bench_intake.py)
        trade = self._trades.admit(event, JOURNAL)
        if trade is DUPLICATE or trade is CONFLICT:
            self.last_verdict = _VERDICTS[trade]
            if trade is CONFLICT:
                self._keep_conflict(event)
            return
        self.last_verdict = _ACCEPTED
        if self._store is not None:
            self._store.put(schema.INSERT_FILL, fill_row(trade, event.ts_init))
        if self._trades.arrived:
            self.corrector.take_arrived()
        self._announce_when_durable(trade)

    def on_booking(self, event: BookedEvent) -> None:
        """Writes and announces a booking; a conflicting one is written beside the one that counts."""
        bookings = self._bookings
        self.last_verdict = bookings.verdict
        booking = bookings.booking_of(event)
        if booking is None:
            if bookings.conflict is not None and self._store is not None:
                self._store.put(schema.INSERT_BOOKING, booking_row(bookings.conflict, is_conflict=True))
            return
        if self._store is not None:
            self._store.put(schema.INSERT_BOOKING, booking_row(booking))
        self.corrector.take(booking)
        self._announce_when_durable((BOOKINGS_LANE, booking.seq, booking.symbol or None, booking.to_json()))

    def on_print_corrected(self, change: PrintChange, effect: dict[str, Any]) -> None:
        """Writes what became of a correction that had waited for its print."""
        for booking in self._bookings.newer_than(change.seq - 1)[:1]:
            if booking.seq == change.seq:
                booking.effect = effect
        if self._store is not None:
            self._store.put(schema.UPDATE_BOOKING, (encode_json(effect).decode(), change.seq))

    def on_amended(self, trade: Trade) -> None:
        """Writes the slippage of a trade, which became known after its row."""
        self._put(schema.UPDATE_FILL, (trade.slippage_bps, trade.seq))

    def on_order(self, event: Order) -> None:
        # hot: once per order report (benchmarks/bench_intake.py)
        report = self._reports.report_of(event)
        if report is None:
            return
        if self._store is not None:
            self._store.put(schema.INSERT_ORDER_REPORT, report_row(report))
        self._announce_when_durable((ORDERS_LANE, report.seq, event.symbol, report.to_json))

    def on_equity(self, event: Equity) -> None:
        self._put(schema.INSERT_EQUITY_REPORT, rows.equity_report_row(self._sequence.draw(), event))
        if self._collectors.strategy.capitals != self._capitals:
            # The P&L until then, at the marks of that moment, cannot be computed again without the quotes.
            self.checkpoint()

    def on_position(self, event: Position) -> None:
        if event.adopt:
            self.on_booking(event)
        elif self._store is not None:
            self._put(schema.INSERT_POSITION_REPORT, rows.position_report_row(self._sequence.draw(), event))

    def on_bar(self, symbol: str, bar: Bar) -> None:
        """Writes a finished 1-minute bar, and again when it is amended."""
        *columns, is_corrected = bar
        self._put(schema.REPLACE_BAR if is_corrected else schema.UPSERT_BAR, (symbol, *columns))

    def on_transition(self, state: AlertState, action: Action) -> None:
        """Writes and announces a transition of an alert."""
        seq = self._sequence.draw()
        document = transition_document(state, action)
        with nullcontext() if self._store is None else self._store.unit():
            if self._store is not None:
                text = encode_json(document).decode()
                self._store.put(
                    schema.INSERT_ALERT_TRANSITION, (seq, self._event_clock.time_ns(), state.alert_id, action, text)
                )
            for write in self._transition_writers:
                write(seq, document, action)
        self._announce_when_durable((ALERTS_LANE, seq, None, document))

    def _keep_conflict(self, event: Fill) -> None:
        conflict = self._trades.number_conflict(event)
        if conflict is not None and self._store is not None:
            self._store.put(schema.INSERT_CONFLICT, fill_row(conflict, event.ts_init))

    # -- the tick

    def on_frame(self, frame: Frame) -> None:
        """Writes the equity once a minute, and a checkpoint when one is due."""
        # hot: once per tick (benchmarks/bench_tick.py)
        store = self._store
        if store is None:
            self._stored = frame
            return
        if store.position <= store.durable_position:
            self._stored = frame
        else:
            self._note_tick(store.position, frame)
        minute = frame.ts_ns // NS_PER_MINUTE
        if minute != self._minute:
            self._minute = minute
            for strategy, *money in self._collectors.strategy.equity_rows(frame.ts_ns):
                self._put(schema.UPSERT_EQUITY, rows.account_row(minute * NS_PER_MINUTE, strategy, money))
        session_end_ns = self._collectors.strategy.session_end_ns
        if (
            self._host_clock.mono_ns() >= self._checkpoint_due_ns
            # The anchor of the daily P&L cannot be computed again from later prices.
            or session_end_ns != self._session_end_ns
            or self._sequence.newest - self._checkpoint_seq >= CHECKPOINT_RECORDS
        ):
            self._session_end_ns = session_end_ns
            self.checkpoint()

    def add_stateful(self, stateful: Stateful) -> None:
        """Lets checkpoints hold another state, too. Call it before an earlier one is loaded."""
        self.stateful = (*self.stateful, stateful)

    def checkpoint(self, *, is_clean: bool = False) -> None:
        """Writes every saved state, as of the newest record."""
        if self._store is None:
            return
        self._checkpoint_seq = self._sequence.newest
        self._capitals = self._collectors.strategy.capitals
        self._checkpoint_due_ns = self._host_clock.mono_ns() + CHECKPOINT_SECONDS * NS_PER_S
        state = Checkpoint(self._checkpoint_seq, is_clean, {each.name: each.save() for each in self.stateful})
        now_ns = self._host_clock.time_ns()
        # A correction changes the path and the state: a restart needs both, or neither.
        with self._store.unit():
            for name, packed in self._collectors.strategy.path.unsaved():
                self._put(schema.UPSERT_CHECKPOINT, (name, state.seq, now_ns, packed))
            self._put(schema.UPSERT_CHECKPOINT, (schema.CHECKPOINT_KEY, state.seq, now_ns, pack(state)))

    def _note_tick(self, position: int, frame: Frame) -> None:
        """Notes a tick that has rows which are not on disk. The frame itself is not kept: it may be large."""
        ticks = self._ticks
        if ticks and ticks[-1][0] == position:
            ticks[-1] = position, Stamp(frame.seq, frame.ts_ns)
        elif len(ticks) < MAX_TICKS:
            ticks.append((position, Stamp(frame.seq, frame.ts_ns)))

    # -- the store

    def _put(self, statement: str, row: tuple[Any, ...]) -> None:
        assert self._store is not None, "without a store nothing that writes is subscribed"
        self._store.put(statement, row)

    def _announce_when_durable(self, news: Trade | Announcement) -> None:
        """Announces once everything written so far is on disk; at once if there is no store, or if it cannot write and
        no other hub numbers the same events."""
        store = self._store
        if store is None or (store.fault is not None and not store.is_shipped):
            self._announce(news, is_durable=store is None)
        else:
            self._pending.append((store.position, news))

    def _on_commit(self, durable_position: int) -> None:
        ticks = self._ticks
        while ticks and ticks[0][0] <= durable_position:
            self._stored = ticks.popleft()[1]
        pending = self._pending
        while pending and pending[0][0] <= durable_position:
            self._announce(pending.popleft()[1], is_durable=True)

    def _on_fault(self, fault: str | None) -> None:
        # The next hub of a desk would announce with other numbers what is not in its log.
        if fault is not None and self._store is not None and not self._store.is_shipped:
            # Clients that watch a running system need the events all the same, and to know that they may be lost.
            while self._pending:
                self._announce(self._pending.popleft()[1], is_durable=False)

    def _announce(self, news: Trade | Announcement, *, is_durable: bool) -> None:
        announcement: Announcement
        announcement = news if isinstance(news, tuple) else (TRADES_LANE, news.seq, news.symbol, news.to_json)
        lane, seq, symbol, document = announcement
        if not is_durable:
            document = {**(document if isinstance(document, dict) else document()), "durable": False}
        self._listeners.call(lane, seq, symbol, document)


def _recall(connection: sqlite3.Connection, key: str) -> tuple[bytes, int, bytes] | None:
    found: tuple[bytes, int, bytes] | None = connection.execute(schema.SELECT_IDEMPOTENCY, (key,)).fetchone()
    return found
