"""What senders are told of their batches, and the memory of what they were told under a key.

Nothing is decided here (see `ingest.py`), and what a restart must not forget is the log's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from observability.encoding import encode_json

MAX_FAULTS_LISTED: Final = 100
BUSY_RETRY_SECONDS: Final = 1
"""When a sender may try again while the hub or the disk is behind: such a backlog is gone in less."""
# A thousand keys whose batches had every fault that is listed, or about 100,000 that had none.
MAX_MEMORY_BYTES: Final = 16 * 1024 * 1024
_ENTRY_BYTES: Final = 160


@dataclass(frozen=True, slots=True)
class IngestAnswer:
    """An HTTP status, and a JSON object: what became of the batch, or with `detail` why it was not taken."""

    status: int
    body: bytes
    is_replayed: bool = False
    """Whether this is what was answered to an earlier request of the same key."""
    retry_after_seconds: int | None = None


@dataclass(slots=True)
class Tally:
    """What has become of the events of one batch so far."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    """The first `MAX_FAULTS_LISTED` of those rejected."""

    def reject(self, index: int, fault: str) -> None:
        self.rejected += 1
        if len(self.faults) < MAX_FAULTS_LISTED:
            self.faults.append({"index": index, "error": fault})

    @property
    def is_refused(self) -> bool:
        """Whether nothing of it was of use."""
        return bool(self.rejected) and not (self.accepted or self.duplicates)

    @property
    def outcome(self) -> str:
        """The word for it in the metrics."""
        if not self.rejected:
            return "accepted"
        return "rejected" if self.is_refused else "partial"

    def answer(self) -> IngestAnswer:
        counts = {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": self.faults,
            "rejected_count": self.rejected,
        }
        if not self.is_refused:
            return IngestAnswer(200, encode_json(counts))
        return IngestAnswer(422, encode_json({"detail": "every event was rejected", **counts}))


def refusal(status: int, detail: str, retry_after_seconds: int | None = None) -> IngestAnswer:
    """Returns the answer to a batch that is not taken."""
    return IngestAnswer(status, encode_json({"detail": detail}), retry_after_seconds=retry_after_seconds)


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer, the content it was for, and the position in the log that it must not be told before."""

    fingerprint: bytes
    answer: IngestAnswer
    position: int


class AnswerMemory:
    """The newest answers by key, up to a number of bytes."""

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
        self._entries[key] = remembered
        self._bytes += _size(key, remembered)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._entries.popitem(last=False))


def _size(key: str, remembered: Remembered) -> int:
    return len(key) + len(remembered.answer.body) + _ENTRY_BYTES
