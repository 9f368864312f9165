"""The newest trade ids of the market, so that a print that is delivered again counts once.

    older {symbol: {id: print}}     newest {symbol: {id: print}}     once `newest` is full, it replaces `older`

A print is known by symbol, venue and trade id, and is the same only with the same price and size: venues number trades
anew each day, and some feeds mix the numbers of several venues.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from observability.clocks.timestamps import NS_PER_HOUR
from observability.events import Print, event_time_ns

MAX_PRINT_IDS: Final = 65_536
"""How many ids are remembered, of all symbols together; at least the newest half of them. About 30 MB."""
# How many of them are in a checkpoint.
SAVED_PRINT_IDS: Final = 4_096
# The same id, price and size this much later or earlier is another trade.
_SAME_NS: Final = 12 * NS_PER_HOUR

_Ids = dict[object, Print]
"""The prints of one symbol by trade id or, if another print has the same id, by everything that tells them apart."""


class PrintIds:
    """Remembers the prints that have an id; those without are not asked about."""

    __slots__ = ("_max_half", "_newest", "_older", "_room")

    def __init__(self, max_ids: int = MAX_PRINT_IDS) -> None:
        self._max_half = max_ids // 2
        self._newest: dict[str, _Ids] = {}
        self._older: dict[str, _Ids] = {}
        # How many more ids `newest` takes.
        self._room = self._max_half

    def is_repeated(self, event: Print, ts_ns: int) -> bool:
        """Returns whether a print is remembered; remembers it otherwise. The print must never be changed."""
        # hot: once per print with an id (benchmarks/bench_intake.py)
        symbol = event.symbol
        key: object = event.trade_id
        if key.__class__ is not str:
            key = str(key)
        ids = self._newest.get(symbol)
        known = None if ids is None else ids.get(key)
        if known is None and symbol in self._older:
            known = self._older[symbol].get(key)
        if known is not None:
            if _is_same(known, event, ts_ns):
                return True
            key = (key, event.venue, event.price, event.size)
            known = (ids or {}).get(key) or self._older.get(symbol, {}).get(key)
            if known is not None and _is_same(known, event, ts_ns):
                return True
        if not self._room:
            self._older, self._newest, ids = self._newest, {}, None
            self._room = self._max_half
        if ids is None:
            ids = self._newest[symbol] = {}
        ids[key] = event
        self._room -= 1
        return False

    def of_id(self, symbol: str, trade_id: str) -> list[Print]:
        """Returns the prints of a symbol that have an id."""
        return [event for event in self.of_symbol(symbol) if str(event.trade_id) == trade_id]

    def of_symbol(self, symbol: str) -> Iterator[Print]:
        """Yields the remembered prints of a symbol, in the order of their arrival."""
        for half in (self._older, self._newest):
            yield from half.get(symbol, {}).values()

    def to_state(self) -> list[Print]:
        """Returns the newest prints, in the order of their times."""
        prints = chain.from_iterable(ids.values() for half in (self._older, self._newest) for ids in half.values())
        return sorted(prints, key=event_time_ns)[-SAVED_PRINT_IDS:]

    def load_state(self, state: list[Print]) -> None:
        for event in state:
            self.is_repeated(event, event_time_ns(event))


def _is_same(known: Print, event: Print, ts_ns: int) -> bool:
    return (
        known.venue == event.venue
        and known.price == event.price
        and known.size == event.size
        and abs(ts_ns - event_time_ns(known)) < _SAME_NS
    )
