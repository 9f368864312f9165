"""The service manager, such as systemd, and what it is told about the server: sd_notify(3) without the library.

    READY=1      the server serves                     RELOADING=1  until the next READY=1
    STOPPING=1   it has begun to stop                  WATCHDOG=1   ticks go out

The socket is named by NOTIFY_SOCKET; without it nothing is sent.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import MutableMapping
from typing import Final

logger = logging.getLogger(__name__)

# A state is sent once, so it waits for a manager that is busy; the watchdog is fed from the tick, and does not.
STATE_SECONDS: Final = 1.0
# Fed this often within its time, so that one late tick does no harm.
WATCHDOG_SHARE: Final = 4

_MICROSECONDS = re.compile(r"[0-9]{1,15}")


class ServiceManager:
    """Tells the service manager of this process. A message that cannot be sent is logged once, and changes nothing."""

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        """`address` is a path, or a name in the abstract namespace after `@`; if it is empty, nothing is sent."""
        self.watchdog_seconds = watchdog_seconds
        """Without a `WATCHDOG=1` in any such time the manager ends the process; None if it does not watch."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._feed_ns = 0 if watchdog_seconds is None else round(watchdog_seconds * 1e9) // WATCHDOG_SHARE
        self._due_ns = 0
        self._is_ready = False
        self._has_failed = False

    @classmethod
    def take_from(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Returns the manager that started this process. Removes its variables, which are not for child processes."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        if not address.startswith(("/", "@")):
            # Among them addresses of other families, such as vsock, by which a virtual machine tells its host.
            return cls()
        watches = _MICROSECONDS.fullmatch(microseconds) and int(microseconds) and pid in ("", str(os.getpid()))
        return cls(address, int(microseconds) / 1e6 if watches else None)

    @property
    def feed_seconds(self) -> float | None:
        """How often the watchdog is fed; None without one."""
        return None if self.watchdog_seconds is None else self._feed_ns / 1e9

    def say_ready(self, status: str) -> None:
        """Says that the server serves; `status` is for `systemctl status`."""
        self._is_ready = True
        self._say(f"READY=1\nSTATUS={status}")

    def say_reloading(self) -> None:
        """Says that the server reads its files again; `say_ready` follows."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def say_stopping(self) -> None:
        """Says that the server has begun to stop."""
        self._say("STOPPING=1\nSTATUS=stopping")

    def feed(self) -> None:
        """Says that ticks go out, if the server is ready and the watchdog due to be fed. Call it with each tick."""
        # hot: once per tick
        if self._feed_ns and self._is_ready and (now_ns := time.monotonic_ns()) >= self._due_ns:
            self._due_ns = now_ns + self._feed_ns
            self._say("WATCHDOG=1", socket.MSG_DONTWAIT)

    def _say(self, message: str, flags: int = 0) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(STATE_SECONDS)
            self._socket.sendto(message.encode(), flags, self._address)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                logger.warning(
                    "the service manager cannot be told %s: %s; further failures are not logged",
                    message.partition("\n")[0], error,
                )  # fmt: skip
