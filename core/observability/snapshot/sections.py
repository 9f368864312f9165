"""What a snapshot is made of: sections, groups and parts, as the serializer sees them.

No encoding here (see `snapshot.py`) and no accounting (see the collectors).

    snapshot
    ├── market_data   group of symbols            {"AAPL": part, "AMZN": part}
    ├── strategy      fields, and the groups      "strategies": {"paper": part}, "positions": [part, part]
    ├── execution     fields
    └── system        fields
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Part(Protocol):
    """A JSON object of the snapshot that keeps its encoded bytes while `version` stays the same."""

    version: int

    def to_json(self) -> dict[str, Any]:
        """Returns the object to encode; called only after `version` has changed."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parts under one name: an object by key or, with `as_list`, an array in key order of insertion.

    `name` None puts the members into the section itself.
    """

    name: str | None
    parts: Mapping[str, Part]
    as_list: bool = False


class Section(Protocol):
    """One top-level field of the snapshot."""

    name: str
    groups: tuple[Group, ...]
    last_input_ns: int | None
    """Event time (`ts_init`) of the newest input, None before the first; a heartbeat does not count."""

    @property
    def fields(self) -> Part | None:
        """The section's own fields; a plain attribute will do."""

    def refresh(self, now_ns: int) -> None:
        """Brings every part up to `now_ns` (event time), raises the `version` of those that changed, records a row of
        history. Called once per tick, before encoding."""
