"""Ready answers: the whole bytes of an answer by the whole bytes of its request.

Polling clients send the same bytes again and again. Until the next frame their answer is the same too, so that such a
request takes a look-up and a write.
"""

from __future__ import annotations

from typing import Final

from observability.http11.messages import Request

MAX_ANSWERS: Final = 256
"""Beyond this, requests are answered one by one."""


class ReadyAnswer:
    """One answer, with its labels for the counters."""

    __slots__ = ("data", "method", "pattern", "status")

    def __init__(self, data: bytes, method: str, pattern: str, status: int) -> None:
        self.data = data
        self.method = method
        self.pattern = pattern
        self.status = status


class ReadyAnswers:
    """The answers that hold until `clear`, which is called on each frame and at least once per second: their Date must
    not grow old either."""

    __slots__ = ("_answers", "get")

    def __init__(self) -> None:
        self._answers: dict[bytes, ReadyAnswer] = {}
        # hot: once per request (observability bench --only rest)
        self.get = self._answers.get

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, request: Request, answer: ReadyAnswer) -> None:
        """Keeps the answer to a request whose head is memoised; any other may hold a secret, or is not sent again."""
        data = request.head.memoised
        if data is not None and len(self._answers) < MAX_ANSWERS:
            self._answers[data] = answer

    def clear(self) -> None:
        self._answers.clear()
