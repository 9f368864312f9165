"""Counters for hot paths: plain words in one preallocated block, named and labelled once.

The block, drawn in `layout.py`, contains the names of its words, so that other processes can read them, and so that the
successor of a process continues to count where it ended. `families` is what a scrape exposes.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from observability.errors import CapacityError
from observability.memory import layout
from observability.memory.directory import Directory

CAPACITY_WORDS = layout.COUNTERS_WORDS

# Upper bounds of the duration buckets, in seconds: 100 us to 10 s, about three per decade.
DURATION_BOUNDS_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip

Labels = tuple[tuple[str, str], ...]
FamilyKind = Literal["counter", "gauge", "float_counter", "float_gauge", "histogram"]


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


class FloatSample:
    """One word that holds a double; `add` on a gauge may be negative."""

    __slots__ = ("_doubles", "_index")

    def __init__(self, doubles: memoryview[float], index: int) -> None:
        self._doubles = doubles
        self._index = index

    def add(self, x: float) -> None:
        self._doubles[self._index] += x

    def set(self, value: float) -> None:
        self._doubles[self._index] = value

    @property
    def value(self) -> float:
        return self._doubles[self._index]


class BucketHistogram:
    """Counts durations by bucket: a word per bound, one for longer durations, one for the sum in nanoseconds."""

    __slots__ = ("_base", "_bounds_ns", "_words", "bounds_seconds")

    def __init__(self, words: memoryview[int], base: int, bounds_seconds: Sequence[float]) -> None:
        self._words = words
        self._base = base
        self.bounds_seconds = tuple(bounds_seconds)
        self._bounds_ns = [round(bound * 1e9) for bound in bounds_seconds]

    def record(self, duration_ns: int, number: int = 1) -> None:
        """Counts a duration, or `number` of them, all of one bucket, by their sum."""
        # hot: once per request and per tick
        base = self._base
        self._words[base + bisect_left(self._bounds_ns, duration_ns // number)] += number
        self._words[base + len(self._bounds_ns) + 1] += duration_ns

    def add_all(self, other: BucketHistogram) -> None:
        """Adds the counts of `other`."""
        for i in range(len(self._bounds_ns) + 2):
            self._words[self._base + i] += other._words[other._base + i]

    @property
    def counts(self) -> list[int]:
        """Counts per bucket, not cumulative; the last one is of durations above the last bound."""
        return self._words[self._base : self._base + len(self._bounds_ns) + 1].tolist()

    @property
    def sum_ns(self) -> int:
        return self._words[self._base + len(self._bounds_ns) + 1]

    def percentile_ns(self, percent: float) -> float | None:
        """Returns the duration that `percent` of all do not exceed, as if those of a bucket were spread evenly over it;
        None without any. Above the last bound it is that bound."""
        counts = self.counts
        rank = sum(counts) * percent / 100
        if not rank:
            return None
        lower = 0
        for count, upper in zip(counts, self._bounds_ns, strict=False):
            if count >= rank:
                return lower + (upper - lower) * rank / count
            rank -= count
            lower = upper
        return float(lower)


Sample = Counter | FloatSample | BucketHistogram


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name, by labels."""

    name: str
    kind: FamilyKind
    help: str
    samples: dict[Labels, Sample]


class Counted(Protocol):
    """Readable counters: those of one process, or of all processes together."""

    def families(self) -> Iterator[Family]:
        """Yields every family with at least one sample."""

    def family(self, name: str) -> Family | None:
        """Returns the family of a name; None if it has no sample yet."""

    def total(self, name: str) -> int:
        """Returns the sum of a counter or gauge over its labels; 0 if no such family exists yet."""


class _Named(msgspec.Struct, array_like=True):
    """An entry of the directory, which describes a word, or the first of several."""

    name: str
    kind: FamilyKind
    help: str
    labels: Labels
    base: int


_decode_named = msgspec.msgpack.Decoder(_Named).decode


class Counters:
    """The block of words and its directory; one writer per word.

    `memory` is the bytes of a process slot in the shared mapping; without it the block is private to this process.
    Counters that the block already contains are kept.
    """

    def __init__(self, memory: memoryview[int] | None = None) -> None:
        if memory is None:
            memory = memoryview(mmap.mmap(-1, layout.counters_bytes()))
        directory_start = layout.COUNTERS_HEADER_WORDS * layout.WORD_BYTES
        words_start = directory_start + layout.COUNTERS_DIRECTORY_BYTES
        self._header: memoryview[int] = memory[:directory_start].cast("q")
        self._directory = Directory(memory[directory_start:words_start])
        self._words: memoryview[int] = memory[words_start : words_start + CAPACITY_WORDS * layout.WORD_BYTES].cast("q")
        self._doubles: memoryview[float] = memory[
            words_start : words_start + len(self._words) * layout.WORD_BYTES
        ].cast("d")
        self._families: dict[str, Family] = {}
        self._read_directory()

    def counter(self, name: str, help_text: str, **labels: str) -> Counter:
        return self._single(name, "counter", help_text, labels)

    def gauge(self, name: str, help_text: str, **labels: str) -> Counter:
        return self._single(name, "gauge", help_text, labels)

    def float_counter(self, name: str, help_text: str, **labels: str) -> FloatSample:
        return self._float(name, "float_counter", help_text, labels)

    def float_gauge(self, name: str, help_text: str, **labels: str) -> FloatSample:
        return self._float(name, "float_gauge", help_text, labels)

    def histogram(self, name: str, help_text: str, **labels: str) -> BucketHistogram:
        sample = self._sample(name, "histogram", help_text, tuple(sorted(labels.items())))
        assert isinstance(sample, BucketHistogram)
        return sample

    def families(self) -> Iterator[Family]:
        """Yields every family with at least one sample, in order of creation, by this process or another."""
        self._read_directory()
        return iter(tuple(self._families.values()))

    def family(self, name: str) -> Family | None:
        """Returns the family of a name, by this process or another; None if it has no sample yet."""
        self._read_directory()
        return self._families.get(name)

    def total(self, name: str, labels: Labels | None = None) -> int:
        """Returns the sum of a counter or gauge over its labels, or its value for `labels`; 0 if there is none."""
        return sum(sample.value for sample in self._samples(name, labels) if isinstance(sample, Counter))

    def float_total(self, name: str, labels: Labels | None = None) -> float:
        """Returns the same of a counter or gauge of doubles."""
        return sum(sample.value for sample in self._samples(name, labels) if isinstance(sample, FloatSample))

    def add_all(self, other: Counters) -> None:
        """Adds the counts of `other`, name by name."""
        for family in other.families():
            self.add_family(family)

    def add_family(self, other: Family) -> Family:
        """Adds the counts of one family of other counters; returns the family with the sums."""
        for labels, theirs in other.samples.items():
            ours = self._sample(other.name, other.kind, other.help, labels)
            if isinstance(ours, BucketHistogram):
                assert isinstance(theirs, BucketHistogram)
                ours.add_all(theirs)
            elif isinstance(ours, FloatSample):
                assert isinstance(theirs, FloatSample)
                ours.add(theirs.value)
            else:
                assert isinstance(theirs, Counter)
                ours.add(theirs.value)
        return self._families[other.name]

    def zero_gauges(self) -> None:
        """Sets every gauge to 0, because the process that they describe has ended."""
        for family in self.families():
            if family.kind in ("gauge", "float_gauge"):
                for sample in family.samples.values():
                    assert not isinstance(sample, BucketHistogram)
                    sample.set(0)

    def _samples(self, name: str, labels: Labels | None) -> Iterable[Sample]:
        family = self.family(name)
        samples = {} if family is None else family.samples
        return samples.values() if labels is None else [samples[labels]] if labels in samples else ()

    def _float(self, name: str, kind: FamilyKind, help_text: str, labels: dict[str, str]) -> FloatSample:
        sample = self._sample(name, kind, help_text, tuple(sorted(labels.items())))
        assert isinstance(sample, FloatSample)
        return sample

    def _single(self, name: str, kind: FamilyKind, help_text: str, labels: dict[str, str]) -> Counter:
        sample = self._sample(name, kind, help_text, tuple(sorted(labels.items())))
        assert isinstance(sample, Counter)
        return sample

    def _sample(self, name: str, kind: FamilyKind, help_text: str, labels: Labels) -> Sample:
        family = self._families.get(name)
        sample = None if family is None else family.samples.get(labels)
        if sample is None:
            sample = self._add(_Named(name, kind, help_text, labels, self._header[layout.COUNTERS_WORDS_USED]))
        assert self._families[name].kind == kind, f"{name} is a {self._families[name].kind}"
        return sample

    def _add(self, named: _Named) -> Sample:
        """Reserves words for a new sample and adds it to the directory."""
        words = named.base + (_HISTOGRAM_WORDS if named.kind == "histogram" else 1)
        if words > CAPACITY_WORDS:
            raise CapacityError(f"all {CAPACITY_WORDS} words for counters are in use")
        # Reserved before they are named: a process that dies in between leaves them unused.
        self._header[layout.COUNTERS_WORDS_USED] = words
        self._directory.add(msgspec.msgpack.encode(named))
        self._read_directory()
        return self._families[named.name].samples[named.labels]

    def _read_directory(self) -> None:
        """Reads the entries that this process or another one has added since the last call."""
        for entry in self._directory.read_new():
            self._enter(_decode_named(entry))

    def _enter(self, named: _Named) -> None:
        sample: Sample
        if named.kind == "histogram":
            sample = BucketHistogram(self._words, named.base, DURATION_BOUNDS_SECONDS)
        elif named.kind in ("float_counter", "float_gauge"):
            sample = FloatSample(self._doubles, named.base)
        else:
            sample = Counter(self._words, named.base)
        family = self._families.get(named.name)
        if family is None:
            family = self._families[named.name] = Family(named.name, named.kind, named.help, {})
        family.samples[named.labels] = sample


class HostCounters:
    """The counters of all processes, including those that have ended, summed on each read."""

    def __init__(self, counters: Sequence[Counters]) -> None:
        self._counters = tuple(counters)

    def families(self) -> Iterator[Family]:
        # Each is summed when it is asked for: all of them together take several milliseconds.
        total = Counters()
        by_name: dict[str, list[Family]] = {}
        for counters in self._counters:
            for family in counters.families():
                by_name.setdefault(family.name, []).append(family)
        for families in by_name.values():
            for family in families:
                summed = total.add_family(family)
            yield summed

    def family(self, name: str) -> Family | None:
        total = Counters()
        summed = None
        for counters in self._counters:
            family = counters.family(name)
            if family is not None:
                summed = total.add_family(family)
        return summed

    def total(self, name: str) -> int:
        return sum(counters.total(name) for counters in self._counters)


_HISTOGRAM_WORDS = len(DURATION_BOUNDS_SECONDS) + 2
