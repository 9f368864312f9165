"""The log of refusals: escaped, and bounded per second."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from observability.http11.refusals import Malformed, NotFound, Unprocessable
from observability.routing.refusal_log import REFUSAL_LINES_PER_SECOND, RefusalLog


def test_a_refusal_is_logged_as_one_line_that_no_peer_can_forge(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    RefusalLog(clock).write("192.0.2.1", Malformed("value 'a\nrefused \x1b[31m\u2028'"))
    assert caplog.messages == ["refused 192.0.2.1: 400 value 'a\\nrefused \\x1b[31m\\u2028'"]


def test_a_refused_request_is_logged_with_its_path_and_parameters(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = RefusalLog(clock)
    faults = [{"parameter": name, "error": "is required"} for name in ("a", "b\n", "c", "d", "e")]
    log.write("192.0.2.1", Unprocessable(faults[:1]), "GET /api/trades")
    log.write("192.0.2.1", Unprocessable(faults), "GET /api/\x1b" + "x" * 1000)
    log.write("192.0.2.1", NotFound(), "GET /none")
    assert caplog.messages[0] == "refused 192.0.2.1: 422 a: is required (GET /api/trades)"
    assert caplog.messages[1].startswith(
        "refused 192.0.2.1: 422 a: is required; b\\n: is required; c: is required; and 2 more (GET /api/\\x1bxxx"
    )
    assert len(caplog.messages[1]) < 1000
    assert caplog.messages[2] == "refused 192.0.2.1: 404 no such path (GET /none)"


def test_lines_per_second_are_bounded_and_the_rest_is_counted(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = RefusalLog(clock)
    for _ in range(100):
        log.write("192.0.2.1", NotFound())
    assert len(caplog.messages) == REFUSAL_LINES_PER_SECOND
    clock.advance(1)
    log.write("192.0.2.1", NotFound())
    assert caplog.messages[REFUSAL_LINES_PER_SECOND] == "90 more refusals were not logged"
    clock.advance(1)
    log.write("192.0.2.1", NotFound())
    assert len(caplog.messages) == REFUSAL_LINES_PER_SECOND + 3
