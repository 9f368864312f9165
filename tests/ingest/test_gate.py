"""The gate of ingest: how it counts the events of a batch, which formats it takes, and in which order."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_desk import HEARTBEAT, QUOTE, Desk, body, counts, fill, run
from observability.bus import Remark
from observability.clocks.timestamps import NS_PER_S
from observability.errors import EventRefused
from observability.events import Fill, Print, Quote
from observability.ingest.answers import MAX_FAULTS_LISTED
from observability.ingest.gate import MAX_COMMAS, MAX_EVENTS

# -- outcomes


def test_events_are_published_in_order_with_their_arrival_time() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.clock.advance(7 * NS_PER_S)
        answer = await desk.take(fill(1), QUOTE, fill(2))
        assert [type(event) for event in desk.events] == [Fill, Quote, Fill]
        assert desk.log.fills == ["t1", "t2"]
        assert {(event.ts, event.ts_init) for event in desk.events} == {(7 * NS_PER_S, 7 * NS_PER_S)}
        assert (answer.status, counts(answer)) == (200, (3, 0, 0))

    run(scene)


@pytest.mark.parametrize("ts", [10**17, 4_000_000_000 * NS_PER_S])
def test_an_event_time_far_from_the_clock_is_kept(ts: int) -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.take({**QUOTE, "ts": ts})
        assert [event.ts for event in desk.events] == [ts]

    run(scene)


def test_a_repeated_fill_is_a_duplicate_or_with_other_content_a_conflict() -> None:
    async def scene() -> None:
        desk = Desk()
        answer = await desk.take(fill(1), fill(1), fill(1, price="3"))
        assert counts(answer) == (1, 1, 1)
        (fault,) = body(answer)["rejected"]
        assert fault["index"] == 2
        assert fault["error"].startswith("conflict")
        assert desk.count("ingest_duplicates_total") == 1
        assert desk.count("ingest_rejected_total", reason="conflict") == 1

    run(scene)


def test_a_repeated_print_is_a_duplicate() -> None:
    async def scene() -> None:
        class Prints:
            """Every second print was delivered before."""

            repeated_prints = 0
            taken = 0

            def on_print(self, event: Print) -> None:
                self.taken += 1
                self.repeated_prints += self.taken % 2 == 0

        prints = Prints()
        desk = Desk(prints=prints)
        desk.bus.subscribe(Print, prints.on_print)
        one = {"type": "print", "symbol": "AAPL", "price": 1, "size": 1, "trade_id": "a"}
        assert counts(await desk.take(one, QUOTE, one, HEARTBEAT, fill(1), one)) == (5, 1, 0)
        assert counts(await desk.take(one)) == (0, 1, 0)
        assert desk.count("ingest_duplicates_total") == 2

    run(scene)


def test_a_bad_event_is_rejected_alone_with_the_path_of_its_fault() -> None:
    async def scene() -> None:
        desk = Desk()
        answer = await desk.take(QUOTE, {**QUOTE, "bid": "x"}, QUOTE)
        assert counts(answer) == (2, 0, 1)
        assert body(answer)["rejected"] == [{"index": 1, "error": "Expected a number, got 'x' - at `$[1].bid`"}]
        assert desk.count("ingest_rejected_total", reason="undecodable") == 1

    run(scene)


def test_a_batch_of_bad_events_is_refused_with_every_fault() -> None:
    async def scene() -> None:
        answer = await Desk().take(7, {"type": "none"})
        assert answer.status == 422
        assert [fault["index"] for fault in body(answer)["rejected"]] == [0, 1]

    run(scene)


def test_a_batch_of_duplicates_succeeds() -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.take(fill(1))
        answer = await desk.take(fill(1))
        assert (answer.status, counts(answer)) == (200, (0, 1, 0))

    run(scene)


def test_every_fault_is_counted_and_a_bounded_number_is_listed() -> None:
    async def scene() -> None:
        answer = await Desk().take(QUOTE, *[{"type": "x" * 10_000}] * 300)
        assert body(answer)["rejected_count"] == 300
        assert len(body(answer)["rejected"]) == MAX_FAULTS_LISTED
        assert len(answer.body) < 300 * MAX_FAULTS_LISTED

    run(scene)


@given(st.lists(st.sampled_from(["new", "again", "other", "bad", "quote"]), max_size=30))
def test_every_event_is_counted_once(kinds: list[str]) -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.take(fill(0))
        made = {"new": lambda n: fill(n), "again": lambda _: fill(0), "other": lambda _: fill(0, price="9"),
                "bad": lambda _: {"type": "fill"}, "quote": lambda _: QUOTE}  # fmt: skip
        answer = await desk.take(*(made[kind](number) for number, kind in enumerate(kinds, 1)))
        accepted, duplicates, rejected = counts(answer)
        assert accepted == kinds.count("new") + kinds.count("quote")
        assert duplicates == kinds.count("again")
        assert rejected == kinds.count("other") + kinds.count("bad")

    run(scene)


# -- what the collectors have to say


def test_an_event_that_a_collector_has_no_room_for_is_rejected_with_its_path() -> None:
    async def scene() -> None:
        desk = Desk()

        def refuse(event: Quote) -> None:
            if event.symbol == "C":
                raise EventRefused("symbol", "no room: all 2 symbols are in use")

        desk.bus.subscribe(Quote, refuse)
        answer = await desk.take({**QUOTE, "symbol": "A"}, {**QUOTE, "symbol": "C"}, HEARTBEAT)
        assert counts(answer) == (2, 0, 1)
        assert body(answer)["rejected"] == [
            {"index": 1, "error": "no room: all 2 symbols are in use - at `$[1].symbol`"}
        ]
        assert desk.count("ingest_rejected_total", reason="no_room") == 1

    run(scene)


def test_a_fill_that_is_refused_leaves_no_trace_in_the_log() -> None:
    async def scene() -> None:
        desk = Desk(refuse=Fill)
        answer = await desk.take(fill(1))
        assert (answer.status, counts(answer), desk.log.fills) == (422, (0, 0, 1), [])

    run(scene)


def test_what_a_collector_did_instead_is_a_warning() -> None:
    async def scene() -> None:
        desk = Desk()

        def remark(event: Fill) -> None:
            desk.bus.remark = Remark(event, "strategy", "accounted for under (other)")

        desk.bus.subscribe(Fill, remark)
        answer = await desk.take(QUOTE, fill(1))
        assert counts(answer) == (2, 0, 0)
        assert body(answer)["warnings"] == [
            {"index": 1, "path": "$[1].strategy", "warning": "accounted for under (other)"}
        ]

    run(scene)


def test_what_was_said_about_another_event_is_not_told_to_this_sender() -> None:
    async def scene() -> None:
        desk = Desk()
        other = Quote("C", 1.0, 2.0)

        def trade(event: Quote) -> None:
            if event is not other:
                desk.bus.publish(other)

        def refuse(event: Quote) -> None:
            if event is other:
                raise EventRefused("symbol", "no room")

        desk.bus.subscribe(Quote, trade)
        desk.bus.subscribe(Quote, refuse)
        answer = await desk.take(QUOTE)
        assert (counts(answer), body(answer)["warnings"]) == ((1, 0, 0), [])

    run(scene)


# -- what is odd about an event


def test_unknown_fields_are_named_in_the_answer_and_the_event_is_taken() -> None:
    async def scene() -> None:
        desk = Desk()
        answer = await desk.take(QUOTE, fill(1, comission="0.1", colour="red"), fill(1, comission="0.1"))
        assert counts(answer) == (2, 1, 0)
        assert body(answer)["warnings"] == [
            {"index": 1, "path": "$[1].comission", "warning": "comission: did you mean commission?"},
            {"index": 1, "path": "$[1].colour", "warning": "colour: fill has no such field"},
            {"index": 2, "path": "$[2].comission", "warning": "comission: did you mean commission?"},
        ]
        assert body(answer)["warnings_count"] == desk.count("ingest_unknown_fields_total") == 3

    run(scene)


def test_every_warning_is_counted_and_a_bounded_number_is_listed() -> None:
    async def scene() -> None:
        answer = await Desk().take(*({**QUOTE, f"x{number}" * 30: 1} for number in range(300)))
        assert body(answer)["warnings_count"] == 300
        assert len(body(answer)["warnings"]) == MAX_FAULTS_LISTED

    run(scene)


def test_an_unknown_field_is_a_fault_where_the_setting_says_so() -> None:
    async def scene() -> None:
        desk = Desk(refuse_unknown_fields=True)
        answer = await desk.take(QUOTE, {**QUOTE, "bidd": 1})
        assert counts(answer) == (1, 0, 1)
        assert body(answer)["rejected"][0]["error"].endswith("did you mean bid? - at `$[1].bidd`")

    run(scene)


def test_rounded_numbers_are_counted() -> None:
    async def scene() -> None:
        desk = Desk()
        answer = await desk.take(fill(1, commission=0.0123 * 0.1), fill(2, commission="0.1"))
        assert counts(answer) == (2, 0, 0)
        assert desk.count("ingest_rounded_total") == 1

    run(scene)


BAD_ELEMENTS = [
    b'{"type":"quote","symbol":"A","bid":1,"ask":2,"bid_size":NaN}',
    b'{"type":"metric","name":"m","value":-Infinity}',
    b'{"type":"heartbeat","component":"a\tb"}',
    b'{"type":"heartbeat","component":"\\ud83d"}',
    b'{"type":"metric","name":"m","value":01}',
    b'{"type":"heartbeat","component":"\xff"}',
    b"{'type':'heartbeat'}",
    b"",
]


@pytest.mark.parametrize("bad", BAD_ELEMENTS)
@pytest.mark.parametrize("form", ["array", "lines"])
def test_an_element_that_is_not_json_costs_only_itself(bad: bytes, form: str) -> None:
    async def scene() -> None:
        good = orjson.dumps(HEARTBEAT)
        desk = Desk()
        if form == "lines":
            answer = await desk.gate.take(b"\n".join((good, bad or b"x", good)), source="http", is_lines=True)
        else:
            answer = await desk.gate.take(b"[%b , %b, %b]" % (good, bad, good), source="http", is_lines=False)
        assert (answer.status, counts(answer)) == (200, (2, 0, 1))
        assert [fault["index"] for fault in body(answer)["rejected"]] == [1]

    run(scene)


@pytest.mark.parametrize("bad", BAD_ELEMENTS[:-1])
def test_a_single_event_that_is_not_json_is_rejected_with_its_place(bad: bytes) -> None:
    async def scene() -> None:
        answer = await Desk().gate.take(bad, source="ws")
        assert (answer.status, [fault["index"] for fault in body(answer)["rejected"]]) == (422, [0])

    run(scene)


def test_other_batches_and_the_tick_get_their_turn_while_a_bad_array_is_split() -> None:
    async def scene() -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0)

        beating = asyncio.create_task(beat())
        elements = [b"NaN", *[orjson.dumps({**fill(number), "strategy": "s" * 100}) for number in range(9_000)]]
        assert counts(await Desk().gate.take(b"[" + b",".join(elements) + b"]", source="http")) == (9_000, 0, 1)
        beating.cancel()
        assert beats > 10

    run(scene)


# -- formats


@pytest.mark.parametrize(
    ("data", "is_lines"),
    [
        (b'{"type":"heartbeat","component":"a"}', False),
        (b' \n[ {"type":"heartbeat","component":"a"} ] \n', False),
        (b'{\n "type": "heartbeat",\n "component": "a"\n}\n', None),
        (b'{"type":"heartbeat","component":"a"}', True),
        (b'\n\r\n{"type":"heartbeat","component":"a"}\r\n  \n', True),
    ],
)
def test_an_event_may_come_alone_in_an_array_or_on_a_line(data: bytes, is_lines: bool | None) -> None:
    async def scene() -> None:
        answer = await Desk().gate.take(data, source="http", is_lines=is_lines)
        assert counts(answer) == (1, 0, 0)

    run(scene)


def test_lines_are_detected_where_the_format_is_not_stated() -> None:
    async def scene() -> None:
        answer = await Desk().gate.take(orjson.dumps(QUOTE) + b"\n" + orjson.dumps(QUOTE), source="ws")
        assert counts(answer) == (2, 0, 0)

    run(scene)


def test_a_line_that_is_not_json_is_rejected_alone() -> None:
    async def scene() -> None:
        lines = [orjson.dumps(QUOTE), b'{"type"', b"\xff", orjson.dumps(QUOTE) + b"," + orjson.dumps(QUOTE)]
        answer = await Desk().gate.take(b"\n".join([*lines, orjson.dumps(HEARTBEAT)]), source="http", is_lines=True)
        assert counts(answer) == (2, 0, 3)
        assert [fault["index"] for fault in body(answer)["rejected"]] == [1, 2, 3]

    run(scene)


@pytest.mark.parametrize("data", [b"", b" ", b"[", b"[1,", b"[]]", b"nothing", b"\xff", b"[" * 100_000, b'{"a":1} {}'])
def test_a_batch_that_is_not_json_is_refused_whole(data: bytes) -> None:
    async def scene() -> None:
        desk = Desk()
        answer = await desk.gate.take(data, source="http", is_lines=False)
        assert answer.status == 400
        assert desk.count("ingest_batches_total", door="http", outcome="unreadable") == 1

    run(scene)


@pytest.mark.parametrize(
    ("data", "is_lines"),
    [
        (orjson.dumps([HEARTBEAT] * (MAX_EVENTS + 1)), False),
        (b"\n".join([orjson.dumps(HEARTBEAT)] * (MAX_EVENTS + 2)), True),
        (b"[" + b"0," * (MAX_COMMAS + 1) + b"0]", False),
    ],
    ids=["array", "lines", "values"],
)
def test_a_batch_of_too_many_events_is_refused_whole(data: bytes, is_lines: bool) -> None:
    async def scene() -> None:
        desk = Desk()
        answer = await desk.gate.take(data, source="http", is_lines=is_lines)
        assert answer.status == 413
        assert desk.events == []

    run(scene)


def test_a_batch_of_the_maximum_size_is_taken() -> None:
    async def scene() -> None:
        answer = await Desk().take(*[HEARTBEAT] * MAX_EVENTS)
        assert counts(answer) == (MAX_EVENTS, 0, 0)

    run(scene)


# -- order, and turns of the event loop


def test_a_large_batch_lets_the_loop_run_but_no_other_batch_in_between() -> None:
    async def scene() -> None:
        desk = Desk()
        large = desk.begin(*(fill(number) for number in range(5_000)))
        small = [desk.begin(fill(10_000 + number)) for number in range(3)]
        had_turns = 0
        while not large.done():
            await asyncio.sleep(0)
            had_turns += 1
        await asyncio.gather(*small)
        assert had_turns > 5
        assert desk.log.fills == [f"t{number}" for number in (*range(5_000), 10_000, 10_001, 10_002)]

    run(scene)


def test_a_batch_with_a_key_keeps_its_place_before_one_without() -> None:
    async def scene() -> None:
        desk = Desk()
        await asyncio.gather(desk.begin(fill(1), key="k"), desk.begin(fill(2)))
        assert desk.log.fills == ["t1", "t2"]

    run(scene)
