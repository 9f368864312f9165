"""How a source is doing: its state, its rate of messages against its own normal, and what it has lost.

    connecting --> connected <--> silent        silent: no message for longer than chance explains
        ^             |              |          failed: the last attempt to connect has failed; it is tried again
        '--> failed <-'--------------'

A source's normal is the share p of seconds in which messages have come while it was connected, and the mean rate, both
over the last hour. Were seconds independent, a silence of ln(1e-9) / ln(1 - p) seconds would come once in a billion.
Bursts do not mislead this: a burst is a few seconds with messages, however many. A source that has just begun is taken
to have been silent for a minute before. What is silent changes no normal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S, format_iso_ms

State = Literal["connecting", "connected", "silent", "failed"]

RATE_SECONDS: Final = 10
# The window of what is normal, as the time constant of an exponential average.
NORMAL_SECONDS: Final = 3600
# Silent seconds that a source is taken to have had before its first.
PRIOR_SECONDS: Final = 60
CHANCE: Final = 1e-9
MIN_SILENT_SECONDS: Final = 5.0
# A connection without any message is mute after this time. It has no normal to go by.
MUTE_SECONDS: Final = 60.0

_DECAY: Final = math.exp(-1 / NORMAL_SECONDS)


class SourceHealth:
    """The state and the figures of one source; the counts are since the start of the process."""

    def __init__(self, name: str, clock: Clock, on_change: Callable[[State, State], None]) -> None:
        """Calls `on_change` with the old and the new state."""
        self.name = name
        self.state: State = "connecting"
        self.error: str | None = None
        """Why it is not connected; None while it is."""
        self.messages = 0
        self.events = 0
        self.gaps = 0
        self.rejected = 0
        self.reconnects = 0
        """Connections made after the first."""
        self.is_held = False
        """Whether this server is not reading the source, so that no message can come."""
        self._clock = clock
        self._on_change = on_change
        self._has_connected = False
        self._connected_since_ns: int | None = None
        self._connected_mono_ns = 0
        self._last_message_ns: int | None = None
        self._last_message_mono_ns: int | None = None
        # The second that is being counted, by the monotonic clock, and the messages of the seconds before it.
        self._second = clock.mono_ns() // NS_PER_S
        self._in_second = 0
        self._recent: deque[int] = deque(maxlen=RATE_SECONDS)
        # Decayed sums over the connected seconds.
        self._seconds = 0.0
        self._active_seconds = 0.0
        self._normal_messages = 0.0

    def note_connected(self) -> None:
        now = self._clock
        self.reconnects += self._has_connected
        self._has_connected = True
        self.error = None
        self._connected_since_ns, self._connected_mono_ns = now.time_ns(), now.mono_ns()
        self._change("connected")

    def note_lost(self, error: str, *, is_failed: bool) -> None:
        """Notes that the connection was lost, or with `is_failed` that it could not be made."""
        self._account()
        self.error = error
        self._connected_since_ns = None
        self._change("failed" if is_failed or self.state == "failed" else "connecting")

    def note_messages(self, messages: int) -> None:
        # hot: once per batch
        if not messages:
            return
        self._account()
        self.messages += messages
        self._in_second += messages
        self._last_message_ns, self._last_message_mono_ns = self._clock.time_ns(), self._clock.mono_ns()
        if self.state == "silent":
            self._change("connected")

    def refresh(self) -> None:
        """Accounts for the seconds that have passed, and finds silence."""
        self._account()
        if self.state == "connected" and not self.is_held:
            limit = self.silent_after_seconds
            if limit is not None and self.silence_seconds > limit:
                self._change("silent")

    @property
    def is_connected(self) -> bool:
        return self.state in ("connected", "silent")

    @property
    def is_troubled(self) -> bool:
        """Whether it brings nothing, although it should."""
        return self.state in ("failed", "silent")

    @property
    def rate(self) -> float:
        """Messages per second over the last 10 seconds."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    @property
    def normal_rate(self) -> float | None:
        """Messages per connected second over the last hour; None in the first minute."""
        return self._normal_messages / self._seconds if self._seconds >= PRIOR_SECONDS else None

    @property
    def silent_after_seconds(self) -> float | None:
        """The silence that is no chance; None while a source that has brought messages is too new or too slow."""
        if not self.messages:
            return MUTE_SECONDS
        share = self._active_seconds / (self._seconds + PRIOR_SECONDS)
        if share <= 1 / PRIOR_SECONDS:
            return None
        return max(MIN_SILENT_SECONDS, math.log(CHANCE) / math.log1p(-min(share, 0.999)))

    @property
    def age_seconds(self) -> float | None:
        """Time since the last message; None before the first."""
        last_ns = self._last_message_mono_ns
        return None if last_ns is None else (self._clock.mono_ns() - last_ns) / NS_PER_S

    def to_json(self) -> dict[str, Any]:
        """Returns what the snapshot says of the source."""
        self.refresh()
        age, limit, normal = self.age_seconds, self.silent_after_seconds, self.normal_rate
        return {
            "state": self.state,
            "connected_since": _iso(self._connected_since_ns),
            "last_message": _iso(self._last_message_ns),
            "age_seconds": None if age is None else round(age, 3),
            "silent_after_seconds": None if limit is None else round(limit, 1),
            "rate": round(self.rate, 1),
            "normal_rate": None if normal is None else round(normal, 3),
            "messages": self.messages,
            "events": self.events,
            "gaps": self.gaps,
            "rejected": self.rejected,
            "reconnects": self.reconnects,
            "error": self.error,
        }

    @property
    def silence_seconds(self) -> float:
        """Time since the last message, or since it was connected."""
        since_ns = max(self._last_message_mono_ns or 0, self._connected_mono_ns)
        return (self._clock.mono_ns() - since_ns) / NS_PER_S

    def _account(self) -> None:
        second = self._clock.mono_ns() // NS_PER_S
        if second != self._second:
            self._pass(second - self._second)
            self._second = second

    def _pass(self, seconds: int) -> None:
        """Ends the current second, and passes over those without a message that have followed it."""
        counts = (self._in_second, *[0] * min(seconds - 1, RATE_SECONDS))
        self._recent.extend(counts)
        messages, self._in_second = self._in_second, 0
        if self.state != "connected":
            return
        decay = _DECAY**seconds
        self._seconds = self._seconds * decay + (1 - decay) / (1 - _DECAY)
        self._active_seconds = self._active_seconds * decay + (messages > 0)
        self._normal_messages = self._normal_messages * decay + messages

    def _change(self, state: State) -> None:
        if state != self.state:
            old, self.state = self.state, state
            self._on_change(old, state)


def _iso(ns: int | None) -> str | None:
    return None if ns is None else format_iso_ms(ns)
