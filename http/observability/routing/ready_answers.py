"""Ready answers: the whole bytes of an answer by the whole bytes of its request.

Polling clients send the same bytes again and again. Until the next frame their answer is the same too, so that such a
request takes a look-up and a write. They are counted together, by `count_sent`, and of small ones only some are timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.http11.messages import Request
from observability.memory.counters import DURATION_BOUNDS_SECONDS

MAX_ANSWERS: Final = 256
"""Beyond this, requests are answered one by one."""
ALIKE_NS: Final = round(DURATION_BOUNDS_SECONDS[0] * NS_PER_S)
"""Answers that took less than this may be counted together: it is the lowest bound of `http_request_duration_seconds`.
"""

SMALL_BYTES: Final = 16 * 1024
"""Answers of up to so many bytes take about as long as each other: nearly all of it is the system call."""

CountAnswers = Callable[[str, str, int, int, int], None]
"""Counts answers by method, route and status. The last two are the nanoseconds that they took together, and their
number."""


class ReadyAnswer:
    """One answer, with its labels for the counters, and how often it has been sent since it was last counted."""

    __slots__ = ("data", "is_small", "method", "pattern", "sent", "spent_ns", "status", "timed")

    def __init__(self, data: bytes, method: str, pattern: str, status: int) -> None:
        self.data = data
        self.method = method
        self.pattern = pattern
        self.status = status
        self.is_small = len(data) <= SMALL_BYTES
        """Whether it may be sent without being timed."""
        self.sent = 0
        # How many of them were timed, and how long those took together.
        self.timed = 0
        self.spent_ns = 0


class ReadyAnswers:
    """The answers that hold until `clear`, which is called on each frame and at least once per second: their Date must
    not grow old either."""

    __slots__ = ("_answers", "_small_ns", "get", "uncounted")

    def __init__(self) -> None:
        self._answers: dict[bytes, ReadyAnswer] = {}
        self.uncounted: list[ReadyAnswer] = []
        """Answers that have been sent since they were last counted."""
        # How long the small answer took that was timed last.
        self._small_ns = 0
        # hot: once per request (observability bench --only rest)
        self.get = self._answers.get

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, request: Request, answer: ReadyAnswer) -> None:
        """Keeps the answer to a request whose head is memoised; any other may hold a secret, or is not sent again."""
        data = request.head.memoised
        if data is not None and len(self._answers) < MAX_ANSWERS:
            self._answers[data] = answer

    def add_timed(self, answer: ReadyAnswer, spent_ns: int) -> None:
        """Notes an answer that was sent and timed."""
        if not answer.sent:
            self.uncounted.append(answer)
        answer.sent += 1
        answer.timed += 1
        answer.spent_ns += spent_ns
        if answer.is_small:
            self._small_ns = spent_ns

    def count_sent(self, count: CountAnswers) -> None:
        """Passes to `count` what has been sent since the last call; an answer that was not timed counts as taking as
        long as the last one that was."""
        for answer in self.uncounted:
            spent_ns = answer.spent_ns + (answer.sent - answer.timed) * self._small_ns
            count(answer.method, answer.pattern, answer.status, spent_ns, answer.sent)
            answer.sent = answer.timed = answer.spent_ns = 0
        self.uncounted.clear()

    def clear(self) -> None:
        self._answers.clear()
