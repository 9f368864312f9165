"""The memory of trade ids: bounded, and of the newest ones."""

from __future__ import annotations

import tracemalloc

from observability.events import Print
from observability.metrics.market.print_ids import MAX_PRINT_IDS, SAVED_PRINT_IDS, PrintIds


def is_repeated(ids: PrintIds, number: int) -> bool:
    return ids.is_repeated(Print("AAPL", 585.25, 100.0, None, f"{number:012}", "XNAS"), number)


def test_at_least_the_newest_half_of_the_ids_is_remembered() -> None:
    ids = PrintIds(100)
    assert not any(is_repeated(ids, number) for number in range(1000))
    assert all(is_repeated(ids, number) for number in range(950, 1000))
    assert not is_repeated(ids, 800)


def test_ids_of_a_checkpoint_are_the_newest_ones() -> None:
    ids = PrintIds(2 * SAVED_PRINT_IDS)
    for number in range(SAVED_PRINT_IDS * 3 // 2):
        is_repeated(ids, number)
    restored = PrintIds()
    state = ids.to_state()
    assert len(state) == SAVED_PRINT_IDS
    restored.load_state(state)
    assert is_repeated(restored, SAVED_PRINT_IDS // 2)
    assert not is_repeated(restored, SAVED_PRINT_IDS // 2 - 1)


def test_the_ids_take_as_much_memory_as_is_said() -> None:
    tracemalloc.start()
    ids = PrintIds()
    for number in range(2 * MAX_PRINT_IDS):
        is_repeated(ids, number)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 40_000_000
