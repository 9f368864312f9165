"""Where programs of a test run: on this host, or on hosts that are network namespaces of their own, joined by a bridge.

    storm ── br0 10.77.0.1
              ├── h1  10.77.0.11     a link that can be cut, and routes to the other hosts that can be blocked
              ├── h2  10.77.0.12
              └── h3  10.77.0.13

The namespaces live as long as their processes. A program that makes hosts is run in namespaces of its own
(`run_apart`), so that nothing is left of them, whatever ends it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_APART = "OBSERVABILITY_TEST_APART"
_UNSHARE = ("unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=KILL")
_BRIDGE = "10.77.0.1"


@dataclass(frozen=True)
class Place:
    """A host."""

    name: str
    address: str
    within: tuple[str, ...] = ()
    """What comes before a command that is to run there."""


HERE = Place("here", "127.0.0.1")


def run_apart() -> None:
    """Runs this program again, in namespaces of its own, if this machine allows it; returns in the program that runs
    there, or if it does not allow it."""
    if _APART in os.environ or subprocess.run([*_UNSHARE, "true"], stderr=subprocess.DEVNULL).returncode:
        return
    arguments = [*_UNSHARE, sys.executable, *sys.orig_argv[1:]]
    os.execvpe(arguments[0], arguments, {**os.environ, _APART: "1"})


def is_apart() -> bool:
    return _APART in os.environ


class Network:
    """Hosts of their own, and what may happen to the network between them. Where this machine allows no namespaces,
    they are addresses of this host, and nothing happens to the network."""

    def __init__(self, names: Sequence[str]) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self.can_part = is_apart()
        if not is_apart():
            self.places = [Place(name, f"127.0.77.{11 + number}") for number, name in enumerate(names)]
            return
        _ip("link set lo up")
        _ip("link add br0 type bridge")
        _ip(f"address add {_BRIDGE}/24 dev br0")
        _ip("link set br0 up")
        self.places = [self._made(name, f"10.77.0.{11 + number}") for number, name in enumerate(names)]

    def cut(self, place: Place) -> None:
        """Cuts a host off from everybody."""
        _ip(f"link set {place.name} down")

    def join(self, place: Place) -> None:
        _ip(f"link set {place.name} up")

    def part(self, one: Place, other: Place) -> None:
        """Lets two hosts not reach each other; others still reach both."""
        _ip(f"route add blackhole {other.address}/32", one)
        _ip(f"route add blackhole {one.address}/32", other)

    def rejoin(self, one: Place, other: Place) -> None:
        _ip(f"route del blackhole {other.address}/32", one)
        _ip(f"route del blackhole {one.address}/32", other)

    def bytes_sent_to(self, place: Place) -> int:
        return int(Path(f"/sys/class/net/{place.name}/statistics/tx_bytes").read_text())

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def _made(self, name: str, address: str) -> Place:
        # It says when it is in its namespace.
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        holder.stdout.readline()
        place = Place(name, address, ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"))
        _ip(f"link add {name} type veth peer name eth0 netns {holder.pid}")
        _ip(f"link set {name} master br0 up")
        _ip("link set lo up", place)
        _ip(f"address add {address}/24 dev eth0", place)
        _ip("link set eth0 up", place)
        return place


def _ip(command: str, place: Place = HERE) -> None:
    subprocess.run([*place.within, "ip", *command.split()], check=True)
