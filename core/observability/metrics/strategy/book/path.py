"""What a corrected fill leaves behind in the figures of a path, whose past values nobody can compute anew."""

from __future__ import annotations

from typing import Final

from observability.clocks.timestamps import NS_PER_DAY, format_iso_ms
from observability.metrics.arithmetic.sessions import Session
from observability.metrics.trades.trade import Trade

FIGURES: Final = ("drawdown", "daily P&L", "daily returns")


class CorrectedPath:
    """The figures of a path that still have something of a fault."""

    __slots__ = ("_day", "_session", "left", "reason")

    def __init__(self, session: Session, day: Session) -> None:
        """`session` and `day` are the current ones of the accounts."""
        self._session = session
        self._day = day
        self.left: list[str] = []
        """Which of FIGURES they are. Checkpoints store both."""
        self.reason: str | None = None
        """Why drawdown, daily P&L and daily returns are not those of a run without the faults that were corrected; None
        if they are."""

    def note(self, trade: Trade, now_ns: int) -> None:
        """Notes the correction of a fill. A session and a day that began after the fill are measured from a total that
        has it; those that began before are right again."""
        arrived_ns = trade.ts_init_ns or trade.ts_ns
        left = {"drawdown", *self.left}
        if self._session.calendar.end_ns(arrived_ns) != self._session.end_ns:
            left.add("daily P&L")
        if self._day.end_ns is not None and arrived_ns < self._day.end_ns - NS_PER_DAY:
            left.add("daily returns")
        self.left = [name for name in FIGURES if name in left]
        self.reason = (
            f"a fill was corrected at {format_iso_ms(now_ns)}: what was shown before stays in {', '.join(self.left)}"
        )
