"""A bound on how often the same line is logged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from observability.clocks.timestamps import NS_PER_MINUTE

REPEATS_PER_MINUTE: Final = 60
MAX_TEMPLATES: Final = 1_000


@dataclass(slots=True)
class _Template:
    """The lines of one template in one minute, and those left out since the last one that was logged."""

    minute: int
    lines: int = 0
    unlogged: int = 0


class RepeatFilter(logging.Filter):
    """Lets a template, which is a message before its arguments are put in, through `REPEATS_PER_MINUTE` times a minute.

    The next record that passes has the number of those left out as `unlogged`. Records with `is_limited` false always
    pass: those that have a limit of their own, and those of which each one counts. The handlers of a process share one
    filter, and agree on every record.
    """

    def __init__(self, mono_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__()
        self._mono_ns = mono_ns
        self._lock = threading.Lock()
        self._templates: dict[tuple[str, int, str], _Template] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "is_limited", True):
            return True
        passes: bool | None = getattr(record, "passes", None)
        if passes is None:
            with self._lock:
                passes = record.passes = self._take(record)
        return passes

    def _take(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.levelno, str(record.msg))
        minute = self._mono_ns() // NS_PER_MINUTE
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= MAX_TEMPLATES:
                # Messages that are formatted before they are logged are each a template of its own.
                del self._templates[next(iter(self._templates))]
            template = self._templates[key] = _Template(minute)
        elif template.minute != minute:
            template.minute, template.lines = minute, 0
        if template.lines >= REPEATS_PER_MINUTE:
            template.unlogged += 1
            return False
        template.lines += 1
        record.unlogged, template.unlogged = template.unlogged, 0
        return True
