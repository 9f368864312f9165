"""A clock that tests move by hand."""

from __future__ import annotations

from observability.clocks.timestamps import NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S


class FakeClock:
    """A host's clock that stands still until a test moves it.

    The monotonic clock shows the same time, unless `mono_ns` makes it stand still at another.
    """

    def __init__(self, now_ns: int = START_NS, mono_ns: int | None = None) -> None:
        self.now_ns = now_ns
        self._mono_ns = mono_ns

    def time_ns(self) -> int:
        return self.now_ns

    def mono_ns(self) -> int:
        return self.now_ns if self._mono_ns is None else self._mono_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)
