"""`POST /api/ingest` over a log that commits when a test says so."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
from typing import Any

import pytest

from event_loops import in_loop
from ingest_server import WAIT_SECONDS, MakeIngestServer, fill
from observability.http11.heads import parse_head
from observability.http11.messages import Request
from observability.http11.parser import DEFAULT_MAX_BODY_BYTES
from observability.http11.refusals import Refusal
from observability.ingest.answers import IngestAnswer
from observability.ingest.gate import MAX_EVENTS
from observability.senders.route import MAX_BODY_BYTES, IngestRoutes


def test_a_batch_is_answered_when_its_fills_are_on_disk(start_ingest: MakeIngestServer) -> None:
    server = start_ingest()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(server.post(fill(1))))
    asking.start()
    server.wait_for_fills(1)
    assert answers == []
    server.commit()
    asking.join(WAIT_SECONDS)
    ((status, _, body),) = answers
    assert (status, body["accepted"]) == (200, 1)


def test_a_batch_that_is_not_on_disk_in_time_is_503_with_retry_after(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(durable_seconds=0.05)
    status, fields, body = server.post(fill(1))
    assert (status, fields["Retry-After"], fields["Content-Type"]) == (503, "1", "application/problem+json")
    assert "send it again" in body["detail"]


def test_a_peer_that_disconnects_does_not_interrupt_its_batch(start_ingest: MakeIngestServer) -> None:
    server = start_ingest()
    body = b"[%b]" % b",".join(fill(number).encode() for number in range(MAX_EVENTS))
    with server.http.connect() as sock:
        sock.sendall(b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        server.wait_for_fills(1)
        # A reset, not just the end of what is sent.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.http.wait_until(lambda: server.http.listener.connection_count == 0)
    server.wait_for_fills(MAX_EVENTS)


def test_a_batch_may_be_larger_than_other_bodies_and_has_a_bound(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(is_prompt=True)
    assert server.post(fill(1) + " " * DEFAULT_MAX_BODY_BYTES)[0] == 200
    head = f"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    assert b"413 Content Too Large" in server.http.exchange(head.encode())


def test_a_compressed_batch_is_taken(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(is_prompt=True)
    for coding in ("gzip", "x-gzip", "GZIP"):
        assert server.post(gzip.compress(fill(1).encode()), Content_Encoding=coding)[0] == 200
    lines = "\n".join(fill(number) for number in range(2, 5)).encode()
    fields = {"Content_Type": "application/x-ndjson", "Content_Encoding": "gzip"}
    assert server.post(gzip.compress(lines), **fields)[2]["accepted"] == 3


def test_a_compressed_batch_may_not_be_larger_than_a_plain_one(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(is_prompt=True)
    largest = fill(1).encode().ljust(MAX_BODY_BYTES)
    assert server.post(gzip.compress(largest), Content_Encoding="gzip")[0] == 200
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    assert server.post(bomb, Content_Encoding="gzip")[0] == 413
    assert server.post(fill(2))[0] == 200


@pytest.mark.parametrize(
    ("value", "status"),
    [('"k"', 200), ("k", 200), ("8e03978e-40d5-43e8-bc93-6894a57f9324", 200), (r'"a\"b\\"', 200), ('""', 400),
     ("a b", 400), ('"a', 400), ('"a";b=1', 400), ("a,b", 400), ("k" * 256, 400)],
)  # fmt: skip
def test_a_key_is_one_string_quoted_or_bare(start_ingest: MakeIngestServer, value: str, status: int) -> None:
    assert start_ingest(is_prompt=True).post(fill(1), Idempotency_Key=value)[0] == status


def test_a_quoted_key_equals_the_bare_key(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(is_prompt=True)
    server.post(fill(1), Idempotency_Key='"k"')
    assert server.post(fill(1), Idempotency_Key="k")[1]["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "gzip;q=1"])
def test_content_of_another_coding_is_415_and_lists_the_accepted_one(
    start_ingest: MakeIngestServer, coding: str
) -> None:
    status, fields, _ = start_ingest().post(fill(1), Content_Encoding=coding)
    assert (status, fields["Accept-Encoding"]) == (415, "gzip")


@pytest.mark.parametrize(
    "content", [b"{}", gzip.compress(b"{}")[:-3], b"\x1f\x8b" + bytes(20)], ids=["plain", "cut", "empty"]
)
def test_content_that_is_not_gzip_although_it_says_so_is_400(start_ingest: MakeIngestServer, content: bytes) -> None:
    assert start_ingest().post(content, Content_Encoding="gzip")[0] == 400


@in_loop
async def test_the_loop_turns_while_a_message_of_an_alertmanager_is_read() -> None:
    turns = 0

    class TurnsOfGate:
        async def take(self, data: bytes, **_: Any) -> IngestAnswer:
            assert len(json.loads(data)) == 1_000
            return IngestAnswer(200, b"%d" % turns)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    body = json.dumps({"alerts": [{"labels": {"alertname": f"A{number}"}} for number in range(1_000)]}).encode()
    head = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    try:
        answer = await IngestRoutes(TurnsOfGate()).alertmanager(Request(head, body))
    finally:
        counting.cancel()
    assert int(answer.body) >= 10


@in_loop
async def test_a_message_with_more_alerts_than_a_batch_may_have_events_is_refused() -> None:
    body = json.dumps({"alerts": [1] * (MAX_EVENTS + 1)}).encode()
    head = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(Refusal, match=f"at most {MAX_EVENTS} alerts"):
        await IngestRoutes(None).alertmanager(Request(head, body))  # type: ignore[arg-type]
