"""The gate of ingest: when it answers a batch, when it refuses one, and what an idempotency key does."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from ingest_desk import HEARTBEAT, QUOTE, Desk, body, counts, fill, run, turns
from observability.ingest.answers import IngestAnswer
from observability.ingest.gate import MAX_KEY_CHARACTERS, IngestGate
from observability.memory.counters import Counters

LATE_SECONDS = 0.01


# -- durability


async def assert_waits(taking: asyncio.Task[IngestAnswer]) -> None:
    await turns()
    assert not taking.done()


def test_a_batch_is_answered_once_its_rows_are_on_disk() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False)
        taking = desk.begin(fill(1), QUOTE, fill(2))
        await assert_waits(taking)
        desk.log.commit(1)
        await assert_waits(taking)
        desk.log.commit(2)
        assert counts(await taking) == (3, 0, 0)

    run(scene)


def test_events_that_are_not_stored_are_answered_at_once() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False)
        waiting = desk.begin(fill(1))
        await turns()
        assert counts(await desk.take(QUOTE, HEARTBEAT)) == (2, 0, 0)
        desk.log.commit()
        await waiting

    run(scene)


def test_a_duplicate_waits_for_the_fill_that_it_repeats() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False)
        first = desk.begin(fill(1))
        await turns()
        again = desk.begin(fill(1))
        await assert_waits(again)
        desk.log.commit()
        assert counts(await first) == (1, 0, 0)
        assert counts(await again) == (0, 1, 0)

    run(scene)


@pytest.mark.parametrize("fault", [None, "disk full"])
def test_a_late_disk_is_answered_with_503_and_the_reason(fault: str | None) -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False, durable_seconds=LATE_SECONDS)
        desk.log.fault = fault
        answer = await desk.take(fill(1))
        assert (answer.status, answer.retry_after_seconds) == (503, 1)
        assert (fault or "within") in body(answer)["detail"]
        desk.log.commit()
        assert counts(await desk.take(fill(1))) == (0, 1, 0)
        assert desk.log.fills == ["t1"]

    run(scene)


def test_a_full_log_refuses_a_request_whole() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.log.has_room = False
        answer = await desk.take(fill(1))
        assert (answer.status, answer.retry_after_seconds, desk.events) == (503, 1, [])
        assert desk.count("ingest_batches_total", door="http", outcome="busy") == 1

    run(scene)


def test_a_message_of_a_stream_waits_for_room_in_the_log() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False)
        first = desk.begin(fill(1), source="ws")
        await turns()
        desk.log.has_room = False
        second = desk.begin(fill(2), source="ws")
        await assert_waits(second)
        assert desk.log.fills == ["t1"]
        desk.log.has_room = True
        desk.log.commit()
        await first
        await turns()
        desk.log.commit()
        assert counts(await second) == (1, 0, 0)

    run(scene)


def test_too_many_batches_at_once_are_refused() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False, max_batches=2)
        waiting = [desk.begin(fill(number)) for number in range(2)]
        await turns()
        assert (await desk.take(fill(3))).status == 503
        desk.log.commit()
        await asyncio.gather(*waiting)
        assert desk.log.fills == ["t0", "t1"]
        assert (await desk.take(QUOTE)).status == 200

    run(scene)


def test_draining_waits_for_every_batch() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False)
        await desk.gate.drain(0)
        taking = desk.begin(fill(1))
        await turns()
        draining = asyncio.create_task(desk.gate.drain(10))
        await turns()
        assert not draining.done()
        desk.log.commit()
        await draining
        assert taking.done()

    run(scene)


# -- keys


def test_a_repeated_batch_gets_the_same_answer_and_changes_nothing() -> None:
    async def scene() -> None:
        desk = Desk()
        first = await desk.take(fill(1), HEARTBEAT, 7, key="k")
        again = await desk.take(fill(1), HEARTBEAT, 7, key="k")
        assert (again.status, again.body, again.is_replayed) == (first.status, first.body, True)
        assert not first.is_replayed
        assert len(desk.events) == 2

    run(scene)


def test_a_key_with_other_content_is_refused() -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.take(fill(1), key="k")
        assert (await desk.take(fill(2), key="k")).status == 422
        assert desk.log.fills == ["t1"]

    run(scene)


@pytest.mark.parametrize(("number", "status"), [(1, 409), (2, 422)])
def test_a_key_whose_batch_is_being_taken_is_refused(number: int, status: int) -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False)
        first = desk.begin(fill(1), key="k")
        await turns()
        assert (await desk.take(fill(number), key="k")).status == status
        desk.log.commit()
        assert (await first).status == 200

    run(scene)


def test_a_repeated_batch_is_answered_once_the_first_is_on_disk() -> None:
    async def scene() -> None:
        desk = Desk(is_prompt=False, durable_seconds=LATE_SECONDS)
        assert (await desk.take(HEARTBEAT, key="k")).status == 503
        assert (await desk.take(HEARTBEAT, key="k")).status == 503
        desk.log.commit()
        answer = await desk.take(HEARTBEAT, key="k")
        assert (answer.status, answer.is_replayed, counts(answer)) == (200, True, (1, 0, 0))
        assert len(desk.events) == 1

    run(scene)


def test_a_key_is_known_to_the_next_process() -> None:
    async def scene() -> None:
        desk = Desk()
        first = await desk.take(HEARTBEAT, key="k")
        next_gate = IngestGate(desk.bus, desk.log, desk.clock, Counters())
        again = await next_gate.take(orjson.dumps([HEARTBEAT]), source="ws", key="k")
        assert (again.body, again.is_replayed) == (first.body, True)
        assert len(desk.events) == 1

    run(scene)


def test_a_batch_that_cannot_be_split_does_not_use_its_key() -> None:
    async def scene() -> None:
        desk = Desk()
        assert (await desk.gate.take(b"[", source="http", is_lines=False, key="k")).status == 400
        assert (await desk.take(HEARTBEAT, key="k")).status == 200

    run(scene)


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY_CHARACTERS + 1)])
def test_a_key_that_is_empty_or_too_long_is_refused(key: str) -> None:
    async def scene() -> None:
        assert (await Desk().take(HEARTBEAT, key=key)).status == 400

    run(scene)


# -- a log that cannot be read


def test_a_key_that_cannot_be_looked_up_is_answered_with_503_and_takes_nothing() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.log.is_unreadable = True
        answer = await desk.take(fill(1), key="k")
        assert (answer.status, answer.retry_after_seconds, desk.events) == (503, 1, [])
        assert "the store cannot be read: made up; nothing was taken" in body(answer)["detail"]
        assert (await desk.take(fill(1))).status == 200
        desk.log.is_unreadable = False
        assert counts(await desk.take(fill(1), key="k")) == (0, 1, 0)

    run(scene)


def test_a_batch_ends_at_a_fill_that_may_have_been_taken_before() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.log.unreadable_fills = {"t2"}
        answer = await desk.take(fill(1), fill(2), fill(3), key="k")
        assert (answer.status, answer.retry_after_seconds, desk.log.fills) == (503, 1, ["t1"])
        assert "taken in part" in body(answer)["detail"]
        assert desk.count("ingest_batches_total", door="http", outcome="unreadable_store") == 1
        # The refusal is not what the key is answered with, and the batch is whole.
        desk.log.unreadable_fills = set()
        assert counts(await desk.take(fill(1), fill(2), fill(3), key="k")) == (2, 1, 0)

    run(scene)
