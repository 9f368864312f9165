"""In-process publish/subscribe by event class.

Publishing is synchronous, without threads, queues or copies: a subscriber runs inside the publisher's call, so it must
return at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from observability.errors import EventRefused, StoreError
from observability.events import EVENT_TYPES, Event, as_counted

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)
EventHandler = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Remark:
    """What a subscriber has to tell the sender of an event: that it has no room for it, or what it did instead."""

    event: Event
    field: str
    text: str
    is_refusal: bool = False


class Bus:
    """Delivers each event to the subscribers of its class, in the order in which they subscribed.

    An exception from a subscriber does not affect the others; it is counted, and logged once per subscriber and event
    class. EventRefused is none of these: the subscribers after the one that raises it do not get the event, so that it
    is taken whole or not at all. Nor is StoreError, which reaches the publisher: the store should know of the event,
    but cannot be read.
    """

    __slots__ = ("_handlers", "_reported", "handler_errors", "published", "remark", "source")

    def __init__(self) -> None:
        # The tuples are replaced, never mutated, so that subscribing during a delivery is safe.
        self._handlers: dict[type[Event], tuple[EventHandler, ...]] = dict.fromkeys(EVENT_TYPES, ())
        self._reported: set[tuple[EventHandler, type[Event]]] = set()
        self.published: dict[str, dict[type[Event], int]] = {}
        """The number of events published so far, by source and class."""
        self.source = ""
        """The source of the event that is being delivered."""
        self.handler_errors = 0
        self.remark: Remark | None = None
        """The newest remark; the caller that passes it on to the sender clears it."""

    def subscribe(self, kind: type[E], handler: Callable[[E], None]) -> Callable[[], None]:
        """Subscribes `handler` to one event class; returns a function that ends the subscription."""
        self._handlers[kind] += (handler,)

        def unsubscribe() -> None:
            self._handlers[kind] = tuple(h for h in self._handlers[kind] if h is not handler)

        return unsubscribe

    def publish(self, event: Event, source: str = "local") -> None:
        """Delivers one event. `source` is one of a small fixed set of names; it labels a counter."""
        # hot: once per event (benchmarks/bench_intake.py)
        published = self.published.get(source)
        if published is None:
            published = self.published[source] = dict.fromkeys(EVENT_TYPES, 0)
        self.source = source
        kind = event.__class__
        published[kind] += 1
        for handler in self._handlers[kind]:
            try:
                handler(event)
            except EventRefused as refused:
                self.remark = Remark(event, refused.field, str(refused), is_refusal=True)
                break
            except StoreError:
                raise
            except Exception:
                self._report(handler, kind)

    def publish_all(self, events: Iterable[Event], source: str = "local") -> None:
        """Delivers events in order. What a subscriber publishes meanwhile is delivered before the next event."""
        for event in events:
            self.publish(as_counted(event), source)

    def _report(self, handler: EventHandler, kind: type[Event]) -> None:
        self.handler_errors += 1
        if (handler, kind) not in self._reported:
            self._reported.add((handler, kind))
            logger.exception(
                "subscriber %r failed on a %s event; its further failures on this class are only counted",
                handler,
                kind.__name__,
            )


_default_bus = Bus()


def default_bus() -> Bus:
    """Returns this process's bus, for collectors that are given none."""
    return _default_bus
