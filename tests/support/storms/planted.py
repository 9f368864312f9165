"""`observability` with a planted fault, so that what checks a desk can be seen to find it:

PYTHONPATH=tests/support:core:http python -m storms.planted FAULT serve ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from observability.cli.main import main
from observability.metrics.durability.journal import Journal
from observability.sources.brokers.nats_connection import NatsConnection


def acknowledge_before_the_log() -> None:
    """Senders are answered before their events are in the log of the desk, or on any disk."""

    async def durable(*_: Any) -> bool:
        return True

    Journal.durable = durable  # type: ignore[method-assign]


def renew_without_ttl() -> None:
    """A renewed lease never ends, as with nats-py's `KeyValue.update`."""
    ask = NatsConnection.ask

    async def ask_without(self: NatsConnection, subject: str, data: bytes, headers: Any = None, **more: Any) -> Any:
        if headers and headers.get("Nats-Expected-Last-Subject-Sequence", "0") != "0":
            headers = {name: value for name, value in headers.items() if name != "Nats-TTL"}
        return await ask(self, subject, data, headers, **more)

    NatsConnection.ask = ask_without  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "acknowledge-before-the-log": acknowledge_before_the_log,
    "renew-without-ttl": renew_without_ttl,
}


if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
