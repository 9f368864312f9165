"""A TCP connection of this process with itself."""

from __future__ import annotations

import contextlib
import socket


class TcpPair:
    """A TCP connection: one side sends without waiting, the other one is read."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.reader = socket.create_connection(server.getsockname(), timeout=60)
            self.sender, _ = server.accept()
        self.sender.setblocking(False)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.reader.recv(size - len(data))
            assert part, f"the connection ended after {len(data)} of {size} bytes"
            data += part
        return data

    def has_nothing_to_read(self) -> bool:
        self.reader.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return not self.reader.recv(1)
        self.reader.settimeout(60)
        return True

    def close(self) -> None:
        self.sender.close()
        self.reader.close()
