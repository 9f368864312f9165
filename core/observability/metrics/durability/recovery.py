"""Recovery: what a restart does before anything else, so that it continues from the state of the previous process.

1. the newest checkpoint      every collector and the history load their state, as of record `seq`
2. trades up to `seq`         the newest ones are restored to the trade log, marked as read by every reader, and so
                              are bookings to theirs
3. records after `seq`        are published again, in order and with their old times; they are not written again
"""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from observability.bus import Bus
from observability.events import Event, Order, event_time_ns
from observability.metrics.durability import rows
from observability.metrics.durability.corrector import Corrector
from observability.metrics.execution.ledger import KnownOrder
from observability.metrics.execution.orders.queries import find_order
from observability.metrics.execution.orders.rows import report_of
from observability.metrics.execution_collector import ExecutionCollector
from observability.metrics.trades.booking import booking_of
from observability.metrics.trades.booking_log import MAX_BOOKINGS, BookingLog
from observability.metrics.trades.booking_log import MAX_CONFLICTS as MAX_BOOKING_CONFLICTS
from observability.metrics.trades.rows import StoreRow, fill_of, trade_of
from observability.metrics.trades.trade_log import EVERY_READER, MAX_CONFLICTS, MAX_TRADES, Reader
from observability.store import schema
from observability.store.checkpoint import UNWRITTEN_NUMBERS, Checkpoint, EventSequence, Stateful, unpack
from observability.store.schema import MAX_ROW_SEQ

SOURCE: Final = "recovery"

ReplayTransition = Callable[[Mapping[str, Any]], None]

# How many order reports are in the ring of their lane again.
RESTORED_REPORTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """The result of a recovery."""

    seq: int
    """The newest record."""
    replayed: int
    """How many records are newer than the checkpoint."""
    seconds: float


def recover(
    connection: sqlite3.Connection,
    bus: Bus,
    stateful: Sequence[Stateful],
    execution: ExecutionCollector,
    bookings: BookingLog,
    corrector: Corrector,
    replay_transition: ReplayTransition,
    sequence: EventSequence,
) -> Recovered:
    """Restores every collector and the history. Call it after they have subscribed and before the journal has.

    `replay_transition` is called with each transition of an alert. Raises CheckpointError for a state that cannot be
    read: no row holds it, so nothing can replace it.
    """
    started = time.monotonic()
    trades = execution.trades
    checkpoint = _load_checkpoint(connection)
    for each in stateful:
        if each.name in checkpoint.parts:
            each.load(checkpoint.parts[each.name])
    corrector.restore_path(connection, checkpoint.seq)
    corrector.horizon_seq = checkpoint.seq
    for row in connection.execute(schema.SELECT_NEWEST_FILLS, (checkpoint.seq, MAX_TRADES)).fetchall()[::-1]:
        trades.restore(corrector.as_counted(trade_of(row)), EVERY_READER)
    trades.has_forgotten = len(trades) == MAX_TRADES
    for row in connection.execute(schema.SELECT_NEWEST_CONFLICTS, (MAX_CONFLICTS,)).fetchall()[::-1]:
        trades.restore_conflict(trade_of(row))
    newest = connection.execute(schema.SELECT_NEWEST_BOOKINGS, (checkpoint.seq, MAX_BOOKINGS)).fetchall()
    for row in reversed(newest):
        bookings.restore(booking_of(row))
    bookings.has_forgotten = len(newest) == MAX_BOOKINGS
    conflicts = connection.execute(schema.SELECT_NEWEST_BOOKING_CONFLICTS, (MAX_BOOKING_CONFLICTS,)).fetchall()
    for row in reversed(conflicts):
        bookings.restore_conflict(booking_of(row))
    for row in connection.execute(schema.SELECT_NEWEST_ORDER_REPORTS, (checkpoint.seq, RESTORED_REPORTS)).fetchall()[
        ::-1
    ]:
        execution.reports.restore(report_of(row))
    if not execution.ledger.has_seqs:
        execution.ledger.describe_orders(
            lambda symbol, order_id: find_order(connection, symbol, order_id, checkpoint.seq + 1), checkpoint.seq
        )
    replayed = current_seq = 0
    execution.remember_reports(lambda event: find_known_order(connection, event, current_seq))
    corrector.resume()
    tails = _tails(connection, checkpoint.seq, bus, execution, bookings, corrector, replay_transition)
    for seq, replay in heapq.merge(*tails, key=lambda record: record[0]):
        current_seq = corrector.horizon_seq = seq
        replay()
        replayed += 1
    newest_seq = max(checkpoint.seq, connection.execute(schema.SELECT_NEWEST_SEQ).fetchone()[0] or 0)
    sequence.newest = newest_seq if checkpoint.is_clean else newest_seq + UNWRITTEN_NUMBERS
    return Recovered(newest_seq, replayed, time.monotonic() - started)


def find_known_order(connection: sqlite3.Connection, event: Order, before_seq: int = MAX_ROW_SEQ) -> KnownOrder | None:
    """Returns what the store has of the order of a report, with numbers below `before_seq`."""
    report = (event.status, event_time_ns(event), event.order_id, event.symbol, before_seq)
    seq, has_report = connection.execute(schema.SELECT_KNOWN_ORDER, report).fetchone()
    return None if seq is None else KnownOrder(seq, bool(has_report))


def find_strategy(connection: sqlite3.Connection, symbol: str, order_id: str) -> str | None:
    """Returns the strategy that a stored report of an order was the first to name."""
    row = connection.execute(schema.SELECT_ORDER_STRATEGY, (order_id, symbol)).fetchone()
    return None if row is None else row[0]


def _load_checkpoint(connection: sqlite3.Connection) -> Checkpoint:
    row = connection.execute(schema.SELECT_CHECKPOINT, (schema.CHECKPOINT_KEY,)).fetchone()
    return Checkpoint(0, True, {}) if row is None else unpack(row[0], Checkpoint)


def _tails(
    connection: sqlite3.Connection,
    seq: int,
    bus: Bus,
    execution: ExecutionCollector,
    bookings: BookingLog,
    corrector: Corrector,
    replay_transition: ReplayTransition,
) -> Iterator[Iterator[tuple[int, Callable[[], None]]]]:
    """Yields, per table, the numbers of the records after `seq`, each with a function that replays the record."""

    def replay_fill(row: StoreRow) -> None:
        # The row has the mid at the time of the fill, and the journal must not write it again.
        trade = trade_of(row)
        trade.correct(None)
        execution.trades.restore(trade, Reader.JOURNAL)
        bus.publish(fill_of(row), SOURCE)
        corrector.take_arrived()

    def replay_booking(row: StoreRow) -> None:
        booking = booking_of(row)
        bookings.replay(booking, SOURCE)
        corrector.take(booking)

    def replay_report(row: StoreRow) -> None:
        report = report_of(row)
        execution.reports.expect(report.seq)
        bus.publish(report.event, SOURCE)

    def tail(statement: str, replay: Callable[[StoreRow], None]) -> Iterator[tuple[int, Callable[[], None]]]:
        return ((row[0], partial(replay, row)) for row in connection.execute(statement, (seq,)))

    def publisher(event_of: Callable[[StoreRow], Event]) -> Callable[[StoreRow], None]:
        return lambda row: bus.publish(event_of(row), SOURCE)

    yield tail(schema.SELECT_FILLS_AFTER, replay_fill)
    yield tail(schema.SELECT_BOOKINGS_AFTER, replay_booking)
    yield tail(schema.SELECT_ORDER_REPORTS_AFTER, replay_report)
    yield tail(schema.SELECT_EQUITY_REPORTS_AFTER, publisher(rows.equity_report_of))
    yield tail(schema.SELECT_POSITION_REPORTS_AFTER, publisher(rows.position_report_of))
    yield tail(schema.SELECT_ALERT_TRANSITIONS_AFTER, lambda row: replay_transition(orjson.loads(row[1])))
