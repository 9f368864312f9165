"""The supervisor: forks one hub and several workers, replaces those that end, and takes all of them down.

It has no loop, no thread, no database and serves nobody: there is next to nothing in it that could fail.

    supervisor ── keeps the listening sockets, the mapping, the wake-up channels
    ├── hub          slot 0
    ├── worker-1     slot 1, listening sockets of place 0
    └── worker-2     slot 2, listening sockets of place 1

    SIGTERM, SIGINT   workers first, then the hub; a second one ends all at once
    SIGHUP            the workers one by one: a new one serves before the old one drains
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from observability.errors import EXIT_FAILED, EXIT_INTERRUPTED
from observability.memory.mapping import HUB_SLOT, ProcessSlot, ProcessState, SharedMapping
from observability.processes.child import HANDLED, begin_child, set_title
from observability.processes.control import RpcSocket, control_pair, send_rpc_socket
from observability.processes.wakeup import WakeUp

logger = logging.getLogger(__name__)

# Who lived this long does not keep dying. The first to die is replaced at once, those that follow after pauses.
STABLE_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 5.0
# Beyond the grace that clients get, for a process to end by itself.
KILL_MARGIN_SECONDS: Final = 5.0

Listeners = tuple[socket.socket, ...]


@dataclass(frozen=True, slots=True)
class ChildContext:
    """What a child is given: its slot, and its ways to the others."""

    mapping: SharedMapping
    slot: ProcessSlot
    control: socket.socket
    rpc_sockets: tuple[RpcSocket, ...]
    """To the hub, if it lives; for the hub to each worker. Further ones come over `control`."""
    wakeups: Mapping[int, WakeUp]
    """By the worker's slot."""
    listeners: Listeners = ()


ChildMain = Callable[[ChildContext], int]


@dataclass(slots=True)
class _Place:
    """What has to be filled by a process: the hub's place, or one per worker."""

    listeners: Listeners = ()
    is_hub: bool = False
    quick_deaths: int = 0
    start_at: float | None = 0.0
    """When the next process is due, by the monotonic clock; None while there is one."""


@dataclass(slots=True)
class _Child:
    """One living process."""

    pid: int
    slot: ProcessSlot
    place: _Place
    control: socket.socket
    started: float
    serves: bool = False
    leave_by: float | None = None
    """Asked to end, and killed if it has not by then."""
    replaces: _Child | None = field(default=None, repr=False)
    """Who leaves once this one serves."""


class Supervisor:
    """Runs until a signal ends it, or until a process fails before everything has served once."""

    def __init__(
        self,
        mapping: SharedMapping,
        listeners: Sequence[Listeners],
        *,
        run_hub: ChildMain,
        run_worker: ChildMain,
        grace_seconds: float,
        on_serving: Callable[[], None],
        margin_seconds: float = KILL_MARGIN_SECONDS,
    ) -> None:
        """`mapping` has a slot for the hub, one per worker, and one to spare."""
        assert len(mapping.workers) > len(listeners), "a slot to spare is what a replacement needs"
        self._mapping = mapping
        self._mains: dict[bool, ChildMain] = {True: run_hub, False: run_worker}
        self._leave_seconds = grace_seconds + margin_seconds
        self._on_serving = on_serving
        self._wakeups = {slot.number: WakeUp() for slot in mapping.workers}
        self._places = [_Place(is_hub=True), *(_Place(listeners=mine) for mine in listeners)]
        self._children: dict[int, _Child] = {}
        self._to_replace: list[_Child] = []
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._has_served = False
        self._is_stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Forks, watches, and returns the exit code when nobody is left."""
        wake_read, wake_write = socket.socketpair()
        with wake_read, wake_write, self._selector:
            return self._run(wake_read, wake_write)

    def _run(self, wake_read: socket.socket, wake_write: socket.socket) -> int:
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        # A signal handler only takes a note; a byte here ends the wait.
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._note_signal)
        self._selector.register(wake_read, selectors.EVENT_READ)
        set_title("supervisor")
        while self._children or not self._is_stopping:
            self._start_due()
            for key, _ in self._selector.select(self._wait_seconds()):
                if key.data is None:
                    wake_read.recv(4096)
                else:
                    self._on_control(key.data)
            self._reap()
            noted, self._signals = self._signals, []
            for noted_number in noted:
                if not self._on_signal(noted_number):
                    return EXIT_INTERRUPTED
            self._end_overdue()
        return self._exit_code

    # -- starting

    def _start_due(self) -> None:
        """Starts every process that is due; the hub first, so that workers find it."""
        now = time.monotonic()
        for place in self._places:
            if place.start_at is not None and place.start_at <= now and not self._is_stopping:
                place.start_at = None
                self._start(place)

    def _start(self, place: _Place, replaces: _Child | None = None) -> None:
        slot = self._mapping.hub if place.is_hub else self._free_slot()
        if place.is_hub:
            self._mapping.generation += 1
        ours, theirs = control_pair()
        rpc_sockets, others = self._make_rpc_sockets(slot)
        slot.occupy(0, time.monotonic_ns())
        parent_pid = os.getpid()
        sys.stdout.flush()
        # A signal must not meet the parent's handlers in the child: it waits until the child has its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        pid = os.fork()
        if pid == 0:
            for sock in (ours, *(rpc_socket.sock for _, rpc_socket in others)):
                sock.close()
            self._be_child(
                place,
                ChildContext(self._mapping, slot, theirs, rpc_sockets, self._wakeups, place.listeners),
                parent_pid,
            )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        slot.pid = pid
        theirs.close()
        child = _Child(pid, slot, place, ours, time.monotonic(), replaces=replaces)
        self._children[pid] = child
        self._selector.register(ours, selectors.EVENT_READ, child)
        for rpc_socket in rpc_sockets:
            rpc_socket.sock.close()
        for other, rpc_socket in others:
            send_rpc_socket(other.control, rpc_socket)
            rpc_socket.sock.close()

    def _free_slot(self) -> ProcessSlot:
        return next(slot for slot in self._mapping.workers if slot.state == ProcessState.FREE)

    def _make_rpc_sockets(self, slot: ProcessSlot) -> tuple[tuple[RpcSocket, ...], list[tuple[_Child, RpcSocket]]]:
        """Returns the new process's ends of its channels, and for whom the other ends are."""
        generation = self._mapping.generation
        mine, others = [], []
        for child in self._children.values():
            if (slot.number == HUB_SLOT) != (child.slot.number == HUB_SLOT):
                here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                here.setblocking(False)
                there.setblocking(False)
                mine.append(RpcSocket(child.slot.number, generation, here))
                others.append((child, RpcSocket(slot.number, generation, there)))
        return tuple(mine), others

    def _be_child(self, place: _Place, context: ChildContext, parent_pid: int) -> None:
        """Becomes the process of a slot; never returns."""
        code = EXIT_FAILED
        try:
            begin_child(context.slot.name, parent_pid)
            self._selector.close()
            for child in self._children.values():
                child.control.close()
            for listeners in {place.listeners for place in self._places} - {place.listeners}:
                for sock in listeners:
                    sock.close()
            code = self._mains[place.is_hub](context)
        except BaseException:
            logger.exception("%s failed", context.slot.name)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    # -- watching

    def _wait_seconds(self) -> float | None:
        due = [child.leave_by for child in self._children.values() if child.leave_by is not None]
        if not self._is_stopping:
            due += [place.start_at for place in self._places if place.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _on_control(self, child: _Child) -> None:
        try:
            data = child.control.recv(1)
        except ConnectionError:
            data = b""
        if not data:
            # It has ended, or is about to: what is left of it comes with SIGCHLD.
            self._selector.unregister(child.control)
            return
        child.serves = True
        if child.replaces is not None:
            self._let_go(child.replaces)
            child.replaces = None
        if (
            not self._has_served
            and len(self._children) == len(self._places)
            and all(other.serves for other in self._children.values())
        ):
            self._has_served = True
            self._on_serving()

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._on_end(child, os.waitstatus_to_exitcode(status))

    def _on_end(self, child: _Child, code: int) -> None:
        child.slot.clear()
        if child.control in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(child.control)
        child.control.close()
        if child in self._to_replace:
            self._to_replace.remove(child)
        if self._is_stopping:
            self._stop_hub_when_alone()
            return
        if child.leave_by is not None:
            self._replace_next()
            return
        for successor in self._children.values():
            if successor.replaces is child:
                # It was to leave for this one anyway.
                successor.replaces = None
                return
        cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if child.replaces is not None:
            logger.error("%s %s before it served; those it was to follow stay", child.slot.name, cause)
            self._to_replace.clear()
            return
        if not self._has_served and code > 0:
            # What it says of the configuration it would say again.
            self._exit_code = code
            self._stop()
            return
        self._plan_restart(child.place, child.started)
        logger.error("%s (process %d) %s and is started again", child.slot.name, child.pid, cause)

    def _plan_restart(self, place: _Place, started: float) -> None:
        now = time.monotonic()
        if now - started >= STABLE_SECONDS:
            place.quick_deaths = 0
        pause = FIRST_PAUSE_SECONDS * 2 ** (place.quick_deaths - 1) if place.quick_deaths else 0.0
        place.quick_deaths += 1
        place.start_at = now + min(pause, MAX_PAUSE_SECONDS)

    # -- ending

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _on_signal(self, number: int) -> bool:
        """Does what a signal asks for; returns whether to go on."""
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_stopping:
                self._kill_all()
                return False
            logger.info("stopping")
            self._stop()
        elif number == signal.SIGHUP and not self._is_stopping:
            workers = [child for child in self._children.values() if not child.place.is_hub]
            is_replacing = any(child.leave_by is not None or child.replaces is not None for child in workers)
            self._to_replace = [child for child in workers if child.leave_by is None]
            if not is_replacing:
                self._replace_next()
        return True

    def _stop(self) -> None:
        self._is_stopping = True
        for child in self._children.values():
            if not child.place.is_hub:
                self._let_go(child)
        self._stop_hub_when_alone()

    def _stop_hub_when_alone(self) -> None:
        """Ends the hub once no worker is left that could ask it anything."""
        if all(child.place.is_hub for child in self._children.values()):
            for child in self._children.values():
                self._let_go(child)

    def _let_go(self, child: _Child) -> None:
        if child.leave_by is None:
            child.leave_by = time.monotonic() + self._leave_seconds
            os.kill(child.pid, signal.SIGTERM)

    def _replace_next(self) -> None:
        """Starts a worker in the place of the next one that is to be replaced."""
        if self._to_replace and not self._is_stopping:
            old = self._to_replace.pop(0)
            logger.info("%s is replaced", old.slot.name)
            self._start(old.place, replaces=old)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.leave_by is not None and child.leave_by <= now:
                logger.warning("%s (process %d) did not end in time and is killed", child.slot.name, child.pid)
                child.leave_by = now + KILL_MARGIN_SECONDS
                os.kill(child.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in self._children.values():
            os.waitpid(child.pid, 0)
            child.slot.clear()
        self._children.clear()
