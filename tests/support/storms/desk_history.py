"""What senders and clients of a desk have seen, and what is wrong with it.

    client 7   h1 a:1-40 | a:43-50 lag | h2 a:51-60 resumed | b:62-70 new hub | h3 b:71-99 anew        frames, as runs
               trades 0-310, alerts 0-12                                                               lanes, as chains

A history is compact, so that one of a million frames can be kept, written to a file and checked again.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LANES = ("trades", "alerts", "bookings", "orders")
FIRST, RESUMED, ANEW, NEW_HUB, LAG, GAP = "first", "resumed", "anew", "new hub", "lag", "gap"


@dataclass
class Run:
    """Frames that a client got from one edge, each the successor of the one before."""

    edge: str
    epoch: str
    first: int
    last: int
    how: str
    """Why it begins: the client's first, after a lost connection (`RESUMED`, or `ANEW` if it was told that frames are
    missing), of a new hub, after frames that it was told it was too slow for; or `GAP`."""
    skipped: int = 0
    """How many frames the client was told it was too slow for."""


@dataclass
class ClientHistory:
    """What one client has seen. Its methods are called in the order in which things came."""

    runs: list[Run] = field(default_factory=list)
    lanes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By lane, chains of entries of which each names its predecessor: the one before the first, and the last."""
    _edge: str = ""
    _how: str | None = FIRST
    _skipped: int = 0
    _is_told_lag: bool = False

    @property
    def position(self) -> str | None:
        """The newest frame as a client names it to resume behind it; None if it has to begin anew."""
        return f"{self.runs[-1].epoch}:{self.runs[-1].last}" if self.runs and self._how != ANEW else None

    def newest(self, lane: str) -> int:
        return self.lanes[lane][-1][1] if lane in self.lanes else 0

    def on_connected(self, edge: str, recovered: bool | None) -> None:
        """Takes the first message of a connection; `recovered` is None if the client had asked for nothing."""
        self._edge, self._skipped, self._is_told_lag = edge, 0, recovered is not None
        self._how = (RESUMED if recovered else ANEW) if self.runs else FIRST

    def on_subscribed(self) -> None:
        """Takes the answer to a subscription. Who has asked for nothing is not told what it was too slow for."""
        self._is_told_lag = True

    def on_lag(self, skipped: int) -> None:
        self._skipped += skipped

    def on_frame(self, epoch: str, seq: int) -> None:
        # hot: once per frame and client
        how, skipped = self._how, self._skipped
        if self.runs:
            run = self.runs[-1]
            is_next = epoch == run.epoch and seq == run.last + 1
            if epoch == run.epoch and seq == run.last and how in (None, RESUMED):
                # A subscription is answered with the newest frame, which may have been sent already.
                return
            if how is None:
                if is_next and not skipped:
                    run.last = seq
                    return
                is_lag = seq == run.last + 1 + skipped or (seq > run.last and not self._is_told_lag)
                how = NEW_HUB if epoch != run.epoch else LAG if is_lag else GAP
            elif how == RESUMED and epoch == run.epoch and seq != run.last + 1 + skipped:
                how = GAP
        self._how, self._skipped = None, 0
        self.runs.append(Run(self._edge, epoch, seq, seq, how or FIRST, skipped))

    def on_entry(self, lane: str, prev: int, seq: int) -> None:
        # hot: once per entry and client
        chains = self.lanes.setdefault(lane, [])
        if chains and chains[-1][1] == prev < seq:
            chains[-1] = chains[-1][0], seq
        else:
            chains.append((prev, seq))


@dataclass(frozen=True)
class Fault:
    """What must not be."""

    kind: str
    what: str


@dataclass
class History:
    """What all of them have seen."""

    sent: dict[str, set[str]] = field(default_factory=lambda: {lane: set() for lane in LANES})
    """By lane, the names of what was sent."""
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: {lane: set() for lane in LANES})
    """By lane, the names of what a sender was told is taken."""
    entries: dict[str, dict[int, str]] = field(default_factory=lambda: {lane: {} for lane in LANES})
    """By lane and number, the names of the entries that clients got; empty for what nobody has sent."""
    stored: dict[str, list[str]] = field(default_factory=dict)
    """By lane, the names of all that the hub has at the end, oldest first."""
    frames: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By epoch and number (`EPOCH:SEQ`), the SHA-256 of what clients got, each with the edges that sent it."""
    clients: list[ClientHistory] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    """What was found wrong while it lasted."""

    def add_entry(self, lane: str, seq: int, name: str) -> None:
        known = self.entries[lane].setdefault(seq, name)
        if known != name:
            self.faults.append(Fault("two entries", f"{lane} {seq} is {known} and {name}"))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), default=sorted))

    @classmethod
    def read(cls, path: Path) -> History:
        found: dict[str, Any] = json.loads(path.read_text())
        return cls(
            sent={lane: set(names) for lane, names in found["sent"].items()},
            acknowledged={lane: set(names) for lane, names in found["acknowledged"].items()},
            entries={lane: {int(seq): name for seq, name in each.items()} for lane, each in found["entries"].items()},
            stored=found["stored"],
            frames=found["frames"],
            clients=[
                ClientHistory(
                    [Run(**run) for run in client["runs"]],
                    {lane: [(first, last) for first, last in chains] for lane, chains in client["lanes"].items()},
                )
                for client in found["clients"]
            ],
            faults=[Fault(**fault) for fault in found["faults"]],
        )


def faults_of(history: History) -> list[Fault]:
    """Returns what is wrong with a history."""
    found = list(history.faults)
    for lane in LANES:
        found += _faults_of_lane(history, lane)
    for frame, shas in history.frames.items():
        if len(shas) > 1:
            found.append(Fault("different frames", f"{frame}: {shas}"))
    for number, client in enumerate(history.clients):
        found += (Fault(each.kind, f"client {number}: {each.what}") for each in _faults_of_client(history, client))
    return found


def older_epochs_told(history: History) -> int:
    """Returns how often a client that was told to begin anew got an epoch older than the one that it had seen."""
    return sum(each.kind == "told older epoch" for client in history.clients for each in _faults_of_frames(client))


def _faults_of_lane(history: History, lane: str) -> Iterator[Fault]:
    told = Counter(filter(None, history.entries[lane].values()))
    stored = Counter(history.stored[lane]) if lane in history.stored else told
    for name in sorted(history.acknowledged[lane]):
        if not told[name] or not stored[name]:
            yield Fault("lost", f"{lane}: {name}")
    for name in sorted(told.keys() | stored.keys()):
        if told[name] > 1 or stored[name] > 1:
            yield Fault("twice", f"{lane}: {name}")
        elif name not in history.sent[lane]:
            yield Fault("never sent", f"{lane}: {name}")
        elif told[name] != stored[name]:
            yield Fault("not told" if stored[name] else "not stored", f"{lane}: {name}")


def _faults_of_client(history: History, client: ClientHistory) -> Iterator[Fault]:
    yield from (each for each in _faults_of_frames(client) if each.kind != "told older epoch")
    for before, run in itertools.pairwise(client.runs):
        if run.epoch != before.epoch and run.how in (RESUMED, NEW_HUB):
            between = {(before.epoch, seq) for seq in range(before.last + 1, run.first)}
            between |= {(run.epoch, seq) for seq in range(before.last + 1, run.first)}
            missing = [seq for epoch, seq in sorted(between) if f"{epoch}:{seq}" in history.frames]
            if len(missing) > run.skipped:
                yield Fault("gap", f"{_step(before, run)} without {missing}, and told of {run.skipped}")
    # One that follows frames alone has no lanes.
    for lane in LANES if client.lanes else ():
        newest, chains = max(history.entries[lane], default=0), client.lanes.get(lane, [])
        if chains != ([(0, newest)] if newest else []):
            yield Fault("lane", f"{lane}: {chains[:4]}, expected one chain from 0 to {newest}")


def _faults_of_frames(client: ClientHistory) -> Iterator[Fault]:
    over: set[str] = set()
    for before, run in itertools.pairwise(client.runs):
        step = _step(before, run)
        if run.epoch != before.epoch:
            over.add(before.epoch)
        if run.epoch in over:
            yield Fault("told older epoch" if run.how == ANEW else "older epoch", step)
            over.clear()
        elif run.how == GAP:
            yield Fault("gap" if run.epoch != before.epoch or run.first > before.last else "back", step)
        elif run.how in (NEW_HUB, RESUMED) and run.first <= before.last:
            yield Fault("back", step)


def _step(before: Run, run: Run) -> str:
    return f"{run.edge} {run.epoch}:{run.first} ({run.how}) after {before.edge} {before.epoch}:{before.last}"
