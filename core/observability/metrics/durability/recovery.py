"""Recovery: what a restart does before anything else, so that it ends where the process before it was.

No tables are made and nothing is written here (see `journal.py`).

    1. the newest checkpoint      every keeper takes its state over, as of record `seq`
    2. trades up to `seq`         the newest ones come back into the record of trades, as taken by everybody
    3. records behind `seq`       are published again, in order, with the times they had; nobody writes them again
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
from observability.metrics.trades.rows import StoreRow, fill_of, trade_of
from observability.metrics.trades.trade_log import EVERY_READER, MAX_CONFLICTS, MAX_TRADES, Reader, TradeLog
from observability.store import schema
from observability.store.checkpoint import Checkpoint, EventSequence, Stateful, unpack
from observability.store.schema import MAX_SEQ

SOURCE: Final = "recovery"

Record = tuple[int, Callable[[], None]]
Retake = Callable[[Mapping[str, Any]], None]

# Above every seq.

# Numbers that a process may have shown before it died without writing them: more than its queue could hold.
UNWRITTEN_NUMBERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found. `seq` is the newest record's."""

    seq: int
    checkpoint_seq: int
    records: int
    """Taken again, being behind the checkpoint."""
    seconds: float


def recover(
    connection: sqlite3.Connection,
    bus: Bus,
    stateful: Sequence[Stateful],
    trades: TradeLog,
    retake: Retake,
    remember_reports: Callable[[Callable[[Order], bool]], None],
    sequence: EventSequence,
) -> Recovered:
    """Brings the keepers to where they were; they have subscribed already, the journal has not. `retake` is given each
    change of an alert, `remember_reports` what knows the reports before the one that is taken.

    Raises CheckpointError if a state cannot be taken over: what it held is in no row, so nothing can stand in for it.
    """
    started = time.monotonic()
    checkpoint = _load_checkpoint(connection)
    for part in stateful:
        if part.name in checkpoint.parts:
            part.load(checkpoint.parts[part.name])
    for row in connection.execute(schema.SELECT_NEWEST_FILLS, (checkpoint.seq, MAX_TRADES)).fetchall()[::-1]:
        trades.restore(trade_of(row), EVERY_READER)
    trades.has_forgotten = len(trades) == MAX_TRADES
    for row in connection.execute(schema.SELECT_NEWEST_CONFLICTS, (MAX_CONFLICTS,)).fetchall()[::-1]:
        trades.restore_conflict(trade_of(row))
    records = taking = 0
    remember_reports(lambda event: was_taken(connection, event, taking))
    for seq, publish in heapq.merge(
        *_tails(connection, checkpoint.seq, bus, trades, retake), key=lambda record: record[0]
    ):
        taking = seq
        publish()
        records += 1
    newest = max(checkpoint.seq, connection.execute(schema.SELECT_NEWEST_SEQ).fetchone()[0] or 0)
    sequence.newest = newest if checkpoint.is_clean else newest + UNWRITTEN_NUMBERS
    return Recovered(newest, checkpoint.seq, records, time.monotonic() - started)


def was_taken(connection: sqlite3.Connection, event: Order, before_seq: int = MAX_SEQ) -> bool:
    """Returns whether the very same report of an order is in the store."""
    report = (event.order_id, event.symbol, event.status, event_time_ns(event), before_seq)
    return connection.execute(schema.SELECT_ORDER_REPORT, report).fetchone() is not None


def _load_checkpoint(connection: sqlite3.Connection) -> Checkpoint:
    row = connection.execute(schema.SELECT_CHECKPOINT, (schema.CHECKPOINT_KEY,)).fetchone()
    return Checkpoint(0, True, {}) if row is None else unpack(row[0], Checkpoint)


def _tails(
    connection: sqlite3.Connection, seq: int, bus: Bus, trades: TradeLog, retake: Retake
) -> Iterator[Iterator[Record]]:
    """Yields, per table, the records behind `seq` with what publishes each."""

    def publish_fill(row: StoreRow) -> None:
        # The journal has it already; its mid is the one of its own moment.
        trades.restore(trade_of(row), Reader.JOURNAL)
        bus.publish(fill_of(row), SOURCE)

    def tail(statement: str, publish: Callable[[StoreRow], None]) -> Iterator[Record]:
        return ((row[0], partial(publish, row)) for row in connection.execute(statement, (seq,)))

    def publisher(event_of: Callable[[StoreRow], Event]) -> Callable[[StoreRow], None]:
        return lambda row: bus.publish(event_of(row), SOURCE)

    yield tail(schema.SELECT_FILLS_BEHIND, publish_fill)
    yield tail(schema.SELECT_ORDER_REPORTS_BEHIND, publisher(rows.order_of))
    yield tail(schema.SELECT_EQUITY_REPORTS_BEHIND, publisher(rows.equity_report_of))
    yield tail(schema.SELECT_POSITION_REPORTS_BEHIND, publisher(rows.position_report_of))
    yield tail(schema.SELECT_ALERT_TRANSITIONS_BEHIND, lambda row: retake(orjson.loads(row[1])))
