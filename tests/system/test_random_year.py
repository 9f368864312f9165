"""A random year of everything through a real server that is killed again and again agrees to the last digit with an
implementation of the book that shares nothing with it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Any

import pytest

from book_comparison import compare_section, compare_trades
from hosts import wait_until
from independent_book import Book
from random_year import MULTIPLIERS, RandomYear
from server_process import TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]

N_EVENTS = 500
CORRECTIONS = ("bust", "correct")
KILLS = 4


def send(server: Server, events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the answer to a batch; None if the server has gone before it came."""
    body = "\n".join(map(json.dumps, events)).encode()
    request = urllib.request.Request(
        server.url("/api/ingest"), body, {"Content-Type": "application/x-ndjson"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        # Of a batch of which every event is refused.
        refusal: dict[str, Any] = json.load(error)
        return refusal
    except (OSError, ValueError):
        return None


def settle(server: Server) -> None:
    """Waits until no correction is being applied."""

    def is_settled() -> bool:
        pending = server.get("/api/bookings?status=pending")["bookings"]
        return all(each["effect"]["reason"] != "in progress" for each in pending)

    wait_until(is_settled)


def batches(events: list[dict[str, Any]], random: Random) -> list[list[dict[str, Any]]]:
    made, start = [], 0
    while start < len(events):
        batch = events[start : start + random.randint(1, 40)]
        # What comes after a correction may depend on it, and a long one is applied after its answer.
        corrections = (i for i, event in enumerate(batch, 1) if event["type"] in CORRECTIONS)
        batch = batch[: next(corrections, len(batch))]
        made.append(batch)
        start += len(batch)
    return made


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_random_year_agrees_with_the_book_over_kills(start_server: StartServer, tmp_path: Path, workers: str) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), "--workers", workers)
    # Marks must depend on what was sent, not on how long the machine takes.
    settings = {
        "CONTRACT_MULTIPLIERS": ",".join(f"{name}:{value}" for name, value in MULTIPLIERS.items()),
        "STALE_AFTER": "604800",
        "STARTING_CAPITAL": "100000.50",
    }
    random, year = Random(7), RandomYear(7, N_EVENTS)
    book = Book(multipliers=MULTIPLIERS, stale_ns=10**18)
    made = batches(list(year.events()), random)
    killed = set(random.sample(range(len(made)), KILLS))
    server = start_server(*arguments, **settings)
    for number, batch in enumerate(made):
        expected = [book.take(event) for event in batch]
        if number in killed:
            # What it has not answered is sent again, whether it was taken or not; what it refuses might count by now.
            again = [event for event, outcome in zip(batch, expected, strict=True) if outcome != "refused"]
            sender = threading.Thread(target=send, args=(server, batch))
            sender.start()
            sender.join(random.choice((0, 0.002, 0.01, 0.05)))
            server.stop(SIGKILL)
            sender.join()
            server = start_server(*arguments, **settings)
            assert send(server, again) is not None
            settle(server)
            continue
        answer = send(server, batch)
        if batch[-1]["type"] in CORRECTIONS:
            settle(server)
        assert answer is not None
        counts = answer["accepted"], answer["duplicates"], answer["rejected_count"]
        lost = expected.count("conflict") + expected.count("refused")
        assert counts == (expected.count("accepted"), expected.count("duplicate"), lost), (number, answer, expected)
    for is_restarted in (False, True):
        if is_restarted:
            server.stop(SIGKILL)
            server = start_server(*arguments, **settings)
        # Quotes are not durable: every mark is known again.
        closing = list(year.closing_quotes())
        for event in closing:
            book.take(event)
        assert send(server, closing) is not None
        compare_section(server.next_snapshot()["strategy"], book)
        compare_trades(server, book)
