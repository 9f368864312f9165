"""Question: what CPU, memory and disk does a server need for so many clients, symbols, and fills a day?

One server after the other, in one process, with a store and the recording; of each its CPU time and memory by the
kernel, and what is on its disk. Clients and senders are in this process and count for nothing. It ends after about five
minutes.

    python benchmarks/bench_capacity.py
    python benchmarks/bench_capacity.py --only fills --seconds 5
"""

from __future__ import annotations

import argparse
import selectors
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from running_server import cpu_seconds, running_server
from stream_reader import open_connection, open_readers

from observability.clients import Sender

CLIENTS = (0, 100, 1_000, 5_000)
SYMBOLS = (10, 100, 500, 1_000)
QUOTES_PER_SECOND = 2
FILLS = 20_000
FILLS_A_DAY = (10_000, 100_000, 1_000_000)
DAY_SECONDS = 86_400
READ_BYTES = 1 << 18


class Process:
    """What the kernel says of a process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._pid)

    def resident_megabytes(self) -> float:
        (line,) = (each for each in Path(f"/proc/{self._pid}/status").read_text().splitlines() if "VmRSS" in each)
        return int(line.split()[1]) / 1e3

    def cpu_percent(self, seconds: float, work: Callable[[float], None]) -> float:
        """Returns the CPU, in percent of one core, that the process takes while `work` runs for `seconds`."""
        before, began = self.cpu_seconds(), time.monotonic()
        work(began + seconds)
        return 100 * (self.cpu_seconds() - before) / (time.monotonic() - began)


def sleep_until(end: float) -> None:
    time.sleep(max(0.0, end - time.monotonic()))


def bytes_in(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def of_clients(number: int, seconds: float) -> str:
    """Clients that read every snapshot of five symbols that trade."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_server("--data-dir", directory, LOG_LEVEL="ERROR") as (pid, port),
    ):
        server = Process(pid)
        time.sleep(3)
        readers = open_readers(port, number)
        with selectors.DefaultSelector() as selector:
            for reader in readers:
                selector.register(reader.sock, selectors.EVENT_READ, reader.sock)

            def read(end: float) -> None:
                while time.monotonic() < end:
                    for key, _ in selector.select(0.05):
                        key.data.recv(READ_BYTES)

            read(time.monotonic() + 2)
            cpu = server.cpu_percent(seconds, read)
        resident = server.resident_megabytes()
        for reader in readers:
            reader.sock.close()
    return f"| {number:,} | {cpu:.0f} % | {resident:.0f} MB |"


def of_symbols(number: int, seconds: float) -> str:
    """Symbols that are quoted, and one client that reads every snapshot."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_server("--data-dir", directory, is_demo=False, LOG_LEVEL="ERROR") as (pid, port),
        closing(open_connection(port)),
        Sender(f"http://127.0.0.1:{port}") as sender,
    ):
        server, recording = Process(pid), Path(directory) / "recording"
        stopping = threading.Event()

        def quote() -> None:
            count = 0
            while not stopping.is_set():
                due = time.monotonic() + 1 / QUOTES_PER_SECOND
                for symbol in range(number):
                    sender.quote(f"SYMBOL-{symbol}", bid=100 + count % 7, ask=101 + count % 7)
                count += 1
                stopping.wait(max(0.0, due - time.monotonic()))

        thread = threading.Thread(target=quote)
        thread.start()
        time.sleep(5)
        before = bytes_in(recording)
        cpu = server.cpu_percent(seconds, sleep_until)
        recorded = (bytes_in(recording) - before) / seconds * DAY_SECONDS
        resident = server.resident_megabytes()
        stopping.set()
        thread.join()
    return f"| {number:,} | {cpu:.0f} % | {resident:.0f} MB | {recorded / 1e9:.1f} GB |"


def of_fills() -> list[str]:
    """Orders with two reports and one fill each; their disk once the server has ended, and its log is in the store."""
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "observability.db"
        with running_server(
            "--data-dir", directory, is_demo=False, RECORD="false", LOG_LEVEL="ERROR"
        ) as (pid, port):  # fmt: skip
            server, empty = Process(pid), database.stat().st_size
            idle = server.cpu_percent(3, sleep_until) / 100
            resident, cpu, began = server.resident_megabytes(), server.cpu_seconds(), time.monotonic()
            send_fills(port)
            spent = server.cpu_seconds() - cpu - idle * (time.monotonic() - began)
            grown = server.resident_megabytes() - resident
        with closing(sqlite3.connect(database)) as connection:
            (stored,) = connection.execute("SELECT count(*) FROM fills").fetchone()
        assert stored == FILLS, f"{stored} of {FILLS} fills are stored"
        size = (database.stat().st_size - empty) / FILLS
    lines = [
        f"| {count:,} | {100 * spent / FILLS * count / DAY_SECONDS:.2f} % | {size * count / 1e6:,.0f} MB |"
        for count in FILLS_A_DAY
    ]
    return [
        f"{size:.0f} bytes and {spent / FILLS * 1e6:.0f} us of CPU a fill; {grown:.0f} MB more for {FILLS:,}",
        *lines,
    ]


def send_fills(port: int) -> None:
    with Sender(f"http://127.0.0.1:{port}") as sender:
        for number in range(FILLS):
            symbol, side, order_id = f"S{number % 50}", ("buy", "sell")[number % 2], f"order-{number:08}"
            strategy = f"strategy-{number % 5}"
            sender.order(order_id, symbol, side, 100, "pending_new", strategy=strategy)
            sender.order(order_id, symbol, side, 100, "new", strategy=strategy)
            sender.fill(f"trade-{number:08}", order_id, symbol, side, 100, 25.5, strategy=strategy)
            if sender.waiting > 2_000:
                sender.flush(1)
        sender.flush(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=["clients", "symbols", "fills"])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    args = parser.parse_args()
    if args.only in (None, "clients"):
        print("| clients | CPU, of a core | memory |\n|---|---|---|")
        for number in CLIENTS:
            print(of_clients(number, args.seconds), flush=True)
    if args.only in (None, "symbols"):
        print("\n| symbols | CPU, of a core | memory | recording a day |\n|---|---|---|---|")
        for number in SYMBOLS:
            print(of_symbols(number, args.seconds), flush=True)
    if args.only in (None, "fills"):
        heading, *lines = of_fills()
        print(f"\n{heading}\n\n| fills a day | CPU, of a core | store a day |\n|---|---|---|")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
