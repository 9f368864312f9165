"""The supervisor: forks one hub and several workers, replaces those that end, and stops all of them.

It has no event loop, thread or database and serves no client, so that there is next to nothing in it that could fail.

    supervisor      keeps the listening sockets, the mapping, the wake-up pipes
    ├── hub         slot 0
    ├── worker-1    slot 1, the first listening sockets
    └── worker-2    slot 2, the second listening sockets

    SIGTERM, SIGINT   stops the workers, then the hub; a second one kills all of them
    SIGHUP            replaces the workers one by one: a new one serves before the old one drains; the hub reads its
                      instruments again
    SIGUSR1           lets every process reopen its log files

A process that ends by itself is restarted: the first time at once, then after growing pauses. If one fails before all
have served, the supervisor ends with its exit code, since a restart would read the same configuration.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from observability.errors import EXIT_INTERRUPTED
from observability.memory.mapping import HUB_SLOT, ProcessSlot, ProcessState, SharedMapping
from observability.processes.child import HANDLED, ChildContext, ChildMain, Listeners, fork_child, set_title
from observability.processes.control import RpcSocket, send_rpc_socket, socket_pair
from observability.processes.service_manager import ServiceManager
from observability.processes.wakeup import WakeUp

logger = logging.getLogger(__name__)

# A child that has run this long is considered stable.
STABLE_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 5.0
# How long a process may take to end by itself, beyond the grace that clients get.
KILL_MARGIN_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Place:
    """The place of one process that must always run: the hub's, or that of one worker."""

    main: ChildMain
    is_hub: bool = False
    listeners: Listeners = ()
    quick_deaths: int = 0
    start_at: float | None = 0.0
    """When the next process is due, by the monotonic clock; None while there is one."""

    def plan_restart(self, started: float) -> None:
        """Makes the next process due: at once after a stable one, otherwise after a pause that doubles each time."""
        now = time.monotonic()
        if now - started >= STABLE_SECONDS:
            self.quick_deaths = 0
        pause = FIRST_PAUSE_SECONDS * 2 ** (self.quick_deaths - 1) if self.quick_deaths else 0.0
        self.quick_deaths += 1
        self.start_at = now + min(pause, MAX_PAUSE_SECONDS)


@dataclass(slots=True)
class _Child:
    """One living process."""

    pid: int
    slot: ProcessSlot
    place: _Place
    control: socket.socket
    started: float
    serves: bool = False
    kill_at: float | None = None
    """Set once it has been asked to end: when it is killed if it still runs."""
    replaces: _Child | None = field(default=None, repr=False)
    """The child that is asked to end once this one serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMains:
    """What the processes of a host run, and what the supervisor itself does at times."""

    run_hub: ChildMain
    run_worker: ChildMain
    on_serving: Callable[[], None]
    """Called once all processes serve."""
    reopen_logs: Callable[[], None]
    """Opens the supervisor's own log files again."""


class Supervisor:
    """Runs until a signal stops it, or until a process fails before all have served."""

    def __init__(
        self,
        mapping: SharedMapping,
        listeners: Sequence[Listeners],
        mains: HostMains,
        service_manager: ServiceManager,
        *,
        grace_seconds: float,
        margin_seconds: float = KILL_MARGIN_SECONDS,
    ) -> None:
        """`mapping` has a slot for the hub, one per worker, and a spare one."""
        assert len(mapping.workers) > len(listeners), "a replacement needs a spare slot"
        self._mapping = mapping
        self._end_seconds = grace_seconds + margin_seconds
        self._mains = mains
        self._service_manager = service_manager
        self._wakeups = {slot.number: WakeUp() for slot in mapping.workers}
        # The hub first, so that workers find it.
        self._places = [_Place(mains.run_hub, is_hub=True)]
        self._places += (_Place(mains.run_worker, listeners=socks) for socks in listeners)
        self._children: dict[int, _Child] = {}
        self._to_replace: list[_Child] = []
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._has_served = False
        self._is_stopping = False
        self._exit_code = 0
        self._status = f"{len(listeners)} workers"
        self._taken_seq = 0

    def run(self) -> int:
        """Forks the processes and watches them; returns the exit code once all have ended."""
        wake_read, wake_write = socket_pair()
        with wake_read, wake_write, self._selector:
            # A signal handler only notes the signal; the byte that is written here ends the wait.
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
                if not self._handle_signals():
                    return EXIT_INTERRUPTED
                self._kill_overdue()
                self._feed_watchdog()
            return self._exit_code

    # -- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.start_at is not None and place.start_at <= now and not self._is_stopping:
                place.start_at = None
                self._start(place)

    def _start(self, place: _Place, replaces: _Child | None = None) -> None:
        """Forks a process for a place, and connects it: a worker with the hub, a hub with every worker."""
        if place.is_hub:
            self._mapping.generation += 1
        slot = self._mapping.hub if place.is_hub else self._free_slot()
        control, child_control = socket_pair()
        rpc_sockets, peer_sockets = self._make_rpc_sockets(slot)
        slot.occupy(0, time.monotonic_ns())
        context = ChildContext(self._mapping, slot, child_control, rpc_sockets, self._wakeups, place.listeners)
        inherited: list[socket.socket | selectors.BaseSelector] = [self._selector, control]
        inherited += (rpc_socket.sock for _, rpc_socket in peer_sockets)
        inherited += (child.control for child in self._children.values())
        for listeners in {other.listeners for other in self._places} - {place.listeners}:
            inherited += listeners
        pid = fork_child(place.main, context, inherited)
        slot.pid = pid
        child = self._children[pid] = _Child(pid, slot, place, control, time.monotonic(), replaces=replaces)
        self._selector.register(control, selectors.EVENT_READ, child)
        child_control.close()
        for rpc_socket in rpc_sockets:
            rpc_socket.sock.close()
        for peer, rpc_socket in peer_sockets:
            send_rpc_socket(peer.control, rpc_socket)
            rpc_socket.sock.close()

    def _free_slot(self) -> ProcessSlot:
        return next(slot for slot in self._mapping.workers if slot.state == ProcessState.FREE)

    def _make_rpc_sockets(self, slot: ProcessSlot) -> tuple[tuple[RpcSocket, ...], list[tuple[_Child, RpcSocket]]]:
        """Returns the RPC sockets of a new process, and each of its peers with the other end."""
        generation = self._mapping.generation
        own, peers = [], []
        for child in self._children.values():
            if (slot.number == HUB_SLOT) != (child.slot.number == HUB_SLOT):
                here, there = socket_pair()
                own.append(RpcSocket(child.slot.number, generation, here))
                peers.append((child, RpcSocket(slot.number, generation, there)))
        return tuple(own), peers

    # -- watching

    def _wait_seconds(self) -> float | None:
        """Returns how long to wait until a child must be killed or started, or the watchdog fed; None for ever."""
        now = time.monotonic()
        waits = [child.kill_at - now for child in self._children.values() if child.kill_at is not None]
        if not self._is_stopping:
            waits += [place.start_at - now for place in self._places if place.start_at is not None]
        if self._service_manager.feed_seconds is not None:
            waits.append(self._service_manager.feed_seconds)
        return max(0.0, min(waits)) if waits else None

    def _feed_watchdog(self) -> None:
        """Feeds the service manager's watchdog if a worker has taken a frame since the last call."""
        if self._service_manager.feed_seconds is not None:
            taken = max((child.slot.taken_seq for child in self._children.values()), default=0)
            if taken != self._taken_seq:
                self._taken_seq = taken
                self._service_manager.feed()

    def _on_control(self, child: _Child) -> None:
        """Notes that a child serves, or that its end of the control socket is closed."""
        try:
            data = child.control.recv(1)
        except ConnectionError:
            data = b""
        if not data:
            # It has ended or is about to; the rest is done when it is reaped.
            self._selector.unregister(child.control)
            return
        child.serves = True
        if child.replaces is not None:
            self._ask_to_end(child.replaces)
            child.replaces = None
        if (
            not self._has_served
            and len(self._children) == len(self._places)
            and all(other.serves for other in self._children.values())
        ):
            self._has_served = True
            self._mains.on_serving()
            self._say_ready()

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._release(child)
                self._on_end(child, os.waitstatus_to_exitcode(status))

    def _release(self, child: _Child) -> None:
        child.slot.clear()
        if child.control in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(child.control)
        child.control.close()
        if child in self._to_replace:
            self._to_replace.remove(child)

    def _on_end(self, child: _Child, code: int) -> None:
        """Decides what follows the end of a child."""
        if self._is_stopping:
            self._stop_hub_after_workers()
            return
        if child.kill_at is not None:
            # It was replaced, and so is the next one.
            self._replace_next()
            return
        for successor in self._children.values():
            if successor.replaces is child:
                # It was about to be replaced anyway.
                successor.replaces = None
                self._replace_next()
                return
        cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if child.replaces is not None:
            logger.error(
                "%s %s before it served; the workers that were to be replaced keep running", child.slot.name, cause
            )
            self._to_replace.clear()
            self._say_ready()
            return
        if not self._has_served and code > 0:
            self._exit_code = code
            self._stop()
            return
        child.place.plan_restart(child.started)
        logger.error("%s (process %d) %s and is started again", child.slot.name, child.pid, cause)

    # -- signals

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _handle_signals(self) -> bool:
        """Does what the noted signals ask for; returns False once all processes have been killed."""
        noted, self._signals = self._signals, []
        for number in noted:
            if number in (signal.SIGTERM, signal.SIGINT):
                if self._is_stopping:
                    self._kill_all()
                    return False
                logger.info("stopping")
                self._stop()
            elif number == signal.SIGUSR1:
                self._mains.reopen_logs()
                for child in self._children.values():
                    os.kill(child.pid, number)
            elif number == signal.SIGHUP and not self._is_stopping:
                self._service_manager.say_reloading()
                for child in self._children.values():
                    if child.place.is_hub:
                        os.kill(child.pid, number)
                self._replace_workers()
        return True

    def _say_ready(self) -> None:
        if self._has_served:
            self._service_manager.say_ready(self._status)

    # -- replacing

    def _replace_workers(self) -> None:
        workers = [child for child in self._children.values() if not child.place.is_hub]
        is_replacing = any(child.kill_at is not None or child.replaces is not None for child in workers)
        self._to_replace = [child for child in workers if child.kill_at is None]
        if not is_replacing:
            self._replace_next()

    def _replace_next(self) -> None:
        """Starts the replacement of the next worker, which is asked to end once that serves."""
        if self._is_stopping:
            return
        if self._to_replace:
            old = self._to_replace.pop(0)
            logger.info("replacing %s", old.slot.name)
            self._start(old.place, replaces=old)
        else:
            self._say_ready()

    # -- stopping

    def _stop(self) -> None:
        self._is_stopping = True
        self._service_manager.say_stopping()
        for child in self._children.values():
            if not child.place.is_hub:
                self._ask_to_end(child)
        self._stop_hub_after_workers()

    def _stop_hub_after_workers(self) -> None:
        """Asks the hub to end once no worker is left that could call it."""
        if all(child.place.is_hub for child in self._children.values()):
            for child in self._children.values():
                self._ask_to_end(child)

    def _ask_to_end(self, child: _Child) -> None:
        if child.kill_at is None:
            child.kill_at = time.monotonic() + self._end_seconds
            os.kill(child.pid, signal.SIGTERM)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.kill_at is not None and child.kill_at <= now:
                logger.warning("%s (process %d) did not end in time and is killed", child.slot.name, child.pid)
                child.kill_at = now + KILL_MARGIN_SECONDS
                os.kill(child.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in self._children.values():
            os.waitpid(child.pid, 0)
            child.slot.clear()
        self._children.clear()
