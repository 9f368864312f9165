"""Tables for pandas, made of documents that the server sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

# Columns that hold times as ISO 8601 in UTC.
_TIMES = ("timestamp", "created", "updated")


def to_frame(rows: Iterable[Mapping[str, Any]], index: str | None = None) -> pandas.DataFrame:
    """Returns a data frame with a row per document and times as `datetime64[ns, UTC]`; `index` names the column that
    becomes its index. Raises ImportError without pandas."""
    import pandas

    frame = pandas.DataFrame(list(rows))
    for column in _TIMES:
        if column in frame:
            frame[column] = pandas.to_datetime(frame[column], utc=True)
    return frame if index is None or index not in frame else frame.set_index(index)


def members(group: Mapping[str, Mapping[str, Any]] | Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Returns a data frame of a group of a snapshot: of `market_data` a row per symbol, of positions a row per key."""
    if isinstance(group, Mapping):
        return to_frame(({"key": key, **member} for key, member in group.items()), "key")
    return to_frame(group, "key")
