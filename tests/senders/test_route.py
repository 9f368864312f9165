"""`POST /api/ingest` over a log that commits when a test says so."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import pytest

from ingest_server import SMALL_BODY_BYTES, WAIT_SECONDS, MakeIngestServer, fill
from observability.ingest.gate import MAX_EVENTS
from observability.senders.route import MAX_BODY_BYTES


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


def test_only_this_route_accepts_a_larger_body(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(is_prompt=True)
    assert server.post(fill(1) + " " * SMALL_BODY_BYTES)[0] == 200
    for path, size in (("/api/ingest", MAX_BODY_BYTES + 1), ("/none", SMALL_BODY_BYTES + 1)):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        assert b"413 Content Too Large" in server.http.exchange(head.encode())


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


def test_content_with_a_coding_is_415_and_lists_the_accepted_one(start_ingest: MakeIngestServer) -> None:
    status, fields, _ = start_ingest().post(fill(1), Content_Encoding="gzip")
    assert (status, fields["Accept-Encoding"]) == (415, "identity")
