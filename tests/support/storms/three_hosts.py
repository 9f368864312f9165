"""A desk on three hosts, to which everything happens: processes are killed and stopped, hosts cut off and parted.

Three hosts have a NATS server and an edge each, two of them a hub. Each is a network namespace where this machine
allows it, and an address of this machine otherwise. Thousands of clients follow frames and lanes at the edges, senders
send a random year of everything (`random_year.py`), alerts, and batches of fills, each until it is acknowledged. What
was acknowledged is sent to a twin, a host of its own to which nothing happens. While all of that lasts something
happens to a program or to the network every few seconds, and is over some seconds later; programs that have ended are
started again, as by a service manager.

At the end the histories are checked (`desk_history.py`): no acknowledged event is lost and none counts twice, every
frame is the same at all edges, no client gets a frame of an older epoch after one of a newer, and every client has
every entry of the lanes once and a sequence of frames that is unbroken, or that it was told is not. After each change
of the hub that leads, and at the end, positions, money and trades are those of the twin to the last digit. Never are
all clients without a new frame for long.

    PYTHONPATH=tests/support python -m storms.three_hosts --seconds 600 --clients 1000
    PYTHONPATH=tests/support python -m storms.three_hosts --only "stall an edge" --alone    what the other edges notice
    PYTHONPATH=tests/support python -m storms.three_hosts --plant renew-without-ttl       must find faults
    PYTHONPATH=tests/support python -m storms.three_hosts --check HISTORY.json            checks a history again
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats_cluster import NODES, NatsCluster
from nats_server import NatsServer
from places import Network, Place, run_apart
from random_year import Event
from server_process import ROOT, Server
from storms.crowd import CrowdProcess, Seen
from storms.desk_history import LANES, Fault, History, faults_of, older_epochs_told
from storms.kill_storm import SETTINGS, Sender
from storms.planted import FAULTS

HUB_PORT, EDGE_PORT = 8000, 8001
TOKEN = "a-token-of-the-storm"
CROWDS = 2
BURST = 10
# Between two things that happen, and how long each lasts.
PAUSE_SECONDS = (1.0, 5.0)
LAST_SECONDS = (0.5, 12.0)
RESTART_SECONDS = 0.5
# How long clients may be without a new frame beside two times of the lease, and how much longer a hub stays away for
# another one to lead.
PATIENCE_SECONDS = 40.0
AWAY_SECONDS = 30.0
# Without a new frame for so long, nothing more happens until there is one.
CALM_SECONDS = 10.0
ANSWER_SECONDS = 10.0
QUIET_SECONDS = 30.0
SETTLE_SECONDS = 120.0
STAY_SECONDS = 3.0

# What a restart knows to the last digit; and what depends on quotes, which come again.
MONEY = ("realized_pnl", "realized_gross_pnl", "fees", "income", "external_flows")
MARKED_MONEY = (*MONEY, "total_pnl", "unrealized_pnl", "gross_exposure", "net_exposure", "equity")
POSITION = ("quantity", "avg_price", "realized_pnl")
MARKED_POSITION = (*POSITION, "mark", "unrealized_pnl")
TRADE = (
    "symbol",
    "strategy",
    "side",
    "position_side",
    "quantity",
    "price",
    "commission",
    "pnl",
    "gross_pnl",
    "order_id",
)

Answer = tuple[int, Any]


def ask(address: tuple[str, int], path: str, document: Any = None, seconds: float = ANSWER_SECONDS) -> Answer:
    """Returns status and document of an answer. Raises OSError and HTTPException."""
    connection = http.client.HTTPConnection(*address, timeout=seconds)
    try:
        head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document)
        connection.request("GET" if body is None else "POST", path, body, head)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text)
    except ValueError as error:
        raise http.client.HTTPException(str(error)) from None
    finally:
        connection.close()


def answered(address: tuple[str, int], path: str) -> Any:
    status, document = ask(address, path)
    if status != 200:
        raise http.client.HTTPException(f"{path}: {status}")
    return document


def book(address: tuple[str, int], *, is_end: bool) -> dict[str, dict[str, Any]]:
    """Returns money and positions as of a tick that begins after the call. Raises OSError and HTTPException."""
    end = time.monotonic() + ANSWER_SECONDS
    first = answered(address, "/api/metrics/current")["seq"]
    while (snapshot := answered(address, "/api/metrics/current"))["seq"] <= first + 1:
        if time.monotonic() > end:
            raise http.client.HTTPException("there is no tick")
        time.sleep(0.02)
    section = snapshot["strategy"]
    money, position = (MARKED_MONEY, MARKED_POSITION) if is_end else (MONEY, POSITION)
    accounts = {"all": section, **section["strategies"]}
    return {
        "money": {name: [each.get(field) for field in money] for name, each in accounts.items()},
        "positions": {
            f"{each['strategy']} {each['symbol']} {each['position_side']}": [each.get(field) for field in position]
            for each in section["positions"]
        },
    }


def epoch_of(address: tuple[str, int]) -> str:
    """Returns the epoch of a hub's frames; empty if it does not answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return str(answered(address, "/api/metrics/current")["epoch"])
    return ""


def figures_of(address: tuple[str, int]) -> str:
    """Returns what an edge says of its frames since it was started."""
    try:
        connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    frames = _figure(text, "cluster_frames_received_total") or 1.0
    cpu = {role: _figure(text, f'process_cpu_seconds_total{{role="{role}"') for role in ("edge", "worker")}
    return (
        f"{frames:.0f} frames of {_figure(text, 'cluster_received_bytes_total') / frames:.0f} bytes, "
        f"{_figure(text, 'websocket_messages_sent_total') / frames:.0f} messages each, CPU per frame: "
        + ", ".join(f"{role} {seconds / frames * 1000:.2f} ms" for role, seconds in cpu.items())
    )


def _figure(text: str, start: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start))


def trades_of(address: tuple[str, int]) -> list[dict[str, Any]]:
    """Returns all trades, oldest first. Raises OSError and HTTPException."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = answered(address, f"/api/trades?limit=1000{cursor}")
        found += page["trades"]
        if page["next_cursor"] is None:
            return found[::-1]
        cursor = f"&cursor={page['next_cursor']}"


def trade_terms(trade: dict[str, Any]) -> list[Any]:
    return [trade.get(field) for field in TRADE]


class Program:
    """`observability serve` at a place: the process, and those that it starts."""

    def __init__(self, place: Place, port: int, log: Path, plant: str | None, *arguments: str, **settings: str) -> None:
        self.place = place
        self.address = place.address, port
        self.is_wanted = True
        """Whether it is to be started again when it has ended."""
        self.is_stopped = False
        self._log = log
        module = ["observability"] if plant is None else ["storms.planted", plant]
        self._command = [
            *place.within, sys.executable, "-m", *module, "serve", "--host", place.address, "--port", str(port),
            *arguments,
        ]  # fmt: skip
        path = os.pathsep.join(str(ROOT / folder) for folder in ("core", "http", "tests/support"))
        self._environment = {**os.environ, "PYTHONPATH": path, "API_TOKENS": f"write:{TOKEN}", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_serving(self) -> bool:
        """Whether it has said that it listens, which a hub does once it leads, and has not ended since."""
        return self.is_alive and b" listening on " in self._log.with_suffix(".out").read_bytes()[self._said :]

    def start(self) -> None:
        with self._log.open("ab") as log, self._log.with_suffix(".out").open("ab") as out:
            self._said = out.tell()
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=out, stderr=log, start_new_session=True
            )

    def signal(self, number: int) -> None:
        """Sends a signal to all of its processes."""
        self.is_stopped = number == signal.SIGSTOP
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def kill_child(self, rng: random.Random) -> None:
        """Kills one of the processes that it has started."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if found:
            os.kill(int(rng.choice(found)), signal.SIGKILL)


class Twin:
    """A host of its own, to which nothing happens."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self.server = Server("--data-dir", str(folder), **SETTINGS)
        self.address = "127.0.0.1", self.server.port

    def take(self, events: list[Event]) -> None:
        with self._lock:
            connection = http.client.HTTPConnection(*self.address, timeout=60)
            try:
                connection.request("POST", "/api/ingest", json.dumps(events), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status in (200, 422), answer.status
            finally:
                connection.close()


class Senders:
    """Send to the desk, each its events in order and each until it is acknowledged, and then to the twin."""

    def __init__(self, edges: list[Program], twin: Twin, history: History, pause_seconds: float, seed: int) -> None:
        self.history = history
        self.retries = 0
        self.events = 0
        self.sent_at: dict[str, float] = {}
        """By name of a trade, when it was first sent, by the monotonic clock."""
        self._edges = itertools.cycle(edges)
        self.twin = twin
        self._is_open = threading.Event()
        self._is_abandoned = threading.Event()
        self._busy: set[threading.Thread] = set()
        self._stopping = threading.Event()
        self.year = _YearSender(self, pause_seconds, seed)
        self._bursts = [threading.Thread(target=self._burst, args=(number, pause_seconds)) for number in range(2)]
        self.fault: str | None = None

    def start(self) -> None:
        self._is_open.set()
        self.year.start()
        for thread in self._bursts:
            thread.start()

    @contextlib.contextmanager
    def paused(self, seconds: float) -> Iterator[bool]:
        """Yields whether all that was sent is acknowledged, and nothing is sent until the end; False if that takes
        longer."""
        self._is_open.clear()
        end = time.monotonic() + seconds
        while self._busy and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield not self._busy
        finally:
            self._is_open.set()

    def stop(self) -> None:
        self._stopping.set()
        self._is_open.set()
        self.year.stopping.set()

    def abandon(self) -> None:
        """Stops, and does not send again what is not acknowledged."""
        self._is_abandoned.set()
        self.stop()

    def join(self) -> None:
        for thread in (self.year, *self._bursts):
            if thread.ident is not None:
                thread.join()
        self.fault = self.fault or self.year.fault

    def deliver(self, events: list[Event]) -> None:
        """Returns once they are acknowledged."""
        thread = threading.current_thread()
        self._is_open.wait()
        self._busy.add(thread)
        try:
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    status, answer = ask(next(self._edges).address, "/api/ingest", events)
                    if status == 200 or (status == 422 and "conflict" in json.dumps(answer)):
                        break
                    assert status in (429, 503), (status, answer)
                self.retries += 1
                if self._is_abandoned.wait(0.1):
                    raise AssertionError(f"not acknowledged: {events}")
            self.events += len(events)
            self.twin.take(events)
        finally:
            self._busy.discard(thread)

    @property
    def is_busy(self) -> bool:
        """Whether anything is sent and not acknowledged."""
        return bool(self._busy)

    @property
    def is_sending(self) -> bool:
        return any(thread.is_alive() for thread in (self.year, *self._bursts))

    def ask(self, path: str) -> Answer:
        return ask(next(self._edges).address, path)

    def _burst(self, number: int, pause_seconds: float) -> None:
        try:
            rng = random.Random(number)
            for batch in itertools.count():
                if self._stopping.wait(pause_seconds * BURST):
                    return
                names = [f"burst-{number}-{batch}-{each}" for each in range(BURST)]
                self.history.sent["trades"].update(names)
                fills = [self._fill(name, number, rng) for name in names]
                self.sent_at |= dict.fromkeys(names, time.monotonic())
                self.deliver(fills)
                self.history.acknowledged["trades"].update(names)
        except Exception as error:
            self.fault = repr(error)

    def _fill(self, name: str, number: int, rng: random.Random) -> Event:
        return {
            "type": "fill", "trade_id": name, "order_id": name, "symbol": f"BURST{number}",
            "strategy": f"burst{number}", "side": rng.choice(["buy", "sell"]),
            "quantity": f"{rng.randint(1, 999)}.{rng.randint(0, 99):02d}",
            "price": f"{rng.randint(100, 300)}.{rng.randint(0, 9999):04d}", "commission": "0.0137",
        }  # fmt: skip


class _YearSender(Sender):
    """Sends the random year over the desk's edges."""

    def __init__(self, senders: Senders, pause_seconds: float, seed: int) -> None:
        super().__init__(senders, pause_seconds, seed)  # type: ignore[arg-type]
        self._senders = senders
        self.sent = senders.history.acknowledged

    def _send_until_acknowledged(self, event: Event) -> None:
        self._senders.deliver([event])

    def _await_corrections(self) -> None:
        twin = self._senders.twin
        for asked in (self._senders.ask, lambda path: ask(twin.address, path)):
            end = time.monotonic() + SETTLE_SECONDS
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    status, answer = asked("/api/bookings?status=pending")
                    if status == 200 and not any(
                        each["effect"]["reason"] == "in progress" for each in answer["bookings"]
                    ):
                        break
                assert time.monotonic() < end, "a correction is not applied"
                time.sleep(0.05)


Heal = Callable[[], None]


@dataclass(frozen=True)
class Disturbance:
    """Something that happens: returns what ends it, or None if it cannot happen now."""

    name: str
    weight: int
    begin: Callable[[], Heal | None]
    takes_quorum: bool = False
    """Whether a NATS server is away while it lasts, of which there may be one at a time."""


@dataclass
class Stall:
    """An edge that was stopped while everything else was there."""

    edge: str
    started: float
    ended: float


@dataclass
class Counts:
    """What has happened."""

    disturbances: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    changes: list[float] = field(default_factory=list)
    """For each change of the hub that leads after something had happened to it, the seconds until a client had a frame
    of the other one."""
    returns: list[float] = field(default_factory=list)
    """The same where the hub that led leads again."""
    compared: int = 0
    """How often positions were those of the twin."""
    stalls: list[Stall] = field(default_factory=list)
    longest_silence: float = 0.0


class Storm:
    """The desk, and what happens to it."""

    def __init__(self, folder: Path, given: argparse.Namespace, opened: contextlib.ExitStack) -> None:
        self.history = History()
        self.counts = Counts()
        self._given = given
        self._rng = random.Random(given.seed)
        self._started = time.monotonic()
        self._network = Network(["h1", "h2", "h3"])
        opened.callback(self._network.close)
        places = self._network.places
        self._cluster = NatsCluster(folder, places)
        opened.callback(self._cluster.close)
        settings = {
            "CLUSTER_LEASE": str(given.lease), "CLUSTER_REPLICAS": "3",
            "METRIC_COLLECTION_INTERVAL": str(given.interval),
        }  # fmt: skip
        self._hubs = {
            place.name: Program(
                place, HUB_PORT, folder / f"hub-{place.name}.log", given.plant,
                "--engine", self._cluster.engine("desk", place), "--data-dir", str(folder / f"data-{place.name}"),
                **settings, **SETTINGS,
            )
            for place in places[:2]
        }  # fmt: skip
        self._edges = {
            place.name: Program(
                place, EDGE_PORT, folder / f"edge-{place.name}.log", None,
                "--engine", self._cluster.engine("edge", place), "--role", "edge", **settings,
            )
            for place in places
        }  # fmt: skip
        self._programs = {f"hub {name}": each for name, each in self._hubs.items()}
        self._programs |= {f"edge {name}": each for name, each in self._edges.items()}
        opened.callback(self._kill_all)
        self._twin = Twin(folder / "twin")
        opened.callback(self._twin.server.stop)
        self.senders = Senders(list(self._edges.values()), self._twin, self.history, given.pause, given.seed)
        opened.callback(self.senders.join)
        opened.callback(self.senders.abandon)
        self._crowds: list[CrowdProcess] = []
        self.figures: dict[str, str] = {}
        self._heals: list[tuple[float, int, str, Heal]] = []
        self._numbers = itertools.count()
        self._restart_at: dict[str, float] = {}
        self._is_quorum_taken = False
        self._leader: str | None = None
        self._epoch = ""
        self._disturbed_at: float | None = None
        """When something happened to the hub that led; None if nothing has since the last change."""
        self._silent_since = self._disturbed_until = 0.0
        self._patience = PATIENCE_SECONDS + 2 * given.lease

    def run(self, opened: contextlib.ExitStack) -> list[Seen]:
        """Starts everything, lets it last, and returns what clients have seen."""
        first, second = self._hubs.values()
        first.start()
        self._until(lambda: first.is_serving, "the first hub leads")
        second.start()
        for edge in self._edges.values():
            edge.start()
        self._until(lambda: all(edge.is_serving for edge in self._edges.values()), "edges serve")
        edges = {name: edge.address for name, edge in self._edges.items()}
        share = [self._given.clients // CROWDS + (number < self._given.clients % CROWDS) for number in range(CROWDS)]
        for number, clients in enumerate(share):
            crowd = CrowdProcess(edges, clients, self._given.seed + number)
            self._crowds.append(crowd)
            opened.callback(crowd.close)
        self._until(lambda: self._connected() == self._given.clients, "all clients are connected")
        self.senders.start()
        self._say(f"{self._given.clients} clients, {'namespaces' if self._network.can_part else 'one host'}")
        self._silent_since = time.monotonic()
        self._leader, self._epoch = next(iter(self._hubs)), epoch_of(first.address)
        end, next_at = time.monotonic() + self._given.seconds, time.monotonic() + 3
        menu = self._menu()
        while time.monotonic() < end and not self.history.faults:
            self._turn()
            # They have to come to rest now and then, for what is to be seen after it.
            if self._given.alone and self._heals:
                next_at = time.monotonic() + PAUSE_SECONDS[1]
            if time.monotonic() >= next_at and time.monotonic() - self._silent_since < CALM_SECONDS:
                next_at = time.monotonic() + self._rng.uniform(*PAUSE_SECONDS)
                self._disturb(menu)
        return self._finish()

    # -- what happens

    def _menu(self) -> list[Disturbance]:
        found = [
            Disturbance("kill the hub that leads", 5, self._kill_leader),
            Disturbance("kill the hub that stands by", 2, lambda: self._kill(self._hub(is_leader=False))),
            Disturbance("stop the hub that leads", 4, lambda: self._stop(self._hub(is_leader=True))),
            Disturbance("terminate the hub that leads", 2, self._terminate_leader),
            Disturbance("kill an edge", 2, lambda: self._kill(self._edge())),
            Disturbance("kill a process of an edge", 2, self._kill_child),
            Disturbance("stall an edge", 4, self._stall_edge),
        ]
        if self._given.nats:
            found += [
                Disturbance("kill a NATS server", 3, self._kill_node, takes_quorum=True),
                Disturbance("stop a NATS server", 3, self._stop_node, takes_quorum=True),
            ]
        if self._given.nats and self._network.can_part:
            found += [
                Disturbance("cut a host off", 4, self._cut_off, takes_quorum=True),
                Disturbance("cut off the host of the hub that leads", 3, self._cut_off_leader, takes_quorum=True),
                Disturbance("part two hosts", 4, self._part, takes_quorum=True),
            ]
        return [each for each in found if self._given.only in each.name]

    def _disturb(self, menu: list[Disturbance]) -> None:
        if not menu:
            return
        chosen = self._rng.choices(menu, [each.weight for each in menu])[0]
        if chosen.takes_quorum and (self._is_quorum_taken or not self._is_complete()):
            return
        heal = chosen.begin()
        if heal is None:
            return
        self.counts.disturbances[chosen.name] += 1
        seconds = self._rng.uniform(*LAST_SECONDS)
        self._say(f"{chosen.name}, for {seconds:.1f} s")
        self._is_quorum_taken |= chosen.takes_quorum

        def ended() -> None:
            heal()
            if chosen.takes_quorum:
                self._is_quorum_taken = False

        heapq.heappush(self._heals, (time.monotonic() + seconds, next(self._numbers), chosen.name, ended))

    def _hub(self, *, is_leader: bool) -> str | None:
        """Returns the name of a program, if it is there and nothing happens to it."""
        for name, hub in self._hubs.items():
            if (name == self._leader) == is_leader and hub.is_alive and not hub.is_stopped and hub.is_wanted:
                return f"hub {name}"
        return None

    def _edge(self) -> str | None:
        names = [name for name, edge in self._edges.items() if edge.is_alive and not edge.is_stopped]
        return f"edge {self._rng.choice(names)}" if names else None

    def _note_leader(self, name: str | None) -> None:
        if name == f"hub {self._leader}" and self._disturbed_at is None:
            self._disturbed_at = time.monotonic()

    def _kill(self, name: str | None) -> Heal | None:
        if name is None:
            return None
        program = self._programs[name]
        self._note_leader(name)
        program.is_wanted = False
        program.kill()

        def heal() -> None:
            program.is_wanted = True

        return heal

    def _kill_leader(self) -> Heal | None:
        name = self._hub(is_leader=True)
        heal = self._kill(name)
        if heal is None or self._rng.random() < 0.5:
            return heal
        # It stays away until the other one leads, as a host that is gone does.
        assert name is not None
        killed, until = name.removeprefix("hub "), time.monotonic() + self._patience + AWAY_SECONDS

        def heal_later() -> None:
            if self._leader == killed and time.monotonic() < until:
                heapq.heappush(self._heals, (time.monotonic() + 0.2, next(self._numbers), "", heal_later))
            else:
                heal()

        return heal_later

    def _terminate_leader(self) -> Heal | None:
        name = self._hub(is_leader=True)
        if name is None:
            return None
        self._note_leader(name)
        self._programs[name].signal(signal.SIGTERM)
        return lambda: None

    def _stop(self, name: str | None) -> Heal | None:
        if name is None:
            return None
        program = self._programs[name]
        self._note_leader(name)
        program.signal(signal.SIGSTOP)
        return lambda: program.signal(signal.SIGCONT)

    def _stall_edge(self) -> Heal | None:
        name = self._edge()
        heal = self._stop(name)
        if heal is None or name is None:
            return None
        stall = Stall(name.removeprefix("edge "), time.monotonic(), 0.0)
        happened = self.counts.disturbances.total()

        def ended() -> None:
            heal()
            if self.counts.disturbances.total() == happened + 1 and len(self._heals) == 0:
                stall.ended = time.monotonic()
                self.counts.stalls.append(stall)

        return ended if not self._heals else heal

    def _kill_child(self) -> Heal | None:
        name = self._edge()
        if name is None:
            return None
        self._programs[name].kill_child(self._rng)
        return lambda: None

    def _node(self) -> NatsServer:
        return self._cluster.nodes[self._rng.choice(NODES)]

    def _kill_node(self) -> Heal | None:
        node = self._node()
        node.kill()
        return node.start

    def _stop_node(self) -> Heal | None:
        node = self._node()
        node.signal(signal.SIGSTOP)
        return lambda: node.signal(signal.SIGCONT)

    def _cut_off(self, place: Place | None = None) -> Heal | None:
        place = place or self._rng.choice(self._network.places)
        self._note_leader(f"hub {place.name}")
        self._network.cut(place)
        return lambda: self._network.join(place)

    def _cut_off_leader(self) -> Heal | None:
        return self._cut_off(next(place for place in self._network.places if place.name == self._leader))

    def _part(self) -> Heal | None:
        one, other = self._rng.sample(self._network.places, 2)
        for place in (one, other):
            self._note_leader(f"hub {place.name}")
        self._network.part(one, other)
        return lambda: self._network.rejoin(one, other)

    # -- what is seen of it

    def _turn(self) -> None:
        """Does what is due, and looks at the hubs and the clients."""
        self._supervise()
        self._look()

    def _supervise(self) -> None:
        """Ends what is over, and starts what has ended."""
        time.sleep(0.05)
        now = time.monotonic()
        while self._heals and self._heals[0][0] <= now:
            _, _, name, heal = heapq.heappop(self._heals)
            heal()
        for name, program in self._programs.items():
            is_over = program.is_wanted and not program.is_alive and not program.is_stopped
            if is_over and self._restart_at.setdefault(name, now + RESTART_SECONDS) <= now:
                del self._restart_at[name]
                program.start()
                self.counts.restarts[name.partition(" ")[0]] += 1

    def _look(self) -> None:
        newest_at, epoch = max((progress.newest_at, progress.epoch) for progress in self._progress())
        if epoch != self._epoch:
            # One that was stopped, and is replaced, does not know so yet.
            for name, hub in self._hubs.items():
                if hub.is_serving and not hub.is_stopped and epoch_of(hub.address) == epoch:
                    is_other, self._leader, self._epoch = name != self._leader, name, epoch
                    self._say(f"the hub on {name} leads{'' if is_other else ' again'}")
                    self._on_change(is_other=is_other)
                    break
        self.counts.longest_silence = max(self.counts.longest_silence, newest_at - self._silent_since)
        self._silent_since = max(self._silent_since, newest_at)
        if any(name for _, _, name, _ in self._heals):
            self._disturbed_until = time.monotonic()
        if time.monotonic() - max(self._silent_since, self._disturbed_until) > self._patience:
            self.history.faults.append(Fault("silence", f"no client has had a new frame for {self._patience:g} s"))

    def _on_change(self, *, is_other: bool) -> None:
        disturbed_at, self._disturbed_at = self._disturbed_at, None
        if disturbed_at is not None:
            seconds = max(progress.epoch_at for progress in self._progress()) - disturbed_at
            (self.counts.changes if is_other else self.counts.returns).append(seconds)
        leader = self._leader
        assert leader is not None
        with self.senders.paused(0.0) as is_quiet:
            end = time.monotonic() + QUIET_SECONDS
            while not is_quiet and time.monotonic() < end and self._hubs[leader].is_serving:
                self._supervise()
                is_quiet = not self.senders.is_busy
            if is_quiet:
                self._compare(is_end=False)

    def _compare(self, *, is_end: bool) -> None:
        """Compares the book of the hub that leads with that of the twin."""
        assert self._leader is not None
        hub = self._hubs[self._leader]
        try:
            found = book(hub.address, is_end=is_end)
        except (OSError, http.client.HTTPException, KeyError) as error:
            self._say(f"not compared: {error!r}")
            return
        expected = book(self._twin.address, is_end=is_end)
        self.counts.compared += 1
        for what in expected:
            self._expect(what, found[what], expected[what])

    def _expect(self, what: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                text = f"{what} of {name} at {self._leader} are {found.get(name)}, and the twin's {expected.get(name)}"
                self.history.faults.append(Fault("book", text))

    def _finish(self) -> list[Seen]:
        """Ends what happens, waits until all is as it should be, and collects what clients have seen."""
        self._say("ends")
        for _, _, _, heal in sorted(self._heals):
            heal()
        self._heals = []
        for program in self._programs.values():
            program.is_wanted = True
        self.senders.stop()
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end and not self.history.faults:
            self._turn()
            if not self.senders.is_sending and self._hubs[self._leader or ""].is_serving:
                break
        if self.senders.is_sending:
            self.senders.abandon()
        self.senders.join()
        if self.senders.fault is not None:
            self.history.faults.append(Fault("sender", self.senders.fault))
        for lane, names in self.history.acknowledged.items():
            self.history.sent[lane] |= names
        if not self.history.faults:
            self.senders.year.close()
            self._compare(is_end=True)
            assert self._leader is not None
            trades = trades_of(self._hubs[self._leader].address)
            expected = {each["trade_id"]: trade_terms(each) for each in trades_of(self._twin.address)}
            self._expect("trades", {each["trade_id"]: trade_terms(each) for each in trades}, expected)
            self.history.stored["trades"] = [each["trade_id"] for each in trades]
            self._settle()
            self.figures = {f"edge {name}": figures_of(edge.address) for name, edge in self._edges.items()}
        return [crowd.finish() for crowd in self._crowds]

    def _settle(self) -> None:
        """Waits until all clients are at the same entry of every lane, and stay there."""
        end = time.monotonic() + SETTLE_SECONDS
        settled_at, known = time.monotonic(), {}
        while time.monotonic() < end and time.monotonic() < settled_at + STAY_SECONDS:
            time.sleep(0.2)
            found = [crowd.lanes() for crowd in self._crowds]
            newest = {lane: max(each[lane][1] for each in found) for lane in LANES}
            if newest != known or any(each[lane][0] != newest[lane] for each in found for lane in LANES):
                settled_at, known = time.monotonic(), newest

    def _progress(self) -> list[Any]:
        return [crowd.progress() for crowd in self._crowds]

    def _connected(self) -> int:
        return sum(progress.connected for progress in self._progress())

    def _is_complete(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._cluster.is_complete()
        return False

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + SETTLE_SECONDS
        while not condition():
            assert time.monotonic() < end, f"it did not come to this: {what}"
            time.sleep(0.1)

    def _kill_all(self) -> None:
        for program in self._programs.values():
            if program.is_alive:
                program.kill()

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._started:7.1f}  {what}", flush=True)


def gaps(seen: list[Seen], stalls: list[Stall]) -> tuple[list[float], list[float]]:
    """Returns the seconds between two frames at edges while another edge was stalled, and at all while none was."""
    beside: list[float] = []
    without: list[float] = []
    for edge in seen[0].arrivals:
        first: dict[str, float] = {}
        for frame, at in itertools.chain.from_iterable(each.arrivals[edge].items() for each in seen):
            first[frame] = min(at, first.get(frame, at))
        for before, after in itertools.pairwise(sorted(first.values())):
            stalled = {stall.edge for stall in stalls if stall.started < after and before < stall.ended}
            if not stalled:
                without.append(after - before)
            elif edge not in stalled:
                beside.append(after - before)
    return beside, without


def quantiles(values: list[float]) -> str:
    if not values:
        return "-"
    middle, most = (sorted(values)[int(part * (len(values) - 1))] for part in (0.5, 0.99))
    return f"p50 {middle:.3f}, p99 {most:.3f}"


def merge(history: History, seen: list[Seen]) -> None:
    """Adds what the clients of each crowd have seen."""
    for each in seen:
        history.clients += each.history.clients
        history.faults += each.history.faults
        for lane, entries in each.history.entries.items():
            for seq, name in entries.items():
                history.add_entry(lane, seq, name)
        for frame, shas in each.history.frames.items():
            known = history.frames.setdefault(frame, {})
            for sha, edges in shas.items():
                known[sha] = sorted({*known.get(sha, []), *edges})


def report(storm: Storm, seen: list[Seen], seconds: float) -> None:
    history, counts = storm.history, storm.counts
    runs = Counter(run.how for client in history.clients for run in client.runs)
    at_edges = Counter(len({edge for edges in shas.values() for edge in edges}) for shas in history.frames.values())
    delays = [delay for each in seen for delay in each.delays_ms.values()]
    beside, without = gaps(seen, counts.stalls)
    changes, returns = (", ".join(f"{each:.1f}" for each in sorted(all_)) for all_ in (counts.changes, counts.returns))
    acknowledged = {lane: len(names) for lane, names in history.acknowledged.items()}
    sent_at = storm.senders.sent_at
    times = [(at - sent_at[name]) * 1000 for each in seen for name, at in each.entries_at.items() if name in sent_at]
    lines = {
        "happened": f"{counts.disturbances.total()}: {dict(counts.disturbances.most_common())}",
        "restarts": dict(counts.restarts),
        "other hub": f"{len(counts.changes)} times, after s: {changes}",
        "same hub": f"{len(counts.returns)} times, after s: {returns}",
        "as the twin": f"{counts.compared} times",
        "events": f"{storm.senders.events} acknowledged, {storm.senders.retries} sent again; entries {acknowledged}",
        "frames": f"{len(history.frames)}: at 3 edges {at_edges[3]}, at 2 {at_edges[2]}, at 1 {at_edges[1]}",
        "clients": f"{len(history.clients)}, {sum(each.received for each in seen)} frames, runs {dict(runs)}",
        "reconnected": f"{sum(each.lost_connections for each in seen)} times lost, or not made",
        "older epochs": f"{older_epochs_told(history)} times, with recovered: false",
        "silence": f"{counts.longest_silence:.1f} s at the most",
        "between frames": f"{quantiles(without)} s",
        "one stalled": f"{len(counts.stalls)} times; between frames at the other edges meanwhile {quantiles(beside)} s",
        "tick to client": f"{quantiles(delays)} ms",
        "event to client": f"{quantiles(times)} ms, a batch of {BURST} fills on the lane of trades",
        **storm.figures,
        "load": f"{os.getloadavg()[1]:.1f}, {seconds:.0f} s",
    }
    for name, text in lines.items():
        print(f"{name:15} {text}")


def check(history: History) -> int:
    """Prints what is wrong; returns the exit code."""
    found = faults_of(history)
    kinds = Counter(fault.kind for fault in found)
    print(f"faults          {len(found)} {dict(kinds) if found else ''}")
    for kind in kinds:
        for fault in [each for each in found if each.kind == kind][:5]:
            print(f"    {fault.kind}: {fault.what[:400]}")
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--lease", type=int, default=5)
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between two frames")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two events of a sender")
    parser.add_argument("--nats", action=argparse.BooleanOptionalAction, default=True, help="disturb NATS servers, too")
    parser.add_argument("--only", default="", help="a part of the names of what may happen")
    parser.add_argument("--alone", action="store_true", help="nothing happens before the last thing is over")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--plant", choices=FAULTS, help="a fault of the hubs, which is to be found")
    parser.add_argument("--folder", type=Path, help="where stores and logs are; removed at the end if it is not given")
    parser.add_argument("--history", type=Path, default=Path("three_hosts_history.json"))
    parser.add_argument("--check", type=Path, metavar="HISTORY")
    given = parser.parse_args()
    if given.check is not None:
        return check(History.read(given.check))
    run_apart()
    print(f"seed {given.seed}", flush=True)
    with contextlib.ExitStack() as opened:
        if given.folder is None:
            given.folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        given.folder.mkdir(parents=True, exist_ok=True)
        storm = Storm(given.folder, given, opened)
        started = time.monotonic()
        seen = storm.run(opened)
        merge(storm.history, seen)
        storm.history.write(given.history)
        report(storm, seen, time.monotonic() - started)
    return check(storm.history)


if __name__ == "__main__":
    sys.exit(main())
