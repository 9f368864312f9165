"""A ZeroMQ publisher in a process of its own, which a test commands and kills.

No tests here. Run as a script it is that process: it binds, prints its port, and obeys the lines of its stdin.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import zmq

from server_process import free_port

TIMEOUT_MS = 60_000


class Publisher:
    """An XPUB socket, which sees who subscribes, or a PUSH socket."""

    def __init__(self, port: int | None = None, kind: str = "XPUB") -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port or free_port()), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._answer())

    def send(self, topic: str, *messages: Any, first_number: int | None = None) -> None:
        """Publishes messages as [topic, JSON], or with numbers as [topic, JSON, number]. Returns once they are sent."""
        frames = []
        for place, message in enumerate(messages):
            text = message if isinstance(message, str) else json.dumps(message)
            number = [] if first_number is None else [str(first_number + place)]
            frames.append([topic, text, *number])
        self.send_frames(*frames)

    def send_frames(self, *messages: list[str]) -> None:
        self._command("send", messages)

    def wait_for_subscriber(self) -> None:
        """Waits until somebody subscribes who had not before."""
        self._command("wait", None)

    def wait_for_leaving(self) -> None:
        """Waits until the last subscriber has gone."""
        self._command("left", None)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _command(self, verb: str, argument: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, argument]) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _obey(port: str, kind: str) -> None:
    socket = zmq.Context().socket(getattr(zmq, kind))
    socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
    socket.setsockopt(zmq.SNDTIMEO, TIMEOUT_MS)
    socket.set_hwm(0)
    socket.bind(f"tcp://127.0.0.1:{port}")
    sys.stdout.write(port + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        verb, argument = json.loads(line)
        if verb == "send":
            for frames in argument:
                socket.send_multipart([frame.encode() for frame in frames])
        else:
            wanted = b"\1" if verb == "wait" else b"\0"
            while not socket.recv().startswith(wanted):
                pass
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _obey(*sys.argv[1:])
