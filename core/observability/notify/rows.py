"""The store's rows of notices. The columns are those of `observability.store.schema`, in order."""

from __future__ import annotations

import sqlite3

import msgspec
import orjson

from observability.encoding import encode_json
from observability.notify.notice import Notice
from observability.store.schema import NOTICE_COLUMNS, SELECT_PENDING_NOTICES, SELECT_TOLD

Told = tuple[str, str, int]
"""Route, alert and occurrence of a notice that says that an alert is there."""

NoticeRow = tuple[str, int, str, str, str, int, int, int, str, int, str, str, int | None]


def notice_row(notice: Notice) -> NoticeRow:
    return (
        notice.key,
        notice.seq,
        notice.route,
        notice.kind,
        notice.alert_id,
        notice.occurrence,
        notice.ts_ns,
        notice.due_ns,
        encode_json(notice.document).decode(),
        notice.attempts,
        notice.state,
        notice.error,
        notice.done_ns,
    )


def stored_notices(connection: sqlite3.Connection) -> tuple[list[Notice], list[Told]]:
    """Returns the notices that are still to be delivered, and which occurrences the routes were told of; both oldest
    first."""
    pending = [_notice_of(row) for row in connection.execute(SELECT_PENDING_NOTICES)]
    return pending, connection.execute(SELECT_TOLD).fetchall()


def _notice_of(row: NoticeRow) -> Notice:
    fields = dict(zip(NOTICE_COLUMNS.split(", "), row, strict=True))
    return msgspec.convert({**fields, "document": orjson.loads(row[8])}, Notice)
