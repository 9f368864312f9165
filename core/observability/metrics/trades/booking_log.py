"""The log of recent bookings, and the memory of which have arrived.

    event --> BookingLog, the first subscriber    a second delivery       --> Verdict.DUPLICATE
          --> collectors: `booking_of(event)`     same key, other content --> Verdict.CONFLICT, kept apart
          --> journal

The log decides before any collector sees the event; for one that does not count, `booking_of` returns None to all.
What identifies a booking is in `booking.py`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from observability.bus import Bus, Remark
from observability.clocks.timestamps import format_iso_ms
from observability.events import BOOKING_TYPES, Position
from observability.ingest.gate import Verdict
from observability.logs.line_budget import LineBudget
from observability.metrics.trades.booking import (
    BookedEvent,
    Booking,
    BookingFilter,
    BookingKey,
    content_of,
    is_recognisable,
    key_of,
)
from observability.store.checkpoint import EventSequence

logger = logging.getLogger(__name__)

MAX_BOOKINGS: Final = 10_000
# Without a store, a booking that is delivered again after this many others would count twice.
MAX_KEYS: Final = 100_000
MAX_CONFLICTS: Final = 1_000
MAX_BREAKS_SHOWN: Final = 100

BookingLookup = Callable[[BookingKey], Booking | None]
"""Finds a booking that is no longer in memory."""
BookingCheck = Callable[[Any], None]
"""Raises EventRefused for an event that must not be booked."""


class BookingLog:
    """The last `max_bookings` bookings of one bus. `sequence` numbers them, in one with the fills."""

    def __init__(
        self,
        bus: Bus,
        sequence: EventSequence | None = None,
        max_bookings: int = MAX_BOOKINGS,
        max_keys: int = MAX_KEYS,
    ) -> None:
        assert max_keys >= max_bookings, "a booking must not outlive its key"
        self.verdict = Verdict.ACCEPTED
        """The verdict on the event that was published last."""
        self.conflict: Booking | None = None
        """The conflicting booking, the first time that the event published last was delivered; else None."""
        self.conflicts = 0
        self.duplicates = 0
        self.counts: dict[str, int] = {}
        """How many bookings of each kind there were."""
        self.archive: BookingLookup | None = None
        """Looks up keys that are not in memory, once there may be any."""
        self.has_forgotten = False
        """Whether there were keys that are no longer in memory."""
        self._bus = bus
        self._sequence = EventSequence() if sequence is None else sequence
        self._bookings: deque[Booking] = deque(maxlen=max_bookings)
        self._max_keys = max_keys
        # A collision of hashes would hide a conflict, never lose a booking.
        self._seen: OrderedDict[BookingKey, int] = OrderedDict()
        self._conflicting: dict[tuple[BookingKey, int], Booking] = {}
        self._checks: dict[type[BookedEvent], list[BookingCheck]] = {}
        self._current: Booking | None = None
        self._replayed: Booking | None = None
        self._log_lines = LineBudget()
        for kind in BOOKING_TYPES:
            bus.subscribe(kind, self.on_event)
        bus.subscribe(Position, self.on_position)

    def __len__(self) -> int:
        return len(self._bookings)

    def add_check(self, kind: type[BookedEvent], check: BookingCheck) -> None:
        """Calls `check` with each new event of a kind, before it is booked. A refused one leaves no trace."""
        self._checks.setdefault(kind, []).append(check)

    def booking_of(self, event: BookedEvent) -> Booking | None:
        """Returns the booking of the event that is being delivered; None if it does not count."""
        current = self._current
        return current if current is not None and current.event is event else None

    def on_event(self, event: BookedEvent) -> None:
        """Decides about one event. Raises EventRefused, and StoreError if only the store knows whether it is new."""
        self._current = self.conflict = None
        replayed, self._replayed = self._replayed, None
        if replayed is not None and replayed.event is event:
            self._begin(replayed)
            return
        key, content = key_of(event), hash(content_of(event))
        known = self._look_up(key)
        if known is not None:
            if known == content:
                self.verdict = Verdict.DUPLICATE
                self.duplicates += 1
            else:
                self.verdict = Verdict.CONFLICT
                self._keep_apart(key, content, event)
            return
        self.verdict = Verdict.ACCEPTED
        for check in self._checks.get(event.__class__, ()):
            check(event)
        if not is_recognisable(event):
            self._bus.remark = Remark(
                event, "type", "has neither an id nor a time of its own: delivered again, it counts again"
            )
        self._begin(Booking.from_event(self._sequence.draw(), event))

    def on_position(self, event: Position) -> None:
        """Decides about a position to adopt; a mere report is no booking."""
        if event.adopt:
            self.on_event(event)

    def replay(self, booking: Booking, source: str) -> None:
        """Publishes a booking of an earlier process again, which keeps its number."""
        self._replayed = booking
        self._bus.publish(booking.event, source)

    def restore(self, booking: Booking) -> None:
        """Adds a booking of an earlier process whose effect a checkpoint has."""
        self._see((booking.kind, booking.key), hash(content_of(booking.event)))
        self._bookings.append(booking)

    def restore_conflict(self, booking: Booking) -> None:
        """Adds a conflicting booking of an earlier process."""
        self.conflicts += 1
        self._conflicting[(booking.kind, booking.key), hash(content_of(booking.event))] = booking

    @property
    def is_partial(self) -> bool:
        """Whether there may be bookings that are no longer in memory; their keys stay for longer."""
        return self.has_forgotten or len(self._bookings) == self._bookings.maxlen

    @property
    def newest_seq(self) -> int:
        """The number of the newest booking in memory; 0 if there is none."""
        return self._bookings[-1].seq if self._bookings else 0

    def newer_than(self, seq: int) -> list[Booking]:
        """Returns the bookings after `seq` that are still in memory, oldest first."""
        return [booking for booking in self._bookings if booking.seq > seq]

    def query(
        self, wanted: BookingFilter, limit: int = 100, before_seq: int | None = None
    ) -> tuple[list[Booking], int]:
        """Returns one page, newest first, and how many bookings match in all. `before_seq`, the `seq` of a page's last
        booking, asks for the next page."""
        matching = [booking for booking in reversed(self._bookings) if wanted.matches(booking)]
        total = len(matching)
        if before_seq is not None:
            matching = [booking for booking in matching if booking.seq < before_seq]
        return matching[:limit], total

    def breaks(self) -> list[dict[str, Any]]:
        """Returns the last `MAX_BREAKS_SHOWN` conflicting bookings, newest first, each beside the one of its key that
        counts; None for that one once it is no longer in memory."""
        return [
            {
                "kind": booking.kind,
                "timestamp": format_iso_ms(booking.ts_ns),
                "counted": None if (counted := self._find(key)) is None else counted.to_json(),
                "delivered": booking.to_json(),
            }
            for (key, _), booking in islice(reversed(self._conflicting.items()), MAX_BREAKS_SHOWN)
        ]

    def _begin(self, booking: Booking) -> None:
        self.verdict = Verdict.ACCEPTED
        self._see((booking.kind, booking.key), hash(content_of(booking.event)))
        self._bookings.append(booking)
        self.counts[booking.kind] = self.counts.get(booking.kind, 0) + 1
        self._current = booking

    def _look_up(self, key: BookingKey) -> int | None:
        """Returns the hash of the content that a key is known to have."""
        known = self._seen.get(key)
        if known is None and self.has_forgotten and self.archive is not None:
            found = self.archive(key)
            if found is not None:
                known = hash(content_of(found.event))
                self._see(key, known)
        return known

    def _see(self, key: BookingKey, content: int) -> None:
        if len(self._seen) >= self._max_keys:
            self._seen.popitem(last=False)
            self.has_forgotten = True
        self._seen[key] = content

    def _find(self, key: BookingKey) -> Booking | None:
        return next((each for each in reversed(self._bookings) if (each.kind, each.key) == key), None)

    def _keep_apart(self, key: BookingKey, content: int, event: BookedEvent) -> None:
        if (key, content) in self._conflicting:
            return
        self.conflicts += 1
        unlogged = self._log_lines.take()
        if unlogged is not None:
            logger.error(
                "%s %s was delivered again with different content; the first delivery counts, this one is kept apart%s",
                *key, f" ({unlogged} more were not logged)" if unlogged else "",
            )  # fmt: skip
        if len(self._conflicting) >= MAX_CONFLICTS:
            del self._conflicting[next(iter(self._conflicting))]
        self.conflict = self._conflicting[key, content] = Booking.from_event(self._sequence.draw(), event)
