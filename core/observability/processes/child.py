"""What a forked process does before anything else: it takes its own name, and makes sure not to outlive its parent.

No loop here, and nothing of what the process is for.
"""

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
# proc(5), /proc/pid/stat: the place of argv in memory; counted from the field behind the name in parentheses.
_ARG_START: Final = 48 - 3
_ARG_END: Final = 49 - 3

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""What a parent handles, and blocks while it forks."""


def begin_child(name: str, parent_pid: int) -> None:
    """Resets what the parent had set for itself. If the parent is gone already, the process ends here."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C reaches every process of the terminal: the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # SIGKILL: nobody is there to replace or stop this process any more, and all that must last is on disk.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    if os.getppid() != parent_pid:
        os._exit(1)
    set_title(name)


def set_title(name: str) -> None:
    """Names this process for `ps` and `top`; where that cannot be done, it keeps the name it has."""
    if sys.platform != "linux":
        return
    # 15 characters are all there is room for: `top` shows obs-worker-1.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"obs-{name}".encode()[:15], 0, 0, 0)
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        room = end - start
        if room > 0:
            title = f"{COMMAND}: {name}".encode()[: room - 1]
            ctypes.memset(start, 0, room)
            ctypes.memmove(start, title, len(title))
