"""Lists that are answered page by page, newest first: their query fields, and what their answers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from msgspec import Meta

from observability.clocks.slices import Steps
from observability.clocks.timestamps import MAX_NS, NS_PER_MS
from observability.encoding import encode_json
from observability.errors import StoreError
from observability.http11.refusals import Unavailable
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.trade import Trade
from observability.rest.exports import ExportFormat
from observability.routing.parameters import TimeNs

T = TypeVar("T")

DEFAULT_LIMIT: Final = 100
# A quarter of a millisecond of encoding.
ITEMS_PER_STEP: Final = 20

Limit = Annotated[int, Meta(ge=1, le=1000)]
"""The query field of how many a page has."""
Cursor = Annotated[str, Meta(pattern=r"\A[0-9]{1,18}\Z")]
"""The query field of where a page begins: the `next_cursor` of the page before."""
ListFormat = Literal["json", ExportFormat]
"""The query field of how a list is answered: in pages, or whole as a file."""


def until_ns(time: TimeNs | None) -> int | None:
    """Returns the end of the millisecond of a time: a snapshot shows its own in whole milliseconds, and has all that
    had come by then."""
    return None if time is None else min(int(time) + NS_PER_MS - 1 - time % NS_PER_MS, MAX_NS)


def plain(number: TimeNs | Cursor | None) -> int | None:
    """Returns a time or a cursor as a plain number: a filter may go to the hub."""
    return None if number is None else int(number)


def next_cursor(page: Sequence[Trade | Booking], limit: int) -> str | None:
    """Returns the cursor of the page after this one; None if this one is not full."""
    return str(page[-1].seq) if len(page) == limit else None


def encoding(items: Sequence[T], to_json: Callable[[T], Any]) -> Steps[orjson.Fragment]:
    """Encodes a list in steps: a page of a thousand takes longer than a tick may wait."""
    parts = []
    for at in range(0, len(items), ITEMS_PER_STEP):
        parts.append(encode_json([to_json(item) for item in items[at : at + ITEMS_PER_STEP]])[1:-1])
        yield
    return orjson.Fragment(b"[" + b",".join(parts) + b"]")


@contextmanager
def store_errors() -> Iterator[None]:
    """Answers 503 if the store cannot be read."""
    try:
        yield
    except StoreError:
        raise Unavailable("the store cannot be read now; GET /api/system/health says why") from None
