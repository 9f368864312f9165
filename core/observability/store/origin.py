"""The origin of what a store holds: live events, or one replay.

Live events and a replay have times that have nothing to do with each other, and a replay that is played again would
count every event twice. So a store holds one replay, or live events of any number of runs.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from observability.clocks.timestamps import format_iso_ms
from observability.errors import StoreError
from observability.store import schema

OriginKind = Literal["live", "replay"]

MAX_WHAT_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the events of a store are from."""

    kind: OriginKind
    run_id: str
    """Of the server's run that began it. A hub that is started again within that run has the same."""
    what: str = ""
    """The recordings of a replay, for an operator."""
    ts_ns: int = 0
    """When it began, by the host's clock."""
    has_ended: bool = False
    """Whether the replay has been played to its end."""

    def row(self) -> tuple[Any, ...]:
        return (self.kind, self.run_id, self.what[:MAX_WHAT_CHARS], self.ts_ns, int(self.has_ended))


def read_origin(connection: sqlite3.Connection) -> Origin | None:
    """Returns the origin of what is in the store; None if there is nothing yet."""
    row = connection.execute(schema.SELECT_ORIGIN).fetchone()
    if row is None:
        return None
    kind, run_id, what, ts_ns, has_ended = row
    return Origin(kind, run_id, what, ts_ns, bool(has_ended))


def check_origin(found: Origin | None, wanted: Origin, directory: Path) -> None:
    """Raises StoreError if events of the origin `wanted` must not be added to those that are there."""
    if found is None or found.run_id == wanted.run_id or found.kind == wanted.kind == "live":
        return
    if found.kind == "live":
        held, why = "live events", "a replay would mix its times and figures with theirs"
    else:
        held = f"the replay of {found.what}"
        why = (
            "a second replay would count into the same figures"
            if wanted.kind == "replay"
            else "live events would mix their times and figures with its"
        )
    raise StoreError(
        f"data directory {str(directory)!r} holds {held}, begun {format_iso_ms(found.ts_ns)}: {why}; "
        "give each replay a data directory of its own, or remove this one"
    )
