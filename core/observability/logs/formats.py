"""The two formats of our log: lines for people, and lines of JSON for programs (`LOG_FORMAT`).

    2025-10-21T22:00:00.123Z INFO     snapshot.hub: started with 3 symbols
    2025-10-21T22:00:00.124Z INFO     worker-1 server.worker: one of several processes
    2025-10-21T22:00:00.125Z ERROR    store.writer: the store cannot write
        | Traceback (most recent call last):
        | ...

    {"timestamp":"2025-10-21T22:00:00.123Z","level":"INFO","process":"worker-1","pid":17,"logger":"routing.refusal_log",
     "message":"refused 192.0.2.1: 404 no such path (GET /x)","peer":"192.0.2.1","request":"8c1f"}

Only a record starts in the first column, and text from a peer is escaped, so that no peer can forge a line. What a
record is about is logged with `extra={"ids": {...}}`: ids by which lines of several programs are put together.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import orjson

from observability.clocks.timestamps import NS_PER_S, IsoFormatter
from observability.encoding import encode_json
from observability.logs.log_ring import OURS, escape

_OURS: Final = f"{OURS}."
_CONTINUATION: Final = "    | "


def short_name(logger_name: str) -> str:
    """Returns the name of a logger without `observability.`, which all of ours begin with."""
    return logger_name.removeprefix(_OURS)


class LineFormatter(logging.Formatter):
    """Formats a record as a line for people. Each handler has its own formatter, protected by the handler's lock.

    `process` precedes the logger if several processes log to the same place.
    """

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = f"{process} " if process else ""
        self._iso = IsoFormatter()

    def format(self, record: logging.LogRecord) -> str:
        time = self._iso(int(record.created * NS_PER_S))
        name = escape(short_name(record.name))
        unlogged = getattr(record, "unlogged", 0)
        more = f" ({unlogged} more like it were not logged)" if unlogged else ""
        lines = [f"{time} {record.levelname:<8} {self._process}{name}: {escape(record.getMessage())}{more}"]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        for text in (record.exc_text, record.stack_info):
            if text:
                lines.extend(_CONTINUATION + escape(line) for line in text.split("\n"))
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, with its ids beside the message, and its traceback as one string."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = {"process": process} if process else {}
        self._iso = IsoFormatter()

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": self._iso(int(record.created * NS_PER_S)),
            "level": record.levelname,
            **self._process,
            "pid": os.getpid(),
            "logger": escape(short_name(record.name)),
            "message": escape(record.getMessage()),
        }
        for name, value in getattr(record, "ids", {}).items():
            if value is not None and value != "":
                line.setdefault(name, escape(value) if isinstance(value, str) else value)
        if unlogged := getattr(record, "unlogged", 0):
            line["unlogged"] = unlogged
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = escape(f"{type(error).__name__}: {error}")
            line["traceback"] = _unforged(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = _unforged(record.stack_info)
        try:
            return encode_json(line).decode()
        except orjson.JSONEncodeError:
            # An id that JSON has no form for.
            return orjson.dumps(line, default=str).decode()


def _unforged(text: str) -> str:
    """Escapes all but the ends of lines, which JSON escapes."""
    return "\n".join(escape(line) for line in text.split("\n"))
