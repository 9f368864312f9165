"""Published documents as answers: large ones are compressed in slices, once for all who ask."""

from __future__ import annotations

import asyncio
import gzip
import random
from typing import Any, cast

from observability.clocks import slices
from observability.http11.documents import GZIP_STEP_BYTES, ReadyDocument
from observability.http11.heads import parse_head
from observability.http11.messages import Request
from observability.rest.published import SNAPSHOT, Published
from observability.snapshot.frames import NO_INDEX, FrameRing

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
