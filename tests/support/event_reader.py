"""Reads server-sent events as the WHATWG standard says (section 9.2.6), from a stream of lines."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from server_process import TIMEOUT_SECONDS


class Event(NamedTuple):
    kind: str
    data: bytes
    last_id: str
    """The id that a client would come back with."""


class EventParser:
    """Makes events of lines, and keeps the id."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry_ms: int | None = None
        self.comments = 0
        self._kind = "message"
        self._data: list[bytes] = []

    def feed(self, line: bytes) -> Event | None:
        """Takes one line with its end. Returns the event that it completes."""
        line = line.removesuffix(b"\n")
        if not line:
            event = Event(self._kind, b"\n".join(self._data), self.last_id) if self._data else None
            self._kind, self._data = "message", []
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"":
                self.comments += 1
            case b"event":
                self._kind = value.decode()
            case b"data":
                self._data.append(value)
            case b"id":
                self.last_id = value.decode()
            case b"retry":
                self.retry_ms = int(value)
            case _:
                raise AssertionError(f"no such field: {line!r}")
        return None

    def events(self, lines: Iterable[bytes]) -> Iterator[Event]:
        for line in lines:
            event = self.feed(line)
            if event is not None:
                yield event


class EventStream:
    """One response: an iterator of events."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.parser = EventParser()
        self._events = self.parser.events(response)

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def next(self, *kinds: str) -> Event:
        """Returns the next event, of one of these kinds if any are given."""
        for event in self._events:
            if not kinds or event.kind in kinds:
                return event
        raise AssertionError("the stream has ended")


@contextmanager
def event_stream(
    port: int, path: str = "/stream", context: ssl.SSLContext | None = None, **fields: str
) -> Iterator[EventStream]:
    """Opens a stream; `Last_Event_ID="e:1"` sends such a field. With `context` it is over TLS."""
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    else:
        connection = http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        with connection.getresponse() as response:
            yield EventStream(response)
    finally:
        connection.close()
