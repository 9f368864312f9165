"""Conversion of times between ISO 8601 and nanoseconds."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks import timestamps
from observability.clocks.timestamps import MAX_NS, NS_PER_MS, NS_PER_S, IsoFormatter, format_iso_ms, parse_iso_ns
from observability.errors import EventError

TIMES_NS = st.integers(0, MAX_NS)
NOON = "2012-06-21T12:00:00"
NOON_NS = 1_340_280_000_000_000_000


@given(TIMES_NS)
def test_a_formatted_time_reads_back_to_the_millisecond(ns: int) -> None:
    assert parse_iso_ns(format_iso_ms(ns)) == ns - ns % NS_PER_MS


@given(TIMES_NS)
def test_a_formatted_time_equals_that_of_the_standard_library(ns: int) -> None:
    moment = datetime.fromtimestamp(ns // NS_PER_S, UTC).replace(microsecond=ns % NS_PER_S // NS_PER_MS * 1000)
    assert format_iso_ms(ns) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(st.lists(TIMES_NS, min_size=2, max_size=20))
def test_the_cache_of_a_formatter_never_affects_its_result(times: list[int]) -> None:
    remembering = IsoFormatter()
    assert [remembering(ns) for ns in times] == [IsoFormatter()(ns) for ns in times]


def test_a_time_that_another_thread_formats_meanwhile_affects_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    times = NOON_NS, NOON_NS + 86_400 * NS_PER_S
    formatter = IsoFormatter()
    expected = [formatter(ns) for ns in times]

    def interrupted(seconds: int) -> timedelta:
        monkeypatch.undo()
        # What another thread does while this one is here.
        formatter(times[1])
        return timedelta(seconds=seconds)

    monkeypatch.setattr(timestamps, "timedelta", interrupted)
    assert [formatter(ns) for ns in times] == expected


@given(TIMES_NS, st.integers(-23 * 60, 23 * 60))
def test_a_time_with_any_offset_is_exact_to_the_nanosecond(ns: int, offset_minutes: int) -> None:
    zone = timezone(timedelta(minutes=offset_minutes))
    local = datetime.fromtimestamp(ns // NS_PER_S, UTC).astimezone(zone).isoformat(timespec="seconds")
    assert parse_iso_ns(f"{local[:19]}.{ns % NS_PER_S:09d}{local[19:]}") == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (NOON + "Z", NOON_NS),
        (NOON + "z", NOON_NS),
        (NOON.replace("T", " ") + "Z", NOON_NS),
        (NOON.replace("T", "t") + "Z", NOON_NS),
        (NOON + ".5Z", NOON_NS + 500_000_000),
        (NOON + ".000000001Z", NOON_NS + 1),
        (NOON + "+02:00", NOON_NS - 7200 * NS_PER_S),
        (NOON + "-0400", NOON_NS + 14400 * NS_PER_S),
        ("1970-01-01T00:00:00Z", 0),
        ("2262-04-11T23:47:16.854775807Z", MAX_NS),
    ],
)
def test_every_form_of_rfc_3339_is_accepted(text: str, ns: int) -> None:
    assert parse_iso_ns(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "", NOON, "2012-06-21", "2012-06-21Z", NOON + "Z ", " " + NOON + "Z", NOON + "Z\n", NOON + ".Z",
        NOON + ".1234567890Z", NOON + ",5Z", NOON + "+2", NOON + "+2:00", "2012-13-01T00:00:00Z",
        "2012-02-30T00:00:00Z",
        "2012-06-21T24:00:00Z", "2012-06-21T12:60:00Z", "2012-06-21T12:00:61Z", "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00+00:01", "2262-04-11T23:47:16.854775808Z",
        "9999-12-31T23:59:59Z", "\u0662\u0660\u0661\u0662-06-21T12:00:00Z", "20120621T120000Z", "1340280000",
        "2025-10-21T22:00:00+99:99",
        "2025-10-21T22:00:00+24:00",
        "2025-10-21T22:00:00-10:60",
    ],
)  # fmt: skip
def test_text_that_is_not_a_time_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(EventError, match="time "):
        parse_iso_ns(text)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(EventError):
        assert 0 <= parse_iso_ns(text) <= MAX_NS


def test_a_refusal_shows_only_the_beginning_of_the_text() -> None:
    with pytest.raises(EventError) as raised:
        parse_iso_ns("x" * 1_000_000)
    assert len(str(raised.value)) < 200
