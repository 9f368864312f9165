"""Counters that hot paths add to: plain words in one preallocated block, named and labelled once.

No exposition format here; whoever answers a scrape reads `families`.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from observability.core.errors import CapacityError

CAPACITY_WORDS = 8192
_WORD_BYTES = 8

# Upper bounds of the duration buckets, in seconds: 100 us to 10 s, about three to a decade.
DURATION_BOUNDS_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip

Labels = tuple[tuple[str, str], ...]


class Counter:
    """One word. `add` on a gauge may be negative."""

    __slots__ = ("_index", "_words")

    def __init__(self, words: memoryview[int], index: int) -> None:
        self._words = words
        self._index = index

    def add(self, n: int = 1) -> None:
        self._words[self._index] += n

    def set(self, value: int) -> None:
        self._words[self._index] = value

    @property
    def value(self) -> int:
        return self._words[self._index]


class DurationHistogram:
    """Counts durations into buckets: one word per bound, one for what is longer, one for the sum in nanoseconds."""

    __slots__ = ("_base", "_bounds_ns", "_words", "bounds_seconds")

    def __init__(self, words: memoryview[int], base: int, bounds_seconds: Sequence[float]) -> None:
        self._words = words
        self._base = base
        self.bounds_seconds = tuple(bounds_seconds)
        self._bounds_ns = [round(bound * 1e9) for bound in bounds_seconds]

    def record(self, duration_ns: int) -> None:
        # hot: once per request and per tick
        base = self._base
        self._words[base + bisect_left(self._bounds_ns, duration_ns)] += 1
        self._words[base + len(self._bounds_ns) + 1] += duration_ns

    @property
    def counts(self) -> list[int]:
        """Per bucket, not cumulative; the last one is everything above the last bound."""
        return self._words[self._base : self._base + len(self._bounds_ns) + 1].tolist()

    @property
    def sum_ns(self) -> int:
        return self._words[self._base + len(self._bounds_ns) + 1]


Sample = Counter | DurationHistogram


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name, by labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: dict[Labels, Sample]


class Counters:
    """The block of words and its directory; one writer per word."""

    def __init__(self) -> None:
        self._words: memoryview[int] = memoryview(mmap.mmap(-1, CAPACITY_WORDS * _WORD_BYTES)).cast("q")
        self._used = 0
        self._families: dict[str, Family] = {}

    def counter(self, name: str, help_text: str, **labels: str) -> Counter:
        return self._sample(name, "counter", help_text, labels)

    def gauge(self, name: str, help_text: str, **labels: str) -> Counter:
        return self._sample(name, "gauge", help_text, labels)

    def histogram(self, name: str, help_text: str, **labels: str) -> DurationHistogram:
        samples = self._family(name, "histogram", help_text)
        key = tuple(sorted(labels.items()))
        sample = samples.get(key)
        if sample is None:
            base = self._allocate(len(DURATION_BOUNDS_SECONDS) + 2)
            sample = samples[key] = DurationHistogram(self._words, base, DURATION_BOUNDS_SECONDS)
        assert isinstance(sample, DurationHistogram)
        return sample

    def families(self) -> Iterator[Family]:
        """Every family with at least one sample, in the order in which they were made."""
        return iter(tuple(self._families.values()))

    def _sample(self, name: str, kind: Literal["counter", "gauge"], help_text: str, labels: dict[str, str]) -> Counter:
        samples = self._family(name, kind, help_text)
        key = tuple(sorted(labels.items()))
        sample = samples.get(key)
        if sample is None:
            sample = samples[key] = Counter(self._words, self._allocate(1))
        assert isinstance(sample, Counter)
        return sample

    def _family(
        self, name: str, kind: Literal["counter", "gauge", "histogram"], help_text: str
    ) -> dict[Labels, Sample]:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(name, kind, help_text, {})
        assert family.kind == kind, f"{name} is a {family.kind}"
        return family.samples

    def _allocate(self, words: int) -> int:
        if self._used + words > CAPACITY_WORDS:
            raise CapacityError(f"all {CAPACITY_WORDS} words of the counters are in use")
        base = self._used
        self._used += words
        return base
