"""A host of several processes: listening sockets, mapping and supervisor, as a configuration says.

Nothing is served here (see `worker_process.py`, `backend.py`).
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import uvloop

from observability.config.config import Config
from observability.connections.tls import make_context
from observability.errors import EXIT_FAILED, ObservabilityError
from observability.logs.log_ring import LogRing
from observability.logs.setup import configure_logging
from observability.memory.layout import SUPERVISOR
from observability.memory.mapping import SharedMapping
from observability.metrics.alerts.rule import Rule
from observability.metrics.assembly import history_budget
from observability.processes.listeners import open_listeners
from observability.processes.supervisor import ChildContext, Supervisor
from observability.server.hub_process import HubProcess, announce
from observability.server.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

# The hub's, and one more than there are workers: while one is replaced there are two of it.
_FURTHER_SLOTS: Final = 2


def run_host(config: Config, rules: Sequence[Rule]) -> int:
    """Serves with several workers until a signal ends it; returns the exit code. Raises OSError if the port cannot be
    had, ConfigError if the files of TLS do not make a pair."""
    if config.tls_cert is not None and config.tls_key is not None:
        make_context(config.tls_cert, config.tls_key)
    listeners = open_listeners(config.host, config.port, config.workers)
    history_bytes = history_budget(config.max_symbols).size_bytes
    mapping = SharedMapping(config.workers + _FURTHER_SLOTS, config.max_symbols, history_bytes)
    port = int(listeners[0][0].getsockname()[1])

    def log_to_mapping(context: ChildContext) -> LogRing:
        return configure_logging(config, context.slot.name, LogRing(mapping.logs()[context.slot.name]))

    def run_hub(context: ChildContext) -> int:
        log_ring = log_to_mapping(context)
        return _run(HubProcess(config, log_ring, rules, context).run())

    def run_worker(context: ChildContext) -> int:
        log_to_mapping(context)
        return _run(WorkerProcess(config, context).run())

    supervisor = Supervisor(
        mapping,
        listeners,
        run_hub=run_hub,
        run_worker=run_worker,
        grace_seconds=config.shutdown_grace_seconds,
        on_serving=lambda: announce(config, port, mapping.size_bytes),
    )
    configure_logging(config, ring=LogRing(mapping.logs()[SUPERVISOR]))
    # What exists by now is never collected: no child touches the pages, and all share them.
    gc.collect()
    gc.freeze()
    try:
        return supervisor.run()
    finally:
        for sock in {sock for mine in listeners for sock in mine}:
            sock.close()


def _run(main: Coroutine[Any, Any, None]) -> int:
    try:
        uvloop.run(main)
    except (ObservabilityError, OSError) as error:
        logger.critical("%s", error)
        return EXIT_FAILED
    return 0
