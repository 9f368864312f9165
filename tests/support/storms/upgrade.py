"""Question: what does a client miss while the server is upgraded under it?

Connects clients that follow snapshots and every lane and resume when they are cut, sends a random year of everything
(`kill_storm.py`), and meanwhile replaces the workers one by one (SIGHUP), or restarts the whole server over its data
directory. At the end every client must be connected, and have every trade, order report, alert and booking exactly once
and in order, and positions and money must be those of the independent book; after a replacement of workers also every
snapshot, or word of how many it was too slow for.

    PYTHONPATH=tests/support python -m storms.upgrade --clients 1000 --workers 2 --how workers
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from hosts import children, is_ready
from server_process import TIMEOUT_SECONDS, Server
from storms.kill_storm import LANES, SETTINGS, UNANSWERED, Sender, Storm, differences, faults

# A client that was away for less is sent every frame that it missed: half of what the ring holds.
REACH_SECONDS: Final = 2.5

How = Literal["workers", "restart"]


class Upgrade(Storm):
    """A storm of upgrades in place of kills."""

    def __init__(self, clients: int, workers: int, directory: str) -> None:
        self._arguments = ("--port", str(port_for_long()), "--workers", str(workers), "--data-dir", directory)
        self._workers = workers
        self.started = Server(*self._arguments, **SETTINGS)
        super().__init__(self.started, clients, kill_hub=False, rng=random.Random(1))

    def connect_all(self) -> None:
        """Returns once every client has had a snapshot."""
        self._turn_until(lambda: all(client.epoch for client in self.clients), "not every client gets snapshots")

    def replace_workers(self) -> float:
        """Replaces every worker; returns how many seconds it took until the last one had ended."""
        pid = self.started.process.pid
        before = children(pid)
        began = time.monotonic()
        self.started.process.send_signal(signal.SIGHUP)
        # The hub is the only one of them that stays.
        self._turn_until(
            lambda: len(children(pid) & before) == 1 and len(children(pid)) == self._workers + 1,
            "the workers are not replaced",
        )
        return time.monotonic() - began

    def restart(self) -> float:
        """Ends the server, and starts another one over its data directory; returns for how many seconds none served."""
        self.started.process.send_signal(signal.SIGTERM)
        self._turn_until(lambda: self.started.process.poll() is not None, "the server does not end")
        began = time.monotonic()
        self.started.stop()
        self.started = self._server = Server(*self._arguments, **SETTINGS)
        self._turn_until(lambda: is_ready(self.started), "the server does not serve")
        # A new process counts from 0.
        self._counters.clear()
        return time.monotonic() - began

    def _turn_until(self, condition: object, what: str) -> None:
        assert callable(condition)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, what
            self.turn()


def port_for_long() -> int:
    """Returns a free port that no client is given for its own end while the server is away."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = random.randrange(first // 2, first)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def upgraded(how: How, clients: int, workers: int, rounds: int) -> list[str]:
    """Runs it and prints what clients saw; returns everything that must not be."""
    with tempfile.TemporaryDirectory() as directory:
        upgrade = Upgrade(clients, workers, directory)
        sender = Sender(upgrade.started, 0.02, seed=1)
        try:
            upgrade.connect_all()
            sender.start()
            upgrade.run(0.5, kill_every=60.0, kills=None)
            seconds = []
            for _ in range(rounds):
                seconds.append(upgrade.replace_workers() if how == "workers" else upgrade.restart())
                upgrade.run(0.5, kill_every=60.0, kills=None)
            sender.stopping.set()
            while sender.is_alive():
                upgrade.turn()
            upgrade.settle(sender)
            upgrade.connect_all()
            sender.close()
            found = [*faults(upgrade, sender), *differences(upgrade.started, sender.book)]
            found += [sender.fault] if sender.fault else []
        finally:
            sender.stopping.set()
            upgrade.close()
            upgrade.started.stop()
    ends = sum((client.closes for client in upgrade.clients), Counter())
    # Ours, of a connection each.
    unconnected = clients - ends.pop("the storm is over")
    if how == "workers":
        wrong = {why: times for why, times in ends.items() if not why.startswith("1001") and why != UNANSWERED}
        found += [f"{times} connections ended with {why!r}" for why, times in wrong.items()]
        found += [
            f"client {client.number} began anew after {max(client.away_seconds):.1f} s"
            for client in upgrade.clients
            if client.begun_anew and max(client.away_seconds) < REACH_SECONDS
        ]
    away = sorted(each for client in upgrade.clients for each in client.away_seconds)
    sent = ", ".join(f"{len(sender.sent[lane])} {lane}" for lane in LANES)
    print(f"{how:15} {rounds} times, in {', '.join(f'{each:.1f}' for each in seconds)} s, under {clients} clients")
    print(f"sent            {sent}, {sender.retries} retries")
    print(f"connections     ended: {dict(ends)}")
    print(f"resumed         {sum(client.resumed for client in upgrade.clients)} times, with every snapshot since")
    print(f"begun anew      {sum(client.begun_anew for client in upgrade.clients)} times, told so")
    if away:
        middle, worst = away[len(away) // 2], away[-1]
        print(f"without data    {middle:.2f} s in the median, {worst:.2f} s at most, reconnecting after up to 0.3 s")
    print(f"lost            {unconnected} clients")
    print(f"faults          {len(found)}")
    for fault in found[:20]:
        print(f"    {fault}")
    if unconnected or not away:
        found.append(f"{unconnected} clients are lost, {len(away)} came back")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--how", choices=["workers", "restart"], default="workers")
    args = parser.parse_args()
    return 1 if upgraded(args.how, args.clients, args.workers, args.rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
