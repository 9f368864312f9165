"""The last lines of one log, ours or the trading engine's: one process writes them, any process can read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from observability.clocks.timestamps import IsoFormatter
from observability.config.config import LOG_LEVELS
from observability.config.setting import shown
from observability.encoding import encode_json
from observability.memory import layout
from observability.memory.entry_log import EntryLog

OURS: Final = "observability"
"""The source of our own lines, and the first word in the names of our loggers and log files."""

MAX_MESSAGE_CHARS: Final = 4096
MAX_LOGGER_CHARS: Final = 256
MAX_FIELDS_BYTES: Final = 16 * 1024

# C0 and C1 controls forge lines and control terminals; U+2028 and U+2029 end a line for some readers; bidirectional
# controls (Unicode TR 36, section 2.6) reorder what a line shows; lone surrogates are not text and break JSON.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    r"""Returns `text` with everything but plain text escaped, as `\x0a` or `\u2028`."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `members` is its JSON without the braces."""

    moment_ns: int
    """When the line was written, or when it arrived if that is earlier: a clock that is ahead hides no other line."""
    members: bytes


class LogRing:
    """As many of the last lines as an entry log has room for. Only the process that created the ring writes to it: a
    forked child writes nothing until it has a ring of its own."""

    def __init__(self, entries: EntryLog | None = None) -> None:
        """`entries` is in a region that other processes read; without it the memory is private to this process."""
        self._entries = EntryLog(None, layout.LOG_ENTRIES, layout.LOG_DATA_BYTES) if entries is None else entries
        self._pid = os.getpid()
        self._iso = IsoFormatter()

    @property
    def lines_lost(self) -> int:
        """Lines that were overwritten while this process read them."""
        return self._entries.entries_lost

    def write(self, ts_ns: int, level: str, logger: str, message: str) -> None:
        """Appends one line of our own log; called by one thread at a time."""
        self._append(ts_ns, {"timestamp": self._iso(ts_ns)}, level, logger, message, {})

    def write_received(
        self, ts_ns: int, received_ns: int, level: str, logger: str, message: str, fields: Mapping[str, Any]
    ) -> None:
        """Appends one line of the engine. Its fields become null if they take more than `MAX_FIELDS_BYTES` or cannot be
        encoded, such as integers of more than 64 bits."""
        times = {"timestamp": self._iso(ts_ns), "received": self._iso(received_ns)}
        try:
            encoded = encode_json(fields)
        except TypeError:
            encoded = b"null"
        if len(encoded) > MAX_FIELDS_BYTES:
            encoded = b"null"
        further = {"fields": orjson.Fragment(encoded)}
        self._append(min(ts_ns, received_ns), times, level, logger, message, further)

    def newest(self, level: str = "DEBUG", limit: int = layout.LOG_ENTRIES) -> Iterator[LogLine]:
        """Yields up to `limit` lines of `level` or worse, newest first. Raises ValueError for an unknown level."""
        if level.upper() not in LOG_LEVELS:
            raise ValueError(f"level: {shown(level)}, expected one of {', '.join(LOG_LEVELS)}")
        least = LOG_LEVELS.index(level.upper())
        return islice(self._copy(frozenset(LOG_LEVELS[least:]) if least else None), limit)

    def since(self, position: int, limit: int) -> tuple[list[LogLine], int, int]:
        """Returns the lines from a position on, oldest first, the position after them, and how many are left out. Of
        more than `limit` it is the newest ones."""
        end = self._entries.end
        first = max(position, self._entries.start, end - limit)
        found = (self._entries.copy(at) for at in range(first, end))
        lines = [LogLine(entry[0], entry[2]) for entry in found if entry is not None]
        return lines, end, end - position - len(lines)

    def _copy(self, levels: frozenset[str] | None) -> Iterator[LogLine]:
        for moment_ns, level, members in self._entries.newest_first():
            if levels is None or level in levels:
                yield LogLine(moment_ns, members)

    def _append(
        self, moment_ns: int, times: dict[str, str], level: str, logger: str, message: str, further: dict[str, Any]
    ) -> None:
        if os.getpid() != self._pid:
            return
        line = {
            **times,
            "level": level.upper(),
            "logger": escape(logger[:MAX_LOGGER_CHARS]),
            "message": escape(message[:MAX_MESSAGE_CHARS]),
            **further,
        }
        self._entries.append(moment_ns, level.upper(), encode_json(line)[1:-1])
