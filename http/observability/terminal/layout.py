"""Tables laid out in the columns of a terminal, and a whole snapshot as plain text.

Names and texts are those of senders: what would control the terminal, or begin a line, is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from observability.logs.log_ring import escape
from observability.terminal.tables import TABLES, Document, Row, Table, desk_words, headlines

GAP: Final = 2
SEPARATOR: Final = "   "
MAX_TEXT: Final = 32


def widths(table: Table, columns: int | None, rows: Sequence[Row] | None = None) -> list[int]:
    """Returns the widths of the first columns of a table that fit into a terminal, at least that of the first; of all
    columns with None. Only `rows` are measured, if they are given."""
    found: list[int] = []
    used = 0
    for at, column in enumerate(table.columns):
        width = max((len(escape(row.cells[at].text)) for row in (table.rows if rows is None else rows)), default=0)
        width = max(len(column.title), min(width, MAX_TEXT) if column.is_text else width)
        used += width + (GAP if found else 0)
        if columns is not None and used > columns and found:
            break
        found.append(width)
    return found


def joined(words: Sequence[str], columns: int | None) -> str:
    """Returns words on one line, as many of them as fit. The first one is cut if it is too long alone."""
    first, *others = map(escape, words)
    line = first if columns is None else first[:columns]
    for word in others:
        if columns is not None and len(line) + len(SEPARATOR) + len(word) > columns:
            break
        line += SEPARATOR + word
    return line


def aligned(texts: Sequence[str], table: Table, of_width: Sequence[int]) -> list[str]:
    """Returns the texts of a row, each as wide as its column."""
    return [
        (text[: width - 1] + "…" if len(text) > width else text).ljust(width) if column.is_text else text.rjust(width)
        for text, column, width in zip(map(escape, texts), table.columns, of_width, strict=False)
    ]


def plain(table: Table, columns: int | None) -> list[str]:
    """Returns the lines of a table as plain text."""
    if not table.rows:
        return [table.title, f"  {table.empty}"]
    of_width = widths(table, columns)
    gap = " " * GAP
    titles = [[column.title for column in table.columns]] if any(column.title for column in table.columns) else []
    texts = [*titles, *([cell.text for cell in row.cells] for row in table.rows)]
    lines = [gap.join(aligned(one, table, of_width)).rstrip() for one in texts]
    return [table.title, *lines]


def plain_snapshot(snapshot: Mapping[str, Any], state: str, columns: int | None, desk: Document | None = None) -> str:
    """Returns everything of a snapshot as plain text, its age and worth first, then the hosts of its desk."""
    worth = (state, f"tick {snapshot['seq']} of {snapshot['timestamp']}")
    about_desk = [] if desk is None else [desk_words(desk)]
    lines = [joined(words, columns) for words in (worth, *about_desk, *headlines(snapshot))]
    for make in TABLES:
        table = make(snapshot)
        if table.rows or table.title not in ("Sources", "Sites"):
            lines += ["", *plain(table, columns)]
    return "\n".join(lines)
