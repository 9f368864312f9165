"""The documents of a recording: REST documents and lines of the log as they were, beside the frames of a segment.

    00000007.documents   | record | record | ...     appended to, one write per record

    record   size and CRC of what follows; time; length of the name; name; content, deflated

The first record of a name in a file is the dictionary of the later ones, so that a document that has changed little
takes few bytes, and any of them is decoded from two records.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S, format_iso_ms
from observability.encoding import encode_json
from observability.logs.log_ring import LogLine, LogRing
from observability.recorder.layout import documents_path
from observability.recorder.segment import FLAGS, write_all

LOGS: Final = "logs"
"""The name of the lines of the log since the record before, a JSON array."""

INTERVAL_NS: Final = 10 * NS_PER_S
# The encoding of a document takes at most a thousandth of the time.
COST_FACTOR: Final = 1000
# A larger one is not recorded.
MAX_DOCUMENT_BYTES: Final = 4_000_000
LOGS_NS: Final = NS_PER_S
MAX_LINES: Final = 500
"""Of each log in a second. The newest are recorded, and a line before them says how many are not."""

_LEVEL: Final = 6
_HEAD: Final = struct.Struct("<II")
_CHECKED: Final = struct.Struct("<qB")


class Document(NamedTuple):
    """A version of a document, and the time of the tick that it was of."""

    ts_ns: int
    body: bytes


class DocumentWriter:
    """Appends documents to the file of a new segment."""

    def __init__(self, directory: Path, number: int) -> None:
        """Raises OSError."""
        self._file = os.open(documents_path(directory, number), FLAGS, 0o600)
        self._keys: dict[str, bytes] = {}

    def append(self, name: str, ts_ns: int, body: bytes) -> int:
        """Appends a version; returns how many bytes it takes. Raises OSError, after which nothing may be appended."""
        # An empty dictionary is none.
        deflater = zlib.compressobj(_LEVEL, wbits=-15, zdict=self._keys.get(name, b""))
        self._keys.setdefault(name, body)
        word = name.encode()
        record = _CHECKED.pack(ts_ns, len(word)) + word + deflater.compress(body) + deflater.flush()
        write_all(self._file, _HEAD.pack(len(record), zlib.crc32(record)) + record)
        return _HEAD.size + len(record)

    def close(self) -> None:
        os.close(self._file)


class DocumentReader:
    """Reads the documents of one segment, also while they are written."""

    def __init__(self, directory: Path, number: int) -> None:
        self._path = documents_path(directory, number)
        self._end = 0
        self._times: dict[str, list[int]] = {}
        self._places: dict[str, list[tuple[int, int]]] = {}
        """Where the content of each version lies in the file, by name."""

    def refresh(self) -> None:
        """Finds what has been added. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._end)
                data = file.read()
        except FileNotFoundError:
            return
        at = 0
        while at + _HEAD.size <= len(data):
            size, crc = _HEAD.unpack_from(data, at)
            start, end = at + _HEAD.size, at + _HEAD.size + size
            if end > len(data) or size < _CHECKED.size or zlib.crc32(memoryview(data)[start:end]) != crc:
                break
            ts_ns, length = _CHECKED.unpack_from(data, start)
            content = start + _CHECKED.size + length
            name = data[start + _CHECKED.size : content].decode(errors="replace")
            self._times.setdefault(name, []).append(ts_ns)
            self._places.setdefault(name, []).append((self._end + content, end - content))
            at = end
        self._end += at

    @property
    def names(self) -> list[str]:
        return [*self._times]

    def newest(self, name: str, time_ns: int) -> Document | None:
        """Returns the newest version by a time, or None. Raises OSError, and ValueError if it is damaged."""
        return next(self.newest_first(name, time_ns), None)

    def newest_first(self, name: str, time_ns: int) -> Iterator[Document]:
        """Yields the versions by a time, the newest first. Raises OSError, and ValueError if one is damaged."""
        for at in range(bisect_right(self._times.get(name, []), time_ns) - 1, -1, -1):
            yield self._version(name, at)

    def oldest_first(self, name: str, start_ns: int, end_ns: int) -> Iterator[Document]:
        """Yields the newest version before a time, and those from then until another. Raises OSError, and ValueError if
        one is damaged."""
        times = self._times.get(name, [])
        for at in range(max(0, bisect_left(times, start_ns) - 1), bisect_right(times, end_ns)):
            yield self._version(name, at)

    def _version(self, name: str, at: int) -> Document:
        places = self._places[name]
        key = b"" if at == 0 else self._inflated(places[0], b"")
        return Document(self._times[name][at], self._inflated(places[at], key))

    def _inflated(self, place: tuple[int, int], key: bytes) -> bytes:
        offset, size = place
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        inflater = zlib.decompressobj(-15, zdict=key)
        try:
            body = inflater.decompress(data, MAX_DOCUMENT_BYTES)
        except zlib.error as error:
            raise ValueError(f"{self._path}: a document is damaged: {error}") from None
        if not inflater.eof:
            raise ValueError(f"{self._path}: a document is damaged, or has more than {MAX_DOCUMENT_BYTES} bytes")
        return body


class DocumentRounds:
    """Decides which document is recorded with a tick: one at most, each about every ten seconds of what is shown. One
    that takes long to encode comes more rarely. Lines of the log are recorded once a second."""

    def __init__(
        self, names: Sequence[str], encode: Callable[[str], bytes], logs: Sequence[tuple[bytes, LogRing]], clock: Clock
    ) -> None:
        """`encode` returns a document as of now. `logs` has each log with the members that say whose it is."""
        self._encode = encode
        self._clock = clock
        self._names = names
        self._due = dict.fromkeys(names, (0, 0))
        """Until when a document is not recorded again: of the time that is shown, and of the monotonic clock."""
        self._next = 0
        self._logs = logs
        self._positions = [0] * len(logs)
        self._logs_due_ns = 0

    def on_tick(self, ts_ns: int) -> Iterator[tuple[str, bytes]]:
        """Yields what is to be recorded with the tick of a time."""
        # hot: once per tick (benchmarks/bench_recorder.py)
        now_ns = self._clock.mono_ns()
        name = self._names[self._next]
        self._next = (self._next + 1) % len(self._names)
        due_ns, due_mono_ns = self._due[name]
        if now_ns >= due_mono_ns and not due_ns - INTERVAL_NS <= ts_ns < due_ns:
            body = self._encode(name)
            cost_ns = self._clock.mono_ns() - now_ns
            self._due[name] = ts_ns + INTERVAL_NS, now_ns + COST_FACTOR * cost_ns
            if len(body) <= MAX_DOCUMENT_BYTES:
                yield name, body
        if now_ns >= self._logs_due_ns:
            self._logs_due_ns = now_ns + LOGS_NS
            lines = self._new_lines()
            if lines:
                yield LOGS, b"[%b]" % b",".join(lines)

    def _new_lines(self) -> list[bytes]:
        found: list[tuple[int, bytes]] = []
        for at, (members, ring) in enumerate(self._logs):
            lines, self._positions[at], left_out = ring.since(self._positions[at], MAX_LINES)
            if left_out and lines:
                lines.insert(0, _line_about(left_out, lines[0].moment_ns))
            found += [(line.moment_ns, b"{%b,%b}" % (line.members, members)) for line in lines]
        return [line for _, line in sorted(found, key=lambda one: one[0])]


def _line_about(left_out: int, moment_ns: int) -> LogLine:
    """Returns a line that says how many lines of its log are not recorded."""
    line = {
        "timestamp": format_iso_ms(moment_ns),
        "level": "WARNING",
        "logger": "observability.recorder.documents",
        "message": f"lines that came here and are not recorded, as more than {MAX_LINES} came at once: {left_out:,}",
    }
    return LogLine(moment_ns, encode_json(line)[1:-1])
