"""Published documents as answers: the hub has the newest, and large ones are compressed in slices, once for all."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from observability.clocks import slices
from observability.http11.documents import GZIP_STEP_BYTES, ReadyDocument
from observability.http11.heads import parse_head
from observability.http11.messages import Request
from observability.http11.refusals import Unavailable
from observability.rest import published as published_module
from observability.rest.published import SNAPSHOT, Published
from observability.snapshot.frames import NO_INDEX, Documents, FrameRing, PublishedDocument

LARGE = random.Random(1).randbytes(GZIP_STEP_BYTES * 40).hex().encode()


def published(payload: bytes) -> Published:
    frames = FrameRing("e")
    frames.publish(payload, NO_INDEX, 0, 0, {})
    return Published(frames)


def request(*fields: bytes) -> Request:
    return Request(parse_head(b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *fields, b"", b""])), b"")


def test_a_large_document_is_compressed_once_for_all_who_ask(monkeypatch: Any) -> None:
    begun: list[ReadyDocument] = []
    compressing = ReadyDocument.compressing

    def count(document: ReadyDocument) -> slices.Steps[None]:
        begun.append(document)
        return compressing(document)

    monkeypatch.setattr(ReadyDocument, "compressing", count)

    async def main() -> None:
        documents = published(LARGE)
        turns = 0

        def count_turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(count_turn)

        loop = asyncio.get_running_loop()
        asked = [documents.answer(request(b"Accept-Encoding: gzip"), SNAPSHOT) for _ in range(8)]
        asking = [asyncio.ensure_future(cast(Any, answer)) for answer in asked]
        count_turn()
        await asyncio.sleep(0)
        asking[0].cancel()
        answers = await asyncio.gather(*asking[1:])
        assert {id(answer) for answer in answers} == {id(documents.snapshot())}
        assert gzip.decompress(answers[0].gzipped()) == LARGE
        assert turns > 2
        # From now on it is there.
        assert documents.answer(request(b"Accept-Encoding: gzip"), SNAPSHOT) is answers[0]

    asyncio.run(main())
    assert len(begun) == 1


def test_no_compression_is_waited_for_if_none_is_needed() -> None:
    async def main() -> None:
        documents = published(LARGE)
        assert isinstance(documents.answer(request(), SNAPSHOT), ReadyDocument)
        known = request(b"Accept-Encoding: gzip", b'If-None-Match: "e-1-gzip"')
        assert isinstance(documents.answer(known, SNAPSHOT), ReadyDocument)
        assert isinstance(published(b"x" * 1000).answer(request(b"Accept-Encoding: gzip"), SNAPSHOT), ReadyDocument)

    asyncio.run(main())


class AskedHub:
    """A hub that answers a worker's question for a document with `answer`."""

    def __init__(self, answer: Callable[[], PublishedDocument | None]) -> None:
        self._answer = answer

    async def document(self, name: str) -> PublishedDocument | None:
        return self._answer()


class SilentHub:
    """A hub that never answers."""

    async def document(self, name: str) -> PublishedDocument | None:
        await asyncio.Event().wait()
        raise AssertionError("nothing sets the event")


class SlowHub:
    """A hub that answers a few turns of the loop later."""

    async def document(self, name: str) -> PublishedDocument | None:
        for _ in range(5):
            await asyncio.sleep(0)
        return PublishedDocument("e", 9, b'"new"')


def of_a_worker(hub: AskedHub | SilentHub | SlowHub) -> Published:
    """Returns a worker's documents: one is current, of one there is an old copy, of one none."""
    frames = FrameRing("e")
    frames.documents = Documents("e", 7, {"current": b"{}", "old": b'"old"', "absent": None}, old=("old", "absent"))
    return Published(frames, hub)


def read(documents: Published, name: str) -> ReadyDocument:
    async def main() -> ReadyDocument:
        document = documents.document(name)
        return document if isinstance(document, ReadyDocument) else await document

    return asyncio.run(main())


@pytest.mark.parametrize("name", ["old", "absent"])
def test_a_worker_asks_the_hub_for_a_document_that_is_not_current(name: str) -> None:
    document = read(of_a_worker(AskedHub(lambda: PublishedDocument("e", 9, b'"new"'))), name)
    assert (document.body, document.etag) == (b'"new"', b'"e-9"')


def test_a_worker_asks_the_hub_for_no_document_that_is_current() -> None:
    document = read(of_a_worker(SilentHub()), "current")
    assert (document.body, document.etag) == (b"{}", b'"e-7"')


def refuse() -> PublishedDocument | None:
    raise Unavailable("the hub is being replaced", 1)


@pytest.mark.parametrize("hub", [SilentHub(), AskedHub(refuse)])
def test_an_old_copy_answers_for_a_hub_that_does_not(hub: AskedHub | SilentHub, monkeypatch: Any) -> None:
    monkeypatch.setattr(published_module, "ANSWER_SECONDS", 0.01)
    document = read(of_a_worker(hub), "old")
    assert (document.body, document.etag) == (b'"old"', b'"e-7-old"')


def test_a_document_without_a_copy_is_waited_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(published_module, "ANSWER_SECONDS", 0)
    document = read(of_a_worker(SlowHub()), "absent")
    assert (document.body, document.etag) == (b'"new"', b'"e-9"')
    with pytest.raises(Unavailable, match="absent"):
        read(of_a_worker(AskedHub(refuse)), "absent")
