"""The first steps of a forked process: it resets its signals, ties its life to its parent, and names itself."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

COMMAND: Final = "observability"

# <linux/prctl.h>
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
# proc(5), /proc/pid/stat: where argv lies in memory; counted from the field after the name in parentheses.
_ARG_START: Final = 48 - 3
_ARG_END: Final = 49 - 3

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""The signals that a parent handles, and blocks while it forks."""


def begin_child(name: str, parent_pid: int) -> None:
    """Undoes what the parent had set up for itself. Ends the process if the parent is already dead."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C reaches every process of the terminal, but only the parent acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # SIGKILL: without a parent nothing could replace or stop this process, and what must survive is on disk.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    if os.getppid() != parent_pid:
        os._exit(1)
    set_title(name)


def set_title(name: str) -> None:
    """Names this process for `ps` and `top`, where the system allows it."""
    if sys.platform != "linux":
        return
    # The kernel keeps 15 characters: `top` shows obs-worker-1.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"obs-{name}".encode()[:15], 0, 0, 0)
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        room = end - start
        if room > 0:
            title = f"{COMMAND}: {name}".encode()[: room - 1]
            ctypes.memset(start, 0, room)
            ctypes.memmove(start, title, len(title))
