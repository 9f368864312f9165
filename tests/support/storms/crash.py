"""Kills a server that is being fed, again and again, at random moments, and says whether anything acknowledged was
lost, counted twice, or comes to another sum than without the kills.

    PYTHONPATH=tests/support python -m storms.crash --kills 200

No expectation of numbers here: a second server that nobody kills is the referee.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from pages import read_pages
from server_process import TIMEOUT_SECONDS, Server
from storms.engine import Engine, Event, encode, trade_ids

# A process is killed at most this long after it began to be fed.
LIFE_SECONDS = 0.25
RESENT_SHARE = 0.2

# What kills may not change; they may change how many reports were late or repeated, and what depends on quotes.
MONEY = frozenset(
    {
        "total_pnl", "daily_pnl", "realized_pnl", "realized_gross_pnl", "unrealized_pnl", "fees", "open_positions",
        "gross_exposure", "net_exposure", "starting_capital", "equity", "fills", "n_wins", "n_losses", "n_breakeven",
        "win_rate",
    }
)  # fmt: skip
ORDERS = frozenset(
    {
        "orders_today", "fills_today", "open_orders", "filled", "cancelled", "rejected", "fill_rate",
        "fill_rate_orders", "reject_rate", "cancel_rate", "avg_latency_ms", "latency_p50_ms", "latency_p99_ms",
        "n_latency", "avg_slippage_bps", "n_slippage", "commission",
    }
)  # fmt: skip


class KilledServer:
    """A server with a data directory that is started again whenever it was killed."""

    def __init__(self, data_dir: str, rng: random.Random) -> None:
        self.kills = 0
        self.seconds_to_start: list[float] = []
        self._data_dir = data_dir
        self._rng = rng
        self._server: Server | None = None
        self._timer: threading.Timer | None = None

    def server(self) -> Server:
        """Returns the server, a new one if the last was killed."""
        if self._server is None:
            self._server = Server("--data-dir", self._data_dir)
        return self._server

    def arm(self) -> None:
        """Kills the server some time from now."""
        process = self.server().process
        self._timer = threading.Timer(self._rng.random() * LIFE_SECONDS, process.kill)
        self._timer.start()

    def bury(self) -> None:
        """Waits for the end of a server that did not answer."""
        assert self._server is not None
        if self._timer is not None:
            self._timer.join()
            self._timer = None
        self._server.stop(signal.SIGKILL)
        self._server = None
        self.kills += 1

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        if self._server is not None:
            self._server.stop()


def post(server: Server, batch: list[Event], key: str | None) -> dict[str, Any] | None:
    """Sends a batch; returns the answer, None if the server was gone before it gave one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
    try:
        connection.request("POST", "/api/ingest", encode(batch), headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != 200:
        raise AssertionError(f"{response.status}: {body.decode()}")
    answer: dict[str, Any] = json.loads(body)
    if answer["rejected"]:
        raise AssertionError(f"rejected: {answer['rejected']}")
    return answer


def check_trades(server: Server, acknowledged: list[str], in_flight: list[str]) -> None:
    """Raises AssertionError if a trade that was acknowledged is missing, or any is there twice."""
    stored = [trade["trade_id"] for trade in read_pages(server.get, "/api/trades?limit=1000", "trades")]
    if len(stored) != len(set(stored)):
        raise AssertionError("a trade is stored twice")
    lost = set(acknowledged) - set(stored)
    if lost:
        raise AssertionError(f"acknowledged and lost: {sorted(lost)[:5]} of {len(lost)}")
    taken = set(in_flight).intersection(stored)
    if taken and taken != set(in_flight):
        raise AssertionError(f"half a batch is stored: {sorted(taken)} of {sorted(in_flight)}")
    invented = set(stored) - set(acknowledged) - set(in_flight)
    if invented:
        raise AssertionError(f"never sent: {sorted(invented)[:5]}")


def books(server: Server) -> dict[str, Any]:
    """Returns what must be the same with and without kills."""
    snapshot = server.next_snapshot()
    strategy, execution = snapshot["strategy"], snapshot["execution"]
    stats = server.get("/api/trades/stats/summary")
    return {
        "strategy": {name: value for name, value in strategy.items() if name in MONEY},
        "strategies": {
            name: {field: value for field, value in account.items() if field in MONEY}
            for name, account in strategy["strategies"].items()
        },
        "positions": sorted(
            (p["strategy"], p["symbol"], p["quantity"], p["avg_price"], p["realized_pnl"], p["unrealized_pnl"])
            for p in strategy["positions"]
        ),
        "execution": {name: value for name, value in execution.items() if name in ORDERS},
        "stats": {name: value for name, value in stats.items() if name not in ("timestamp", "seq")},
    }


def run(kills: int, seed: int, report: Callable[[str], None]) -> None:
    """Kills `kills` times; raises AssertionError with what went wrong."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as killed_dir, tempfile.TemporaryDirectory() as whole_dir:
        killed = KilledServer(killed_dir, rng)
        whole = Server("--data-dir", whole_dir)
        try:
            engine = Engine(seed)
            acknowledged: list[str] = []
            sent: list[list[Event]] = []
            batches = engine.batches(10**9)
            killed.arm()
            while killed.kills < kills:
                batch = next(batches)
                key = f"batch-{len(sent)}" if rng.random() < 0.5 else None
                while post(killed.server(), batch, key) is None:
                    killed.bury()
                    check_trades(killed.server(), acknowledged, trade_ids(batch))
                    report(f"{killed.kills} kills, {len(sent)} batches, {len(acknowledged)} trades")
                    killed.arm()
                acknowledged += trade_ids(batch)
                sent.append(batch)
                post(whole, batch, None)
                if rng.random() < RESENT_SHARE:
                    # A sender that lost the answer sends again; the answer to that may be lost as well.
                    post(killed.server(), rng.choice(sent), None)
            killed.stop()
            killed = KilledServer(killed_dir, rng)
            quotes = engine.quotes()
            for server in (killed.server(), whole):
                if post(server, quotes, None) is None:
                    raise AssertionError("a server that nobody killed is gone")
            check_trades(killed.server(), acknowledged, [])
            ours, theirs = books(killed.server()), books(whole)
            if ours != theirs:
                raise AssertionError(f"with kills:    {ours}\nwithout kills: {theirs}")
            report(
                f"{kills} kills, {len(sent)} batches, {len(acknowledged)} trades: nothing lost, nothing twice, equal"
            )
        finally:
            killed.stop()
            whole.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    def report(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    run(args.kills, args.seed, report)


if __name__ == "__main__":
    main()
