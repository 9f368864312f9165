"""Logging: one readable line per record to stderr, rotating files if asked for, and the last records in memory.

No record is sent anywhere else, and nothing here is called from a hot path.

    2025-10-21T22:00:00.123Z INFO     hub: started with 3 symbols
    2025-10-21T22:00:00.124Z INFO     worker-1 worker: one of several processes
    2025-10-21T22:00:00.125Z ERROR    store: cannot write
        | Traceback (most recent call last):
        | ...

Only a record starts in the first column, and what a peer sent is escaped, so that nobody can forge a line.
"""

from __future__ import annotations

import logging
import re
import sys
from logging.handlers import RotatingFileHandler
from typing import Any, Final

from observability.core.config import LOG_LEVELS, Config
from observability.core.errors import ConfigError
from observability.core.settings import shown
from observability.core.timestamps import NS_PER_S, IsoFormatter

LOG_FILE: Final = "observability"
MAX_FILE_BYTES: Final = 10_000_000
BACKUP_FILES: Final = 5
RING_SLOTS: Final = 1000
MAX_MESSAGE_CHARS: Final = 4096

_OURS: Final = "observability."
_CONTINUATION: Final = "    | "

# C0 and C1 controls forge lines and drive terminals; U+2028/9 end a line for some readers; bidirectional controls
# (Unicode TR 36, section 2.6) show a line in another order than it is in; lone surrogates are no text and break JSON.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    r"""Returns `text` with everything that is not plain text as `\x0a` or `\u2028`."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def short_name(logger_name: str) -> str:
    """Returns the module of one of our loggers, and any other name as it is."""
    return logger_name.rpartition(".")[2] if logger_name.startswith(_OURS) else logger_name


class LineFormatter(logging.Formatter):
    """Formats a record as the module's docstring shows. One per handler: the handler's lock covers its memory.

    `process` stands before the module, if several processes log to the same place.
    """

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = f"{process} " if process else ""
        self._iso = IsoFormatter()

    def format(self, record: logging.LogRecord) -> str:
        time = self._iso(int(record.created * NS_PER_S))
        name = escape(short_name(record.name))
        lines = [f"{time} {record.levelname:<8} {self._process}{name}: {escape(record.getMessage())}"]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        for text in (record.exc_text, record.stack_info):
            if text:
                lines.extend(_CONTINUATION + escape(line) for line in text.split("\n"))
        return "\n".join(lines)


class LogRing(logging.Handler):
    """The last records, for whoever asks over the API; memory is bounded in slots and in characters per slot."""

    def __init__(self, slots: int = RING_SLOTS) -> None:
        super().__init__()
        self._slots: list[tuple[int, str, str, str] | None] = [None] * slots
        self._written = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                message = f"{message} ({type(error).__name__}: {error})"
            self.write(int(record.created * NS_PER_S), record.levelname, short_name(record.name), message)
        except Exception:
            self.handleError(record)

    def write(self, ts_ns: int, level: str, logger: str, message: str) -> None:
        """Keeps one line that came some other way than through logging: the engine's own log, say."""
        line = (ts_ns, level.upper(), escape(logger), escape(message[:MAX_MESSAGE_CHARS]))
        with self.lock:  # type: ignore[union-attr]  # made by Handler.__init__
            self._slots[self._written % len(self._slots)] = line
            self._written += 1

    def recent(self, level: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Returns up to `limit` lines of `level` or worse, newest first; raises ValueError for an unknown level."""
        least = 0
        if level is not None:
            if level.upper() not in LOG_LEVELS:
                raise ValueError(f"level: {shown(level)}, expected one of {', '.join(LOG_LEVELS)}")
            least = LOG_LEVELS.index(level.upper())
        wanted = frozenset(LOG_LEVELS[least:])
        with self.lock:  # type: ignore[union-attr]  # made by Handler.__init__
            size = len(self._slots)
            lines = [self._slots[i % size] for i in range(self._written - 1, max(self._written - size, 0) - 1, -1)]
        iso = IsoFormatter()
        found = [line for line in lines if line is not None and (least == 0 or line[1] in wanted)]
        return [
            {"timestamp": iso(ts_ns), "level": name, "logger": logger, "message": message}
            for ts_ns, name, logger, message in found[: max(limit, 0)]
        ]


def configure_logging(config: Config, process: str = "") -> LogRing:
    """Sets up this process's logging and returns the ring of its last records; a second call replaces the first's.

    `process` tells the files of several processes apart, since two must not rotate the same one: `worker-1` logs to
    `observability-worker-1.log`. Raises ConfigError if the files cannot be written.
    """
    ring = LogRing()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), ring]
    if config.log_dir is not None:
        handlers.append(_file_handler(config, process))
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if (handler.name or "").startswith(_OURS)]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        handler.set_name(_OURS + type(handler).__name__)
        handler.setFormatter(LineFormatter(process))
        root.addHandler(handler)
    root.setLevel(config.log_level)
    # It logs a line per connection at INFO. A logger's own level beats the root's, hence not below it either.
    logging.getLogger("picows").setLevel(max(logging.WARNING, root.level))
    return ring


def _file_handler(config: Config, process: str) -> RotatingFileHandler:
    assert config.log_dir is not None
    path = config.log_dir / (f"{LOG_FILE}-{process}.log" if process else f"{LOG_FILE}.log")
    try:
        config.log_dir.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            path, maxBytes=MAX_FILE_BYTES, backupCount=BACKUP_FILES, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        fault = f"LOG_DIR: {shown(config.log_dir)}, expected a directory to write in ({error.strerror})"
        raise ConfigError([fault]) from None
