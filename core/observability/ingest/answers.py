"""Answers to batches of events, and the newest answers by idempotency key.

Older answers, and those from before a restart, are in the durable log (see `gate.py`).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from observability.encoding import encode_json

MAX_FAULTS_LISTED: Final = 100
BUSY_RETRY_SECONDS: Final = 1
"""When a sender may try again while the hub or the disk is behind; such a backlog clears in less."""
# About 20,000 keys of batches without a fault.
MAX_MEMORY_BYTES: Final = 16 * 1024 * 1024
# What an entry takes besides its key and body: three objects, a number, and its places in a dictionary and a list.
_ENTRY_BYTES: Final = 400


@dataclass(frozen=True, slots=True)
class IngestAnswer:
    """An HTTP status and a JSON object: the outcome of the batch, or with `detail` why it was refused."""

    status: int
    body: bytes
    is_replayed: bool = False
    """Whether this repeats the answer to an earlier batch with the same key."""
    retry_after_seconds: int | None = None


@dataclass(slots=True)
class BatchOutcome:
    """The events of one batch, counted by what became of them."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    warned: int = 0
    """Warnings, of which an event may have several."""
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Index and fault of the first `MAX_FAULTS_LISTED` events rejected."""
    warnings: list[dict[str, Any]] = field(default_factory=list)
    """Index, path and text of the first `MAX_FAULTS_LISTED` warnings."""

    def reject(self, index: int, fault: str) -> None:
        self.rejected += 1
        if len(self.faults) < MAX_FAULTS_LISTED:
            self.faults.append({"index": index, "error": fault})

    def warn(self, index: int, path: str, warning: Callable[[], str]) -> None:
        """Notes what the sender of an accepted event should know; `warning` is called only if it is listed."""
        self.warned += 1
        if len(self.warnings) < MAX_FAULTS_LISTED:
            self.warnings.append({"index": index, "path": path, "warning": warning()})

    @property
    def events(self) -> int:
        """How many there were."""
        return self.accepted + self.duplicates + self.rejected

    @property
    def is_refused(self) -> bool:
        """Whether every event was rejected."""
        return bool(self.rejected) and not (self.accepted or self.duplicates)

    @property
    def label(self) -> str:
        """The value of the label `outcome` in the metrics."""
        if not self.rejected:
            return "accepted"
        return "rejected" if self.is_refused else "partial"

    def answer(self) -> IngestAnswer:
        counts = {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": self.faults,
            "rejected_count": self.rejected,
            "warnings": self.warnings,
            "warnings_count": self.warned,
        }
        if not self.is_refused:
            return IngestAnswer(200, encode_json(counts))
        return IngestAnswer(422, encode_json({"detail": "every event was rejected", **counts}))


def refusal(status: int, detail: str, retry_after_seconds: int | None = None) -> IngestAnswer:
    """Returns the answer to a batch that is refused."""
    return IngestAnswer(status, encode_json({"detail": detail}), retry_after_seconds=retry_after_seconds)


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer, the fingerprint of its batch, and the position in the log that must be on disk before it is given."""

    fingerprint: bytes
    answer: IngestAnswer
    position: int


class AnswerMemory:
    """The newest answers by key; the oldest are dropped above a number of bytes, which are what the entries take."""

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Remembered | None:
        return self._entries.get(key)

    def put(self, key: str, remembered: Remembered) -> None:
        assert key not in self._entries, f"key {key!r}: answered twice"
        answer = remembered.answer
        # A copy: the encoder's own bytes keep a kilobyte or more of the heap from being used again.
        remembered = replace(remembered, answer=replace(answer, body=bytes(memoryview(answer.body))))
        self._entries[key] = remembered
        self._bytes += _size(key, remembered)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._entries.popitem(last=False))


def _size(key: str, remembered: Remembered) -> int:
    return sys.getsizeof(key) + sys.getsizeof(remembered.answer.body) + _ENTRY_BYTES
