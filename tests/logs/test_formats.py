"""The lines of JSON: one object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from observability.logs.formats import JsonFormatter


def line_of(message: object, *arguments: object, **extra: Any) -> dict[str, Any]:
    """Returns the line of a record, decoded."""
    record = logging.LogRecord("observability.x", logging.ERROR, __file__, 1, message, arguments, None)
    record.__dict__.update(extra)
    text = JsonFormatter("worker-1").format(record)
    assert len(text.splitlines()) == 1
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def test_ids_stand_beside_the_message() -> None:
    line = line_of("refused %s", "192.0.2.1", ids={"peer": "192.0.2.1", "request": "8c1f", "batch": None}, unlogged=3)
    assert {name: line[name] for name in ("level", "process", "logger", "message", "peer", "request", "unlogged")} == {
        "level": "ERROR", "process": "worker-1", "logger": "x", "message": "refused 192.0.2.1", "peer": "192.0.2.1",
        "request": "8c1f", "unlogged": 3,
    }  # fmt: skip
    assert "batch" not in line


def test_an_exception_is_in_the_line_of_its_record() -> None:
    try:
        raise ValueError("of a\nfile")
    except ValueError:
        line = line_of("cannot be read", exc_info=sys.exc_info())
    assert line["error"] == r"ValueError: of a\x0afile"
    assert line["traceback"].startswith("Traceback (most recent call last):\n")


@given(st.text(st.characters()), st.text(st.characters()), st.binary())
def test_no_text_breaks_a_line(text: str, name: str, number: bytes) -> None:
    assert line_of("%s", text, ids={"trade_id": name, "batch": number})["logger"] == "x"


def test_no_id_replaces_what_every_line_has() -> None:
    assert line_of("kept", ids={"message": "forged", "level": "INFO"})["message"] == "kept"
