"""A JSON object of the snapshot that raises its version exactly when its JSON changes.

No encoding here (see `observability.snapshot.serializer`).
"""

from __future__ import annotations

from itertools import count
from typing import Any

# One sequence for all parts: a part that replaces another under the same key must never repeat its version, or the
# serializer would keep the bytes of the one that is gone.
_versions = count(1)


class JsonPart:
    """Keeps the last JSON object it was offered."""

    __slots__ = ("_json", "version")

    def __init__(self) -> None:
        self.version = 0
        self._json: dict[str, Any] | None = None

    def offer(self, json: dict[str, Any]) -> None:
        """Takes `json` over if it differs. A field keeps its type: 1, 1.0 and True are equal here, not on the wire."""
        if json != self._json:
            self._json = json
            self.version = next(_versions)

    def to_json(self) -> dict[str, Any]:
        """Returns the last object offered; not to be changed."""
        return {} if self._json is None else self._json
