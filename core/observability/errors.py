"""The exception tree, and the statuses with which a process exits.

No exception class of this project is defined anywhere else, except the protocol layer's refusals, which carry a status.

    ObservabilityError
    ├── ConfigError        the configuration has faults; lists every one of them
    ├── CapacityError      a preallocated structure is full (symbols, series, collectors)
    ├── EventError         one event cannot be used; says which field and why
    ├── SourceError        a recording or feed cannot be read; says where
    ├── CheckpointError    a saved state cannot be taken over; says whose and why
    ├── HubUnavailable     a worker's hub does not answer; says why
    └── StoreError         the store cannot be opened, or what it was asked for cannot be had; says which file and why
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
"""After a second SIGINT or SIGTERM, which ends a process without its shutdown: what a shell reports for SIGINT."""

# msgspec quotes a value that is none of those expected, however long it is.
MAX_FAULT_CHARACTERS: Final = 200


class ObservabilityError(Exception):
    """Root of every error this project raises on purpose."""


class ConfigError(ObservabilityError):
    """The configuration has faults; `faults` lists each as `NAME: what was given, what was expected`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("invalid configuration:\n" + "\n".join(f"  {fault}" for fault in self.faults))


class CapacityError(ObservabilityError):
    """A structure whose memory was preallocated is full."""


class EventError(ObservabilityError):
    """One event cannot be used."""


class SourceError(ObservabilityError):
    """A recording or feed cannot be read."""


class CheckpointError(ObservabilityError):
    """A saved state cannot be taken over."""


class StoreError(ObservabilityError):
    """The store cannot be opened, or what it was asked for cannot be had."""


class HubUnavailable(ObservabilityError):
    """A worker's hub is not there, or did not answer."""
