"""A child process: how it is forked, what it is given, and how its life is tied to its parent's."""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from observability.errors import EXIT_FAILED
from observability.memory.mapping import ProcessSlot, SharedMapping
from observability.processes.control import RpcSocket
from observability.processes.surroundings import SURVIVED
from observability.processes.wakeup import WakeUp

logger = logging.getLogger(__name__)

COMMAND: Final = "observability"

# <linux/prctl.h>
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
# proc(5), /proc/pid/stat: where argv lies in memory; counted from the field after the name in parentheses.
_ARG_START: Final = 48 - 3
_ARG_END: Final = 49 - 3

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *SURVIVED)
"""The signals that a parent handles, and blocks while it forks."""

Listeners = tuple[socket.socket, ...]


@dataclass(frozen=True, slots=True)
class ChildContext:
    """What a child is given: its slot in the mapping, and its connections to the other processes."""

    mapping: SharedMapping
    slot: ProcessSlot
    control: socket.socket
    rpc_sockets: tuple[RpcSocket, ...]
    """A worker's to the hub, if that is alive, or the hub's to each worker. Later ones arrive over `control`."""
    wakeups: Mapping[int, WakeUp]
    """By the slot of a worker."""
    listeners: Listeners = ()

    def wake_workers(self) -> None:
        """Wakes every worker that is alive."""
        # hot: once per tick (benchmarks/bench_tick.py)
        for worker in self.mapping.workers:
            if worker.pid:
                self.wakeups[worker.number].wake()


ChildMain = Callable[[ChildContext], int]
"""Runs a child; returns its exit code."""


def fork_child(
    main: ChildMain, context: ChildContext, inherited: Iterable[socket.socket | selectors.BaseSelector]
) -> int:
    """Forks a process that runs `main`, and returns its pid. The child closes `inherited`, which are the parent's."""
    parent_pid = os.getpid()
    sys.stdout.flush()
    # A signal must not meet the parent's handlers in the child: it waits until the child has its own.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = os.fork()
    if pid == 0:
        _run_child(main, context, inherited, parent_pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    return pid


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


def _run_child(
    main: ChildMain, context: ChildContext, inherited: Iterable[socket.socket | selectors.BaseSelector], parent_pid: int
) -> NoReturn:
    code = EXIT_FAILED
    try:
        _tie_to_parent(parent_pid)
        set_title(context.slot.name)
        for resource in inherited:
            resource.close()
        code = main(context)
    except BaseException:
        logger.exception("%s failed", context.slot.name)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tie_to_parent(parent_pid: int) -> None:
    """Resets the signal handling of the parent, and ends the process with the parent, even if that is dead already."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C and the end of the terminal reach every process in it, but only the parent acts on them.
    for number in (signal.SIGINT, *SURVIVED):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # SIGKILL: without a parent nothing could replace or stop this process, and what must survive is on disk.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    if os.getppid() != parent_pid:
        os._exit(EXIT_FAILED)
