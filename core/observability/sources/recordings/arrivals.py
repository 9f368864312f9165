"""When the events of a recording arrived, where it does not say so: at their own time, in the order of the lines.

ts        10:00:00  10:00:01  11:00:02  10:00:03  10:00:02
arrival   10:00:00  10:00:01  10:00:01  10:00:03  10:00:03
                              dated ahead         late
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.errors import SourceError
from observability.events import AnyEvent, event_time_ns

# An event this far ahead of the one before it and of most of those after it is wrongly dated: by an hour of summer
# time, a time zone or a unit. Less may be a recording whose lines are out of order.
AHEAD_NS: Final = 15 * NS_PER_MINUTE
# How many events after it are looked at, and how many there must be at least.
NEIGHBOURS: Final = 8
MIN_NEIGHBOURS: Final = 2


def with_arrivals(events: Iterable[AnyEvent], opened_ns: int) -> Iterator[AnyEvent]:
    """Yields the events, each with a `ts_init`.

    One without arrived at its `ts`, but not before the event of the line before; one dated ahead of its neighbours, and
    one without either time, arrived together with that event. `opened_ns` stands for it where there is none. A
    SourceError of `events` is raised after all events before it.
    """
    source = iter(events)
    damage: SourceError | None = None
    coming: deque[AnyEvent] = deque()
    newest_ns: int | None = None
    while True:
        try:
            while len(coming) <= NEIGHBOURS and (event := next(source, None)) is not None:
                coming.append(event)
        except SourceError as error:
            damage = error
        if not coming:
            if damage is not None:
                raise damage
            return
        event = coming.popleft()
        if not event.ts_init:
            ts_ns = event.ts
            if not isinstance(ts_ns, int):
                event.ts_init = opened_ns if newest_ns is None else newest_ns
                yield event
                continue
            if (newest_ns is None or ts_ns > newest_ns + AHEAD_NS) and _is_ahead(ts_ns, coming):
                ts_ns = min(_times(coming)) if newest_ns is None else newest_ns
            event.ts_init = ts_ns if newest_ns is None else max(ts_ns, newest_ns)
        newest_ns = event.ts_init
        yield event


def _is_ahead(ts_ns: int, coming: Iterable[AnyEvent]) -> bool:
    """Returns whether most of the coming events are long before `ts_ns`."""
    times = _times(coming)
    before = sum(time_ns < ts_ns - AHEAD_NS for time_ns in times)
    return len(times) >= MIN_NEIGHBOURS and 2 * before > len(times)


def _times(events: Iterable[AnyEvent]) -> list[int]:
    return [event.ts_init or event_time_ns(event) for event in events if event.ts_init or event.ts is not None]
