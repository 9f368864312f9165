"""What a process is started with and ends with: the signals that must not kill it, and its standard streams."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

SURVIVED: Final = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that ask a server for something, and would end a process that does not handle them yet or any more."""


def settle(*, is_server: bool = True) -> None:
    """Ignores the signals that must not end a server, and opens the standard streams that the process was started
    without. Any other program ends with its terminal.

    A closed standard stream would be the number of the next file or socket that is opened: the log would go there, and
    libuv ends a process that closes one.
    """
    for number in SURVIVED if is_server else ():
        signal.signal(number, signal.SIG_IGN)
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))


def leave() -> None:
    """Keeps those signals away for the rest of this process, whose handlers are about to go, and those that end it,
    which would make an orderly end look like a death."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (*SURVIVED, signal.SIGTERM, signal.SIGINT))
