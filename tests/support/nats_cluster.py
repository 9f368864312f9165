"""Three real NATS servers of one cluster, with the configuration of deploy/nats on ports of this moment."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hosts import wait_until
from nats_server import NatsServer
from places import HERE, Place
from server_process import ROOT, TIMEOUT_SECONDS, free_port

CONFIG = ROOT / "deploy" / "nats" / "nats.conf"
NODES = ("nats-1", "nats-2", "nats-3")
# At a place of its own.
ROUTE_PORT = 6222
MONITORING_PORT = 8222
# Another program may take a port that was free a moment ago.
ATTEMPTS = 5


class NatsCluster:
    """Three servers, of which any two are enough: on this host, or each at a place of its own."""

    def __init__(self, folder: Path, places: Sequence[Place] = (HERE, HERE, HERE)) -> None:
        self._folder = folder
        self._places = dict(zip(NODES, places, strict=True))
        self.nodes: dict[str, NatsServer] = {}
        for attempt in range(ATTEMPTS):
            try:
                self._start(attempt)
                break
            except AssertionError:
                self.close()
                if attempt == ATTEMPTS - 1:
                    raise
        try:
            wait_until(self.is_complete)
        except BaseException:
            self.close()
            raise

    def engine(self, user: str, place: Place = HERE) -> str:
        """Returns the address for a user of the configuration: `desk` or `edge`; the server at a place comes first."""
        nodes = sorted(self.nodes.values(), key=lambda node: node.place is not place)
        inbox = "?inbox=_INBOX_edge" if user == "edge" else ""
        return f"nats://{user}:{_password(user)}@{','.join(node.address for node in nodes)}{inbox}"

    def leader_of(self, stream: str) -> str:
        """Returns the name of the server that leads a stream, as those that are alive say."""
        return wait_until(lambda: self._leader_of(stream))

    def kill(self, name: str) -> None:
        """Ends a server by SIGKILL."""
        self.nodes[name].kill()

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()

    def _start(self, attempt: int) -> None:
        routes = {
            name: f"{place.address}:{free_port() if place is HERE else ROUTE_PORT}"
            for name, place in self._places.items()
        }
        self.nodes = {}
        for name, place in self._places.items():
            directory = self._folder / f"{name}-{attempt}"
            directory.mkdir()
            monitoring = "-1" if place is HERE else str(MONITORING_PORT)
            config = _config_of(name, routes, directory)
            self.nodes[name] = NatsServer(directory, "-m", monitoring, config=config, place=place)

    def is_complete(self) -> bool:
        """Whether all three are known to be there by the one that leads them."""
        clusters = [found.get("meta_cluster", {}) for found in self._told("")]
        return any(
            cluster.get("cluster_size") == len(NODES)
            and sum(peer["current"] for peer in cluster.get("replicas", [])) == len(NODES) - 1
            for cluster in clusters
        )

    def _leader_of(self, stream: str) -> str:
        for found in self._told("?accounts=true&streams=true"):
            for account in found.get("account_details", []):
                for each in account.get("stream_detail", []):
                    leader: str = each.get("cluster", {}).get("leader", "")
                    if each["name"] == stream and leader in self.nodes and self.nodes[leader].is_alive:
                        return leader
        return ""

    def _told(self, query: str) -> list[dict[str, Any]]:
        """Returns what each server that is alive says of JetStream."""
        told = []
        for node in self.nodes.values():
            if node.is_alive:
                with urllib.request.urlopen(f"{node.monitoring}/jsz{query}", timeout=TIMEOUT_SECONDS) as answer:
                    told.append(json.load(answer))
        return told


def _password(user: str) -> str:
    return f"password-of-{user}"


def _config_of(name: str, routes: dict[str, str], directory: Path) -> str:
    """Returns the configuration of one server, as its operator would change that of deploy/nats."""
    host, _, port = routes[name].partition(":")
    others = ", ".join(f"nats://{address}" for other, address in routes.items() if other != name)
    text = CONFIG.read_text("utf-8")
    for pattern, changed in (
        (r"server_name: nats-1", f"server_name: {name}"),
        (r"(?m)^port: 4222$", "port: -1"),
        (r"store_dir: \S+", f'store_dir: "{directory / "store"}"'),
        (r"port: 6222", f"host: {host}, port: {port}"),
        (r"routes: \[.*\]", f"routes: [{others}]"),
        (r"\$DESK_PASSWORD", _password("desk")),
        (r"\$EDGE_PASSWORD", _password("edge")),
    ):
        text, count = re.subn(pattern, changed, text)
        assert count == 1, f"deploy/nats/nats.conf has {pattern!r} {count} times"
    return text
