"""A host whose processes do nothing but print, for the tests of the supervisor.

python tests/support/supervised.py NAME, one of the behaviours below
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

from observability.memory.mapping import ProcessState, SharedMapping
from observability.processes.child import ChildContext
from observability.processes.control import say_serving
from observability.processes.listeners import open_listeners
from observability.processes.service_manager import ServiceManager
from observability.processes.supervisor import HostMains, Supervisor


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def serve(context: ChildContext) -> int:
    """Serves until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    say(f"start {context.slot.name} of hub {context.mapping.generation} at {time.monotonic()}")
    context.slot.state = ProcessState.SERVING
    say_serving(context.control)
    while not stopping:
        signal.pause()
    say(f"stop {context.slot.name}")
    return 0


def serve_slowly(context: ChildContext) -> int:
    """Takes a while to begin to serve."""
    say(f"starting {context.slot.name}")
    time.sleep(0.5)
    return serve(context)


def die(context: ChildContext) -> int:
    """Serves, and ends at once."""
    say(f"start {context.slot.name} of hub {context.mapping.generation} at {time.monotonic()}")
    say_serving(context.control)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def fail(context: ChildContext) -> int:
    """Cannot start."""
    return 1


def stay(context: ChildContext) -> int:
    """Does not end when it is asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.slot.state = ProcessState.SERVING
    say_serving(context.control)
    while True:
        signal.pause()


MAINS = {
    "serve": (serve, serve),
    "slow-workers": (serve, serve_slowly),
    "dying-workers": (serve, die),
    "failing-hub": (fail, serve),
    "staying": (serve, stay),
}


def main() -> int:
    logging.basicConfig(level="INFO", format="%(message)s")
    run_hub, run_worker = MAINS[sys.argv[1]]
    listeners = open_listeners(["127.0.0.1"], 0, 2)
    supervisor = Supervisor(
        SharedMapping(4, 1),
        listeners,
        HostMains(
            run_hub=run_hub,
            run_worker=run_worker,
            on_serving=lambda: say("all serve"),
            reopen_logs=lambda: say("logs reopened"),
        ),
        ServiceManager.take_from(os.environ),
        grace_seconds=0.1,
        margin_seconds=0.2,
    )
    code = supervisor.run()
    for sock in {sock for mine in listeners for sock in mine}:
        sock.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
