"""Counting clients over all workers."""

from __future__ import annotations

from observability.access.headcount import ClientCounts
from observability.memory.mapping import SharedMapping


def test_a_process_alone_counts_itself() -> None:
    assert ClientCounts().websockets.set(3) == 3


def test_workers_count_each_other_and_both_kinds_apart() -> None:
    mapping = SharedMapping(4, 1)
    first, second, third = (ClientCounts.of_host(mapping.workers, slot) for slot in mapping.workers)
    assert first.websockets.set(2) == 2
    assert second.websockets.set(3) == 5
    assert third.connections.set(7) == 7
    assert first.websockets.set(1) == 4


def test_who_has_died_is_counted_no_longer() -> None:
    mapping = SharedMapping(3, 1)
    first, second = (ClientCounts.of_host(mapping.workers, slot) for slot in mapping.workers)
    first.websockets.set(5)
    mapping.workers[0].clear()
    assert second.websockets.set(1) == 1
