"""The process that reads a calendar: prints the sessions of one exchange between two times, as JSON.

python -m observability.instruments.schedule XNYS 1735689600000000000 1767225600000000000
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import NS_PER_DAY
from observability.instruments.hours import Schedule

_COLUMNS: Final = ("open", "break_start", "break_end", "close")


def read_schedule(name: str, start_ns: int, end_ns: int) -> Schedule:
    """Returns the sessions that begin between two times."""
    import exchange_calendars
    import pandas

    start, end = (pandas.Timestamp(ns // NS_PER_DAY * NS_PER_DAY) for ns in (start_ns, end_ns))
    try:
        calendar = exchange_calendars.get_calendar(name, start=start, end=end)
    except exchange_calendars.errors.InvalidCalendarName:
        return Schedule(fault="no calendar of exchange_calendars has that name, nor one of its aliases")
    except ValueError as error:
        try:
            # Some calendars know the holidays of no later years.
            calendar = exchange_calendars.get_calendar(name, start=start)
        except ValueError:
            return Schedule(fault=str(error))
    table: Any = calendar.schedule
    columns = [table[column].astype("datetime64[ns, UTC]").astype("int64").tolist() for column in _COLUMNS]
    opens, edges = [], []
    for opened, paused, resumed, closed in zip(*columns, strict=True):
        opens.append(opened)
        # A session without a break has no times of one, which are the least integer.
        edges += [opened, closed] if paused < opened else [opened, paused, resumed, closed]
    return Schedule(opens, edges)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(read_schedule(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))).decode())
