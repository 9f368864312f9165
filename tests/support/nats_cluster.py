"""Three real NATS servers of one cluster, with the configuration of deploy/nats on ports of this moment."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from hosts import wait_until
from nats_server import NatsServer
from server_process import ROOT, TIMEOUT_SECONDS, free_port

CONFIG = ROOT / "deploy" / "nats" / "nats.conf"
NODES = ("nats-1", "nats-2", "nats-3")
# Another program may take a port that was free a moment ago.
ATTEMPTS = 5


class NatsCluster:
    """Three servers, of which any two are enough."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            wait_until(self._is_complete)
        except BaseException:
            self.close()
            raise

    def engine(self, user: str) -> str:
        """Returns the address for a user of the configuration: `desk` or `edge`."""
        return f"nats://{user}:{_password(user)}@{','.join(node.address for node in self.nodes.values())}"

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
        routes = {name: free_port() for name in NODES}
        self.nodes = {}
        for name in NODES:
            directory = self._folder / f"{name}-{attempt}"
            directory.mkdir()
            self.nodes[name] = NatsServer(directory, "-m", "-1", config=_config_of(name, routes, directory))

    def _is_complete(self) -> bool:
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


def _config_of(name: str, routes: dict[str, int], directory: Path) -> str:
    """Returns the configuration of one server, as its operator would change that of deploy/nats."""
    others = ", ".join(f"nats://127.0.0.1:{port}" for other, port in routes.items() if other != name)
    text = CONFIG.read_text("utf-8")
    for pattern, changed in (
        (r"server_name: nats-1", f"server_name: {name}"),
        (r"(?m)^port: 4222$", "port: -1"),
        (r"store_dir: \S+", f'store_dir: "{directory / "store"}"'),
        (r"port: 6222", f"host: 127.0.0.1, port: {routes[name]}"),
        (r"routes: \[.*\]", f"routes: [{others}]"),
        (r"\$DESK_PASSWORD", _password("desk")),
        (r"\$EDGE_PASSWORD", _password("edge")),
    ):
        text, count = re.subn(pattern, changed, text)
        assert count == 1, f"deploy/nats/nats.conf has {pattern!r} {count} times"
    return text
