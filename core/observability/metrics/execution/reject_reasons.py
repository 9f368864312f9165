"""Why orders were rejected: the rejected orders of the session by the text that their report gave, and by venue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from observability.metrics.execution.groups import NO_NAME, OTHER_GROUP

# Texts and venues of which each pair has a count of its own; the rest share one. A text may have a number in it that
# differs each time.
MAX_REASONS: Final = 50
MAX_REASON_LENGTH: Final = 120

ReasonCount = tuple[str, str, int]
"""Text, venue, and how many orders."""


class RejectReasons:
    """Counts each rejected order once."""

    def __init__(self, counts: Iterable[ReasonCount] = ()) -> None:
        self._counts: dict[tuple[str, str], int] = {(text, venue): count for text, venue, count in counts}

    def add(self, text: str, venue: str) -> None:
        """Counts one order."""
        key = (text.strip()[:MAX_REASON_LENGTH] or NO_NAME, venue)
        if key not in self._counts and len(self._counts) >= MAX_REASONS:
            key = (OTHER_GROUP, "")
        self._counts[key] = self._counts.get(key, 0) + 1

    def to_state(self) -> list[ReasonCount]:
        return [(text, venue, count) for (text, venue), count in self._counts.items()]

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the counts, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [{"reason": text, "venue": venue, "orders": count} for (text, venue), count in ordered]
