"""Pruning: rows that leave the store by age and by size, and rows that stay whatever their age."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_DAY
from observability.memory.counters import Counters
from observability.store.file import DATABASE_NAME, open_database
from observability.store.limits import StoreLimits
from observability.store.pruning import MARK_NS, Pruning
from observability.store.schema import INSERT_FILL, UPSERT_BAR, UPSERT_CHECKPOINT
from stored import NOON_NS, count_of, fill_row

TODAY_NS = 1_800_000_000_000_000_000


class Pruned:
    """A database with its pruning, on a clock that the test sets."""

    def __init__(self, directory: Path, limits: StoreLimits | None = None) -> None:
        self.path = directory / DATABASE_NAME
        self.connection = open_database(self.path)
        self.host = FakeClock(TODAY_NS)
        self.counters = Counters()
        self.limits = limits or StoreLimits(max_age_days=30)
        self.restart()

    def restart(self) -> None:
        self.pruning = Pruning(self.path, self.limits, self.host, self.counters)

    def run(self) -> int:
        """Takes steps until no more are due; returns how many."""
        steps = 1
        while self.pruning.step(self.connection):
            steps += 1
        return steps

    def pass_time(self, ns: int) -> None:
        """Lets time pass, with the steps of each hour."""
        for _ in range(ns // MARK_NS):
            self.host.now_ns += MARK_NS
            self.run()

    def put_fills(self, first: int, last: int) -> None:
        self.put(INSERT_FILL, [fill_row(seq) for seq in range(first, last + 1)])

    def put(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany(statement, rows)
        self.connection.execute("COMMIT")

    def checkpoint(self, seq: int) -> None:
        self.put(UPSERT_CHECKPOINT, [("all", seq, 0, b"")])

    def seqs(self) -> list[int]:
        return [seq for (seq,) in self.connection.execute("SELECT seq FROM fills ORDER BY seq")]

    def pages(self) -> int:
        pages: int = self.connection.execute("PRAGMA page_count").fetchone()[0]
        return pages


@pytest.fixture
def pruned(tmp_path: Path) -> Iterator[Pruned]:
    pruned = Pruned(tmp_path)
    yield pruned
    pruned.connection.close()


def test_rows_are_removed_after_their_maximum_age_in_the_store(pruned: Pruned) -> None:
    pruned.put_fills(1, 5)
    pruned.run()
    pruned.pass_time(2 * NS_PER_DAY)
    pruned.put_fills(6, 9)
    pruned.checkpoint(9)
    pruned.pass_time(28 * NS_PER_DAY)
    assert pruned.seqs() == list(range(1, 10))
    pruned.pass_time(NS_PER_DAY)
    assert pruned.seqs() == [6, 7, 8, 9]
    assert count_of(pruned.counters, "store_rows_pruned_total") == 5


def test_a_replay_of_an_old_day_ages_like_any_other_data(pruned: Pruned) -> None:
    pruned.put(INSERT_FILL, [fill_row(1, ts_ns=NOON_NS), fill_row(2, ts_ns=2**62), fill_row(3, ts_ns=0)])
    pruned.checkpoint(3)
    pruned.run()
    pruned.pass_time(29 * NS_PER_DAY)
    assert pruned.seqs() == [1, 2, 3]


def test_rows_continue_to_age_across_a_restart(pruned: Pruned) -> None:
    pruned.put_fills(1, 5)
    pruned.run()
    pruned.put_fills(6, 9)
    pruned.checkpoint(9)
    pruned.host.now_ns += 31 * NS_PER_DAY
    pruned.restart()
    pruned.run()
    assert pruned.seqs() == [6, 7, 8, 9]


def test_rows_that_a_restart_replays_stay_at_any_age(pruned: Pruned) -> None:
    pruned.put_fills(1, 9)
    pruned.run()
    pruned.pass_time(31 * NS_PER_DAY)
    assert pruned.seqs() == list(range(1, 10))
    pruned.checkpoint(4)
    pruned.run()
    assert pruned.seqs() == [5, 6, 7, 8, 9]


def test_the_newest_row_of_a_table_stays_so_no_number_is_reused(pruned: Pruned) -> None:
    pruned.put(UPSERT_BAR, [("AAPL", ts_ns, 1.0, 1.0, 1.0, 1.0, 1.0, 1, 1.0) for ts_ns in range(4)])
    pruned.run()
    pruned.pass_time(31 * NS_PER_DAY)
    assert pruned.connection.execute("SELECT id, ts_ns FROM bars").fetchall() == [(4, 3)]


def test_many_rows_are_removed_a_few_at_a_time(pruned: Pruned) -> None:
    pruned.put_fills(1, 2001)
    pruned.checkpoint(2001)
    pruned.run()
    pruned.host.now_ns += 31 * NS_PER_DAY
    left = 2001
    while pruned.pruning.step(pruned.connection):
        now = len(pruned.seqs())
        assert left - now <= 200
        left = now
    assert pruned.seqs() == [2001]


def test_a_file_that_is_too_large_loses_its_first_rows_and_shrinks(tmp_path: Path) -> None:
    max_bytes = 2_000_000
    pruned = Pruned(tmp_path, StoreLimits(max_bytes=max_bytes))
    for first in range(1, 20_001, 200):
        pruned.put_fills(first, first + 199)
        pruned.checkpoint(first + 199)
        pruned.host.now_ns += 1
        pruned.run()
        assert pruned.pages() * 4096 < 1.1 * max_bytes
    seqs = pruned.seqs()
    assert seqs == list(range(seqs[0], 20_001))
    # The rows of one mark are removed at a time, so most of those that fit are kept.
    assert pruned.pages() * 4096 > 0.8 * max_bytes
    pruned.connection.close()


def test_free_pages_are_returned_to_the_file_system(pruned: Pruned) -> None:
    pruned.put_fills(1, 10_000)
    pruned.checkpoint(10_000)
    pruned.run()
    before = pruned.pages()
    pruned.host.now_ns += 31 * NS_PER_DAY
    pruned.run()
    assert pruned.pages() < before // 4


def test_a_clock_set_back_removes_no_rows_and_repeats_no_mark(pruned: Pruned) -> None:
    pruned.put_fills(1, 5)
    pruned.checkpoint(5)
    pruned.run()
    pruned.host.now_ns -= 10 * NS_PER_DAY
    pruned.pass_time(NS_PER_DAY)
    assert pruned.connection.execute("SELECT count(*) FROM marks WHERE section = 'fills'").fetchone() == (1,)
    assert pruned.seqs() == [1, 2, 3, 4, 5]


def test_the_size_of_the_file_is_a_gauge(pruned: Pruned) -> None:
    pruned.put_fills(1, 100)
    pruned.run()
    assert count_of(pruned.counters, "store_bytes") >= pruned.path.stat().st_size


def test_a_failed_step_leaves_no_transaction_open(pruned: Pruned) -> None:
    pruned.put_fills(1, 5)
    pruned.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError):
        pruned.run()
    assert not pruned.connection.in_transaction
