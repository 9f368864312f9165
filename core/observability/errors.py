"""The exception tree, and the exit statuses of a process.

The protocol layer's refusals, which carry an HTTP status, are a tree of their own (`http11/refusals.py`).

    ObservabilityError
    ├── ConfigError        the configuration has faults; lists all of them
    ├── CapacityError      a preallocated structure is full (symbols, series, collectors)
    ├── EventError         an event cannot be used; says which field and why
    ├── EventRefused       a collector has no room for an event; says which bound is reached
    ├── SourceError        a recording or feed cannot be read; says where
    │   └── MissingPackage a package is needed to read it; says which
    ├── CheckpointError    a saved state cannot be restored; says which part and why
    ├── BenchError         a benchmark cannot be run; says which part and why
    ├── HubUnavailable     a worker's hub does not answer; says why
    └── StoreError         the store cannot be opened or read; says which file and why
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
"""After a second SIGINT or SIGTERM, which cuts the shutdown short: the status that a shell reports for SIGINT."""

# msgspec quotes an unexpected value in full, however long it is. The names of all types of events fit.
MAX_FAULT_CHARACTERS: Final = 300


class ObservabilityError(Exception):
    """The root of every error that this project raises on purpose."""


class ConfigError(ObservabilityError):
    """The configuration has faults; `faults` lists each as `NAME: given, expected ...`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("invalid configuration:\n" + "\n".join(f"  {fault}" for fault in self.faults))


class CapacityError(ObservabilityError):
    """A structure with preallocated memory is full."""


class EventError(ObservabilityError):
    """An event cannot be used."""


class EventRefused(ObservabilityError):
    """A subscriber of the bus has no room for an event, and has taken nothing of it. `field` is what needs the room."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


class SourceError(ObservabilityError):
    """A recording or feed cannot be read."""


class MissingPackage(SourceError):
    """A recording cannot be read without a package that is not installed."""


class CheckpointError(ObservabilityError):
    """A saved state cannot be restored."""


class StoreError(ObservabilityError):
    """The store cannot be opened or read."""


class BenchError(ObservabilityError):
    """A benchmark, or one of the programs that it needs, cannot be run."""


class HubUnavailable(ObservabilityError):
    """A worker's hub is not running, or does not answer."""
