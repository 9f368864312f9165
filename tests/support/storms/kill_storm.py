"""Question: what does a client miss while processes are killed at random?

Starts a host with several workers, connects clients that follow snapshots and every lane and resume when they are cut,
sends a random year of everything (`random_year.py`: fills, orders, instruments, rates, bookings, adoptions,
corrections) and alerts without a pause, each event again until it is acknowledged, and kills workers, and with
`--kill-hub` the hub too. At the end every client must have every trade, order report, alert and booking exactly once, a
sequence of snapshots that is unbroken or was honestly begun anew (`recovered: false`), positions and money must be
those of the independent book to the last digit, the history must have every tick of which anybody was sent a snapshot,
and no counter may have gone back.

    PYTHONPATH=tests/support python -m storms.kill_storm --clients 1000 --workers 4 --kill-hub --data-dir DIR
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import selectors
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from book_comparison import compare_section, compare_trades
from hosts import post
from independent_book import Book
from random_year import MULTIPLIERS, Event, RandomYear
from server_process import TIMEOUT_SECONDS, Server
from ws_client import CLOSE, PING, PONG, RECEIVE_BYTES, TEXT, FrameReader, frame, handshake, open_socket

# A client that has what it wants in the end; the rest is on its way.
SETTLE_SECONDS = 60.0
LANES = ("trades", "alerts", "bookings", "orders")
# Marks must depend on what was sent, not on how long the machine takes.
SETTINGS: Final = {
    "CONTRACT_MULTIPLIERS": ",".join(f"{name}:{value}" for name, value in MULTIPLIERS.items()),
    "STALE_AFTER": "604800",
    "STARTING_CAPITAL": "100000.50",
}
MAX_EVENTS: Final = 20_000
# How a connection ends that a process had accepted as it began to stop.
UNANSWERED: Final = "ended before the handshake"
# Each adds digits to what is held, of which 18 after the point are kept.
MAX_SPLITS: Final = 8
CORRECTIONS: Final = ("bust", "correct")
SEQ = re.compile(rb'"seq":(\d+)')
TIMESTAMP = re.compile(rb'"timestamp":"([^"]+)"')
EPOCH = re.compile(rb'"epoch":"([0-9a-f]+)"')
# Of these each one may only grow.
COUNTERS = re.compile(r"^(\w+_(?:total|count|sum|bucket)(?:{[^}]*})?) (\S+)$", re.MULTILINE)


@dataclass
class Client:
    """One client that never gives up."""

    port: int
    number: int
    moments: set[str]
    """Of everybody: the tenths of a second of which a snapshot was received."""
    sock: socket.socket | None = None
    head: bytes = b""
    reader: FrameReader | None = None
    """None until the handshake has been answered."""
    is_told_lag: bool = False
    """Whether it has asked for something, so that it is told what it was too slow for."""
    epoch: bytes = b""
    seq: int = 0
    told: dict[str, dict[str, list[int]]] = field(default_factory=lambda: {lane: {} for lane in LANES})
    """By lane, the numbers under which each entry was told."""
    lane_seqs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LANES, 0))
    faults: list[str] = field(default_factory=list)
    closes: Counter[str] = field(default_factory=Counter)
    """How its connections ended: by code and reason of the server's Close, or by the error."""
    cut_at: float | None = None
    """When it lost its connection; None while it is told snapshots."""
    away_seconds: list[float] = field(default_factory=list)
    """From each lost connection to the next snapshot."""
    resumed: int = 0
    begun_anew: int = 0
    told_stale: int = 0
    retry_at: float = 0.0

    def connect(self) -> None:
        since = f"&since={self.epoch.decode()}:{self.seq}" if self.epoch else ""
        self.head = b""
        self.reader = None
        self.is_told_lag = bool(since)
        self.sock = open_socket(self.port)
        self.sock.sendall(handshake(f"/ws/metrics?channels=metrics{since}"))
        self.sock.setblocking(False)

    def feed(self, data: bytes) -> None:
        if self.reader is None:
            self.head += data
            head, end, rest = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(head[:40])
            self.reader = FrameReader(rest)
            self._send({"type": "subscribe", "channels": list(LANES), "lane_since": self.lane_seqs})
        else:
            self.reader.feed(data)
        while (received := self.reader.next_frame()) is not None:
            opcode, payload = received
            if opcode == TEXT:
                self._take(payload)
            elif opcode == CLOSE:
                code, reason = int.from_bytes(payload[:2]), payload[2:].decode()
                raise ConnectionError(f"{code} {reason}")
            elif opcode == PING:
                assert self.sock is not None
                self.sock.send(frame(PONG, payload))

    def _take(self, payload: bytes) -> None:
        if payload.startswith(b'{"type":"metrics_update"'):
            self._take_snapshot(payload[:200])
            return
        message: dict[str, Any] = json.loads(payload)
        kind = message["type"]
        if kind == "connected":
            self.resumed += message.get("recovered") is True
            if message.get("recovered") is False:
                self.begun_anew += 1
                self.epoch, self.seq = b"", 0
        elif f"{kind}s" in LANES:
            self._take_lane(kind, message)
        elif kind == "subscribed":
            self.is_told_lag = True
        elif kind == "lag":
            self.seq += message["skipped"]
        elif kind == "stale":
            self.told_stale += 1

    def _take_snapshot(self, head: bytes) -> None:
        epoch, seq = EPOCH.search(head)[1], int(SEQ.search(head)[1])  # type: ignore[index]
        # A subscription is answered with the newest snapshot, which may have been sent already.
        if self.is_told_lag and epoch == self.epoch and seq not in (self.seq, self.seq + 1):
            self.faults.append(f"snapshot {seq} after {self.seq}")
        self.epoch, self.seq = epoch, seq
        if self.cut_at is not None:
            self.away_seconds.append(time.monotonic() - self.cut_at)
            self.cut_at = None
        self.moments.add(tenth(TIMESTAMP.search(head)[1].decode()))  # type: ignore[index]

    def _take_lane(self, kind: str, message: dict[str, Any]) -> None:
        lane = f"{kind}s"
        if message["prev"] != self.lane_seqs[lane]:
            self.faults.append(f"{kind} {message['seq']} names {message['prev']}, not {self.lane_seqs[lane]}")
        self.lane_seqs[lane] = message["seq"]
        if kind == "alert" and not (
            message["action"] == "raised" and message["key"].startswith("storm-") and message["count"] == 1
        ):
            # An alert that was sent again, because its acknowledgement was lost, is told again with a higher count.
            return
        self.told[lane].setdefault(name_of(kind, message), []).append(message["seq"])

    def _send(self, document: dict[str, Any]) -> None:
        assert self.sock is not None
        self.sock.send(frame(TEXT, json.dumps(document).encode()))


class Sender(threading.Thread):
    """Sends a random year of everything, an event at a time, each until it is acknowledged, and an alert now and
    then."""

    def __init__(self, server: Server, pause_seconds: float, seed: int) -> None:
        super().__init__()
        self._server = server
        self._pause_seconds = pause_seconds
        self._year = RandomYear(seed, MAX_EVENTS)
        self._splits = 0
        self.stopping = threading.Event()
        self.book = Book(multipliers=MULTIPLIERS, stale_ns=10**18)
        self.sent: dict[str, set[str]] = {lane: set() for lane in LANES}
        """By lane, the names of what must be told once."""
        self.kinds: Counter[str] = Counter()
        """Events by type."""
        self.retries = 0
        self.fault: str | None = None
        """Why it has ended, if it was not stopped."""

    def run(self) -> None:
        try:
            for number, event in enumerate(self._year.events()):
                if self.stopping.wait(self._pause_seconds):
                    return
                for each in self._life(event):
                    self._send(each)
                if number % 10 == 0:
                    key = f"storm-{number}"
                    self._send_until_acknowledged({"type": "alert", "severity": "info", "title": key, "key": key})
                    self.sent["alerts"].add(key)
            self.stopping.wait()
        except Exception as error:
            self.fault = repr(error)

    def close(self) -> None:
        """Sends what makes every mark known again: quotes are not durable."""
        for event in self._year.closing_quotes():
            self._send(event)

    def _life(self, event: Event) -> list[Event]:
        """Returns an event; an order with all of its reports."""
        if event["type"] != "order":
            return [event]
        last = "canceled" if int(event["order_id"][1:], 16) % 2 else "filled"
        return [{**event, "status": status} for status in ("pending_new", "new", last)]

    def _send(self, event: Event) -> None:
        kind = event["type"]
        if kind == "split":
            if self._splits >= MAX_SPLITS or self.kinds["fill"] < 200 * self._splits:
                return
            self._splits += 1
        outcome = self.book.take(event)
        if outcome == "refused":
            # After a kill it might be sent again, and count by then.
            return
        self.kinds[kind] += 1
        self._send_until_acknowledged(event)
        if kind in CORRECTIONS:
            # What comes after it may depend on it, and a long one is applied after its answer.
            self._await_corrections()
        if outcome == "accepted":
            lane = {"fill": "trades", "order": "orders"}.get(kind)
            if lane is None and kind not in ("quote", "print"):
                lane = "bookings"
            if lane is not None:
                self.sent[lane].add(name_of(lane[:-1], shown(event)))

    def _send_until_acknowledged(self, event: Event) -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=TIMEOUT_SECONDS)
            try:
                connection.request("POST", "/api/ingest", json.dumps(event), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200 or (answer.status == 422 and b"conflict" in body):
                    return
                if answer.status == 422:
                    raise AssertionError(f"{event} is refused: {body.decode()}")
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            self.retries += 1
            time.sleep(0.05)

    def _await_corrections(self) -> None:
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            try:
                pending = self._server.get("/api/bookings?status=pending")["bookings"]
                if not any(each["effect"]["reason"] == "in progress" for each in pending):
                    return
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        raise AssertionError("a correction is not applied")


def shown(event: Event) -> Event:
    """Returns an event with the fields by which a booking or report of it is named when it is told."""
    kind = "adopt" if event["type"] == "position" else event["type"]
    return {**event, "kind": kind, "timestamp": iso_ms(event["ts"])}


def iso_ms(ts_ns: int) -> str:
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


def name_of(kind: str, message: Event) -> str:
    """Returns what identifies an entry of a lane."""
    if kind == "trade":
        return str(message["trade_id"])
    if kind == "alert":
        return str(message["key"])
    if kind == "order":
        return f"{message['order_id']} {message['status']}"
    what = message["kind"]
    if what == "adopt":
        side = str(message.get("position_side") or "").lower()
        return f"adopt {message.get('strategy') or 'default'} {message['symbol']} {side}"
    ids = ("trade_id", f"{what}_id", "base", "quote") if what != "instrument" else ("symbol",)
    when = message["timestamp"] if what == "rate" else ""
    return " ".join([what, *(str(message[name]) for name in ids if name in message), when])


class Storm:
    """Kills, and watches what comes of it."""

    def __init__(self, server: Server, clients: int, *, kill_hub: bool, rng: random.Random) -> None:
        self.moments: set[str] = set()
        self.clients = [Client(server.port, number, self.moments) for number in range(clients)]
        self.kills: Counter[str] = Counter()
        self.gone_back: list[str] = []
        self._server = server
        self._kill_hub = kill_hub
        self._rng = rng
        self._selector = selectors.DefaultSelector()
        self._counters: dict[str, float] = {}
        self._scrapes = 0

    def run(self, seconds: float, kill_every: float, kills: int | None) -> None:
        """Rages for `seconds`, or until so many were killed."""
        end = time.monotonic() + seconds
        next_kill = time.monotonic() + kill_every
        next_scrape = 0.0
        while (now := time.monotonic()) < end and (kills is None or self.kills.total() < kills):
            if now >= next_kill:
                next_kill = now + self._rng.uniform(0.5, 1.5) * kill_every
                self.kill()
            if now >= next_scrape:
                next_scrape = now + 1.0
                self.scrape()
            self.turn()

    def settle(self, sent: Sender) -> None:
        """Lets everything arrive."""
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            for _ in range(20):
                self.turn()
            if all(set(client.told[lane]) >= sent.sent[lane] for client in self.clients for lane in LANES):
                return

    def turn(self) -> None:
        """Connects who is not connected, and reads what has come."""
        now = time.monotonic()
        for client in self.clients:
            if client.sock is None and client.retry_at <= now:
                self._connect(client)
        for key, _ in self._selector.select(0.05):
            client = key.data
            try:
                data = client.sock.recv(RECEIVE_BYTES)
                if not data:
                    raise ConnectionError(UNANSWERED if client.reader is None else "ended")
                client.feed(data)
            except OSError as error:
                self._cut(client, str(error))

    def _connect(self, client: Client) -> None:
        try:
            client.connect()
        except OSError as error:
            self._cut(client, str(error))
            return
        assert client.sock is not None
        self._selector.register(client.sock, selectors.EVENT_READ, client)

    def _cut(self, client: Client, why: str) -> None:
        client.closes[why] += 1
        client.cut_at = client.cut_at or time.monotonic()
        if client.sock is not None:
            if client.sock in {key.fileobj for key in self._selector.get_map().values()}:
                self._selector.unregister(client.sock)
            client.sock.close()
            client.sock = None
        client.retry_at = time.monotonic() + self._rng.uniform(0.0, 0.3)

    def close(self) -> None:
        for client in self.clients:
            self._cut(client, "the storm is over")
        self._selector.close()

    def kill(self) -> None:
        """Kills one process."""
        supervisor = self._server.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        names = {int(pid): Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
        victims = [pid for pid, name in names.items() if self._kill_hub or name != "obs-hub"]
        if victims:
            pid = self._rng.choice(victims)
            self.kills[names[pid].partition("-")[2].partition("-")[0]] += 1
            os.kill(pid, self._rng.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM]))

    def scrape(self) -> None:
        """Compares every counter with what it was."""
        try:
            text = self._server.get_bytes("/metrics").decode()
        except OSError:
            return  # the worker died before it answered
        self._scrapes += 1
        for name, value in COUNTERS.findall(text):
            if float(value) < self._counters.get(name, 0.0):
                self.gone_back.append(f"{name}: {value} after {self._counters[name]}")
            self._counters[name] = float(value)


def tenth(timestamp: str) -> str:
    """Returns the tenth of a second in which a moment is, which is a point of the history."""
    return timestamp[: len("2025-10-21T22:00:00.1")] + "00Z"


def not_in_history(server: Server, moments: set[str]) -> set[str]:
    """Returns the tenths of a second, as far as the fine ring reaches, of which the history has no tick."""
    question = {"metric_types": ["system"], "interval": "100ms", "limit": 10_000}
    answer = post(server, "/api/metrics/history", question)
    start = answer["tiers"][-1]["start"]
    assert answer["tiers"][-1]["interval"] == "100ms"
    return {moment for moment in moments if moment > start} - {row["timestamp"] for row in answer["data"]}


def faults(storm: Storm, sender: Sender) -> list[str]:
    """Returns everything that must not be."""
    found = [f"counter {fault}" for fault in storm.gone_back]
    for client in storm.clients:
        found += [f"client {client.number}: {fault}" for fault in client.faults]
        for what in LANES:
            sent, seen = sender.sent[what], client.told[what]
            missing = sent - set(seen)
            twice = {ident: seqs for ident, seqs in seen.items() if len(seqs) > 1}
            if missing or twice:
                found.append(
                    f"client {client.number}: {what}: {len(missing)} missing ({sorted(missing)[:3]}), "
                    f"twice {dict(list(twice.items())[:3]) or 'none'}"
                )
    return found


def differences(server: Server, book: Book) -> list[str]:
    """Returns where positions, money or trades are not those of the book."""
    found = []
    for compare, what in ((compare_section, server.next_snapshot()["strategy"]), (compare_trades, server)):
        try:
            compare(what, book)  # type: ignore[operator]
        except AssertionError as error:
            found.append(f"{compare.__name__}: {str(error)[:500]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=2.0)
    parser.add_argument("--kills", type=int, help="end after as many, or after the seconds")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two events")
    parser.add_argument("--kill-hub", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    durable = () if args.data_dir is None else ("--data-dir", str(args.data_dir))
    server = Server("--workers", str(args.workers), *durable, **SETTINGS)
    sender = Sender(server, args.pause, args.seed)
    storm = Storm(server, args.clients, kill_hub=args.kill_hub, rng=random.Random(args.seed))
    try:
        for _ in range(20):
            storm.turn()
        sender.start()
        storm.run(args.seconds, args.kill_every, args.kills)
        sender.stopping.set()
        while sender.is_alive():
            storm.turn()
        storm.settle(sender)
        storm.scrape()
        found = [] if sender.fault is None else [f"sending ended: {sender.fault}"]
        found += faults(storm, sender)
        sender.close()
        found += differences(server, sender.book)
        found += [f"the history has no tick at {moment}" for moment in not_in_history(server, storm.moments)]
    finally:
        sender.stopping.set()
        storm.close()
        server.stop()
    clients = storm.clients
    print(f"killed          {dict(storm.kills)}")
    sent = ", ".join(f"{len(sender.sent[lane])} {lane}" for lane in LANES)
    print(f"sent            {sent}, {sender.retries} retries")
    print(f"of types        {', '.join(f'{n} {kind}' for kind, n in sorted(sender.kinds.items()))}")
    print(f"resumed         {sum(client.resumed for client in clients)} times, of {len(clients)} clients")
    print(f"begun anew      {sum(client.begun_anew for client in clients)} times, told so")
    print(f"told stale      {sum(client.told_stale for client in clients)} times")
    print(f"ticks seen      {len(storm.moments)}, looked for in the history")
    print(f"exit code       {server.process.returncode}")
    print(f"faults          {len(found)}")
    for fault in found[:20]:
        print(f"    {fault}")
    return 1 if found or server.process.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
