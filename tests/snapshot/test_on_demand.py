"""Documents on demand: encoded when they are read, once per tick, and shared while they are read."""

from __future__ import annotations

from typing import Any

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_S
from observability.snapshot.on_demand import RECENT_SECONDS, OnDemandDocuments, SlowDocument


class Made:
    """A document that counts how often it is made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, int]:
        self.count += 1
        return {"n": self.count}


def test_a_document_that_is_not_read_is_not_made() -> None:
    made, documents = Made(), OnDemandDocuments(FakeClock())
    documents.makers["d"] = made
    for _ in range(3):
        documents.of_tick()
    assert made.count == 0


def test_a_document_is_made_once_per_tick_however_often_it_is_read() -> None:
    made, documents = Made(), OnDemandDocuments(FakeClock())
    documents.makers["d"] = made
    tick = documents.of_tick()
    assert [tick["d"], tick["d"]] == [b'{"n":1}'] * 2
    assert documents.of_tick()["d"] == b'{"n":2}'
    assert tick["d"] == b'{"n":1}'


def test_a_document_that_was_read_lately_is_shared_with_each_tick() -> None:
    clock = FakeClock()
    documents = OnDemandDocuments(clock)
    documents.makers.update(read=Made(), unread=Made(), needed=Made())
    assert documents.of_tick()["read"] == b'{"n":1}'
    clock.now_ns += RECENT_SECONDS * NS_PER_S - 1
    shared = documents.of_tick().to_share(always=("needed",))
    assert (shared.by_name["read"], shared.by_name["needed"], shared.old) == (b'{"n":2}', b'{"n":1}', ("unread",))
    clock.now_ns += 1
    assert set(documents.of_tick().to_share(always=()).old) == {"read", "unread", "needed"}


def test_of_the_documents_that_nothing_reads_one_is_copied_per_tick_in_turn() -> None:
    documents = OnDemandDocuments(FakeClock())
    documents.makers.update({name: Made() for name in "abc"})
    shared = [documents.of_tick().to_share(always=()).by_name for _ in range(5)]
    assert shared[0] == {"a": b'{"n":1}', "b": None, "c": None}
    assert shared[2] == {"a": b'{"n":1}', "b": b'{"n":1}', "c": b'{"n":1}'}
    assert shared[4] == {"a": b'{"n":2}', "b": b'{"n":2}', "c": b'{"n":1}'}


def test_a_document_that_is_the_same_object_keeps_its_bytes() -> None:
    contents = [{"n": 1}, {"n": 2}]
    documents = OnDemandDocuments(FakeClock())
    documents.makers["kept"] = lambda: contents[0]
    kept = documents.of_tick()["kept"]
    assert documents.of_tick()["kept"] is kept
    contents.pop(0)
    assert documents.of_tick()["kept"] == b'{"n":2}'


def test_an_unknown_document_is_a_key_error() -> None:
    tick = OnDemandDocuments(FakeClock()).of_tick()
    assert tick.get("unknown") is None
    with pytest.raises(KeyError):
        tick["unknown"]


def test_a_slow_document_is_computed_once_per_second() -> None:
    clock = FakeClock(5 * NS_PER_S)
    made: list[int] = []

    def make() -> Any:
        made.append(clock.now_ns)
        return len(made)

    document = SlowDocument(make, clock)
    assert [document(), document()] == [1, 1]
    clock.now_ns += NS_PER_S - 1
    assert document() == 1
    clock.now_ns += 1
    assert document() == 2
