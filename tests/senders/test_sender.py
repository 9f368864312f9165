"""Senders at `/ws/ingest` over a log that commits when a test says so."""

from __future__ import annotations

import json
import threading

import pytest

from ingest_server import WAIT_SECONDS, MakeIngestServer, fill
from observability.senders.sender import MAX_MESSAGE_BYTES, MAX_TAKING, MAX_UNANSWERED
from observability.websocket.connection import MAX_REFUSED_MESSAGES
from ws_client import read_to_close, receive


def test_each_message_is_acknowledged_in_order_when_it_is_on_disk(start_ingest: MakeIngestServer) -> None:
    server = start_ingest()
    with server.sender() as sender:
        for number in range(3):
            sender.send(fill(number))
        sender.send('{"type":"heartbeat","component":"engine"}')
        server.wait_for_fills(3)
        with pytest.raises(TimeoutError):
            sender.recv(0.05)
        server.commit(1)
        assert receive(sender)["seq"] == 1
        server.commit()
        assert [receive(sender)["seq"] for _ in range(3)] == [2, 3, 4]


def test_a_sender_with_too_many_unanswered_messages_is_not_read_from(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(durable_seconds=WAIT_SECONDS)
    with server.sender() as sender:
        (client,) = server.endpoint.clients.values()
        sent = 2 * MAX_UNANSWERED
        for number in range(sent):
            sender.send(fill(number))
        server.http.wait_until(lambda: client.is_held)
        assert server.http.call(lambda: len(server.log.fills)) == MAX_TAKING
        acks: list[int] = []
        while len(acks) < sent:
            server.commit()
            acks.append(receive(sender)["seq"])
        assert acks == list(range(1, sent + 1))
        assert server.log.fills == [f"t{number}" for number in range(sent)]
        server.http.wait_until(lambda: not client.is_held)


def test_a_sender_that_is_not_read_from_is_not_considered_silent(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(heartbeat_seconds=0.05, durable_seconds=WAIT_SECONDS)
    with server.sender() as sender:
        (client,) = server.endpoint.clients.values()
        beats: list[None] = []
        send_ping = client.send_ping
        client.send_ping = lambda: beats.append(send_ping())  # type: ignore[method-assign,func-returns-value]
        for number in range(MAX_UNANSWERED):
            sender.send(fill(number))
        server.http.wait_until(lambda: client.is_held)
        beats.clear()
        server.http.wait_until(lambda: len(beats) > 5)
        for number in range(MAX_UNANSWERED):
            server.commit()
            assert receive(sender)["seq"] == number + 1


def test_a_shutdown_acknowledges_messages_at_the_gate_before_closing(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(durable_seconds=WAIT_SECONDS)
    with server.sender() as sender:
        sender.send(fill(1))
        server.wait_for_fills(1)
        closing_stream = threading.Thread(target=lambda: server.http.run(server.endpoint.close(WAIT_SECONDS)))
        closing_stream.start()
        (client,) = server.endpoint.clients.values()
        server.http.wait_until(lambda: client._is_finishing)
        server.commit()
        assert receive(sender)["accepted"] == 1
        assert read_to_close(sender) == ([], 1001)
        closing_stream.join(WAIT_SECONDS)


def test_a_late_disk_is_an_error_after_which_a_sender_may_continue(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(durable_seconds=0.05)
    with server.sender() as sender:
        sender.send(fill(1))
        answer = receive(sender)
        assert (answer["type"], answer["seq"], answer["code"]) == ("error", 1, "unavailable")
        server.commit()
        sender.send(fill(1))
        assert receive(sender)["duplicates"] == 1


def test_a_sender_may_send_larger_messages_than_a_subscriber(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(is_prompt=True)
    with server.sender(compression=None) as sender:
        sender.send(fill(1) + " " * (MAX_MESSAGE_BYTES - 1000))
        assert receive(sender)["accepted"] == 1
        sender.send(" " * (MAX_MESSAGE_BYTES + 1))
        assert read_to_close(sender) == ([], 1009)


def test_a_sender_of_nothing_but_bad_messages_is_closed_with_1008(start_ingest: MakeIngestServer) -> None:
    with start_ingest().sender() as sender:
        for number in range(1, MAX_REFUSED_MESSAGES + 1):
            sender.send("nothing")
            answer = receive(sender)
            assert (answer["type"], answer["code"], answer["seq"]) == ("error", "bad_message", number)
        assert read_to_close(sender) == ([], 1008)


def test_a_binary_message_is_closed_with_1003(start_ingest: MakeIngestServer) -> None:
    with start_ingest().sender() as sender:
        sender.send(b"[]")
        assert read_to_close(sender) == ([], 1003)


def test_a_message_at_the_gate_is_accepted_after_its_sender_is_gone(start_ingest: MakeIngestServer) -> None:
    server = start_ingest(durable_seconds=WAIT_SECONDS)
    with server.sender() as sender:
        sender.send(json.dumps({"events": [json.loads(fill(1))], "key": "k"}))
        server.wait_for_fills(1)
    server.http.wait_until(lambda: not server.endpoint.clients)
    server.commit()
    assert server.post(f"[{fill(1)}]", Idempotency_Key="k")[1]["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("message", ['{"seq":7,"key":"a","events":[%s,%s]}', '{ "events" : [%s,%s] , "seq":7 }'])
@pytest.mark.parametrize(
    "bad", ['{"type":"metric","name":"m","value":NaN}', '{"type":"heartbeat","component":"\t"}', "01"]
)
def test_an_event_that_is_not_json_costs_only_itself_in_an_envelope(
    start_ingest: MakeIngestServer, message: str, bad: str
) -> None:
    with start_ingest(is_prompt=True).sender() as sender:
        sender.send(message % (bad, fill(1)))
        ack = receive(sender)
        assert (ack["type"], ack["seq"], ack["accepted"], [fault["index"] for fault in ack["rejected"]]) == (
            "ack", 7, 1, [0],
        )  # fmt: skip


def test_single_events_that_are_not_json_do_not_end_the_connection(start_ingest: MakeIngestServer) -> None:
    with start_ingest(is_prompt=True).sender() as sender:
        for number in range(MAX_REFUSED_MESSAGES + 1):
            sender.send('{"type":"quote","symbol":"A","bid":1,"ask":2,"bid_size":NaN}')
            assert receive(sender)["rejected_count"] == 1
            sender.send(fill(number))
            assert receive(sender)["accepted"] == 1


def test_a_message_without_matching_brackets_is_bad(start_ingest: MakeIngestServer) -> None:
    with start_ingest(is_prompt=True).sender() as sender:
        sender.send('{"seq":7,"events":[NaN}')
        assert receive(sender)["code"] == "bad_message"
