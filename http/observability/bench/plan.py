"""The plan of a run: which servers are visited, with which snapshot, and what is measured on each visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from observability.bench.contenders import FLOOR, Contender, with_workers
from observability.bench.steps import (
    CURRENT,
    HEALTH,
    Beside,
    Compression,
    FanOut,
    Memory,
    Requests,
    SlowReaders,
    Step,
    Storm,
    Workers,
)

# The size at which every server is measured; the others only show how ours and the floor grow.
MAIN_SIZE: Final = 2000
SIZES: Final = (1000, MAIN_SIZE, 8000)
MEMORY_SYMBOLS: Final = 50
WORKERS: Final = (1, 2)
START_SECONDS: Final = 1.2
QUICK_BUDGET_SECONDS: Final = 112.0
"""A quick run begins nothing that would end after this time."""
# The peers that a quick run measures beside ours and the floor where a measure takes long.
QUICK_PEERS: Final = frozenset({"fastapi"})


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; an empty tuple stands for the default."""

    is_quick: bool = False
    only: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    clients: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    seconds: float | None = None
    rounds: int | None = None
    may_compile: bool = True

    @property
    def window(self) -> float:
        return self.seconds or (0.8 if self.is_quick else 3.0)

    @property
    def warmup(self) -> float:
        return 0.3 if self.is_quick else 1.0

    @property
    def round_count(self) -> int:
        return self.rounds or (2 if self.is_quick else 3)

    @property
    def budget_seconds(self) -> float | None:
        """None lets a run take as long as it takes."""
        return QUICK_BUDGET_SECONDS if self.is_quick else None

    def wants(self, measure: str) -> bool:
        return not self.only or measure in self.only

    @property
    def most_clients(self) -> int:
        """More than any step connects at a time."""
        return max((10_000, *self.clients)) + 100

    def client_counts(self, quick: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, ...]:
        return self.clients or (quick if self.is_quick else full)


@dataclass(frozen=True, slots=True)
class PlannedVisit:
    """Steps that are taken on one start of each of some servers, in turn."""

    size: int | None
    """Of the snapshot in bytes; None for a number of symbols."""
    symbols: int | None
    steps: tuple[Step, ...]
    contenders: tuple[Contender, ...]

    @property
    def seconds(self) -> float:
        """About how long a round takes."""
        return sum(map(self.seconds_on, self.contenders))

    def seconds_on(self, contender: Contender) -> float:
        """About how long it takes on one server."""
        return START_SECONDS + sum(step.seconds for step in self.steps if step.needs in contender.serves)


def make_plan(options: Options, contenders: Sequence[Contender]) -> list[PlannedVisit]:
    """Returns the visits of one round; `contenders` are those that can run here."""
    chosen = [contender for contender in contenders if _is_chosen(contender, options.servers)]
    near = [contender for contender in chosen if options.servers or contender.is_ours or contender.key == FLOOR]
    # Of our broadcast engines, the one that a server prefers.
    ours = [contender for contender in chosen if contender.is_ours]
    preferred = chosen if options.servers else [one for one in chosen if not one.is_ours or one is ours[-1]]
    few = [contender for contender in preferred if contender in near or contender.key in QUICK_PEERS]
    some = few if options.is_quick else chosen
    sizes = options.sizes or ((MAIN_SIZE,) if options.is_quick else SIZES)
    main = MAIN_SIZE if MAIN_SIZE in sizes else sizes[0]

    visits = []
    for size in sizes:
        steps = _streams_and_requests(options, size)
        everyone = chosen if size == main or options.sizes else near
        visits.append(
            PlannedVisit(size, None, steps, tuple(one for one in everyone if one in few or not options.is_quick))
        )
    if options.wants("beside"):
        (clients, *_) = options.client_counts((500,), (5000,))
        beside = Beside(clients, options.window, options.warmup)
        asked = [one for one in some if one.is_ours or not options.is_quick]
        visits.append(PlannedVisit(main, None, (beside,), tuple(asked)))
    if options.wants("memory"):
        (clients, *_) = options.client_counts((500,), (1000,))
        visits.append(PlannedVisit(None, MEMORY_SYMBOLS, (Memory(clients, options.window),), tuple(some)))
    if options.wants("slow"):
        (clients, *_) = options.client_counts((500,), (1000,))
        step = SlowReaders(clients, max(1, clients // 20), options.window, options.warmup)
        visits.append(PlannedVisit(main, None, (step,), tuple(some)))
    if options.wants("workers"):
        (clients, *_) = options.client_counts((1000,), (10_000,))
        step_ = Workers(clients, options.window, options.warmup)
        variants = tuple(with_workers(contender, count) for contender in some if contender.is_ours for count in WORKERS)
        visits.append(PlannedVisit(main, None, (step_,), variants))
    if options.wants("storm"):
        (clients, *_) = options.client_counts((1000,), (10_000,))
        visits.append(PlannedVisit(main, None, (Storm(clients, options.window),), tuple(some)))
    if options.wants("compression"):
        (clients, *_) = options.client_counts((500,), (1000,))
        compression = Compression(clients, options.window, options.warmup)
        compressing = [contender for contender in some if compression.needs in contender.serves]
        visits.append(PlannedVisit(main, None, (compression,), tuple(compressing)))
    if options.is_quick:
        # Last, so that a slow machine has every measure of a few servers before the time is over.
        others = tuple(contender for contender in chosen if contender not in few)
        visits += [PlannedVisit(size, None, _streams_and_requests(options, size), others) for size in sizes]
    return [visit for visit in visits if visit.steps and visit.contenders]


def _streams_and_requests(options: Options, size: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    if options.wants("fanout"):
        steps += [
            FanOut(count, options.window, options.warmup) for count in options.client_counts((500,), (1000, 5000))
        ]
    if options.wants("rest"):
        window = options.window / 2 if options.is_quick else options.window
        connections = 32
        steps += [
            Requests(CURRENT, connections, window, 0.2),
            Requests(CURRENT, connections, window, 0.2, is_conditional=True),
        ]
        if size == MAIN_SIZE or len(options.sizes) == 1:
            steps.append(Requests(HEALTH, connections, window, 0.2))
    return tuple(steps)


def _is_chosen(contender: Contender, wanted: tuple[str, ...]) -> bool:
    """`ours` chooses every broadcast engine."""
    return not wanted or any(
        contender.key == key or (key == "ours" and contender.key.startswith("ours-")) for key in wanted
    )
