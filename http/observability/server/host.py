"""A host of several processes: their listening sockets, the mapping they share, and the supervisor that runs them."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Final

from observability.cluster.desk import Desk
from observability.cluster.failover.standby import stand_by
from observability.config.config import Config
from observability.connections.tls import make_context
from observability.errors import EXIT_FAILED, ObservabilityError
from observability.logs.log_ring import LogRing
from observability.logs.setup import configure_logging, reopen_log_files
from observability.memory.layout import SUPERVISOR
from observability.memory.mapping import SharedMapping
from observability.metrics.assembly import history_budget
from observability.notify.route_file import AlertFile
from observability.processes.child import ChildContext
from observability.processes.listeners import open_listeners
from observability.processes.service_manager import ServiceManager
from observability.processes.supervisor import HostMains, Supervisor
from observability.server.hub_process import Announce, HubProcess
from observability.server.process import ServerProcess, new_run_id, run_process
from observability.server.receiving.aggregator_process import AggregatorProcess
from observability.server.receiving.edge_process import EdgeProcess
from observability.server.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

# One for the hub, and one that is free while every worker lives: a replacement starts before the old one ends.
_FURTHER_SLOTS: Final = 2


def run_host(
    config: Config, alert_file: AlertFile, announce: Announce, service_manager: ServiceManager, desk: Desk | None = None
) -> int:
    """Serves with several workers until a signal ends it; returns the exit code. Without a `desk` this host is alone.
    Raises OSError if the port cannot be opened, ConfigError if the TLS certificate and key do not match."""
    if config.tls_cert is not None and config.tls_key is not None:
        make_context(config.tls_cert, config.tls_key)
    listeners = open_listeners(config.hosts, config.port, config.workers)
    port = int(listeners[0][0].getsockname()[1])
    history_bytes = history_budget(config.max_symbols, config.max_strategies).size_bytes
    mapping = SharedMapping(
        config.workers + _FURTHER_SLOTS,
        config.max_symbols,
        history_bytes,
        max_positions=config.max_positions,
        first_role=config.role,
    )

    run_id = new_run_id()

    def log_to_mapping(context: ChildContext) -> LogRing:
        return configure_logging(config, context.slot.name, LogRing(mapping.logs()[context.slot.name]))

    def run_hub(context: ChildContext) -> int:
        log_ring = log_to_mapping(context)
        if desk is not None and not _stands_by(config, desk):
            return EXIT_FAILED
        return _run(lambda: HubProcess(config, alert_file, log_ring, announce, ServiceManager(), run_id, desk, context))

    def run_edge(context: ChildContext) -> int:
        log_to_mapping(context)
        assert desk is not None, "an edge has a desk"
        return _run(lambda: EdgeProcess(config, desk, context))

    def run_aggregator(context: ChildContext) -> int:
        log_to_mapping(context)
        assert desk is not None, "an aggregator has a desk"
        return _run(lambda: AggregatorProcess(config, desk, context))

    def run_worker(context: ChildContext) -> int:
        log_to_mapping(context)
        return _run(lambda: WorkerProcess(config, context))

    supervisor = Supervisor(
        mapping,
        listeners,
        HostMains(
            run_hub=run_edge if config.is_edge else run_aggregator if config.is_aggregator else run_hub,
            run_worker=run_worker,
            on_serving=lambda: announce(port, mapping.size_bytes),
            reopen_logs=reopen_log_files,
        ),
        service_manager,
        grace_seconds=config.shutdown_grace_seconds,
    )
    configure_logging(config, ring=LogRing(mapping.logs()[SUPERVISOR]))
    # The garbage collector never visits objects that exist by now, so no child writes to their pages, and all share
    # them.
    gc.collect()
    gc.freeze()
    try:
        return supervisor.run()
    finally:
        for sock in {sock for mine in listeners for sock in mine}:
            sock.close()


def _run(make: Callable[[], ServerProcess]) -> int:
    try:
        run_process(make)
    except (ObservabilityError, OSError) as error:
        logger.critical("%s", error)
        return EXIT_FAILED
    return 0


def _stands_by(config: Config, desk: Desk) -> bool:
    """Returns whether this hub leads after it has stood by."""
    try:
        return stand_by(config, desk, ServiceManager())
    except (ObservabilityError, OSError) as error:
        logger.critical("%s", error)
        return False
