"""The open positions in one symbol, of all strategies, which each price of the market marks anew."""

from __future__ import annotations

from collections.abc import Callable

from observability.metrics.market.touch import Mark, MarkInputs
from observability.metrics.market.tracked_symbol import TrackedSymbol
from observability.metrics.strategy.position_part import PositionPart


class Holding:
    """Hands each change of a symbol's prices to `on_move`, before the next event."""

    __slots__ = ("_on_move", "parts", "quoted")

    def __init__(self, on_move: Callable[[Holding, Mark, int, int], None]) -> None:
        """`on_move` is called with the new mark, the arrival of the quote or print that it is from, and the time of the
        event that made it."""
        self.parts: dict[str, PositionPart] = {}
        """The open positions, by their keys."""
        self._on_move = on_move
        self.quoted: MarkInputs | None = None
        """What the newest mark was made from; None if the marks may have changed since."""

    def on_price(self, market: TrackedSymbol, now_ns: int) -> None:
        # hot: once per quote and print of a symbol that is held (benchmarks/bench_intake.py)
        quoted = market.mark_inputs(now_ns)
        # Most quotes change a size only.
        if quoted != self.quoted:
            self.quoted = quoted
            mark = quoted.mark()
            if mark is not None:
                self._on_move(self, mark, market.source_arrived_ns(mark[1]), now_ns)
