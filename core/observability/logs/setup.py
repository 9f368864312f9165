"""The setup of logging: one line per record on stderr, in rotating files if configured, and in memory."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.config.setting import shown
from observability.errors import ConfigError
from observability.logs.files import LogFileHandler
from observability.logs.formats import JsonFormatter, LineFormatter, short_name
from observability.logs.log_ring import OURS, LogRing
from observability.logs.repeats import RepeatFilter

logger = logging.getLogger(__name__)

# The names of our handlers begin with this.
_HANDLERS: Final = f"{OURS}."


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


class HeldRecords(logging.Handler):
    """Holds the records of a start that has not read yet how it is to log."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def pass_on(self) -> None:
        """Logs the records, and holds no further ones."""
        root = logging.getLogger()
        root.removeHandler(self)
        for record in self._records:
            root.handle(record)


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
    for handler in [handler for handler in root.handlers if (handler.name or "").startswith(_HANDLERS)]:
        root.removeHandler(handler)
        handler.close()
    repeats = RepeatFilter()
    for handler in handlers:
        handler.set_name(_HANDLERS + type(handler).__name__)
        handler.setFormatter(make_formatter(config, process))
        handler.addFilter(repeats)
        root.addHandler(handler)
    root.setLevel(config.log_level)
    # picows logs a line per connection at INFO. A logger's own level overrides the root's, so it must not be below it.
    logging.getLogger("picows").setLevel(max(logging.WARNING, root.level))
    return ring


def make_formatter(config: Config, process: str = "") -> logging.Formatter:
    """Returns a formatter of the configured format."""
    return JsonFormatter(process) if config.log_format == "json" else LineFormatter(process)


def log_stray_output() -> None:
    """Logs what Python prints on stderr by itself: warnings, and exceptions that end the process or a thread, or that
    nobody can catch."""

    def log_exception(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, traceback)
            return
        logger.critical("an exception ends the process", exc_info=(kind, error, traceback))

    def log_thread_exception(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None:
            logger.error(
                "an exception has ended a thread", exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback)
            )

    def log_unraisable(ignored: sys.UnraisableHookArgs) -> None:
        error = ignored.exc_value
        logger.error(
            "%s: %r", ignored.err_msg or "an exception is ignored", ignored.object,
            exc_info=None if error is None else (type(error), error, ignored.exc_traceback),
        )  # fmt: skip

    logging.captureWarnings(True)
    sys.unraisablehook = log_unraisable
    sys.excepthook = log_exception
    threading.excepthook = log_thread_exception


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
