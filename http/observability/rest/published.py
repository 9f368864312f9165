"""What the hub published on the last tick, ready to be answered.

Nothing is encoded here: bytes come from the frame, heads are kept by the ready documents.
"""

from __future__ import annotations

from collections.abc import Callable

from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request
from observability.snapshot.frames import FrameSource

SNAPSHOT = "snapshot"


class Published:
    """Ready documents of the newest frame, made on first request and dropped with the next frame."""

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        self._seq = 0
        self._ready: dict[str, ReadyDocument] = {}

    def snapshot(self, request: Request) -> ReadyDocument:
        """Answers with the snapshot: the same bytes that went to every WebSocket client."""
        return self.document(SNAPSHOT)

    def handler(self, name: str) -> Callable[[Request], ReadyDocument]:
        """Returns what answers with one of the hub's documents."""

        def answer(request: Request) -> ReadyDocument:
            return self.document(name)

        return answer

    def document(self, name: str) -> ReadyDocument:
        """Returns one of the hub's documents, or the snapshot."""
        # hot: once per poll (benchmarks/bench_http.py)
        frame = self._frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        if frame.seq != self._seq:
            self._ready = {}
            self._seq = frame.seq
        ready = self._ready.get(name)
        if ready is None:
            body = frame.payload if name == SNAPSHOT else frame.documents[name]
            ready = self._ready[name] = ReadyDocument(body, f'"{self._frames.epoch}-{frame.seq}"'.encode())
        return ready
