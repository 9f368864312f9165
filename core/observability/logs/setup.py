"""The setup of logging: one readable line per record on stderr, in rotating files if configured, and in memory.

    2025-10-21T22:00:00.123Z INFO     snapshot.hub: started with 3 symbols
    2025-10-21T22:00:00.124Z INFO     worker-1 server.worker: one of several processes
    2025-10-21T22:00:00.125Z ERROR    store.writer: the store cannot write
        | Traceback (most recent call last):
        | ...

Only a record starts in the first column, and text from a peer is escaped, so that no peer can forge a line.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from observability.clocks.timestamps import NS_PER_S, IsoFormatter
from observability.config.config import Config
from observability.config.setting import shown
from observability.errors import ConfigError
from observability.logs.files import LogFileHandler
from observability.logs.log_ring import OURS, LogRing, escape

logger = logging.getLogger(__name__)

_OURS: Final = f"{OURS}."
_CONTINUATION: Final = "    | "


def short_name(logger_name: str) -> str:
    """Returns the name of a logger without `observability.`, which all of ours begin with."""
    return logger_name.removeprefix(_OURS)


class LineFormatter(logging.Formatter):
    """Formats a record as shown in the module's docstring. Each handler has its own, protected by the handler's lock.

    `process` precedes the logger if several processes log to the same place.
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


class RingHandler(logging.Handler):
    """Appends each record to a ring as one line, which names an exception but leaves its traceback out."""

    def __init__(self, ring: LogRing) -> None:
        super().__init__()
        self._ring = ring

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                message = f"{message} ({type(error).__name__}: {error})"
            self._ring.write(int(record.created * NS_PER_S), record.levelname, short_name(record.name), message)
        except Exception:
            self.handleError(record)


def configure_logging(config: Config, process: str = "", ring: LogRing | None = None) -> LogRing:
    """Sets up this process's logging and returns the ring of its last records, which is `ring` or a new one.

    A second call replaces the setup of the first. `process` tells the files of several processes apart, since two must
    not rotate the same one: `worker-1` logs to `observability-worker-1.log`. Raises ConfigError if the files cannot be
    written.
    """
    ring = LogRing() if ring is None else ring
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), RingHandler(ring)]
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
    # picows logs a line per connection at INFO. A logger's own level overrides the root's, so it must not be below it.
    logging.getLogger("picows").setLevel(max(logging.WARNING, root.level))
    return ring


def reopen_log_files() -> None:
    """Opens this process's log files again, after a program such as logrotate has moved them."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFileHandler):
            handler.reopen()
            logger.info("reopened the log file %s", handler.baseFilename)


def _file_handler(config: Config, process: str) -> LogFileHandler:
    assert config.log_dir is not None
    path = config.log_dir / (f"{OURS}-{process}.log" if process else f"{OURS}.log")
    try:
        return LogFileHandler(path)
    except OSError as error:
        fault = f"LOG_DIR: {shown(config.log_dir)}, expected a writable directory ({error.strerror})"
        raise ConfigError([fault]) from None
