"""Documents on demand: encoded when they are read, once per tick, and shared while they are read."""

from __future__ import annotations

from typing import Any

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_S
from observability.snapshot.on_demand import (
    RECENT_SECONDS,
    Document,
    OnDemandDocuments,
    SlowDocument,
    TickDocuments,
)


class Made:
    """A document that counts how often it is made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, int]:
        self.count += 1
        return {"n": self.count}


class Ticks:
    """The documents of a hub, tick by tick."""

    def __init__(self, **makers: Document) -> None:
        self.clock = FakeClock()
        self.documents = OnDemandDocuments(self.clock)
        self.documents.makers.update(makers)
        self.seq = 0

    def next(self) -> TickDocuments:
        self.seq += 1
        return self.documents.of_tick(self.seq, self.seq * NS_PER_S)


def stamped(n: int, seq: int) -> bytes:
    return b'{"timestamp":"1970-01-01T00:00:%02d.000Z","seq":%d,"n":%d}' % (seq, seq, n)


def test_a_document_that_is_not_read_is_not_made() -> None:
    made = Made()
    ticks = Ticks(d=made)
    for _ in range(3):
        ticks.next()
    assert made.count == 0


def test_a_document_is_made_once_per_tick_however_often_it_is_read() -> None:
    ticks = Ticks(d=Made())
    tick = ticks.next()
    assert [tick["d"], tick["d"]] == [stamped(1, seq=1)] * 2
    assert ticks.next()["d"] == stamped(2, seq=2)
    assert tick["d"] == stamped(1, seq=1)


def test_a_document_that_was_read_lately_is_shared_with_each_tick() -> None:
    ticks = Ticks(read=Made(), unread=Made(), needed=Made())
    assert ticks.next()["read"] == stamped(1, seq=1)
    ticks.clock.now_ns += RECENT_SECONDS * NS_PER_S - 1
    shared = ticks.next().to_share(always=("needed",))
    assert (shared.by_name["read"], shared.by_name["needed"]) == (stamped(2, seq=2), stamped(1, seq=2))
    assert shared.old == ("unread",)
    ticks.clock.now_ns += 1
    assert set(ticks.next().to_share(always=()).old) == {"read", "unread", "needed"}


def test_of_the_documents_that_nothing_reads_one_is_copied_per_tick_in_turn() -> None:
    ticks = Ticks(a=Made(), b=Made(), c=Made())
    shared = [ticks.next().to_share(always=()).by_name for _ in range(5)]
    assert shared[0] == {"a": stamped(1, seq=1), "b": None, "c": None}
    assert shared[2] == {"a": stamped(1, seq=1), "b": stamped(1, seq=2), "c": stamped(1, seq=3)}
    assert shared[4] == {"a": stamped(2, seq=4), "b": stamped(2, seq=5), "c": stamped(1, seq=3)}


def test_a_document_that_is_the_same_object_is_not_encoded_again() -> None:
    content = {"n": 1}
    ticks = Ticks(kept=lambda: content)
    assert ticks.next()["kept"] == stamped(1, seq=1)
    # Its bytes are kept, as it must never be changed. It is as good as new, and says so.
    content["n"] = 2
    assert ticks.next()["kept"] == stamped(1, seq=2)


def test_only_an_object_is_stamped() -> None:
    ticks = Ticks(array=lambda: [1], empty=dict)
    tick = ticks.next()
    assert (tick["array"], tick["empty"]) == (b"[1]", b'{"timestamp":"1970-01-01T00:00:01.000Z","seq":1}')


def test_a_slow_document_has_the_stamp_of_the_tick_that_it_was_made_for() -> None:
    ticks = Ticks()
    ticks.documents.makers["slow"] = SlowDocument(Made(), ticks.clock)
    assert ticks.next()["slow"] == ticks.next()["slow"] == stamped(1, seq=1)
    ticks.clock.now_ns += NS_PER_S
    assert ticks.next()["slow"] == stamped(2, seq=3)


def test_an_unknown_document_is_a_key_error() -> None:
    tick = Ticks().next()
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


def test_a_document_that_cannot_be_made_leaves_the_others_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Any:
        raise ValueError("a fault")

    ticks = Ticks(broken=fail, read=Made(), unread=Made(), needed_too=fail)
    shared = [ticks.next().to_share(always=("read", "needed_too")) for _ in range(3)]
    assert [each.by_name["read"] for each in shared] == [stamped(n, seq=n) for n in (1, 2, 3)]
    assert [each.by_name["broken"] for each in shared] == [each.by_name["needed_too"] for each in shared] == [None] * 3
    # The one that fails does not keep its turn.
    assert shared[1].by_name["unread"] == stamped(1, seq=2)
    assert [record.args for record in caplog.records] == [("broken",), ("needed_too",)]
    with pytest.raises(ValueError, match="a fault"):
        ticks.next()["broken"]
