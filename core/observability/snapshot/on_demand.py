"""REST documents, encoded when they are read: at most once per tick, and not at all while nothing reads them.

Every object among them begins with `timestamp` and `seq`, those of the tick that it describes.

Other processes find a document that was read lately in the shared memory, encoded anew on each tick, and ask the hub
for any other. In case the hub does not answer, a copy of each of the others is there too, at most some ticks old.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.encoding import encode_json
from observability.snapshot.frames import Stamp

logger = logging.getLogger(__name__)

Document = Callable[[], Any]
"""Returns the content of one REST document as of now. An object that is returned again is not encoded again, so it must
never be changed."""

# How long a document counts as read lately.
RECENT_SECONDS: Final = 10


class SlowDocument:
    """A document that is too expensive for every tick: its content is computed at most once per second of the host. Its
    `seq` stays that of the tick for which it was."""

    def __init__(self, make: Document, clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._second = -1
        self._document: Any = None

    def __call__(self) -> Any:
        second = self._clock.mono_ns() // NS_PER_S
        if second != self._second:
            self._second = second
            self._document = self._make()
        return self._document


@dataclass(frozen=True, slots=True)
class SharedDocuments:
    """The documents of one tick, as other processes get them."""

    by_name: dict[str, bytes | None]
    """None where there is no copy yet."""
    old: tuple[str, ...]
    """The names of those that are copies of an earlier tick: the hub has newer ones."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A document and its bytes, without and with the stamp."""

    document: Any
    body: bytes
    stamp: Stamp
    stamped: bytes


_NO_COPY: Final[tuple[int, bytes | None]] = (0, None)


class OnDemandDocuments:
    """The documents of a hub, by name."""

    def __init__(self, clock: Clock) -> None:
        self.makers: dict[str, Document] = {}
        self._clock = clock
        self._read_ns: dict[str, int] = {}
        self._encoded: dict[str, _Encoded] = {}
        self.copies: dict[str, tuple[int, bytes | None]] = {}
        """A body by name, with the count at which it was copied."""
        self._copies_made = 0
        self._reported: set[str] = set()

    def of_tick(self, seq: int, ts_ns: int) -> TickDocuments:
        """Returns the documents of a new tick, none of which is encoded yet."""
        return TickDocuments(self, seq, ts_ns)

    def encode(self, name: str, stamp: Stamp) -> bytes:
        """Encodes a document, unless it is the same object as last time, and stamps it. Raises KeyError for an unknown
        name."""
        maker = self.makers[name]
        document = maker()
        kept = self._encoded.get(name)
        if kept is None or kept.document is not document:
            body = encode_json(document)
        elif kept.stamp == stamp or isinstance(maker, SlowDocument):
            return kept.stamped
        else:
            body = kept.body
        stamped = _stamped(body, stamp) if isinstance(document, dict) else body
        self._encoded[name] = _Encoded(document, body, stamp, stamped)
        return stamped

    def report(self, name: str) -> None:
        """Logs the exception that is being handled, unless one of this document was logged before."""
        if name not in self._reported:
            self._reported.add(name)
            logger.exception("the document %s cannot be made; further failures of it are not logged", name)

    def count_copy(self) -> int:
        self._copies_made += 1
        return self._copies_made

    def note_read(self, name: str) -> None:
        self._read_ns[name] = self._clock.mono_ns()

    def recently_read(self) -> set[str]:
        """Returns the names of the documents that were read within the last `RECENT_SECONDS`."""
        limit = self._clock.mono_ns() - RECENT_SECONDS * NS_PER_S
        return {name for name, read_ns in self._read_ns.items() if read_ns > limit}


class TickDocuments(Mapping[str, bytes]):
    """The documents of one tick. Each is encoded when it is first read, and then stays what it is."""

    __slots__ = ("_bodies", "_documents", "_seq", "_ts_ns")

    def __init__(self, documents: OnDemandDocuments, seq: int, ts_ns: int) -> None:
        self._documents = documents
        self._seq = seq
        self._ts_ns = ts_ns
        self._bodies: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        body = self._body(name)
        self._documents.note_read(name)
        return body

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents.makers)

    def __len__(self) -> int:
        return len(self._documents.makers)

    def peek(self, name: str) -> bytes:
        """Returns a document, which does not count as read by that. Raises KeyError for an unknown name."""
        return self._body(name)

    def to_share(self, always: Collection[str]) -> SharedDocuments:
        """Returns all documents for other processes. Those that are `always` needed or were read lately are current;
        of the others one is copied, in turn."""
        current = self._documents.recently_read() | set(always)
        others = [name for name in self if name not in current]
        copies = self._documents.copies
        if others:
            due = min(others, key=lambda name: copies.get(name, _NO_COPY)[0])
            copies[due] = self._documents.count_copy(), self._body_or_none(due)
        by_name = {
            name: self._body_or_none(name) if name in current else copies.get(name, _NO_COPY)[1] for name in self
        }
        return SharedDocuments(by_name, tuple(others))

    def _body_or_none(self, name: str) -> bytes | None:
        """Returns a document; None if it cannot be made, which is logged once."""
        try:
            return self._body(name)
        except Exception:
            self._documents.report(name)
            return None

    def _body(self, name: str) -> bytes:
        body = self._bodies.get(name)
        if body is None:
            body = self._bodies[name] = self._documents.encode(name, Stamp(self._seq, self._ts_ns))
        return body


def _stamped(body: bytes, stamp: Stamp) -> bytes:
    """Returns an encoded object with the fields of the stamp in front of its own."""
    head = encode_json(stamp.to_json())
    return head if body == b"{}" else head[:-1] + b"," + body[1:]
