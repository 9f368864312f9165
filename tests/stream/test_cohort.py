"""Cohorts: who is sent what while members come and go, also in the middle of a frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from observability.memory.counters import Counters
from observability.snapshot.frames import HEADROOM, Frame
from observability.stream.cohort import Cohort, CohortKey, PicowsSends
from observability.stream.views import EVERYTHING, View
from observability.websocket.deflate import DeflateCounters, DeflateMemory
from observability.websocket.inflate import inflate


class Member:
    """A member that records the payloads it is sent."""

    def __init__(self, deflate: DeflateMemory | None = None) -> None:
        self.deflate = deflate
        self.sent: list[bytes] = []

    @property
    def send_shared(self) -> Callable[..., None]:
        def send(_kind: object, buffer: bytearray, headroom: int, _fin: bool, _is_compressed: bool) -> None:
            self.sent.append(bytes(buffer[headroom:]))

        return send


class Sends(PicowsSends):
    """Sends that notes which members a frame brings a ping to."""

    takes_pings = True

    def __init__(self) -> None:
        super().__init__()
        self.pinged: list[int] = []

    def set_pings(self, indexes: Sequence[int]) -> None:
        self.pinged = list(indexes)


class Scene:
    """A cohort, and the frames that it sends."""

    def __init__(self, *, is_compressed: bool = False, keeps_context: bool = False, **key_fields: bool) -> None:
        self.sends = Sends()
        self.view = View(EVERYTHING, DeflateCounters(Counters()))
        fields = {"accepts_lag": False, "is_plain": False} | key_fields
        key = CohortKey(self.view, is_compressed, keeps_context, **fields)
        self.cohort = Cohort(key, self.sends)
        self.seq = 0

    def join(self, deflate: DeflateMemory | None = None) -> Member:
        member = Member(deflate)
        assert self.cohort.add(cast(Any, member))
        return member

    def leave(self, member: Member) -> None:
        self.cohort.discard(cast(Any, member))

    def begin(self) -> bytes:
        """Begins a frame and returns its payload."""
        self.seq += 1
        self.frame = Frame(
            "epoch", self.seq, 0, 0, b'{"type":"t","seq":%d,"text":"the same words in every frame"}' % self.seq
        )
        self.size = self.cohort.begin(self.frame)
        return self.frame.payload

    def send(self) -> bytes:
        payload = self.begin()
        self.cohort.send(0, self.size)
        self.cohort.end()
        return payload


def test_every_member_is_sent_a_frame_once() -> None:
    scene = Scene()
    members = [scene.join() for _ in range(5)]
    payload = scene.send()
    assert [member.sent for member in members] == [[payload]] * 5


@pytest.mark.parametrize("leaving", range(5))
@pytest.mark.parametrize("sent_before", [0, 2, 5])
def test_a_member_that_leaves_within_a_frame_moves_no_other(leaving: int, sent_before: int) -> None:
    scene = Scene()
    members = [scene.join() for _ in range(5)]
    payload = scene.begin()
    count, _ = scene.cohort.send(0, sent_before)
    assert scene.size == 5 and count == sent_before
    scene.leave(members[leaving])
    count, _ = scene.cohort.send(sent_before, 5)
    assert count == 5 - sent_before - (leaving >= sent_before)
    scene.cohort.end()
    expected = [[payload] if i != leaving or leaving < sent_before else [] for i in range(5)]
    assert [member.sent for member in members] == expected
    last = scene.send()
    assert [member.sent[-1:] == [last] for member in members] == [i != leaving for i in range(5)]


def test_a_member_that_joins_within_a_frame_is_sent_the_next_one() -> None:
    scene = Scene()
    scene.join()
    scene.begin()
    late = scene.join()
    scene.cohort.send(0, scene.size)
    scene.cohort.end()
    assert late.sent == []
    payload = scene.send()
    assert late.sent == [payload]


def test_members_that_come_and_go_are_each_sent_what_they_were_there_for() -> None:
    scene = Scene()
    present: list[Member] = []
    expected: dict[Member, list[bytes]] = {}
    for step in range(200):
        if step % 3 == 0 or not present:
            present.append(scene.join())
            expected[present[-1]] = []
        elif step % 7 == 1:
            scene.leave(present.pop(step * 31 % len(present)))
        payload = scene.send()
        for member in present:
            expected[member].append(payload)
    assert all(member.sent == payloads for member, payloads in expected.items())


def in_step(scene: Scene) -> DeflateMemory:
    """Returns the memory of a client that was sent the newest message on its own."""
    memory = DeflateMemory(takeover=True)
    memory.frame_for(scene.view.full(scene.frame).deflated)
    return memory


def test_a_member_whose_inflater_is_in_another_state_may_not_join() -> None:
    scene = Scene(is_compressed=True, keeps_context=True)
    scene.join(DeflateMemory(takeover=True))
    scene.send()
    assert scene.cohort.add(cast(Any, Member(in_step(scene))))
    assert not scene.cohort.add(cast(Any, Member(DeflateMemory(takeover=True))))


def test_a_cohort_that_skipped_some_members_sends_all_a_message_that_refers_to_none() -> None:
    scene = Scene(is_compressed=True, keeps_context=True)
    members = [scene.join(DeflateMemory(takeover=True)) for _ in range(2)]
    scene.send()
    scene.begin()
    scene.cohort.send(0, 1)
    assert scene.cohort.skip(1, 2) == 1
    payload = scene.send()
    assert inflate(members[0].sent[-1], 1000) == inflate(members[1].sent[-1], 1000) == payload


@pytest.mark.parametrize("takes_events", [False, True])
def test_members_are_told_how_many_frames_each_has_skipped(takes_events: bool) -> None:
    scene = Scene(accepts_lag=True, takes_events=takes_events)
    members = [scene.join() for _ in range(4)]
    scene.begin()
    scene.cohort.send(0, 1)
    assert (scene.cohort.skip(1, 4), scene.cohort.skip(3, 4)) == (3, 1)
    scene.cohort.skip_all(2)
    scene.leave(members[1])
    for _ in range(2):
        scene.send()
    told = [
        [int(found[1]) for message in member.sent if (found := re.search(rb'"type":"lag","skipped":(\d+)', message))]
        for member in members
    ]
    assert told == [[2], [], [3], [4]]
    assert [len(member.sent) for member in members] == [4, 0, 3, 3]
    assert members[2].sent[0].startswith(b"event: lag\n" if takes_events else b'{"type":"lag"')


def test_a_member_that_leaves_may_be_sent_the_same_message_again() -> None:
    scene = Scene(is_compressed=True, keeps_context=True)
    scene.send()
    memory = in_step(scene)
    member = scene.join(memory)
    payload = scene.send()
    scene.leave(member)
    again = memory.frame_for(scene.view.full(scene.frame).deflated)
    assert inflate(bytes(again[HEADROOM:]), 1000) == payload


def test_a_ping_waits_for_a_frame_that_its_member_is_sent() -> None:
    scene = Scene()
    sent, late, leaving = (scene.join() for _ in range(3))
    assert all(scene.cohort.ping(cast(Any, member)) for member in (sent, late, leaving))
    assert not scene.cohort.ping(cast(Any, late))
    scene.leave(leaving)
    pinged = []
    for end in (1, 2, 2):
        scene.begin()
        pinged.append(scene.sends.pinged)
        scene.cohort.send(0, end)
        scene.cohort.skip(end, 2)
    assert pinged == [[0, 1], [1], []]
    assert scene.cohort.ping(cast(Any, late))
