"""The log ring: the newest lines of our own log or the engine's, whatever their text."""

from __future__ import annotations

import os
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.logs.log_ring import MAX_FIELDS_BYTES, MAX_LOGGER_CHARS, MAX_MESSAGE_CHARS, LogRing
from observability.memory import layout
from observability.memory.entry_log import EntryLog
from observability.memory.mapping import SharedMapping

NOON_NS = 1_761_084_000_123_000_000


def documents(ring: LogRing, level: str = "DEBUG", limit: int = layout.LOG_ENTRIES) -> list[dict[str, Any]]:
    return [orjson.loads(b"{%b}" % line.members) for line in ring.newest(level, limit)]


def messages(ring: LogRing, level: str = "DEBUG", limit: int = layout.LOG_ENTRIES) -> list[str]:
    return [line["message"] for line in documents(ring, level, limit)]


def shared_ring() -> tuple[LogRing, LogRing]:
    """Returns a ring in shared memory, and the view that another process has of it."""
    mapping = SharedMapping(3, 1)
    return LogRing(mapping.logs()["worker-1"]), LogRing(mapping.logs()["worker-1"])


@given(count=st.integers(0, 50), slots=st.integers(1, 20), limit=st.integers(0, 60))
def test_the_newest_lines_come_first_up_to_the_limit(count: int, slots: int, limit: int) -> None:
    ring = LogRing(EntryLog(None, slots, 10_000))
    for number in range(count):
        ring.write(number * 1_000_000_000, "INFO", "x", str(number))
    newest_first = [str(number) for number in reversed(range(count))][:slots]
    assert messages(ring, limit=limit) == newest_first[:limit]


def test_a_line_has_time_level_logger_and_message() -> None:
    ring = LogRing()
    ring.write(NOON_NS, "error", "engine", "no route")
    assert documents(ring) == [
        {"timestamp": "2025-10-21T22:00:00.123Z", "level": "ERROR", "logger": "engine", "message": "no route"}
    ]


def test_a_line_of_the_engine_also_has_its_arrival_and_fields() -> None:
    ring = LogRing()
    ring.write_received(NOON_NS, NOON_NS + 1_000_000, "error", "engine", "no route", {"n": 4})
    assert documents(ring) == [
        {
            "timestamp": "2025-10-21T22:00:00.123Z",
            "received": "2025-10-21T22:00:00.124Z",
            "level": "ERROR",
            "logger": "engine",
            "message": "no route",
            "fields": {"n": 4},
        }
    ]


def test_the_level_filters_lines_before_the_limit_applies() -> None:
    ring = LogRing()
    for level in ("CRITICAL", "WARNING", "ERROR", "INFO", "DEBUG", "INFO"):
        ring.write(0, level, "x", level)
    assert messages(ring, "warning", limit=2) == ["ERROR", "WARNING"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        LogRing().newest("loud")


def test_long_loggers_and_messages_are_cut() -> None:
    ring = LogRing()
    ring.write(0, "INFO", "x" * 1000, "a" * 1_000_000)
    (line,) = documents(ring)
    assert (len(line["logger"]), len(line["message"])) == (MAX_LOGGER_CHARS, MAX_MESSAGE_CHARS)


@given(st.text(st.characters()))
def test_any_text_stays_one_line_and_can_be_sent_as_json(text: str) -> None:
    ring = LogRing()
    ring.write(0, "INFO", text, text)
    ring.write_received(0, 0, "info", text, text, {"text": text})
    assert len(documents(ring)) == 2
    for line in documents(ring):
        assert not {"\n", "\r", "\x1b", "\u2028", "\u202e"} & set(line["message"] + line["logger"])


@pytest.mark.parametrize("value", [2**64, "x" * MAX_FIELDS_BYTES])
def test_a_line_is_kept_without_fields_that_cannot_be(value: Any) -> None:
    ring = LogRing()
    ring.write_received(0, 0, "info", "engine", "still here", {"value": value})
    (line,) = documents(ring)
    assert (line["message"], line["fields"]) == ("still here", None)


def test_twenty_of_the_longest_lines_fit() -> None:
    ring = LogRing()
    for _ in range(20):
        # A control character is escaped as six characters, one of which JSON escapes again.
        ring.write_received(0, 0, "info", "\x00" * 1000, "\u202e" * 10_000, {"text": "x" * (MAX_FIELDS_BYTES - 11)})
    assert len(documents(ring)) == 20
    assert all(line["fields"] for line in documents(ring))


def test_another_process_reads_the_same_lines() -> None:
    ring, other = shared_ring()
    for number in range(layout.LOG_ENTRIES + 5):
        ring.write(number, "INFO", "x", str(number))
    assert messages(other) == messages(ring)
    assert (len(messages(other)), messages(other)[-1]) == (layout.LOG_ENTRIES, "5")
    assert other.lines_lost == 0


def test_a_replacement_process_writes_after_the_lines_of_the_dead_one() -> None:
    ring, successor = shared_ring()
    ring.write(0, "INFO", "x", "why I die")
    successor.write(1, "INFO", "x", "I am new")
    assert messages(ring) == ["I am new", "why I die"]


def test_a_forked_child_writes_nothing_to_its_parents_ring() -> None:
    ring, other = shared_ring()
    ring.write(0, "INFO", "x", "parent")
    pid = os.fork()
    if pid == 0:
        ring.write(0, "INFO", "x", "child")
        os._exit(0)
    os.waitpid(pid, 0)
    assert messages(other) == ["parent"]


def test_lines_overwritten_during_a_read_are_counted() -> None:
    ring, reader = shared_ring()
    for number in range(layout.LOG_ENTRIES):
        ring.write(number, "INFO", "x", str(number))
    lines = reader.newest()
    assert b'"999"' in next(lines).members
    for number in range(10):
        ring.write(number, "INFO", "x", "new")
    assert len(list(lines)) == layout.LOG_ENTRIES - 1 - 10
    assert reader.lines_lost == 10
