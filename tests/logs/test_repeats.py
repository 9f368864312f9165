"""The bound on how often the same line is logged."""

from __future__ import annotations

import logging

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.logs.repeats import MAX_TEMPLATES, REPEATS_PER_MINUTE, RepeatFilter


def record(message: str = "the handler of %s failed", *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.ERROR, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def test_repeats_beyond_the_limit_are_counted_on_the_next_line() -> None:
    now = [0]
    repeats = RepeatFilter(lambda: now[0])
    passed = [repeats.filter(record("%s failed", f"/{number}")) for number in range(REPEATS_PER_MINUTE + 7)]
    assert passed == [True] * REPEATS_PER_MINUTE + [False] * 7
    assert repeats.filter(record("another line"))
    now[0] = NS_PER_MINUTE
    for unlogged in (7, 0):
        later = record("%s failed", "/")
        assert repeats.filter(later)
        assert later.__dict__["unlogged"] == unlogged


def test_all_handlers_agree_on_a_record() -> None:
    repeats = RepeatFilter(lambda: 0)
    records = [record() for _ in range(REPEATS_PER_MINUTE + 1)]
    first, second = ([repeats.filter(each) for each in records] for _ in range(2))
    assert first == second
    assert sum(first) == REPEATS_PER_MINUTE


def test_a_record_of_which_each_counts_always_passes() -> None:
    repeats = RepeatFilter(lambda: 0)
    assert all(repeats.filter(record(is_limited=False)) for _ in range(REPEATS_PER_MINUTE + 1))


def test_messages_that_are_all_different_do_not_fill_the_memory() -> None:
    repeats = RepeatFilter(lambda: 0)
    for number in range(MAX_TEMPLATES + 10):
        assert repeats.filter(record(f"message {number}"))
    assert len(repeats._templates) == MAX_TEMPLATES
