"""Questions: how many fills per second does the store make durable, and what do queries among a million trades cost?

Writes rows one at a time, 100 at a time, and as fast as the queue accepts them, beside the floor: appending and syncing
one page on the same disk in the same run. Then runs queries in the reader's thread while the loop beats every 10 ms,
and measures the time of each answer and the greatest delay of the loop meanwhile.

    python benchmarks/bench_store.py [--rows 1000000] [--directory DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from statistics import median

from observability.memory.counters import Counters
from observability.metrics.trades.queries import StoredTrades
from observability.metrics.trades.rows import StoreRow, fill_row
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.store.limits import StoreLimits
from observability.store.schema import INSERT_FILL
from observability.store.store import Store

SECONDS = 3.0
SYMBOLS = 64
STRATEGIES = 8
# One fill every 10 ms, so that a million cover about three hours.
FILL_NS = 10_000_000
NOON_NS = 1_340_280_000_000_000_000
BEAT_SECONDS = 0.01
SOON = 600.0
REPEATS = 5


def row(seq: int) -> StoreRow:
    trade = Trade(
        seq, f"t{seq * 7919 % 1_000_003}-{seq}", f"o{seq // 2}", f"SYM{seq % SYMBOLS}", ("buy", "sell")[seq // 3 % 2],
        Decimal(1 + seq * 7919 % 1000), Decimal(f"{500 + seq % 4000 / 100:.2f}"), NOON_NS + seq * FILL_NS,
        f"strategy{seq % STRATEGIES}", "XNAS", Decimal("0.35"), "taker", 1.25, 0.17,
        None if seq % 2 else Decimal(f"{seq % 200 - 100}.25"), Decimal("585.24"),
    )  # fmt: skip
    return fill_row(trade, trade.ts_ns)


def fsync_floor(directory: Path, size: int) -> float:
    """Returns how many times per second this disk appends `size` bytes and syncs them."""
    path = directory / "floor"
    data = os.urandom(size)
    with path.open("wb", buffering=0) as file:
        begin = time.perf_counter()
        count = 0
        while time.perf_counter() - begin < SECONDS:
            file.write(data)
            os.fdatasync(file.fileno())
            count += 1
        elapsed = time.perf_counter() - begin
    path.unlink()
    return count / elapsed


class Filler:
    """Puts fills with ascending numbers into the store."""

    def __init__(self, store: Store) -> None:
        self.seq = 0
        self._store = store

    def put(self, rows: int) -> int:
        for _ in range(rows):
            self.seq += 1
            self._store.put(INSERT_FILL, row(self.seq))
        return self._store.position

    async def rate(self, rows: int) -> tuple[float, float]:
        """Returns rows per second when each `rows` rows are awaited, and the median wait in milliseconds."""
        waits: list[float] = []
        begin = time.perf_counter()
        while (now := time.perf_counter()) - begin < SECONDS:
            assert await self._store.durable(self.put(rows), SOON)
            waits.append(time.perf_counter() - now)
        return rows * len(waits) / (time.perf_counter() - begin), median(waits) * 1000

    async def flood(self, until_seq: int) -> float:
        """Returns rows per second while the queue is kept full."""
        begin, first = time.perf_counter(), self.seq
        while self.seq < until_seq:
            self.put(min(1000, until_seq - self.seq))
            if self._store.has_room:
                await asyncio.sleep(0)
            else:
                assert await self._store.durable(self._store.durable_position + 1, SOON)
        assert await self._store.durable(self._store.position, SOON)
        return (self.seq - first) / (time.perf_counter() - begin)


class Beat:
    """Measures the delay of the loop."""

    def __init__(self) -> None:
        self.worst_ms = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += BEAT_SECONDS
            await asyncio.sleep(due - loop.time())
            late = loop.time() - due
            self.worst_ms = max(self.worst_ms, late * 1000)
            due += max(0.0, late)


async def measure_questions(trades: StoredTrades, newest: int) -> None:
    one_hour = TradeFilter(
        side="buy", start_ns=NOON_NS + newest // 2 * FILL_NS, end_ns=NOON_NS + newest // 2 * FILL_NS + 3600 * 10**9
    )
    middle = newest // 2
    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "first page": lambda: trades.query(TradeFilter()),
        "deep cursor": lambda: trades.query(TradeFilter(), before_seq=newest // 10),
        "deep offset": lambda: trades.query(TradeFilter(), offset=newest * 9 // 10),
        "symbol": lambda: trades.query(TradeFilter(symbol="SYM7")),
        "strategy": lambda: trades.query(TradeFilter(strategy="strategy3")),
        "symbol, side": lambda: trades.query(TradeFilter(symbol="SYM7", side="sell")),
        "an hour": lambda: trades.query(replace(one_hour, side=None)),
        "side, an hour": lambda: trades.query(one_hour),
        "min_quantity, most match": lambda: trades.query(TradeFilter(min_quantity=Decimal(100))),
        "min_quantity, few match": lambda: trades.query(TradeFilter(min_quantity=Decimal(1000))),
        "one id": lambda: trades.find(str(row(middle)[3])),
        "statistics of a symbol": lambda: trades.stats(TradeFilter(symbol="SYM7")),
        "statistics of everything": lambda: trades.stats(TradeFilter()),
    }
    print(f"\n{'question':<28}{'median ms':>12}{'greatest loop delay, ms':>26}")
    for name, question in questions.items():
        beat = Beat()
        beating = asyncio.create_task(beat.run())
        times: list[float] = []
        for _ in range(1 if "everything" in name else REPEATS):
            begin = time.perf_counter()
            await question()
            times.append((time.perf_counter() - begin) * 1000)
        await asyncio.sleep(2 * BEAT_SECONDS)
        beating.cancel()
        print(f"{name:<28}{median(times):>12.2f}{beat.worst_ms:>26.2f}")


async def measure(directory: Path, rows: int) -> None:
    row_bytes = 4096 + 24
    print(f"{'floor: append a page and fdatasync':<44}{fsync_floor(directory, row_bytes):>10.0f} /s")
    store = Store.open(directory, StoreLimits(max_bytes=10**12), Counters())
    store.start(asyncio.get_running_loop())
    filler = Filler(store)
    for size, name in ((1, "rows, one at a time"), (100, "rows, 100 at a time")):
        rate, wait_ms = await filler.rate(size)
        print(f"{name:<44}{rate:>10.0f} /s   {wait_ms:.2f} ms until durable")
    print(f"{'rows, as fast as the queue accepts':<44}{await filler.flood(filler.seq + 200_000):>10.0f} /s")
    print(f"{f'rows, until there are {rows:,}':<44}{await filler.flood(max(rows, filler.seq)):>10.0f} /s")
    print(f"{'bytes per row':<44}{store.path.stat().st_size / filler.seq:>10.0f}")
    await measure_questions(StoredTrades(store.reader), filler.seq)
    await store.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        asyncio.run(measure(Path(directory), arguments.rows))


if __name__ == "__main__":
    main()
