"""The tables of the store, the statements that write and read them, and the migrations between versions.

    key
    seq        fills, conflicts,            one sequence for all of these tables: a restart replays the rows after the
               bookings,                    checkpoint in its order; it is also the key of the row in the file
               order_reports,
               equity_reports,
               position_reports,
               alert_transitions
    id         equity, minutes, bars,       numbered in order of arrival; each also has a key of its own
               idempotency, notices, silences
    part       checkpoints                  the state of the collectors as of `seq`, and the path of the equity
    source     source_cursors               where to go on reading a source, as of the commit with its events
    id = 1     origin                       where the events are from (`origin.py`)
    -          seal                         one row: the seal of the last commit (write_ahead_log.py)
    marks      marks                        section, ts_ns -> newest: the newest seq or id of each of the tables above
                                            at a time of the host's clock; from them the pruning derives a row's age

Decimals are TEXT, to keep the digits that were sent; times are integer nanoseconds. Every index of `fills` ends with
the seq, as all indexes in SQLite do, so the rows of one symbol come newest first without sorting.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

logger = logging.getLogger(__name__)

# "OBSV" identifies a database as ours, for us and for `file` (https://www.sqlite.org/fileformat2.html, 1.3).
APPLICATION_ID: Final = 0x4F425356

MAX_ROW_SEQ: Final = 2**63 - 1
"""No sequence number is above this: an INTEGER of SQLite has 8 bytes."""

SEQUENCED: Final = (
    "fills", "conflicts", "bookings", "order_reports", "equity_reports", "position_reports", "alert_transitions"
)  # fmt: skip
"""The tables whose rows are numbered by the one sequence."""
NUMBERED: Final = ("equity", "minutes", "bars", "idempotency", "notices", "silences")
"""The tables whose rows are numbered in order of arrival."""

FILL_COLUMNS: Final = (
    "seq, ts_ns, ts_init_ns, trade_id, order_id, symbol, side, quantity, price, commission, liquidity, strategy, "
    "venue, latency_ms, mid, slippage_bps, pnl, quantity_real, gross_pnl, round_trip, day, leg, is_flat, "
    "position_side, reason, commission_asset, currency, fee_value, notional, status, corrections, new_id"
)
ORDER_REPORT_COLUMNS: Final = (
    "seq, ts_ns, ts_init_ns, order_id, symbol, side, quantity, status, price, order_type, strategy, venue, "
    "client_order_id, reason, arrival_price, decision_ts_ns, replaces, is_first"
)
BOOKING_COLUMNS: Final = "seq, ts_ns, ts_init_ns, kind, key, symbol, strategy, document, effect, conflict"
EQUITY_REPORT_COLUMNS: Final = "seq, ts_ns, ts_init_ns, value, strategy"
POSITION_REPORT_COLUMNS: Final = "seq, ts_ns, ts_init_ns, symbol, quantity, avg_price, strategy, position_side"
ALERT_TRANSITION_COLUMNS: Final = "seq, ts_ns, alert_id, action, document"
EQUITY_COLUMNS: Final = "ts_ns, strategy, total_pnl, realized_pnl, unrealized_pnl, capital"
MINUTE_COLUMNS: Final = "section, key, ts_ns, fields, aggregates"
BAR_COLUMNS: Final = "symbol, ts_ns, open, high, low, close, volume, trades, vwap"
IDEMPOTENCY_COLUMNS: Final = "key, ts_ns, fingerprint, status, body"
CHECKPOINT_COLUMNS: Final = "part, seq, ts_ns, state"
NOTICE_COLUMNS: Final = (
    "key, seq, route, kind, alert_id, occurrence, ts_ns, due_ns, document, attempts, state, error, done_ns"
)

_FILL_TYPES = """
    seq INTEGER PRIMARY KEY,
    ts_ns INTEGER NOT NULL,
    ts_init_ns INTEGER NOT NULL,
    trade_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    commission TEXT NOT NULL,
    liquidity TEXT NOT NULL,
    strategy TEXT NOT NULL,
    venue TEXT NOT NULL,
    latency_ms REAL,
    mid TEXT,
    slippage_bps REAL,
    pnl TEXT,
    quantity_real REAL NOT NULL
"""

_VERSION_1: Final = (
    # quantity_real is the nearest double: it compares as the quantity does, except among quantities that share it.
    f"CREATE TABLE fills ({_FILL_TYPES}, UNIQUE (trade_id, symbol, venue)) STRICT",
    "CREATE INDEX fills_by_symbol ON fills (symbol)",
    "CREATE INDEX fills_by_strategy ON fills (strategy)",
    "CREATE INDEX fills_by_side ON fills (side)",
    "CREATE INDEX fills_by_time ON fills (ts_ns)",
    # Fills with the key of an earlier fill but other content.
    f"CREATE TABLE conflicts ({_FILL_TYPES}) STRICT",
    """CREATE TABLE order_reports (
        seq INTEGER PRIMARY KEY,
        ts_ns INTEGER NOT NULL,
        ts_init_ns INTEGER NOT NULL,
        order_id TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        status TEXT NOT NULL,
        price TEXT,
        order_type TEXT NOT NULL,
        strategy TEXT NOT NULL,
        venue TEXT NOT NULL,
        client_order_id TEXT NOT NULL,
        reason TEXT NOT NULL,
        arrival_price TEXT,
        decision_ts_ns INTEGER
    ) STRICT""",
    "CREATE INDEX order_reports_by_order ON order_reports (order_id, symbol)",
    """CREATE TABLE equity_reports (
        seq INTEGER PRIMARY KEY,
        ts_ns INTEGER NOT NULL,
        ts_init_ns INTEGER NOT NULL,
        value TEXT NOT NULL,
        strategy TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE position_reports (
        seq INTEGER PRIMARY KEY,
        ts_ns INTEGER NOT NULL,
        ts_init_ns INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        quantity TEXT NOT NULL,
        avg_price TEXT NOT NULL,
        strategy TEXT NOT NULL
    ) STRICT""",
    # The document is the JSON object of the lane's message, without type, seq and prev.
    """CREATE TABLE alert_transitions (
        seq INTEGER PRIMARY KEY,
        ts_ns INTEGER NOT NULL,
        alert_id TEXT NOT NULL,
        action TEXT NOT NULL,
        document TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX alert_transitions_by_alert ON alert_transitions (alert_id)",
    # One row per minute; the strategy '' is the whole account.
    """CREATE TABLE equity (
        ts_ns INTEGER NOT NULL,
        strategy TEXT NOT NULL,
        total_pnl TEXT,
        realized_pnl TEXT,
        unrealized_pnl TEXT,
        capital TEXT,
        id INTEGER PRIMARY KEY,
        UNIQUE (strategy, ts_ns)
    ) STRICT""",
    # A finished row of the 1-minute tier of a series: the names of the fields, separated by commas, and six doubles of
    # each (first, min, max, last, sum, count) in the byte order of the host.
    """CREATE TABLE minutes (
        section TEXT NOT NULL,
        key TEXT NOT NULL,
        ts_ns INTEGER NOT NULL,
        fields TEXT NOT NULL,
        aggregates BLOB NOT NULL,
        id INTEGER PRIMARY KEY,
        UNIQUE (section, key, ts_ns)
    ) STRICT""",
    # Bars of the prints in the market, by the time of the prints.
    """CREATE TABLE bars (
        symbol TEXT NOT NULL,
        ts_ns INTEGER NOT NULL,
        open REAL NOT NULL,
        high REAL NOT NULL,
        low REAL NOT NULL,
        close REAL NOT NULL,
        volume REAL NOT NULL,
        trades INTEGER NOT NULL,
        vwap REAL,
        id INTEGER PRIMARY KEY,
        UNIQUE (symbol, ts_ns)
    ) STRICT""",
    # The answer to a batch with an idempotency key.
    """CREATE TABLE idempotency (
        key TEXT NOT NULL UNIQUE,
        ts_ns INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        status INTEGER NOT NULL,
        body BLOB NOT NULL,
        id INTEGER PRIMARY KEY
    ) STRICT""",
    """CREATE TABLE checkpoints (
        part TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        ts_ns INTEGER NOT NULL,
        state BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE marks (
        section TEXT NOT NULL,
        ts_ns INTEGER NOT NULL,
        newest INTEGER NOT NULL,
        PRIMARY KEY (ts_ns, section)
    ) STRICT, WITHOUT ROWID""",
)


def _insert(table: str, columns: str) -> str:
    places = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({places})"


def _upsert(table: str, columns: str, key: str) -> str:
    """Returns an INSERT that overwrites the row with the same key, which keeps its id."""
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns.split(", ") if name not in key.split(", "))
    return f"{_insert(table, columns)} ON CONFLICT ({key}) DO UPDATE SET {updates}"


# Parameters are the columns, in order.
INSERT_FILL: Final = _insert("fills", FILL_COLUMNS)
INSERT_CONFLICT: Final = _insert("conflicts", FILL_COLUMNS)
INSERT_BOOKING: Final = _insert("bookings", BOOKING_COLUMNS)
INSERT_ORDER_REPORT: Final = _insert("order_reports", ORDER_REPORT_COLUMNS)
INSERT_EQUITY_REPORT: Final = _insert("equity_reports", EQUITY_REPORT_COLUMNS)
INSERT_POSITION_REPORT: Final = _insert("position_reports", POSITION_REPORT_COLUMNS)
INSERT_ALERT_TRANSITION: Final = _insert("alert_transitions", ALERT_TRANSITION_COLUMNS)
UPSERT_EQUITY: Final = _upsert("equity", EQUITY_COLUMNS, "strategy, ts_ns")
UPSERT_MINUTE: Final = _upsert("minutes", MINUTE_COLUMNS, "section, key, ts_ns")
# A restart from a state older than the row rebuilds the bar from fewer prints, so the row is then more complete.
REPLACE_BAR: Final = _upsert("bars", BAR_COLUMNS, "symbol, ts_ns")
UPSERT_BAR: Final = REPLACE_BAR + " WHERE excluded.trades >= bars.trades"
UPSERT_IDEMPOTENCY: Final = _upsert("idempotency", IDEMPOTENCY_COLUMNS, "key")
UPSERT_SILENCE: Final = _upsert("silences", "silence_id, ts_ns, end_ns, document", "silence_id")
UPSERT_NOTICE: Final = _upsert("notices", NOTICE_COLUMNS, "key")
UPSERT_CHECKPOINT: Final = _upsert("checkpoints", CHECKPOINT_COLUMNS, "part")

UPSERT_SOURCE_CURSOR: Final = _upsert("source_cursors", "source, ts_ns, cursor", "source")
SELECT_SOURCE_CURSORS: Final = "SELECT source, cursor FROM source_cursors"

# Parameter: now.
SELECT_SILENCES: Final = "SELECT document FROM silences WHERE end_ns > ? ORDER BY id"

# Oldest first.
SELECT_PENDING_NOTICES: Final = f"SELECT {NOTICE_COLUMNS} FROM notices WHERE state = 'pending' ORDER BY id"
# Route, alert and occurrence of those that say that an alert is there, of the newest rows; oldest first.
SELECT_TOLD: Final = (
    "SELECT route, alert_id, occurrence FROM notices WHERE kind IN ('raised', 'escalated', 'repeated', 'unsilenced') "
    "AND state != 'dropped' AND (state != 'pending' OR kind = 'raised') ORDER BY id"
)

# Parameters: kind, run_id, what, ts_ns, has_ended.
INSERT_ORIGIN: Final = (
    "INSERT INTO origin (id, kind, run_id, what, ts_ns, has_ended) VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
SELECT_ORIGIN: Final = "SELECT kind, run_id, what, ts_ns, has_ended FROM origin"
# Parameter: run_id.
UPDATE_ORIGIN_ENDED: Final = "UPDATE origin SET has_ended = 1 WHERE run_id = ?"

CHECKPOINT_KEY: Final = "all"
"""The state of everything as of one record. The other parts are chunks of the path of the equity, `path 7`."""
SELECT_PATH: Final = "SELECT state FROM checkpoints WHERE part LIKE 'path %'"


def _after(table: str, columns: str) -> str:
    return f"SELECT {columns} FROM {table} WHERE seq > ? ORDER BY seq"


# The rows that a restart replays. Parameter: the checkpoint's seq.
SELECT_FILLS_AFTER: Final = _after("fills", FILL_COLUMNS)
SELECT_BOOKINGS_AFTER: Final = f"SELECT {BOOKING_COLUMNS} FROM bookings WHERE seq > ? AND conflict = 0 ORDER BY seq"
SELECT_ORDER_REPORTS_AFTER: Final = _after("order_reports", ORDER_REPORT_COLUMNS)
SELECT_EQUITY_REPORTS_AFTER: Final = _after("equity_reports", EQUITY_REPORT_COLUMNS)
SELECT_POSITION_REPORTS_AFTER: Final = _after("position_reports", POSITION_REPORT_COLUMNS)
SELECT_ALERT_TRANSITIONS_AFTER: Final = _after("alert_transitions", "seq, document")

SELECT_CHECKPOINT: Final = "SELECT state FROM checkpoints WHERE part = ?"
SELECT_CHECKPOINT_TIME: Final = "SELECT max(ts_ns) FROM checkpoints"
SELECT_NEWEST_SEQ: Final = (
    f"SELECT max(seq) FROM ({' UNION ALL '.join(f'SELECT max(seq) AS seq FROM {t}' for t in SEQUENCED)})"
)


def _newest(table: str, columns: str, where: str = "seq <= ?") -> str:
    return f"SELECT {columns} FROM {table} WHERE {where} ORDER BY seq DESC LIMIT ?"


# Newest first. Parameters: newest seq wanted, number of rows.
SELECT_NEWEST_FILLS: Final = _newest("fills", FILL_COLUMNS)
SELECT_NEWEST_ALERT_TRANSITIONS: Final = _newest("alert_transitions", "seq, document")
SELECT_NEWEST_ORDER_REPORTS: Final = _newest("order_reports", ORDER_REPORT_COLUMNS)
SELECT_NEWEST_BOOKINGS: Final = _newest("bookings", BOOKING_COLUMNS, "seq <= ? AND conflict = 0")
# Parameter: number of rows.
SELECT_NEWEST_BOOKING_CONFLICTS: Final = _newest("bookings", BOOKING_COLUMNS, "conflict != 0")
SELECT_NEWEST_CONFLICTS: Final = f"SELECT {FILL_COLUMNS} FROM conflicts ORDER BY seq DESC LIMIT ?"
# The first report of an order, and whether a report of that status and time is among those of the order. Parameters:
# status, ts_ns, order_id, symbol, and the seq before which to search.
SELECT_KNOWN_ORDER: Final = (
    "SELECT min(seq), max(status = ? AND ts_ns = ?) FROM order_reports WHERE order_id = ? AND symbol = ? AND seq < ?"
)
# Parameters: order_id, symbol.
SELECT_ORDER_STRATEGY: Final = (
    "SELECT strategy FROM order_reports WHERE order_id = ? AND symbol = ? AND strategy != '' ORDER BY seq LIMIT 1"
)
# Parameter: key.
SELECT_IDEMPOTENCY: Final = "SELECT fingerprint, status, body FROM idempotency WHERE key = ?"

SELECT_SEAL: Final = "SELECT seal FROM seal"
SELECT_SEAL_PAGE: Final = "SELECT rootpage FROM sqlite_schema WHERE name = 'seal'"
# Parameter: the seal of the commit.
UPDATE_SEAL: Final = "UPDATE seal SET seal = ?"

# Parameters: effect, seq.
UPDATE_BOOKING: Final = "UPDATE bookings SET effect = ? WHERE seq = ?"
# Parameters: slippage_bps, seq.
UPDATE_FILL: Final = "UPDATE fills SET slippage_bps = ? WHERE seq = ?"
# What a correction of a fill may change in it and in later ones.
UPDATE_COUNTED_FILL: Final = (
    "UPDATE fills SET quantity = ?, price = ?, commission = ?, quantity_real = ?, slippage_bps = ?, pnl = ?, "
    "gross_pnl = ?, round_trip = ?, is_flat = ?, fee_value = ?, notional = ?, status = ?, corrections = ?, "
    "new_id = ? WHERE seq = ?"
)


Migration = Callable[[sqlite3.Connection], None]


def _create(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_1:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _add_round_trips(connection: sqlite3.Connection) -> None:
    """Adds what a fill realised before fees, and its round trip. In fills stored before, `pnl` is net of their own
    commission only."""
    for table in ("fills", "conflicts"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN gross_pnl TEXT")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN round_trip INTEGER")


def _widen_the_key_of_fills(connection: sqlite3.Connection) -> None:
    """Makes side, order, day and leg part of a fill's key. SQLite cannot change a constraint, so this copies the
    table."""
    columns = (
        "day INTEGER NOT NULL DEFAULT 0",
        "leg INTEGER NOT NULL DEFAULT 1",
        # 1 if the fill closed its position exactly.
        "is_flat INTEGER NOT NULL DEFAULT 0",
    )
    for column in columns:
        connection.execute(f"ALTER TABLE conflicts ADD COLUMN {column}")
    connection.execute(
        f"""CREATE TABLE new_fills (
            {_FILL_TYPES}, gross_pnl TEXT, round_trip INTEGER, {", ".join(columns)},
            UNIQUE (trade_id, symbol, venue, side, order_id, day, leg)
        ) STRICT"""
    )
    kept = (
        "seq, ts_ns, ts_init_ns, trade_id, order_id, symbol, side, quantity, price, commission, liquidity, strategy, "
        "venue, latency_ms, mid, slippage_bps, pnl, quantity_real, gross_pnl, round_trip"
    )
    connection.execute(f"INSERT INTO new_fills ({kept}) SELECT {kept} FROM fills ORDER BY seq")
    connection.execute("DROP TABLE fills")
    connection.execute("ALTER TABLE new_fills RENAME TO fills")
    for name, column in (("symbol", "symbol"), ("strategy", "strategy"), ("side", "side"), ("time", "ts_ns")):
        connection.execute(f"CREATE INDEX fills_by_{name} ON fills ({column})")


def _add_replaced_orders(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE order_reports ADD COLUMN replaces TEXT NOT NULL DEFAULT ''")


def _add_origin(connection: sqlite3.Connection) -> None:
    """Adds the origin of the events. Earlier versions did not record it, and what they stored counts as live."""
    connection.execute(
        """CREATE TABLE origin (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            kind TEXT NOT NULL,
            run_id TEXT NOT NULL,
            what TEXT NOT NULL,
            ts_ns INTEGER NOT NULL,
            has_ended INTEGER NOT NULL
        ) STRICT"""
    )
    connection.execute(
        "INSERT INTO origin SELECT 1, 'live', '', '', coalesce((SELECT min(ts_ns) FROM marks), 0), 0"
        " WHERE EXISTS (SELECT 1 FROM checkpoints)"
    )


def _add_seal(connection: sqlite3.Connection) -> None:
    """Adds the name of the store and the number of its last commit, as text that is found in a page of the file."""
    connection.execute("CREATE TABLE seal (seal TEXT NOT NULL) STRICT")
    connection.execute(f"INSERT INTO seal VALUES (lower(hex(randomblob(16))) || ':' || '{0:020}')")


def _add_source_cursors(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE source_cursors (source TEXT PRIMARY KEY, ts_ns INTEGER NOT NULL, cursor TEXT NOT NULL) STRICT"
    )


def _add_notices(connection: sqlite3.Connection) -> None:
    """Adds the notifications of alerts, of which those that are pending are still to be delivered."""
    connection.execute(
        """CREATE TABLE notices (
            key TEXT NOT NULL UNIQUE,
            seq INTEGER NOT NULL,
            route TEXT NOT NULL,
            kind TEXT NOT NULL,
            alert_id TEXT NOT NULL,
            occurrence INTEGER NOT NULL,
            ts_ns INTEGER NOT NULL,
            due_ns INTEGER NOT NULL,
            document TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            state TEXT NOT NULL,
            error TEXT NOT NULL,
            done_ns INTEGER,
            id INTEGER PRIMARY KEY
        ) STRICT"""
    )
    connection.execute("CREATE INDEX notices_pending ON notices (id) WHERE state = 'pending'")


def _add_bookings(connection: sqlite3.Connection) -> None:
    """Adds what changes the book and is no fill. `document` is the event, `effect` what it changed, both as JSON;
    `conflict` is 0, or the row's own seq if another booking of the key counts."""
    connection.execute(
        """CREATE TABLE bookings (
            seq INTEGER PRIMARY KEY,
            ts_ns INTEGER NOT NULL,
            ts_init_ns INTEGER NOT NULL,
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            symbol TEXT NOT NULL,
            strategy TEXT NOT NULL,
            document TEXT NOT NULL,
            effect TEXT NOT NULL,
            conflict INTEGER NOT NULL,
            UNIQUE (kind, key, conflict)
        ) STRICT"""
    )
    connection.execute("CREATE INDEX bookings_by_symbol ON bookings (symbol)")
    connection.execute("CREATE INDEX bookings_by_strategy ON bookings (strategy)")


def _add_position_sides(connection: sqlite3.Connection) -> None:
    """Adds the side of a position in hedge mode, and why a fill that no order of ours has made was made."""
    for table in ("fills", "conflicts", "position_reports"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN position_side TEXT NOT NULL DEFAULT ''")
    for table in ("fills", "conflicts"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN reason TEXT NOT NULL DEFAULT ''")


def _add_first_reports(connection: sqlite3.Connection) -> None:
    """Marks the first report of each order, so that orders are found by indexes that a later report adds nothing
    to."""
    connection.execute("ALTER TABLE order_reports ADD COLUMN is_first INTEGER NOT NULL DEFAULT 0")
    connection.execute(
        "UPDATE order_reports SET is_first = 1 WHERE seq IN"
        " (SELECT min(seq) FROM order_reports GROUP BY order_id, symbol)"
    )
    connection.execute("CREATE INDEX first_reports_by_time ON order_reports (ts_ns) WHERE is_first = 1")
    connection.execute(
        "CREATE INDEX order_reports_by_replaced ON order_reports (replaces, symbol) WHERE replaces != ''"
    )
    connection.execute("CREATE INDEX fills_by_order ON fills (order_id)")


def _add_currencies(connection: sqlite3.Connection) -> None:
    """Adds the currency of a fill's amounts and of its commission, the commission in the former if the two differ, and
    the amount if it is not quantity times price. Of fills stored before, the currencies are not known."""
    for table in ("fills", "conflicts"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN commission_asset TEXT NOT NULL DEFAULT ''")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN currency TEXT NOT NULL DEFAULT ''")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN fee_value TEXT")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN notional TEXT")


def _add_silences(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE silences (
            silence_id TEXT NOT NULL UNIQUE,
            ts_ns INTEGER NOT NULL,
            end_ns INTEGER NOT NULL,
            document TEXT NOT NULL,
            id INTEGER PRIMARY KEY
        ) STRICT"""
    )


def _add_corrections(connection: sqlite3.Connection) -> None:
    """Adds what corrections have made of a fill: `status` is empty, `busted` or `corrected`; `corrections` are the
    terms that it was delivered with and all corrections, as JSON; `new_id` is the id that the newest of them gave."""
    for table in ("fills", "conflicts"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN status TEXT NOT NULL DEFAULT ''")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN corrections TEXT")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN new_id TEXT NOT NULL DEFAULT ''")
    connection.execute("CREATE INDEX fills_by_new_id ON fills (new_id) WHERE new_id != ''")


MIGRATIONS: Final[tuple[Migration, ...]] = (
    _create, _add_round_trips, _widen_the_key_of_fills, _add_replaced_orders, _add_origin, _add_seal,
    _add_source_cursors, _add_notices, _add_bookings, _add_position_sides, _add_first_reports, _add_currencies,
    _add_silences, _add_corrections,
)  # fmt: skip
"""The migration from version n to n + 1, at index n. A released version is never changed, only followed by another."""


def read_version(connection: sqlite3.Connection) -> int:
    """Returns the version of the tables; 0 if there are none."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Migrates the tables to the newest version, completely or not at all. Expects no open transaction."""
    version = read_version(connection)
    if version == len(migrations):
        return
    if version:
        logger.info(
            "migrating the store from version %d to %d; with millions of fills this takes minutes, and as much free "
            "disk as the store has bytes", version, len(migrations),
        )  # fmt: skip
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in migrations[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
