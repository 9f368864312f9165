"""The text/event-stream form of messages, and the ids that clients come back with."""

from __future__ import annotations

import pytest

from event_reader import Event, EventParser
from observability.stream.event_stream import NOWHERE, Position, encode_event, event_id, parse_event_id


def test_a_message_becomes_an_event_of_its_type_and_keeps_its_bytes() -> None:
    message = b'{"type":"trade","seq":7,"note":"a: b"}'
    parser = EventParser()
    assert list(parser.events(encode_event(message, b"e:1").splitlines(keepends=True))) == [
        Event("trade", message, "e:1")
    ]


def test_a_message_without_an_id_leaves_that_of_the_client() -> None:
    data = encode_event(b'{"type":"metrics_update"}', b"e:1") + encode_event(b'{"type":"lag"}')
    assert [event.last_id for event in EventParser().events(data.splitlines(keepends=True))] == ["e:1", "e:1"]


@pytest.mark.parametrize("lanes", [{}, {"trades": 12}, {"trades": 0, "alerts": 10**17}])
def test_an_id_is_read_as_the_position_it_was_made_from(lanes: dict[str, int]) -> None:
    assert parse_event_id(event_id("0123456789abcdef", 42, lanes)) == Position("0123456789abcdef:42", lanes)


NOT_OURS = [
    "",
    "7",
    "e:",
    "e:x",
    "E:1",
    "e:1;",
    "e:1;trades",
    "e:1;nolane=1",
    "e:1;trades=-1",
    "e:1;trades=1\n",
    "e:9" * 19,
]


@pytest.mark.parametrize("text", NOT_OURS)
def test_an_id_that_is_not_ours_is_no_position(text: str) -> None:
    assert parse_event_id(text.encode()) is NOWHERE
