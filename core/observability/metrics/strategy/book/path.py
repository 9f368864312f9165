"""What corrected fills leave behind in the figures of a path, where the path of the equity no longer reaches back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from observability.clocks.timestamps import format_iso_ms

FIGURES: Final = ("drawdown", "daily P&L", "daily returns")


class CorrectedPath:
    """The figures of a path that still have something of a fault."""

    __slots__ = ("left", "reason")

    def __init__(self) -> None:
        self.left: list[str] = []
        """Which of FIGURES they are. Checkpoints store both."""
        self.reason: str | None = None
        """Why drawdown, daily P&L and daily returns are not those of a run without the faults that were corrected; None
        if they are."""

    def note(self, figures: Iterable[str], now_ns: int) -> None:
        """Notes what the correction of a fill could not make right."""
        left = {*figures}
        if not left:
            return
        self.left = [name for name in FIGURES if name in left or name in self.left]
        self.reason = (
            f"a fill was corrected at {format_iso_ms(now_ns)} that came before everything which is kept of the path: "
            f"what was shown before stays in {', '.join(self.left)}"
        )
