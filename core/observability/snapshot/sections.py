"""The sections of a snapshot, as the serializer sees them: frame > section > part.

    snapshot
    ├── market_data   a group of symbols          {"AAPL": part, "AMZN": part}
    ├── strategy      fields, and two groups      "strategies": {"paper": part}, "positions": [part, part]
    ├── execution     fields
    └── system        fields

A part is the smallest thing that is encoded on its own. The fields of a section are one part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

# One sequence for all parts: a part that replaces another under the same key must never repeat its version, or the
# serializer would keep the bytes of the part that is gone.
_versions = count(1)


class Part(Protocol):
    """A JSON object of the snapshot that keeps its encoded bytes while `version` stays the same."""

    version: int

    def to_json(self) -> dict[str, Any]:
        """Returns the object to encode; called only after `version` has changed."""


class JsonPart:
    """A part that holds a JSON object and raises its version exactly when that object changes."""

    __slots__ = ("_json", "version")

    def __init__(self) -> None:
        self.version = 0
        self._json: dict[str, Any] | None = None

    def offer(self, json: dict[str, Any]) -> None:
        """Replaces the object by `json` if they differ. A field must keep its type: 1, 1.0 and True are equal here, but
        not on the wire."""
        if json != self._json:
            self._json = json
            self.version = next(_versions)

    def to_json(self) -> dict[str, Any]:
        """Returns the object offered last; it must not be changed."""
        return {} if self._json is None else self._json


@dataclass(frozen=True, slots=True)
class Group:
    """Parts under one name: an object by key or, with `as_list`, an array in the order in which the keys were added.

    Without a name the members stand in the section itself. With `touched` the section promises that parts are only
    added, and notes there every part that may have changed; the serializer then looks at no other, and clears it.
    """

    name: str | None
    parts: Mapping[str, Part]
    as_list: bool = False
    touched: dict[str, Part] | None = None


class Section(Protocol):
    """One top-level field of the snapshot."""

    name: str
    groups: tuple[Group, ...]
    is_touched: bool
    """Whether a part may have been added, removed or changed since the serializer last looked, which then clears it."""
    last_input_ns: int | None
    """Arrival (`ts_init`, by the event clock) of the newest input other than heartbeats; None before the first."""

    @property
    def fields(self) -> Part | None:
        """The section's own fields. A plain attribute satisfies this."""

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        """Brings every part up to `now_ns` (event time), raises the `version` of those that changed and, with
        `is_recorded`, appends a row to the history. Called once per tick, before encoding."""
