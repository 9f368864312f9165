"""The host's clock, made to never go back: nothing that is measured may stop or begin anew when that is corrected.

host     11 12 13 |  3  4     5    ... 203 204        set back by 10 s at |
steady   11 12 13 | 13 13.95 14.9  ... 203 204        continues at 19/20 of the pace until both agree
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S, format_iso_ms

logger = logging.getLogger(__name__)

# The clock loses one part in so many while it is ahead. (chrony corrects a clock at up to 8 %.) Ages and rates that are
# measured meanwhile are wrong by as much.
_SLOWER: Final = 20
# A further step while the clock is ahead: other differences are from reading two clocks one after the other.
_STEP_NS: Final = NS_PER_S


class SteadyClock:
    """Shows the host's time, or a later one after the host's clock was set back.

    `on_set_back` is called with the size of each step back. With `not_before_ns` the clock continues that of an earlier
    process.
    """

    __slots__ = ("_ahead_ns", "_base_ns", "_host", "_newest_ns", "_on_set_back", "_since_ns", "_stored_ns", "mono_ns")

    def __init__(
        self, host: Clock, on_set_back: Callable[[int], None] | None = None, *, not_before_ns: int = 0
    ) -> None:
        self._host = host
        self.mono_ns = host.mono_ns
        self._on_set_back = on_set_back
        self._newest_ns = not_before_ns
        # While the clock is ahead: its time when the monotonic clock was at `since`, and by how much it was ahead when
        # it was last read. 0 while it is not.
        self._base_ns = 0
        self._since_ns = 0
        self._ahead_ns = 0
        # The newest time of an earlier run, if the host's clock was set back since.
        self._stored_ns = 0

    def time_ns(self) -> int:
        # hot: once per batch of events and several times per tick
        now_ns = self._host.time_ns()
        if self._ahead_ns or now_ns < self._newest_ns:
            return self._time_ahead(now_ns)
        self._newest_ns = now_ns
        return now_ns

    @property
    def ahead_ns(self) -> int:
        """How far the clock was ahead of the host's when it was last read."""
        return self._ahead_ns

    @property
    def set_back_ns(self) -> int:
        """How far the host's clock is behind what this clock has shown, or what an earlier run has stored."""
        return max(self._ahead_ns, self._stored_ns - self._host.time_ns(), 0)

    def note_stored(self, ts_ns: int) -> None:
        """Compares the clock with the newest time that an earlier run has stored by it. Times do not continue from
        there: that run may have been long ago."""
        step_ns = ts_ns - self.time_ns()
        if step_ns < _STEP_NS:
            return
        self._stored_ns = ts_ns
        logger.warning(
            "the host's clock was set back by %.3f s or more since the last run, which ended at %s; times of this run "
            "repeat stored ones until it has caught up",
            step_ns / NS_PER_S, format_iso_ms(ts_ns),
        )  # fmt: skip
        if self._on_set_back is not None:
            self._on_set_back(step_ns)

    def _time_ahead(self, now_ns: int) -> int:
        """Returns the time while the host's clock, at `now_ns`, is behind what was shown."""
        if not self._ahead_ns:
            # Another thread may have shown a later time since this one read the host's clock.
            newest_ns, now_ns = self._newest_ns, self._host.time_ns()
            if now_ns >= newest_ns:
                return now_ns
        mono_ns = self._host.mono_ns()
        if self._ahead_ns:
            passed_ns = mono_ns - self._since_ns
            self._newest_ns = max(self._newest_ns, self._base_ns + passed_ns - passed_ns // _SLOWER)
        step_ns = self._newest_ns - now_ns - self._ahead_ns
        if not self._ahead_ns or step_ns >= _STEP_NS:
            self._base_ns, self._since_ns = self._newest_ns, mono_ns
            logger.warning(
                "the host's clock was set back by %.3f s, to %s; times continue from %s, 5 %% slower than the host's "
                "clock until it has caught up, or until a restart",
                step_ns / NS_PER_S, format_iso_ms(now_ns), format_iso_ms(self._newest_ns),
            )  # fmt: skip
            if self._on_set_back is not None:
                self._on_set_back(step_ns)
        self._ahead_ns = max(0, self._newest_ns - now_ns)
        if not self._ahead_ns:
            logger.info("the host's clock has caught up: times are those of the host again")
            self._newest_ns = now_ns
        return self._newest_ns
